"""A plugin of pytest: puts our policy in the place of pyzmq's authenticators.

Their ZAP requests go to `zmtp-auth zap`, whose path is in the variable ZMTP_AUTH. A change of
configuration is written into its policy file, which it reloads.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading

import pytest
import zmq
import zmq.auth
import zmq.auth.asyncio
import zmq.auth.base
import zmq.auth.thread

PROGRAM = os.environ["ZMTP_AUTH"]
decisions = []


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


class Authenticator:
    """The calls of `ThreadAuthenticator` that a policy file can express."""

    def __init__(self, context):
        self.context = context
        self.lists = {"allow": [], "deny": []}
        # A NULL peer needs no rule with pyzmq. A policy file names what it admits.
        self.domains = {"*": {"null": "{ any = true }"}}
        self.folder = tempfile.mkdtemp()
        self.policy = os.path.join(self.folder, "policy.toml")
        self.service = None

    def start(self):
        self.write()
        endpoint = f"ipc://{self.folder}/zap.sock"
        self.service = subprocess.Popen(
            [PROGRAM, "zap", "--policy", self.policy, "--listen", endpoint],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert json.loads(self.service.stdout.readline())["event"] == "listening"
        self.reloaded = threading.Semaphore(0)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

        def socket(kind):
            made = self.context.socket(kind, socket_class=zmq.Socket)
            made.linger = 0
            return made

        # RFC 27: the process that binds this endpoint is the handler. A proxy passes everything on.
        front, back = socket(zmq.ROUTER), socket(zmq.DEALER)
        front.bind("inproc://zeromq.zap.01")
        back.connect(endpoint)
        self.ending, end = socket(zmq.PAIR), socket(zmq.PAIR)
        self.ending.bind(f"inproc://{id(self)}")
        end.connect(f"inproc://{id(self)}")
        self.proxy = threading.Thread(target=self.pass_on, args=(front, back, end), daemon=True)
        self.proxy.start()

    def pass_on(self, front, back, end):
        poller = zmq.Poller()
        for socket in (front, back, end):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if end in ready:
                break
            if front in ready:
                back.send_multipart(front.recv_multipart())
            if back in ready:
                front.send_multipart(back.recv_multipart())
        for socket in (front, back, end):
            socket.close()

    def read(self):
        for line in self.service.stdout:
            told = json.loads(line)
            if told["event"] == "decision":
                decisions.append(told)
            elif told["event"] == "reloaded":
                self.reloaded.release()

    def stop(self):
        if self.service:
            self.ending.send(b"")
            self.proxy.join()
            self.ending.close()
            self.service.terminate()
            assert self.service.wait(timeout=30) == 0
            self.reader.join()
            self.service = None
            shutil.rmtree(self.folder)

    def write(self):
        lines = [
            f"{name} = [{', '.join(map(quoted, addresses))}]"
            for name, addresses in self.lists.items()
            if addresses
        ]
        for domain, rules in self.domains.items():
            lines.append(f"[domain.{quoted(domain)}]")
            lines += [f"{name} = {rule}" for name, rule in rules.items()]
        written = self.policy + ".new"
        with open(written, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        # The program judges whether this is a policy.
        checked = subprocess.run([PROGRAM, "policy", "check", written], capture_output=True, text=True)
        if checked.returncode != 0:
            raise ValueError(checked.stderr)
        os.replace(written, self.policy)

    def apply(self):
        self.write()
        if self.service:
            self.service.send_signal(signal.SIGHUP)
            assert self.reloaded.acquire(timeout=60), "the service does not reload"

    def allow(self, *addresses):
        self.lists["allow"] += addresses
        self.apply()

    def deny(self, *addresses):
        self.lists["deny"] += addresses
        self.apply()

    def configure_plain(self, domain="*", passwords=None):
        users = [f"{quoted(user)} = {quoted(password)}" for user, password in passwords.items()]
        self.domains.setdefault(domain, {})["plain"] = f"{{ users = {{ {', '.join(users)} }} }}"
        self.apply()

    def configure_curve(self, domain="*", location="."):
        is_any = location == zmq.auth.CURVE_ALLOW_ANY
        rule = "any = true" if is_any else f"certificates = {quoted(str(location))}"
        self.domains.setdefault(domain, {})["curve"] = f"{{ {rule} }}"
        self.apply()


def not_ours(*_arguments, **_options):
    raise AssertionError("a test asks pyzmq's own authenticator")


zmq.auth.base.Authenticator.start = not_ours
zmq.auth.thread.ThreadAuthenticator = Authenticator
zmq.auth.asyncio.AsyncioAuthenticator = Authenticator


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    admitted = sum(decision["status"] == "200" for decision in decisions)
    refused = len(decisions) - admitted
    terminalreporter.write_line(f"zmtp-auth decided: {admitted} admitted, {refused} refused")
