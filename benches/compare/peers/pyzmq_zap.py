"""pyzmq's Authenticator, asked in one of two ways: a line with a count in, nanoseconds out.

With as many keys and plain addresses as its arguments say, it decides so many CURVE requests, each
for another key and from another address, all of them allowed.

`function`: handle_zap_message is called, its socket is a stub. One figure: the time of a call.

`thread`: a ThreadAuthenticator is asked over inproc, as a libzmq server asks it, with 50 requests
in flight. Two figures for a request: how long it takes from here, and the processor time of the
authenticator's thread, in which nothing of who asks is counted.
"""

import logging
import sys
import time

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

logging.getLogger("zmq.auth").setLevel(logging.CRITICAL + 1)
WAY = sys.argv[1]
KEYS, ADDRESSES = map(int, sys.argv[2:])

# Requests that lie ready, or are in flight, at once.
READY = 50


def key(number):
    return number.to_bytes(32, "big")


def address(number):
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


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


def configured(authenticator):
    authenticator.allow(*(address(number) for number in range(ADDRESSES)))
    # What configure_curve makes of a directory of certificates.
    authenticator.certs["bench"] = {z85.encode(key(number)): True for number in range(KEYS)}
    return authenticator


class Asked(zmq.auth.Authenticator):
    def __init__(self):
        super().__init__()
        self.zap_socket = self

    def send_multipart(self, frames):
        assert frames[2] == b"200", frames


def function():
    authenticator = configured(Asked())
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


def thread():
    context = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    configured(authenticator)
    clock = time.pthread_getcpuclockid(authenticator.thread.ident)
    asks = context.socket(zmq.DEALER)
    asks.connect("inproc://zeromq.zap.01")
    for line in sys.stdin:
        messages = [[b"", *request()] for _ in range(int(line))]
        busy, start = time.clock_gettime_ns(clock), time.perf_counter_ns()
        for message in messages[:READY]:
            asks.send_multipart(message)
        for number in range(len(messages)):
            reply = asks.recv_multipart()
            assert reply[3] == b"200", reply
            if number + READY < len(messages):
                asks.send_multipart(messages[number + READY])
        took, busy = time.perf_counter_ns() - start, time.clock_gettime_ns(clock) - busy
        print(took / len(messages), busy / len(messages), flush=True)
    authenticator.stop()


{"function": function, "thread": thread}[WAY]()
