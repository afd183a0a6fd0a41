"""What is recorded: every case of `vectors/libzmq/`."""

from case import HANDSHAKES, Case, Side, counting

MECHANISMS = ("NULL", "PLAIN", "CURVE")
LONG_IDENTITY = bytes(range(1, 256))
TOPIC_LENGTHS = (0, 1, 212, 213, 240, 245, 246, 255, 256, 260)
FRAME_LENGTHS = (0, 1, 221, 222, 223, 254, 255, 256, 300)

CASES = []


def case(mechanism, name, about, client, server, traffic, **more):
    """Adds a case. A PLAIN server asks a handler, or it would refuse."""
    if mechanism == "PLAIN" and server.zap is None:
        server.zap = "200"
    name, about = f"{mechanism.lower()}-{name}", f"{mechanism}, {about}"
    CASES.append(Case(name, about, mechanism, client, server, traffic, **more))


def says(who, *frames):
    return lambda talk: talk.message(who, list(frames))


def question_and_answer(talk):
    talk.message("client", [b"question"])
    talk.message("server", [b"answer", b"", b"in three frames"])


def from_req(talk):
    talk.message("client", [b"question"], arrives=[b"", b"question"])
    talk.message("server", [b"", b"answer"], arrives=[b"answer"])


def to_rep(talk):
    talk.message("client", [b"", b"question"], arrives=[b"question"])
    talk.message("server", [b"answer"], arrives=[b"", b"answer"])


def nothing(talk):
    pass


# Which types meet, and what they say. A ROUTER that speaks first must know the other's identity.
PAIRS = [
    ("REQ", "REP", {}, {}, question_and_answer),
    ("REQ", "ROUTER", {}, {}, from_req),
    ("DEALER", "REP", {}, {}, to_rep),
    ("DEALER", "DEALER", {}, {}, question_and_answer),
    ("DEALER", "ROUTER", {}, {}, question_and_answer),
    ("ROUTER", "DEALER", {}, dict(identity=b"dealer"), question_and_answer),
    ("ROUTER", "ROUTER", dict(identity=b"one"), dict(identity=b"other"), question_and_answer),
    ("PUSH", "PULL", {}, {}, says("client", b"work", b"", b"in three frames")),
    ("PULL", "PUSH", {}, {}, says("server", b"work", b"", b"in three frames")),
    ("PAIR", "PAIR", {}, {}, question_and_answer),
]
for mechanism in MECHANISMS:
    for client, server, of_client, of_server, traffic in PAIRS:
        case(
            mechanism,
            f"{client.lower()}-{server.lower()}",
            f"a {client} that dials a {server}",
            Side(client, **of_client),
            Side(server, **of_server),
            traffic,
        )


# Publishers and subscribers: commands, and messages that mean the same.
def subscribes(*topics):
    def traffic(talk):
        for topic in topics:
            for option, mark, name in (("SUBSCRIBE", b"\1", b"SUBSCRIBE"), ("UNSUBSCRIBE", b"\0", b"CANCEL")):
                talk.processes["client"].do("option", option, topic.hex())
                expected = ("command", bytes([len(name)]) + name + topic)
                assert talk.traffic("client") == expected
                talk.received("server", [mark + topic])
                if mark == b"\1":
                    talk.message("server", [topic, b"news"])

    return traffic


def subscribes_to_pub(talk):
    for option in ("SUBSCRIBE", "UNSUBSCRIBE"):
        talk.processes["client"].do("option", option, b"topic".hex())
        assert talk.traffic("client")[0] == "command"


def subscribes_by_message(talk):
    for mark in (b"\1", b"\0"):
        talk.processes["client"].do("send", [(mark + b"topic").hex()])
        talk.traffic("client")
        talk.received("server", [mark + b"topic"])
        if mark == b"\1":
            talk.message("server", [b"topic", b"news"])
    talk.message("client", [b"no subscription"])


for mechanism in MECHANISMS:
    case(mechanism, "sub-xpub", "SUBSCRIBE, news and CANCEL", Side("SUB"), Side("XPUB"), subscribes(b"topic"))
    case(mechanism, "sub-pub", "SUBSCRIBE and CANCEL to a PUB", Side("SUB"), Side("PUB"), subscribes_to_pub)
    case(
        mechanism,
        "xsub-xpub",
        "an XSUB whose application writes subscriptions itself, and a message to the publisher",
        Side("XSUB"),
        Side("XPUB"),
        subscribes_by_message,
    )
