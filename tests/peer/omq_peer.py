"""One socket of pyomq, an implementation of ZMTP that shares no code with libzmq.

The first line of its stdin is JSON: the type and mechanism, and where to connect. Without `connect`
it binds and is the server of its mechanism. It prints the endpoint, then a line of JSON for each
received message, with frames in hexadecimal. It ends with its stdin.
"""

import json
import sys
import threading
import time

import pyomq as zmq

task = json.loads(sys.stdin.readline())
messages = [[bytes.fromhex(frame) for frame in message] for message in task["messages"]]
kind, mechanism = task["type"], task["mechanism"]
socket = zmq.Context().socket(getattr(zmq, kind))
socket.linger = 0
# A PING now and then. It is a command, which shows on the frame around its box.
socket.heartbeat_ivl = 20
# Without this it would be as long as the interval, which a busy machine exceeds.
socket.heartbeat_timeout = 10_000
if mechanism == "CURVE":
    socket.curve_publickey = task["public"].encode()
    socket.curve_secretkey = task["secret"].encode()
    if "connect" in task:
        socket.curve_serverkey = task["server"].encode()
    else:
        socket.curve_server = True
        socket.set_curve_auth(lambda peer: True)
elif mechanism == "PLAIN":
    if "connect" in task:
        socket.plain_username, socket.plain_password = b"admin", b"secret"
    else:
        socket.plain_server = True
        socket.set_plain_auth([("admin", "secret")])
if kind == "SUB":
    socket.subscribe(b"topic")
if "connect" in task:
    socket.connect(task["connect"])
    endpoint = task["connect"]
else:
    endpoint = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


def say(what):
    print(json.dumps(what), flush=True)


def receive():
    say([bytes(frame).hex() for frame in socket.recv_multipart()])


def talk():
    if kind == "PUB":
        # A subscription takes effect some time later.
        while True:
            for message in messages:
                socket.send_multipart([b"topic", *message])
            time.sleep(0.02)
    for message in messages:
        if kind in ("PUSH", "DEALER", "REQ"):
            socket.send_multipart(message)
        if kind in ("PULL", "SUB", "DEALER", "REQ"):
            receive()
        if kind in ("REP", "ROUTER"):
            socket.send_multipart(socket.recv_multipart())


say(endpoint)
threading.Thread(target=talk, daemon=True).start()
sys.stdin.read()
