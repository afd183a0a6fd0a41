"""What a case of `vectors/libzmq/` is made of."""

from dataclasses import dataclass, field

SIDES = ("client", "server")
HANDSHAKES = {
    "NULL": [("client", "READY"), ("server", "READY")],
    "PLAIN": [("client", "HELLO"), ("server", "WELCOME"), ("client", "INITIATE"), ("server", "READY")],
    "CURVE": [("client", "HELLO"), ("server", "WELCOME"), ("client", "INITIATE"), ("server", "READY")],
}


def counting(size):
    """Bytes that count modulo 251, so that a long payload need not be spelled out."""
    return bytes(at % 251 for at in range(size))


@dataclass
class Side:
    type: str
    # None: the application has not set one, so that libzmq sends an empty one or none.
    identity: bytes = None
    properties: dict = field(default_factory=dict)
    username: bytes = b"admin"
    password: bytes = b"secret"
    # CURVE clients: another server key than the server's.
    wrong_server_key: bool = False
    # None: not set.
    domain: bytes = None
    # The status that a ZAP handler gives; None: there is no handler.
    zap: str = None
    user_id: bytes = b"somebody"
    # Milliseconds until libzmq sends PING by itself; 0: never.
    heartbeat: int = 0


@dataclass
class Case:
    name: str
    about: str
    mechanism: str
    client: Side
    server: Side
    # What happens after the handshake: a function of the Conversation.
    traffic: object
    expect: str = "complete"
    connects: str = "client"
    # The handshake, where it is not the usual one.
    handshake: list = None
    # The recording ends while libzmq still has something to say.
    cut: bool = False
