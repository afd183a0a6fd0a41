//! Two ends of a CURVE connection in memory, as a user of the library gets them.

use bytes::BytesMut;
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::{Config, KeyPair, NoPolicy, PeerAddress, SocketType};

pub fn conn() -> PeerContext {
    PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"))
}

/// Configurations of a client and a server that fit together.
pub fn configs() -> (Config<NoPolicy>, Config<NoPolicy>) {
    let server_keys = KeyPair::generate().unwrap();
    let client = Config::builder(SocketType::Push)
        .curve_client(KeyPair::generate().unwrap(), server_keys.public_key())
        .finish()
        .unwrap();
    let server = Config::builder(SocketType::Pull)
        .curve_server(server_keys)
        .accept_any_peer()
        .finish()
        .unwrap();
    (client, server)
}

/// One step of a side that waits only for bytes.
pub fn step(side: Handshake, input: &mut BytesMut, out: &mut BytesMut) -> Handshake {
    match side {
        Handshake::NeedsInput(waiting) => waiting.process(input, out).unwrap(),
        Handshake::Complete(_) => side,
        Handshake::Authorize(_) | Handshake::NeedsMetadata(_) => panic!("an unexpected pause"),
    }
}

/// A client and a server after their handshake.
pub fn established() -> (Established, Established) {
    let (client, server) = configs();
    let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
    let mut client = Handshake::start(&client, conn(), &mut to_server);
    let mut server = Handshake::start(&server, conn(), &mut to_client);
    loop {
        client = step(client, &mut to_client, &mut to_server);
        server = step(server, &mut to_server, &mut to_client);
        (client, server) = match (client, server) {
            (Handshake::Complete(client), Handshake::Complete(server)) => {
                return (*client, *server);
            }
            sides => sides,
        };
    }
}
