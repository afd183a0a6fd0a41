"""A kernel of Jupyter, and clients that reach it at other ports than its own.

Prints the ports of its kernel as JSON. Each line of stdin is JSON with the ports of one client,
which runs code in the kernel if it gets in. Prints what each client saw. Ends with stdin.
"""

import json
import sys

import ipykernel
import jupyter_client
from jupyter_client import BlockingKernelClient, KernelManager

manager = KernelManager(ip="127.0.0.1", transport="tcp")
manager.start_kernel()
information = manager.get_connection_info()
ports = {name: port for name, port in information.items() if name.endswith("_port")}


def say(what):
    print(json.dumps(what), flush=True)


def seen(client):
    try:
        client.wait_for_ready(timeout=60 if client.may_enter else 5)
    except RuntimeError:
        return {"refused": True, "heart": client.is_alive()}
    printed, asked = [], []

    def output(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    def answer(message):
        asked.append(message["content"]["prompt"])
        client.input("7")

    reply = client.execute_interactive(
        "print(6 * int(input('by ')))",
        output_hook=output,
        stdin_hook=answer,
        allow_stdin=True,
        timeout=60,
    )
    return {
        "status": reply["content"]["status"],
        "printed": "".join(printed),
        "asked": asked,
        "control": client.control_channel.is_alive(),
    }


class Client(BlockingKernelClient):
    may_enter = True


try:
    say({"ports": ports, "versions": [jupyter_client.__version__, ipykernel.__version__]})
    for line in sys.stdin:
        task = json.loads(line)
        client = Client()
        client.load_connection_info({**information, **task["ports"]})
        client.may_enter = task["may_enter"]
        client.start_channels()
        told = seen(client)
        if task["may_enter"]:
            # Crosses the control channel. The kernel ends itself.
            client.shutdown()
            manager.provisioner.process.wait(timeout=60)
            told["ended"] = manager.provisioner.process.returncode
        client.stop_channels()
        say(told)
finally:
    manager.shutdown_kernel(now=True)
