//! A tunnel between two connections, without I/O: two handshakes in one another, and the
//! traffic after them.
//!
//! The **front** is the connection that was accepted, the **back** the one that is dialled for it.
//! Where the network is in front and the program behind, the tunnel is a server; the other way
//! round, a client. Each side speaks its own mechanism, and the two peers see each other's socket
//! types, identities and properties, as if nobody stood between them.
//!
//! 1. The front's [`Handshake`] runs with a configuration of [`SocketType::Relay`] until it pauses
//!    for metadata. By then policy has spoken, so that nothing is dialled for a peer that is
//!    refused.
//! 2. [`PeerHandoff::new`] turns the pause into what the back is told: [`PeerHandoff::peer_context`]
//!    begins the back's handshake, which does not pause.
//! 3. When that is complete, [`PeerHandoff::complete`] tells the front what the back has said,
//!    and completes its handshake.
//! 4. [`Relay`] carries messages and subscriptions to and fro, and answers PINGs where they arrive.
//!
//! Nobody forges who he is through it: see [`PeerHandoff`].
//!
//! ```
//! use bytes::BytesMut;
//! use std::time::Instant;
//! use zmtp_auth::handshake::{PeerContext, Handshake};
//! use zmtp_auth::relay::{IdentityRule, PeerHandoff, RelayEnd, Relay, Side};
//! use zmtp_auth::{Config, KeyPair, Limits, PeerAddress, SocketType};
//!
//! // A program that knows CURVE, the tunnel's two faces, and a program that does not.
//! let keys = KeyPair::generate()?;
//! let far = Config::builder(SocketType::Push)
//!     .curve_client(KeyPair::generate()?, keys.public_key())
//!     .finish()?;
//! let front = Config::builder(SocketType::Relay).curve_server(keys).accept_any_peer().finish()?;
//! let back = Config::builder(SocketType::Relay).null().accept_any_peer().finish()?;
//! let beside = Config::builder(SocketType::Pull).null().accept_any_peer().finish()?;
//!
//! /// Gives both machines their turn until one does something else than wait for bytes.
//! fn converse(
//!     (mut one, mut from_one): (Handshake, BytesMut),
//!     (mut two, mut from_two): (Handshake, BytesMut),
//! ) -> Result<[(Handshake, BytesMut); 2], zmtp_auth::Error> {
//!     loop {
//!         one = match one {
//!             Handshake::NeedsInput(one) => one.process(&mut from_two, &mut from_one)?,
//!             _ => return Ok([(one, from_one), (two, from_two)]),
//!         };
//!         two = match two {
//!             Handshake::NeedsInput(two) => two.process(&mut from_one, &mut from_two)?,
//!             _ => return Ok([(one, from_one), (two, from_two)]),
//!         };
//!     }
//! }
//! let here = || PeerAddress::from_zap(b"127.0.0.1");
//! fn start<A>(config: &Config<A>, conn: PeerContext) -> (Handshake, BytesMut) {
//!     let mut out = BytesMut::new();
//!     (Handshake::start(config, conn, &mut out), out)
//! }
//!
//! let ends = (start(&far, PeerContext::new(here())), start(&front, PeerContext::new(here())));
//! let [far, (Handshake::NeedsMetadata(pause), mut to_far)] = converse(ends.0, ends.1)? else {
//!     unreachable!()
//! };
//! let handoff = PeerHandoff::new(pause, IdentityRule::Pass)?;
//! let ends = (start(&back, handoff.peer_context(here())), start(&beside, PeerContext::new(here())));
//! let [(Handshake::Complete(back), _), (Handshake::Complete(beside), _)] =
//!     converse(ends.0, ends.1)?
//! else {
//!     unreachable!()
//! };
//! assert_eq!(beside.peer.claims.socket_type, Some(SocketType::Push));
//! let front = handoff.complete(&back.peer.claims, &mut to_far)?;
//!
//! let limits = Limits::default();
//! let mut relay = Relay::new(
//!     RelayEnd::new(*front, &limits, None, Instant::now()),
//!     RelayEnd::new(*back, &limits, None, Instant::now()),
//! );
//! # let _ = (far, &mut relay, Side::Front);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Handshake`]: crate::handshake::Handshake
//! [`SocketType::Relay`]: crate::SocketType::Relay

pub(crate) mod end;
pub(crate) mod forward;
pub(crate) mod handoff;
pub(crate) mod side;

pub use end::RelayEnd;
pub use forward::{Relay, RelayError, RelayTimeout};
pub use handoff::{IdentityRule, PeerHandoff};
pub use side::Side;
