"""A CURVE server of libzmq whose ZAP requests are answered by another process.

Arguments: the endpoint of the ZAP service, the domain, the server's secret key. Prints the endpoint
that it is bound to, then each message as "USER-ID TEXT". Ends when stdin closes.
"""

import os
import sys
import threading

import zmq

service, domain, secret = sys.argv[1:]
context = zmq.Context()

# RFC 27: the process that binds this endpoint is the handler. A proxy passes everything on.
front = context.socket(zmq.ROUTER)
front.bind("inproc://zeromq.zap.01")
back = context.socket(zmq.DEALER)
back.connect(service)
threading.Thread(target=zmq.proxy, args=(front, back), daemon=True).start()

pull = context.socket(zmq.PULL)
pull.curve_server = True
pull.curve_secretkey = secret.encode()
pull.zap_domain = domain.encode()
pull.bind("tcp://127.0.0.1:*")
print(pull.last_endpoint.decode(), flush=True)


def receive():
    while True:
        frame = pull.recv(copy=False)
        print(frame.get("User-Id"), frame.bytes.decode(), flush=True)


threading.Thread(target=receive, daemon=True).start()
sys.stdin.read()
# Not by unwinding: the threads above would be waited for.
os._exit(0)
