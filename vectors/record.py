#!/usr/bin/env python3
"""Records conversations of libzmq with libzmq into `vectors/libzmq/`; README.md says how.

    record.py            records every case and writes its file
    record.py --check    records every case and compares with the files, byte by byte
    record.py NAME...    only these cases
"""

import argparse
import hashlib
import sys
from pathlib import Path

from case import HANDSHAKES, SIDES, counting
from cases import CASES
from conversation import Conversation, public_key

SEED = "zmtp-auth vectors 1"
DIRECTORY = Path(__file__).with_name("libzmq")
DRAW_NAMES = {
    "client": ["transient-secret-key", "vouch-nonce"],
    "server": ["transient-secret-key", "cookie-nonce", "cookie-key", "welcome-nonce"],
}


def drawn(case, who, what):
    return f"{SEED}/{case.name}/{who}/{what}".encode()


def secret_key(case, who):
    return hashlib.shake_256(drawn(case, who, "permanent")).digest(32)


def told_server_key(case):
    owner = "nobody" if case.client.wrong_server_key else "server"
    return public_key(secret_key(case, owner))


def setup(case, who):
    """What a process is told of its socket."""
    side = getattr(case, who)
    options = []
    if side.identity is not None:
        options.append(("ROUTING_ID", side.identity.hex()))
    for name, value in side.properties.items():
        options.append(("METADATA", f"{name}:{value}".encode().hex()))
    if side.domain is not None:
        options.append(("ZAP_DOMAIN", side.domain.hex()))
    if side.heartbeat:
        # Patient, so that a slow machine changes nothing.
        options += [
            ("HEARTBEAT_IVL", side.heartbeat),
            ("HEARTBEAT_TIMEOUT", 30_000),
            ("HEARTBEAT_TTL", 60_000),
        ]
    if case.mechanism == "PLAIN":
        if who == "server":
            options.append(("PLAIN_SERVER", 1))
        else:
            options.append(("PLAIN_USERNAME", side.username.hex()))
            if side.password:
                # libzmq's way to say "empty" is to say nothing.
                options.append(("PLAIN_PASSWORD", side.password.hex()))
    if case.mechanism == "CURVE":
        secret = secret_key(case, who)
        options += [("CURVE_SECRETKEY", secret.hex()), ("CURVE_PUBLICKEY", public_key(secret).hex())]
        if who == "server":
            options.append(("CURVE_SERVER", 1))
        else:
            options.append(("CURVE_SERVERKEY", told_server_key(case).hex()))
    told = {"type": side.type, "options": options, "seed": drawn(case, who, "draws").hex()}
    if side.zap:
        told["zap"] = (side.zap, side.user_id.hex())
    if side.type == "ROUTER" and (peer := getattr(case, Conversation.other(who))).identity:
        told["route"] = peer.identity.hex()
    return told


def record(case):
    """Holds the conversation; its file's text is what is returned."""
    talk = Conversation({who: setup(case, who) for who in SIDES}, case.connects)
    talk.greetings()
    for who, name in case.handshake or HANDSHAKES[case.mechanism]:
        if name == "close":
            talk.closes(who)
        else:
            talk.command(who, name)
    if case.expect == "complete":
        if case.mechanism == "CURVE":
            talk.transient = {who: first_draw(case, who) for who in SIDES}
        case.traffic(talk)
    return render(case, talk.events, talk.finish(case.cut))


def first_draw(case, who):
    return hashlib.shake_256(drawn(case, who, "draws")).digest(32)


def render(case, events, logs):
    lines = []

    def entry(key, text, data=b""):
        lines.append(f"{key}: {text}".rstrip())
        lines.extend("  " + data[at : at + 32].hex() for at in range(0, len(data), 32))

    def binary(key, data, prefix=""):
        if len(data) <= 32:
            entry(key, prefix + data.hex())
        else:
            entry(key, prefix, data)

    log = logs["client"]
    entry("vector", "zmtp-auth 1")
    entry("name", case.name)
    entry("about", case.about)
    entry("made", f"recorded by vectors/record.py, seed {SEED!r}")
    entry("with", f"libzmq {log['libzmq']}, libsodium {log['libsodium']}, pyzmq {log['pyzmq']}")
    entry("mechanism", case.mechanism)
    entry("expect", case.expect)
    for who in SIDES:
        side = getattr(case, who)
        lines.append("")
        entry(f"{who}.socket-type", side.type)
        if side.identity is not None:
            binary(f"{who}.identity", side.identity)
        for name, value in side.properties.items():
            binary(f"{who}.property", value.encode(), f"{name} ")
        if case.mechanism == "PLAIN" and who == "client":
            binary(f"{who}.username", side.username)
            binary(f"{who}.password", side.password)
        if case.mechanism == "CURVE":
            binary(f"{who}.secret-key", secret_key(case, who))
            binary(f"{who}.public-key", public_key(secret_key(case, who)))
            if who == "client":
                binary(f"{who}.server-key", told_server_key(case))
        draws = [bytes.fromhex(drawn) for drawn in logs[who]["draws"]]
        for name, value in zip(DRAW_NAMES[who], draws):
            binary(f"{who}.draw", value, f"{name} ")
        assert len(draws) <= len(DRAW_NAMES[who])
        if side.zap:
            (asked,) = logs[who]["zap"]
            for kind in ("request", "reply"):
                for frame in asked[kind]:
                    binary(f"{who}.zap-{kind}", bytes.fromhex(frame))
    lines.append("")
    for event in events:
        if event.says:
            kind, payload = event.says
            if len(payload) > 1000:
                assert payload == counting(len(payload))
                entry(f"{event.who}.says", f"{kind} counting {len(payload)}")
            else:
                entry(f"{event.who}.says", kind, payload)
        entry(f"{event.who}.sends", event.label, event.wire)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    known = {case.name: case for case in CASES}
    assert len(known) == len(CASES), "two cases have one name"
    different = []
    for name in arguments.names or known:
        try:
            text = record(known[name])
        except Exception as error:
            raise RuntimeError(f"case {name} cannot be recorded") from error
        path = DIRECTORY / f"{name}.txt"
        if not arguments.check:
            path.write_text(text)
        elif path.read_text() != text:
            different.append(name)
    stale = {path.stem for path in DIRECTORY.glob("*.txt")} - set(known)
    for name in sorted(stale):
        print(f"{name}: no such case", file=sys.stderr)
    for name in different:
        print(f"{name}: recorded anew, it differs", file=sys.stderr)
    count = len(arguments.names or known) - len(different)
    print(f"{count} cases {'agree' if arguments.check else 'written'}")
    sys.exit(bool(different or stale))


if __name__ == "__main__":
    main()
