//! The security mechanisms as state machines: command bodies in, command bodies out.
//!
//! There is no framing, I/O or runtime here. A host with its own ZMTP codec feeds command bodies to
//! a [`Mechanism`] and sends the bodies that it returns.
//!
//! A complete CURVE handshake and a message in each direction, between two machines in one process:
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use zmtp_auth::mechanism::{Done, Mechanism, Next, Step};
//! use zmtp_auth::PeerContext;
//! use zmtp_auth::wire::frame::Flags;
//! use zmtp_auth::wire::greeting::Greeting;
//! use zmtp_auth::{Config, Domain, KeyPair, PeerAddress, SocketType, Verdict};
//!
//! let server_keys = KeyPair::generate()?;
//! let server = Config::builder(SocketType::Pull)
//!     .curve_server(server_keys.clone())
//!     .authorize(Domain::EMPTY)
//!     .finish()?;
//! let client = Config::builder(SocketType::Push)
//!     .curve_client(KeyPair::generate()?, server_keys.public_key())
//!     .finish()?;
//!
//! // The host's codec exchanges greetings. Each machine makes its own and checks the peer's.
//! let here = || PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
//! let client = Mechanism::start(&client, here());
//! let server = Mechanism::start(&server, here());
//! let (to_server, to_client) = (client.greeting(), server.greeting());
//! let parse = |greeting: &[u8]| Greeting::parse(greeting).map(|parsed| parsed.expect("64 bytes"));
//! let mut client = client.on_peer_greeting(&parse(&to_client)?)?;
//! let mut server = server.on_peer_greeting(&parse(&to_server)?)?;
//!
//! // Then command bodies go back and forth until both are done.
//! let (client, server) = loop {
//!     (client, server) = match (client, server) {
//!         (Step { next: Next::Done(client), .. }, Step { next: Next::Done(server), .. }) => {
//!             break (client, server);
//!         }
//!         (Step { send: Some(body), next }, Step { next: Next::Wait(server), .. }) => {
//!             (Step { send: None, next }, server.on_command(&body)?)
//!         }
//!         (Step { next: Next::Wait(client), .. }, Step { send: Some(body), next }) => {
//!             (client.on_command(&body)?, Step { send: None, next })
//!         }
//!         // The server asks for a verdict. This one admits any peer that has proven a key.
//!         (client, Step { next: Next::Authorize(question), .. }) => {
//!             assert!(question.request().claims.is_some());
//!             (client, question.resume(Verdict::allow("alice"))?)
//!         }
//!         _ => unreachable!(),
//!     };
//! };
//!
//! let (mut client, mut server): (Done, Done) = (*client, *server);
//! assert_eq!(server.peer.user_id().unwrap(), "alice");
//! assert_eq!(client.peer.proven_key, Some(server_keys.public_key()));
//!
//! let mut body = BytesMut::new();
//! let outer = client.sealer.seal_body(Flags::Last, b"ping", &mut body)?;
//! assert_eq!(server.opener.open_body(outer, body)?, (Flags::Last, Bytes::from("ping")));
//! let mut body = BytesMut::new();
//! let outer = server.sealer.seal_body(Flags::Last, b"pong", &mut body)?;
//! assert_eq!(client.opener.open_body(outer, body)?, (Flags::Last, Bytes::from("pong")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod curve;
pub(crate) mod machine;
mod null;
mod plain;
pub(crate) mod refusal;
pub(crate) mod session;
mod transition;

pub use machine::{Authorize, AwaitGreeting, Done, Mechanism, NeedsMetadata, Next, Step};
pub use refusal::Refused;
