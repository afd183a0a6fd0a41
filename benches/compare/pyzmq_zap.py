"""pyzmq's Authenticator, asked without sockets: a line with a count in, nanoseconds out.

With as many keys and plain addresses as its arguments say, it decides so many CURVE requests, each
for another key and from another address, all of them allowed.
"""

import logging
import sys
import time

import zmq.auth
from zmq.utils import z85

logging.getLogger("zmq.auth").setLevel(logging.CRITICAL + 1)
KEYS, ADDRESSES = map(int, sys.argv[1:])


def key(number):
    return number.to_bytes(32, "big")


def address(number):
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Asked(zmq.auth.Authenticator):
    def __init__(self):
        super().__init__()
        self.zap_socket = self

    def send_multipart(self, frames):
        assert frames[2] == b"200", frames


authenticator = Asked()
authenticator.allow(*(address(number) for number in range(ADDRESSES)))
# What configure_curve makes of a directory of certificates.
authenticator.certs["bench"] = {z85.encode(key(number)): True for number in range(KEYS)}

READY = 50
asked = 0


def request():
    global asked
    asked += 1
    return [
        b"1.0",
        b"1",
        b"bench",
        address(asked % ADDRESSES).encode(),
        b"",
        b"CURVE",
        key(asked % KEYS),
    ]


for line in sys.stdin:
    rounds = int(line) // READY
    took = 0
    for _ in range(rounds):
        messages = [request() for _ in range(READY)]
        start = time.perf_counter_ns()
        for message in messages:
            try:
                authenticator.handle_zap_message(message).send(None)
            except StopIteration:
                pass
        took += time.perf_counter_ns() - start
    print(took / (rounds * READY), flush=True)
