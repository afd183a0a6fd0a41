"""pyzmq's Authenticator with as many keys as its argument says: a line in, a figure out.

`decide COUNT`: nanoseconds of processor time for a call of handle_zap_message, whose socket is a stub, each for
another key, all of them allowed.

`load 1`: milliseconds of processor time to put all keys in force, as configure_curve does with those of a directory.
"""

import logging
import sys
import time

import zmq.auth
from zmq.utils import z85

logging.getLogger("zmq.auth").setLevel(logging.CRITICAL + 1)
KEYS = int(sys.argv[1])

# Requests that lie ready at once.
READY = 50


def key(number):
    return number.to_bytes(4, "big") + bytes([7]) * 28


def address(number):
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Asked(zmq.auth.Authenticator):
    def __init__(self):
        super().__init__()
        self.zap_socket = self

    def send_multipart(self, frames):
        assert frames[2] == b"200", frames


authenticator = Asked()
texts = [z85.encode(key(number)) for number in range(KEYS)]
asked = 0


def load():
    start = time.process_time_ns()
    authenticator.certs["bench"] = {text: True for text in texts}
    return (time.process_time_ns() - start) / 1e6


def request():
    global asked
    asked = (asked + 7919) % KEYS
    return [
        b"1.0",
        b"1",
        b"bench",
        address(asked).encode(),
        b"",
        b"CURVE",
        key(asked),
    ]


def decide(count):
    took = 0
    for _ in range(count // READY):
        messages = [request() for _ in range(READY)]
        start = time.process_time_ns()
        for message in messages:
            try:
                authenticator.handle_zap_message(message).send(None)
            except StopIteration:
                pass
        took += time.process_time_ns() - start
    return took / (count // READY * READY)


load()
for line in sys.stdin:
    what, count = line.split()
    print(decide(int(count)) if what == "decide" else load(), flush=True)
