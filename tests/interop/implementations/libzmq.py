"""One DEALER of a libzmq that is called as C code, so that any version can be met.

Arguments: the library, and a task as JSON (`mod.rs` says what is in it).
"""

import ctypes
import glob
import json
import os
import sys
import threading

library, task = sys.argv[1], json.loads(sys.argv[2])
# Old versions log on stdout. Their lines go to stderr.
told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
# The library of a wheel finds the one that came with it.
for sodium in glob.glob(os.path.join(os.path.dirname(library), "libsodium*")):
    ctypes.CDLL(sodium, ctypes.RTLD_GLOBAL)
zmq = ctypes.CDLL(library)
for name in ("zmq_ctx_new", "zmq_socket"):
    getattr(zmq, name).restype = ctypes.c_void_p
context = ctypes.c_void_p(zmq.zmq_ctx_new())

REP, DEALER = 4, 5
RCVMORE, LAST_ENDPOINT = 13, 32
PLAIN_SERVER, PLAIN_USERNAME, PLAIN_PASSWORD = 44, 45, 46
CURVE_SERVER, CURVE_PUBLICKEY, CURVE_SECRETKEY, CURVE_SERVERKEY, ZAP_DOMAIN = 47, 48, 49, 50, 55
SNDMORE = 2


def check(result):
    if result < 0:
        raise OSError(zmq.zmq_errno(), "a call of libzmq failed")
    return result


def socket(kind):
    return ctypes.c_void_p(zmq.zmq_socket(context, kind))


def set_option(at, option, value):
    if isinstance(value, int):
        number = ctypes.c_int(value)
        check(zmq.zmq_setsockopt(at, option, ctypes.byref(number), ctypes.c_size_t(4)))
    else:
        check(zmq.zmq_setsockopt(at, option, value, ctypes.c_size_t(len(value))))


def get_option(at, option, length):
    value, length = ctypes.create_string_buffer(length), ctypes.c_size_t(length)
    check(zmq.zmq_getsockopt(at, option, value, ctypes.byref(length)))
    return value.raw[: length.value]


def key(text):
    binary = ctypes.create_string_buffer(32)
    if not zmq.zmq_z85_decode(binary, text.encode()):
        raise ValueError("not a key")
    return binary.raw


def receive(at):
    buffer = ctypes.create_string_buffer(1 << 16)
    length = check(zmq.zmq_recv(at, buffer, ctypes.c_size_t(len(buffer)), 0))
    return buffer.raw[:length]


def send(at, frame, flags=0):
    check(zmq.zmq_send(at, frame, ctypes.c_size_t(len(frame)), flags))


def say(**line):
    print(json.dumps(line), file=told, flush=True)


def judge(handler):
    """Answers ZAP requests (RFC 27): one user and one key are known."""
    while True:
        request = [receive(handler)]
        while get_option(handler, RCVMORE, 4) != b"\0\0\0\0":
            request.append(receive(handler))
        mechanism, credentials = request[5], request[6:]
        known = {
            b"NULL": [],
            b"PLAIN": [task["username"].encode(), task["password"].encode()],
            b"CURVE": [key(task["known"])],
        }
        status = b"200" if credentials == known[mechanism] else b"400"
        for frame in (b"1.0", request[1], status, b"", b"somebody"):
            send(handler, frame, SNDMORE)
        send(handler, b"")


dealer = socket(DEALER)
serves = "connect" not in task
if serves:
    handler = socket(REP)
    check(zmq.zmq_bind(handler, b"inproc://zeromq.zap.01"))
    threading.Thread(target=judge, args=(handler,), daemon=True).start()
    set_option(dealer, ZAP_DOMAIN, b"meet")
if task["mechanism"] == "PLAIN":
    if serves:
        set_option(dealer, PLAIN_SERVER, 1)
    else:
        set_option(dealer, PLAIN_USERNAME, task["username"].encode())
        set_option(dealer, PLAIN_PASSWORD, task["password"].encode())
elif task["mechanism"] == "CURVE":
    set_option(dealer, CURVE_SECRETKEY, key(task["secret"]))
    if serves:
        set_option(dealer, CURVE_SERVER, 1)
    else:
        set_option(dealer, CURVE_PUBLICKEY, key(task["public"]))
        set_option(dealer, CURVE_SERVERKEY, key(task["server"]))


def talk():
    if not serves:
        send(dealer, b"hello")
    while True:
        message = receive(dealer)
        say(received=message.decode())
        if serves:
            send(dealer, message + b" back")


numbers = [ctypes.c_int() for _ in range(3)]
zmq.zmq_version(*map(ctypes.byref, numbers))
version = ".".join(str(number.value) for number in numbers)
if serves:
    check(zmq.zmq_bind(dealer, b"tcp://127.0.0.1:*"))
    say(version=version, endpoint=get_option(dealer, LAST_ENDPOINT, 256).rstrip(b"\0").decode())
else:
    check(zmq.zmq_connect(dealer, task["connect"].encode()))
    say(version=version)
threading.Thread(target=talk, daemon=True).start()
sys.stdin.read()
# Not by unwinding: the thread above would be waited for.
os._exit(0)
