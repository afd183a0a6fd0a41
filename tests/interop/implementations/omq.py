"""One DEALER of pyomq, an implementation of ZMTP that shares no code with libzmq.

Argument: a task as JSON (`mod.rs` says what is in it).
"""

import json
import os
import sys
import threading

import pyomq

task = json.loads(sys.argv[1])
dealer = pyomq.Context().socket(pyomq.DEALER)
dealer.linger = 0
serves = "connect" not in task
if task["mechanism"] == "PLAIN":
    if serves:
        dealer.plain_server = True
        dealer.set_plain_auth([(task["username"], task["password"])])
    else:
        dealer.plain_username = task["username"].encode()
        dealer.plain_password = task["password"].encode()
elif task["mechanism"] == "CURVE":
    dealer.curve_publickey = task["public"].encode()
    dealer.curve_secretkey = task["secret"].encode()
    if serves:
        dealer.curve_server = True
        dealer.set_curve_auth([task["known"].encode()])
    else:
        dealer.curve_serverkey = task["server"].encode()


def say(**told):
    print(json.dumps(told), flush=True)


def talk():
    if not serves:
        dealer.send(b"hello")
    while True:
        message = bytes(dealer.recv())
        say(received=message.decode())
        if serves:
            dealer.send(message + b" back")


version = pyomq.pyomq_version()
if serves:
    port = dealer.bind_to_random_port("tcp://127.0.0.1")
    say(version=version, endpoint=f"tcp://127.0.0.1:{port}")
else:
    dealer.connect(task["connect"])
    say(version=version)
threading.Thread(target=talk, daemon=True).start()
sys.stdin.read()
# Not by unwinding: the thread above would be waited for.
os._exit(0)