for mechanism in ("NULL", "CURVE"):
    case(
        mechanism,
        "topic-lengths",
        f"topics of {', '.join(map(str, TOPIC_LENGTHS))} bytes",
        Side("SUB"),
        Side("XPUB"),
        subscribes(*(bytes([0x61]) * size for size in TOPIC_LENGTHS)),
    )


# Identities and properties.
for mechanism in MECHANISMS:
    for name, about, identity in (
        ("1", "identities of 1 byte on both sides", b"\xff"),
        ("255", "identities of 255 bytes on both sides, and so READY in a long frame", LONG_IDENTITY),
    ):
        case(
            mechanism,
            f"identity-{name}",
            about,
            Side("DEALER", identity=identity),
            Side("ROUTER", identity=identity),
            question_and_answer,
        )
    case(
        mechanism,
        "properties",
        "X- properties on both sides, set out of order",
        Side("DEALER", identity=b"me", properties={"X-b": "2", "X-Colour": "green", "X-a": "1"}),
        Side("ROUTER", properties={"X-Long": "v" * 300}),
        question_and_answer,
    )

# Frames whose lengths stand around those at which headers change.
for mechanism in ("NULL", "CURVE"):
    case(
        mechanism,
        "frame-lengths",
        f"frames of {', '.join(map(str, FRAME_LENGTHS))} bytes",
        Side("PAIR"),
        Side("PAIR"),
        says("client", *(counting(size) for size in FRAME_LENGTHS)),
    )
case("CURVE", "frame-70000", "one frame of 70000 bytes", Side("PUSH"), Side("PULL"), says("client", counting(70_000)))

# Heartbeats. One side sends PING when nothing else is to be sent; the recording ends with what
# follows the first.
HEARTBEAT = 400


def pinged(by):
    def traffic(talk):
        other = talk.other(by)
        assert talk.traffic(by) == ("command", b"\4PING\x02\x58")
        assert talk.traffic(other) == ("command", b"\4PONG")
        talk.message(other, [b"after the PONG"])

    return traffic


for mechanism in MECHANISMS:
    for by in ("client", "server"):
        sides = {"client": Side("PAIR"), "server": Side("PAIR")}
        sides[by].heartbeat = HEARTBEAT
        case(
            mechanism,
            f"ping-by-{by}",
            f"a PING by the {by}, its PONG, and a message",
            sides["client"],
            sides["server"],
            pinged(by),
            cut=True,
        )

# Who is asked, and what comes of it.
for mechanism in MECHANISMS:
    for status in ("200", "300", "400", "500"):
        handshake = list(HANDSHAKES[mechanism])
        if status != "200":
            asked_after = 1 if mechanism == "PLAIN" else len(handshake) - 1
            # After 300 nothing is said. When the connection ends is not recorded.
            handshake[asked_after:] = [] if status == "300" else [("server", "ERROR")]
        case(
            mechanism,
            f"zap-{status}",
            f"a handler of domain `test` that answers {status}",
            Side("DEALER", identity=b"me"),
            Side("ROUTER", domain=b"test", zap=status, user_id=b"somebody" if status == "200" else b""),
            nothing,
            expect="complete" if status == "200" else f"server denies {status}",
            handshake=handshake,
        )
case(
    "NULL",
    "both-ask",
    "both sides ask a handler",
    Side("PUSH", domain=b"of the client", zap="200", user_id=b"server"),
    Side("PULL", domain=b"of the server", zap="200", user_id=b"client"),
    says("client", b"work"),
)
case(
    "CURVE",
    "empty-domain",
    "a handler, and no domain set: it is asked under the empty one",
    Side("PUSH"),
    Side("PULL", zap="200", user_id=b""),
    says("client", b"work"),
)
for name, about, username, password in (
    ("empty", "an empty password", b"u", b""),
    ("longest", "user name and password of 255 bytes", b"u" * 255, b"p" * 255),
    ("bytes", "user name and password that are no text", b"\xff\x01\xc3", b"\x80\xfe p\xc3\xa4ss"),
):
    case(
        "PLAIN",
        f"credentials-{name}",
        about,
        Side("PUSH", username=username, password=password),
        Side("PULL", domain=b"test", user_id=b"somebody"),
        says("client", b"work"),
    )

# CURVE's own.
case(
    "CURVE",
    "server-dials",
    "the server dials the client: who dials decides nothing",
    Side("PULL"),
    Side("PUSH"),
    says("server", b"work"),
    connects="server",
)
case(
    "CURVE",
    "wrong-server-key",
    "a client that was told another server's key; the server closes without a word",
    Side("PUSH", wrong_server_key=True),
    Side("PULL"),
    nothing,
    expect="server refuses hello-box",
    handshake=[("client", "HELLO"), ("server", "close")],
)
