"""One side of a conversation: a libzmq socket in a process of its own, told what to do by lines
of JSON on its standard input.

Its libsodium draws from a seeded stream, and every draw is logged. The stream must be in place
before libsodium is used for the first time, so `zmq` is imported late.
"""

import ctypes
import hashlib
import importlib.util
import json
import sys
import threading
import time
from pathlib import Path


def bundled(name):
    """The path of a shared library that the pyzmq wheel carries."""
    wheel = Path(importlib.util.find_spec("zmq").origin).parent.parent
    (library,) = (wheel / "pyzmq.libs").glob(f"{name}*.so*")
    return str(library)


class Draws:
    """Stands in for libsodium's randomness: SHAKE-256 of a seed, read from front to back."""

    class Table(ctypes.Structure):
        _fields_ = [
            ("name", ctypes.CFUNCTYPE(ctypes.c_char_p)),
            ("random", ctypes.CFUNCTYPE(ctypes.c_uint32)),
            ("stir", ctypes.CFUNCTYPE(None)),
            ("uniform", ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)),
            ("buf", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)),
            ("close", ctypes.CFUNCTYPE(ctypes.c_int)),
        ]

    def __init__(self, sodium, seed):
        self.seed = seed
        self.at = 0
        self.log = []
        types = dict(self.Table._fields_)
        # libsodium keeps a pointer to this table for as long as the process lives.
        self.table = self.Table(
            types["name"](lambda: b"seeded"),
            types["random"](lambda: int.from_bytes(self.next(4), "little")),
            types["stir"](lambda: None),
            types["uniform"](),
            types["buf"](self.fill),
            types["close"](lambda: 0),
        )
        sodium.randombytes_set_implementation(ctypes.byref(self.table))
        sodium.sodium_init()
        # What libsodium draws for itself (the canary of its allocator) is no part of the log.
        self.at = 0
        self.log.clear()

    def next(self, size):
        end = self.at + size
        drawn = hashlib.shake_256(self.seed).digest(end)[self.at : end]
        self.at = end
        self.log.append(drawn)
        return drawn

    def fill(self, buffer, size):
        ctypes.memmove(buffer, self.next(size), size)


def answer_zap(context, status, user_id, log, answered):
    """A handler that gives every request the same answer, in a thread of its own."""
    import zmq

    socket = context.socket(zmq.REP)
    socket.linger = 0
    socket.bind("inproc://zeromq.zap.01")

    def serve():
        try:
            while True:
                request = socket.recv_multipart()
                reply = [b"1.0", request[1], status, b"", user_id, b""]
                log.append({"request": [f.hex() for f in request], "reply": [f.hex() for f in reply]})
                socket.send_multipart(reply)
                answered.set()
        except zmq.ContextTerminated:
            socket.close()

    threading.Thread(target=serve, daemon=True).start()


def main():
    sodium = ctypes.CDLL(bundled("libsodium"))
    sodium.sodium_version_string.restype = ctypes.c_char_p
    setup = json.loads(sys.stdin.readline())
    draws = Draws(sodium, bytes.fromhex(setup["seed"]))

    import zmq

    context = zmq.Context()
    asked, answered = [], threading.Event()
    if "zap" in setup:
        status, user_id = setup["zap"]
        answer_zap(context, status.encode(), bytes.fromhex(user_id), asked, answered)
    socket = context.socket(getattr(zmq, setup["type"]))
    socket.linger = 0
    socket.rcvtimeo = socket.sndtimeo = 10_000
    # One conversation is recorded; the next attempt to connect is not.
    socket.reconnect_ivl = -1
    for name, value in setup["options"]:
        socket.setsockopt(getattr(zmq, name), bytes.fromhex(value) if isinstance(value, str) else value)
    if setup["type"] == "ROUTER":
        # A peer that is not there yet is an error rather than silence.
        socket.router_mandatory = 1
    route = [bytes.fromhex(setup["route"])] if "route" in setup else []

    def send(frames):
        for _ in range(1000):
            try:
                return socket.send_multipart(route + frames)
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                time.sleep(0.01)
        raise TimeoutError("the ROUTER's peer does not come")

    def run(command):
        nonlocal route
        match command:
            case ["bind"]:
                return socket.bind_to_random_port("tcp://127.0.0.1")
            case ["connect", port]:
                socket.connect(f"tcp://127.0.0.1:{port}")
            case ["option", name, value]:
                socket.setsockopt(getattr(zmq, name), bytes.fromhex(value))
            case ["send", frames]:
                send([bytes.fromhex(frame) for frame in frames])
            case ["receive"]:
                frames = socket.recv_multipart()
                if setup["type"] == "ROUTER":
                    route, frames = frames[:1], frames[1:]
                return [frame.hex() for frame in frames]
            case ["close"]:
                if "zap" in setup and not answered.wait(10):
                    raise TimeoutError("the handler was not asked")
                socket.close()
                context.term()
                return {
                    "draws": [drawn.hex() for drawn in draws.log],
                    "zap": asked,
                    "libzmq": zmq.zmq_version(),
                    "libsodium": sodium.sodium_version_string().decode(),
                    "pyzmq": zmq.pyzmq_version(),
                }
        return None

    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
