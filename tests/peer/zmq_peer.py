"""A real libzmq peer. Commands are JSON lines on stdin, answers and events JSON lines on stdout.

A command is {"id": N, "op": "...", ...}. Its answer is {"id": N, "ok": ...},
{"id": N, "timeout": true} or {"id": N, "error": "..."}. Commands run concurrently. On one socket,
sends keep their order, and so do receives. A monitored socket's events appear between the answers as
{"event": "HANDSHAKE_FAILED_AUTH", "socket": "...", "value": 400, "endpoint": "..."}.

Frames are hexadecimal text, or {"fill": [seed, length]} for the bytes (seed + i) % 251. The period
is prime, so bytes that are displaced by any power of two differ. A received frame over LARGE bytes is
reported as {"fill": ..} if it has that form, else as {"sha256": .., "length": ..}.

The process ends when stdin closes. Every wait has a time-out.
"""

import asyncio
import hashlib
import json
import os
import sys

import zmq
import zmq.asyncio
import zmq.auth
import zmq.auth.thread
from zmq.utils.monitor import parse_monitor_message

LARGE = 4096
PERIOD = 251
DEFAULT_TIMEOUT = 5000
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
LONGEST_LINE = 64 * 1024 * 1024


class TimedOut(Exception):
    pass


def fill(seed, length):
    block = bytes((seed + i) % PERIOD for i in range(PERIOD))
    return (block * (length // PERIOD + 1))[:length]


def frame_from_json(value):
    if isinstance(value, dict):
        return fill(*value["fill"])
    return bytes.fromhex(value)


def frame_to_json(data):
    if len(data) <= LARGE:
        return data.hex()
    if data == fill(data[0], len(data)):
        return {"fill": [data[0], len(data)]}
    return {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}


def option_from_json(value):
    """A number, text, or {"hex": ..} for bytes."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return value.encode() if isinstance(value, str) else value


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Peer:
    """One socket, and the locks that keep its operations in order."""

    def __init__(self, name, socket):
        self.name = name
        self.socket = socket
        self.sending = asyncio.Lock()
        self.receiving = asyncio.Lock()
        self.events = None
        self.reporting = None

    async def send(self, frames, timeout):
        async with self.sending:
            if not await self.socket.poll(timeout, zmq.POLLOUT):
                raise TimedOut
            await self.socket.send_multipart(frames, flags=zmq.NOBLOCK)

    async def receive(self, properties, timeout):
        # Poll first, since a cancelled receive could lose a message.
        async with self.receiving:
            if not await self.socket.poll(timeout, zmq.POLLIN):
                raise TimedOut
            frames = await self.socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
        return {
            "frames": [frame_to_json(frame.bytes) for frame in frames],
            "properties": {name: message_property(frames[0], name) for name in properties},
        }

    def monitor(self):
        self.events = self.socket.get_monitor_socket()
        self.reporting = asyncio.ensure_future(self.report())

    async def report(self):
        while True:
            event = parse_monitor_message(await self.events.recv_multipart())
            kind = zmq.Event(event["event"])
            if kind == zmq.EVENT_MONITOR_STOPPED:
                return
            say(
                {
                    "event": kind.name,
                    "socket": self.name,
                    "value": event["value"],
                    "endpoint": event["endpoint"].decode(),
                }
            )

    def close(self, linger):
        if self.reporting is not None:
            self.reporting.cancel()
            self.socket.disable_monitor()
            self.events.close(linger=0)
        self.socket.close(linger=linger)


def message_property(frame, name):
    try:
        return frame.get(name)
    except zmq.ZMQError as error:
        if error.errno == zmq.EINVAL:
            return None
        raise


class ScriptedZap:
    """A ZAP handler that gives every request the same answer and records the requests."""

    def __init__(self, context, reply):
        self.script(reply)
        self.requests = []
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)
        self.serving = asyncio.ensure_future(self.serve())

    def script(self, reply):
        self.reply = [
            reply["status"].encode(),
            reply.get("text", "").encode(),
            reply.get("user_id", "").encode(),
            bytes.fromhex(reply.get("metadata", "")),
        ]
        self.delay = reply.get("delay_ms", 0) / 1000

    async def serve(self):
        while True:
            request = await self.socket.recv_multipart()
            self.requests.append([frame_to_json(frame) for frame in request])
            if self.delay:
                await asyncio.sleep(self.delay)
            await self.socket.send_multipart([request[0], request[1], *self.reply])

    def stop(self):
        self.serving.cancel()
        self.socket.close(linger=0)


class Context:
    """A libzmq context with its own ZAP handler."""

    def __init__(self):
        self.context = zmq.asyncio.Context()
        self.peers = {}
        self.scripted = None
        self.authenticator = None

    async def zap_is_free(self):
        """Waits until the previous handler's endpoint is free, some time after it was closed."""
        for _ in range(200):
            with self.context.socket(zmq.REP) as probe:
                try:
                    probe.bind(ZAP_ENDPOINT)
                    probe.unbind(ZAP_ENDPOINT)
                    return
                except zmq.ZMQError as error:
                    if error.errno != zmq.EADDRINUSE:
                        raise
            await asyncio.sleep(0.01)
        raise TimedOut

    async def start_script(self, reply):
        await self.zap_is_free()
        self.scripted = ScriptedZap(self.context, reply)

    async def start_authenticator(self):
        await self.zap_is_free()
        self.authenticator = zmq.auth.thread.ThreadAuthenticator(self.context)
        self.authenticator.start()

    def close(self):
        for peer in self.peers.values():
            peer.close(linger=0)
        if self.scripted is not None:
            self.scripted.stop()
        if self.authenticator is not None:
            self.authenticator.stop()


class Driver:
    """The commands, one method each."""

    def __init__(self):
        self.contexts = {}

    def peer(self, command):
        return self.contexts[command["context"]].peers[command["socket"]]

    async def op_version(self, command):
        return {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version()}

    async def op_context(self, command):
        self.contexts[command["context"]] = Context()

    async def op_close_context(self, command):
        context = self.contexts.pop(command["context"])
        context.close()
        # Terminating waits for libzmq's own threads, so it runs outside the event loop.
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.run_in_executor(None, context.context.term), 10)

    async def op_socket(self, command):
        context = self.contexts[command["context"]]
        socket = context.context.socket(getattr(zmq.SocketType, command["type"]))
        socket.linger = 0
        try:
            for name, value in command.get("options", []):
                socket.set(getattr(zmq.SocketOption, name), option_from_json(value))
        except BaseException:
            socket.close()
            raise
        name = command["socket"]
        context.peers[name] = Peer(name, socket)

    async def op_set(self, command):
        name, value = command["option"]
        socket = self.peer(command).socket
        socket.set(getattr(zmq.SocketOption, name), option_from_json(value))

    async def op_bind(self, command):
        socket = self.peer(command).socket
        for attempt in range(200):
            try:
                socket.bind(command["endpoint"])
                break
            except zmq.ZMQError as error:
                # libzmq's own thread closes the socket that was bound here a little later.
                if error.errno != zmq.EADDRINUSE or attempt == 199:
                    raise
                await asyncio.sleep(0.05)
        return socket.last_endpoint.decode()

    async def op_connect(self, command):
        self.peer(command).socket.connect(command["endpoint"])

    async def op_unbind(self, command):
        self.peer(command).socket.unbind(command["endpoint"])

    async def op_disconnect(self, command):
        self.peer(command).socket.disconnect(command["endpoint"])

    async def op_monitor(self, command):
        self.peer(command).monitor()

    async def op_send(self, command):
        frames = [frame_from_json(frame) for frame in command["frames"]]
        await self.peer(command).send(frames, command.get("timeout_ms", DEFAULT_TIMEOUT))

    async def op_receive(self, command):
        timeout = command.get("timeout_ms", DEFAULT_TIMEOUT)
        return await self.peer(command).receive(command.get("properties", []), timeout)

    async def op_close(self, command):
        context = self.contexts[command["context"]]
        context.peers.pop(command["socket"]).close(command.get("linger_ms", 0))

    async def op_script_zap(self, command):
        context = self.contexts[command["context"]]
        if context.scripted is None:
            await context.start_script(command["reply"])
        else:
            context.scripted.script(command["reply"])

    async def op_stop_zap(self, command):
        context = self.contexts[command["context"]]
        if context.scripted is not None:
            context.scripted.stop()
            context.scripted = None
        if context.authenticator is not None:
            context.authenticator.stop()
            context.authenticator = None

    async def op_zap_requests(self, command):
        scripted = self.contexts[command["context"]].scripted
        requests, scripted.requests = scripted.requests, []
        return requests

    async def op_authenticate(self, command):
        """Starts pyzmq's own ThreadAuthenticator. A second call adds to its policy."""
        context = self.contexts[command["context"]]
        if context.authenticator is None:
            await context.start_authenticator()
        authenticator = context.authenticator
        if "allow" in command:
            authenticator.allow(*command["allow"])
        if "deny" in command:
            authenticator.deny(*command["deny"])
        for domain, passwords in command.get("plain", []):
            authenticator.configure_plain(domain, passwords)
        for domain, location in command.get("curve", []):
            authenticator.configure_curve(domain, location)

    async def op_create_certificates(self, command):
        return zmq.auth.create_certificates(command["directory"], command["name"])

    async def op_load_certificate(self, command):
        keys = zmq.auth.load_certificate(command["path"])
        return [None if key is None else key.decode() for key in keys]

    async def answer(self, line):
        identifier = None
        try:
            command = json.loads(line)
            identifier = command["id"]
            operation = getattr(self, "op_" + command["op"])
            say({"id": identifier, "ok": await operation(command)})
        except TimedOut:
            say({"id": identifier, "timeout": True})
        except Exception as error:
            say({"id": identifier, "error": f"{type(error).__name__}: {error}"})


async def main():
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    driver = Driver()
    answering = set()
    while line := await commands.readline():
        task = asyncio.ensure_future(driver.answer(line))
        answering.add(task)
        task.add_done_callback(answering.discard)
    # Exits without unwinding, so that no socket or thread can keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
