"""Asks pyzmq's own Authenticator without sockets: one JSON line in, one out.

A line is {"config": [[name, argument, ..], ..], "requests": [[frame, ..], ..]}. The answer is
{"errors": [index, ..], "replies": [..]}: the configuration calls that raised, and for each request
the frames of the reply, null if there was no reply, or the name of the exception that ended the
call. Bytes are hexadecimal text. If pyzmq's configuration takes str, they are decoded as pyzmq
decodes bytes from the wire.
"""

import json
import logging
import sys

import zmq.auth

logging.getLogger("zmq.auth").setLevel(logging.CRITICAL + 1)


class Deliberate(Exception):
    """The error of a provider or a mapping that fails on purpose."""


def text(value):
    return bytes.fromhex(value).decode("utf-8", "replace")


class Provider:
    def __init__(self, says, is_async):
        self.says = says
        self.callback = self.answer_async if is_async else self.answer

    def answer(self, domain, key):
        if self.says == "fail":
            raise Deliberate
        if self.says == "yes":
            return True
        return key.decode() == self.says

    async def answer_async(self, domain, key):
        return self.answer(domain, key)


class Oracle(zmq.auth.Authenticator):
    def __init__(self):
        super().__init__()
        self.zap_socket = self
        self.user_ids = "z85"
        self.reply = None

    def send_multipart(self, frames):
        self.reply = frames

    def curve_user_id(self, client_public_key):
        if self.user_ids == "z85":
            return super().curve_user_id(client_public_key)
        if self.user_ids == "fail":
            raise Deliberate
        return client_public_key.hex() * (5 if self.user_ids == "long" else 1)

    def configure(self, call, *arguments):
        if call in ("allow", "deny"):
            getattr(self, call)(*map(text, arguments[0]))
        elif call == "plain":
            domain, users = arguments
            self.configure_plain(text(domain), {text(name): text(word) for name, word in users})
        elif call == "directory":
            self.configure_curve(text(arguments[0]), arguments[1])
        elif call == "any":
            self.configure_curve(text(arguments[0]), zmq.auth.CURVE_ALLOW_ANY)
        elif call == "callback":
            self.configure_curve_callback(text(arguments[0]), Provider(*arguments[1:]))
        elif call == "gssapi":
            self.configure_gssapi(text(arguments[0]))
        elif call == "user_ids":
            self.user_ids = arguments[0]
        else:
            raise AssertionError(call)

    def ask(self, frames):
        self.reply = None
        # No await here suspends, so the coroutine runs to its end at the first step.
        asked = self.handle_zap_message([bytes.fromhex(frame) for frame in frames])
        try:
            asked.send(None)
        except StopIteration:
            return self.reply and [frame.hex() for frame in self.reply]
        except Exception as error:
            return type(error).__name__
        raise AssertionError("the Authenticator waits")


for line in sys.stdin:
    task = json.loads(line)
    oracle = Oracle()
    errors = []
    for index, call in enumerate(task["config"]):
        try:
            oracle.configure(*call)
        except ValueError:
            errors.append(index)
    replies = [oracle.ask(frames) for frames in task["requests"]]
    sys.stdout.write(json.dumps({"errors": errors, "replies": replies}) + "\n")
