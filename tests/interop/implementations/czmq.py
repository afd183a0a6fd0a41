"""One DEALER of czmq, with zcert for its keys and zauth for its policy.

Arguments: the library, and a task as JSON (`mod.rs` says what is in it). zauth reads the certificate
of the client that is known from a directory that we wrote.
"""

import ctypes
import json
import os
import sys
import threading

library, task = sys.argv[1], json.loads(sys.argv[2])
czmq = ctypes.CDLL(library)
P, S, I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
for name, result, arguments in [
    ("zsock_new", P, [I]),
    ("zsock_bind", I, [P, S]),
    ("zsock_connect", I, [P, S]),
    ("zsock_last_endpoint", S, [P]),
    ("zsock_wait", I, [P]),
    ("zsock_set_zap_domain", None, [P, S]),
    ("zsock_set_plain_server", None, [P, I]),
    ("zsock_set_plain_username", None, [P, S]),
    ("zsock_set_plain_password", None, [P, S]),
    ("zsock_set_curve_server", None, [P, I]),
    ("zsock_set_curve_serverkey", None, [P, S]),
    ("zcert_load", P, [S]),
    ("zcert_apply", None, [P, P]),
    ("zactor_new", P, [P, P]),
    ("zstr_recv", S, [P]),
    ("zstr_send", I, [P, S]),
]:
    function = getattr(czmq, name)
    function.restype, function.argtypes = result, arguments
# The signals and the log stay Python's.
czmq.zsys_handler_set(None)


def say(**told):
    print(json.dumps(told), flush=True)


def command(actor, *words):
    words = [word.encode() for word in words]
    if czmq.zstr_sendx(P(actor), *map(S, words), P(None)) != 0 or czmq.zsock_wait(actor) != 0:
        raise OSError("zauth did not take a command")


dealer = czmq.zsock_new(5)
serves = "connect" not in task
if serves:
    # Only the address of zauth is needed: czmq calls it.
    zauth = czmq.zactor_new(ctypes.cast(czmq.zauth, P), None)
    if task["mechanism"] == "PLAIN":
        passwords = os.path.join(task["scratch"], "passwords")
        with open(passwords, "w", encoding="ascii") as file:
            file.write(f"{task['username']}={task['password']}\n")
        command(zauth, "PLAIN", passwords)
    elif task["mechanism"] == "CURVE":
        command(zauth, "CURVE", task["certificates"])
    czmq.zsock_set_zap_domain(dealer, b"meet")
if task["mechanism"] == "PLAIN":
    if serves:
        czmq.zsock_set_plain_server(dealer, 1)
    else:
        czmq.zsock_set_plain_username(dealer, task["username"].encode())
        czmq.zsock_set_plain_password(dealer, task["password"].encode())
elif task["mechanism"] == "CURVE":
    certificate = czmq.zcert_load(task["certificate"].encode())
    if not certificate:
        raise OSError("zcert did not load our certificate")
    czmq.zcert_apply(certificate, dealer)
    if serves:
        czmq.zsock_set_curve_server(dealer, 1)
    else:
        czmq.zsock_set_curve_serverkey(dealer, task["server"].encode())


def talk():
    if not serves:
        czmq.zstr_send(dealer, b"hello")
    while True:
        message = czmq.zstr_recv(dealer)
        say(received=message.decode())
        if serves:
            czmq.zstr_send(dealer, message + b" back")


numbers = [ctypes.c_int() for _ in range(3)]
czmq.zsys_version(*map(ctypes.byref, numbers))
version = ".".join(str(number.value) for number in numbers)
if serves:
    if czmq.zsock_bind(dealer, b"tcp://127.0.0.1:*") < 0:
        raise OSError("zsock_bind failed")
    say(version=version, endpoint=czmq.zsock_last_endpoint(dealer).decode())
else:
    if czmq.zsock_connect(dealer, task["connect"].encode()) != 0:
        raise OSError("zsock_connect failed")
    say(version=version)
threading.Thread(target=talk, daemon=True).start()
sys.stdin.read()
# Not by unwinding: the thread above would be waited for.
os._exit(0)
