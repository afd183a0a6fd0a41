//! A tunnel between two connections, without I/O: one handshake inside the other, and the traffic
//! after them.
//!
//! The **front** is the connection that was accepted, the **back** the connection that is made for it.
//! The tunnel is a server if the network is in front and the program behind it, and a client the other
//! way round. Each side has its own mechanism. The two peers see each other's socket types, identities
//! and properties, as if they were connected directly.
//!
//! 1. The front's [`Handshake`] runs with a configuration of [`SocketType::Relay`] until it pauses
//!    for metadata. By then the policy has decided, so a refused peer never reaches the back.
//! 2. [`PeerHandoff::new`] takes the paused handshake, and [`PeerHandoff::peer_context`] starts the
//!    back's handshake, which does not pause.
//! 3. When that is complete, [`PeerHandoff::complete`] tells the front's peer what the back's peer
//!    claims, and completes the front's handshake.
//! 4. [`Relay`] forwards messages and subscriptions in both directions, and answers PINGs.
//!
//! A peer cannot forge its user id through a tunnel: see [`PeerHandoff`].
//!
//! ```
//! use bytes::BytesMut;
//! use std::time::Instant;
//! use zmtp_auth::handshake::Handshake;
//! use zmtp_auth::PeerContext;
//! use zmtp_auth::relay::{IdentityRule, PeerHandoff, RelayEnd, Relay, Side};
//! use zmtp_auth::{Config, KeyPair, Limits, PeerAddress, SocketType};
//!
//! // A client with CURVE, the tunnel's two sides, and a program without security.
//! let keys = KeyPair::generate()?;
//! let client = Config::builder(SocketType::Push)
//!     .curve_client(KeyPair::generate()?, keys.public_key())
//!     .finish()?;
//! let front = Config::builder(SocketType::Relay).curve_server(keys).accept_any_peer().finish()?;
//! let back = Config::builder(SocketType::Relay).null().accept_any_peer().finish()?;
//! let program = Config::builder(SocketType::Pull).null().accept_any_peer().finish()?;
//!
//! /// Runs both machines until one of them needs something else than bytes.
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
//! fn start<A>(config: &Config<A>, context: PeerContext) -> (Handshake, BytesMut) {
//!     let mut out = BytesMut::new();
//!     (Handshake::start(config, context, &mut out), out)
//! }
//!
//! let ends = (start(&client, PeerContext::new(here())), start(&front, PeerContext::new(here())));
//! let [client, (Handshake::NeedsMetadata(pause), mut to_client)] = converse(ends.0, ends.1)? else {
//!     unreachable!()
//! };
//! let handoff = PeerHandoff::new(pause, IdentityRule::Pass)?;
//! let ends = (start(&back, handoff.peer_context(here())), start(&program, PeerContext::new(here())));
//! let [(Handshake::Complete(back), _), (Handshake::Complete(program), _)] =
//!     converse(ends.0, ends.1)?
//! else {
//!     unreachable!()
//! };
//! assert_eq!(program.peer.claims.socket_type, Some(SocketType::Push));
//! let front = handoff.complete(&back.peer.claims, &mut to_client)?;
//!
//! let limits = Limits::default();
//! let mut relay = Relay::new(
//!     RelayEnd::new(*front, &limits, None, Instant::now()),
//!     RelayEnd::new(*back, &limits, None, Instant::now()),
//! );
//! # let _ = (client, &mut relay, Side::Front);
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
