"""Two libzmq processes, and a relay between them that passes frames on in the order that a case
prescribes. What it records is therefore the same however the operating system cuts the streams.
"""

import ctypes
import json
import select
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from peer import bundled

GREETING_LEN = 64
# Seconds that a recording waits for what must come, and for what must not.
PATIENCE = 15
QUIET = 0.1
MORE, LONG, COMMAND = 1, 2, 4
SEALED_MORE, SEALED_COMMAND = 1, 2
MISSPELLED_ERROR = b"\x5ERROR"

sodium = ctypes.CDLL(bundled("libsodium"))


def public_key(secret):
    public = ctypes.create_string_buffer(32)
    assert sodium.crypto_scalarmult_base(public, secret) == 0
    return public.raw


def open_box(boxed, nonce, public, secret):
    text = ctypes.create_string_buffer(len(boxed) - 16)
    size = ctypes.c_ulonglong(len(boxed))
    assert sodium.crypto_box_open_easy(text, boxed, size, nonce, public, secret) == 0, "box does not open"
    return text.raw[: len(boxed) - 16]


@dataclass
class Event:
    """One thing that one side puts on the wire."""

    who: str
    label: str
    wire: bytes
    # For traffic: (kind, payload), kind being last, more or command.
    says: tuple = None


class Process:
    """One libzmq process."""

    def __init__(self, setup):
        self.child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("peer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tell(setup)

    def tell(self, value):
        self.child.stdin.write(json.dumps(value) + "\n")
        self.child.stdin.flush()

    def do(self, *command):
        self.tell(command)
        answer = self.child.stdout.readline()
        assert answer, f"the libzmq process ended at {command}"
        return json.loads(answer)

    def end(self):
        self.child.stdin.close()
        if self.child.wait(PATIENCE) != 0:
            raise RuntimeError("a libzmq process failed")


@dataclass
class Conversation:
    """Drives both processes and collects what passes between them."""

    setups: dict
    connects: str
    events: list = field(default_factory=list)
    # CURVE: the keys to look into MESSAGEs with, once both sides have drawn them.
    transient: dict = None

    def __post_init__(self):
        self.processes = {who: Process(setup) for who, setup in self.setups.items()}
        self.pending = {"client": b"", "server": b""}
        binds = "server" if self.connects == "client" else "client"
        port = self.processes[binds].do("bind")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE)
            self.processes[self.connects].do("connect", listener.getsockname()[1])
            near, _ = listener.accept()
        self.sockets = {self.connects: near, binds: socket.create_connection(("127.0.0.1", port))}
        for stream in self.sockets.values():
            stream.settimeout(PATIENCE)

    @staticmethod
    def other(who):
        return "server" if who == "client" else "client"

    def more(self, who):
        """Waits for bytes of one side. False at the end of its stream."""
        received = self.sockets[who].recv(1 << 16)
        self.pending[who] += received
        return bool(received)

    def take(self, who, size):
        while len(self.pending[who]) < size:
            assert self.more(who), f"{who} closed the connection"
        taken, self.pending[who] = self.pending[who][:size], self.pending[who][size:]
        return taken

    def greetings(self):
        """Each side waits for the beginning of the other's greeting before it sends its end."""
        sent = {"client": 0, "server": 0}
        while min(sent.values()) < GREETING_LEN:
            ready, _, _ = select.select(self.sockets.values(), [], [], PATIENCE)
            assert ready, "no greeting"
            for who, stream in self.sockets.items():
                if stream in ready:
                    assert self.more(who), f"{who} closed the connection"
                part = self.pending[who][sent[who] : GREETING_LEN]
                self.sockets[self.other(who)].sendall(part)
                sent[who] += len(part)
        for who in ("client", "server"):
            self.events.append(Event(who, "greeting", self.take(who, GREETING_LEN)))

    def frame(self, who):
        """Passes one frame on. Returns its flags, its body, and all its bytes."""
        header = self.take(who, 2)
        if header[0] & LONG:
            header += self.take(who, 7)
        body = self.take(who, int.from_bytes(header[1:], "big"))
        self.sockets[self.other(who)].sendall(header + body)
        return header[0], body, header + body

    def command(self, who, name):
        """Passes one command of the handshake on."""
        flags, body, wire = self.frame(who)
        assert flags & COMMAND
        found = "ERROR" if body.startswith(MISSPELLED_ERROR) else body[1 : 1 + body[0]].decode()
        assert found == name, f"{who} sent {found} instead of {name}"
        self.events.append(Event(who, name, wire))

    def closes(self, who):
        """Waits for one side to close the connection without another word."""
        assert not self.more(who) and not self.pending[who], f"{who} did not close"
        self.events.append(Event(who, "close", b""))

    def traffic(self, who):
        """Passes one frame of traffic on. Returns (kind, payload)."""
        flags, body, wire = self.frame(who)
        more, command = flags & MORE, flags & COMMAND
        if self.transient:
            assert (more, command) == (0, 0) and body.startswith(b"\x07MESSAGE")
            nonce = b"CurveZMQMESSAGE" + who[:1].upper().encode() + body[8:16]
            secret, peer = self.transient[who], self.transient[self.other(who)]
            text = open_box(body[16:], nonce, public_key(peer), secret)
            more, command, body = text[0] & SEALED_MORE, text[0] & SEALED_COMMAND, text[1:]
        says = ("command" if command else "more" if more else "last", body)
        self.events.append(Event(who, "frame", wire, says))
        return says

    def message(self, who, frames, arrives=None):
        """One message from application to application. What arrives differs from what is sent
        where one of them is a REQ or REP, with its empty frame in front."""
        self.processes[who].do("send", [frame.hex() for frame in frames])
        while self.traffic(who)[0] == "more":
            pass
        self.received(self.other(who), arrives or frames)

    def received(self, who, frames):
        arrived = self.processes[who].do("receive")
        assert arrived == [frame.hex() for frame in frames], f"{who} received {arrived}"

    def finish(self, cut):
        """Ends both processes and returns what they logged. Unless the recording is `cut` short,
        neither side may have more to say."""
        if not cut:
            select.select(self.sockets.values(), [], [], QUIET)
        logs = {who: process.do("close") for who, process in self.processes.items()}
        for who, process in self.processes.items():
            process.end()
            if not cut:
                try:
                    while self.more(who):
                        pass
                except ConnectionResetError:
                    pass
                assert not self.pending[who], f"{who} sent more than was expected"
            self.sockets[who].close()
        return logs
