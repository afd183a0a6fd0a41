//! Greeting, framing and mechanism as one machine over a byte stream.
//!
//! The machine takes bytes and returns bytes. It performs no I/O and reads no clock. The driver of
//! a connection
//!
//! 1. sends whatever was appended to `out`, even after an error,
//! 2. does what the [`Handshake`] asks for,
//! 3. closes the connection on an error. If `out` held an ERROR command, it should then shut down
//!    writing and read until the peer closes, or a reset may destroy the ERROR on its way.
//!
//! A PLAIN client's HELLO holds the password. The machine wipes its own copy, the bytes that it
//! takes from `input`, and the old memory of `out` when `out` grows. The driver wipes `out` after
//! sending it, and the old memory of `input` when it makes `input` grow.
//!
//! ```
//! use bytes::BytesMut;
//! use zmtp_auth::handshake::Handshake;
//! use zmtp_auth::{Config, PeerAddress, PeerContext, SocketType};
//!
//! let here = || PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
//! let push = Config::builder(SocketType::Push).null().accept_any_peer().finish()?;
//! let pull = Config::builder(SocketType::Pull).null().accept_any_peer().finish()?;
//!
//! let (mut to_pull, mut to_push) = (BytesMut::new(), BytesMut::new());
//! let mut push = Handshake::start(&push, here(), &mut to_pull);
//! let mut pull = Handshake::start(&pull, here(), &mut to_push);
//! let (push, pull) = loop {
//!     push = match push {
//!         Handshake::NeedsInput(push) => push.process(&mut to_push, &mut to_pull)?,
//!         other => other,
//!     };
//!     pull = match pull {
//!         Handshake::NeedsInput(pull) => pull.process(&mut to_pull, &mut to_push)?,
//!         other => other,
//!     };
//!     (push, pull) = match (push, pull) {
//!         (Handshake::Complete(push), Handshake::Complete(pull)) => break (push, pull),
//!         other => other,
//!     };
//! };
//! assert_eq!(push.peer.claims.socket_type, Some(SocketType::Pull));
//! assert_eq!(pull.peer.claims.socket_type, Some(SocketType::Push));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(any(feature = "futures-io", feature = "tokio"))]
use crate::access::address::PeerAddress;
use crate::access::peer::{Authenticated, Claims, Peer};
use crate::access::request::AccessRequest;
use crate::access::verdict::Verdict;
use crate::config::settings::{Config, Settings};
use crate::crypto::stack_wipe::{grow_and_wipe, wipe};
use crate::error::{Error, LimitExceeded, LocalError, ProtocolError, Stage};
use crate::limits::Limits;
use crate::mechanism::machine::{self, AwaitGreeting, Mechanism, Next, Step};
use crate::mechanism::refusal::Refused;
use crate::mechanism::session::PeerContext;
use crate::traffic::channel::Channel;
use crate::traffic::heartbeat::HeartbeatSettings;
use crate::traffic::seal::{Opener, Sealer};
use crate::wire::frame::{Flags, FrameHeader};
use crate::wire::greeting::{GREETING_LEN, Greeting, VERSION_LEN};
use crate::wire::metadata::Metadata;
use crate::wire::socket_type::SocketType;
use bytes::{Buf, BytesMut};
use std::sync::Arc;
use std::time::Instant;

/// A handshake and what it needs next.
#[derive(Debug)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a host must handle every case")]
pub enum Handshake {
    /// It needs bytes from the peer.
    NeedsInput(NeedsInput),
    /// It needs a verdict about the peer.
    Authorize(Authorize),
    /// It needs the metadata that a relay sends.
    NeedsMetadata(NeedsMetadata),
    /// It is complete.
    Complete(Box<Established>),
}

impl Handshake {
    /// Starts a handshake. Appends the part of our greeting with the version, 11 bytes, to `out`.
    ///
    /// The rest of the greeting follows when the peer's version has arrived (RFC 37, "Version
    /// Negotiation"). libzmq closes as soon as it reads another mechanism than its own. It should
    /// have sent us its own mechanism by then, so that our error can name it.
    pub fn start<A>(config: &Config<A>, context: PeerContext, out: &mut BytesMut) -> Self {
        let socket_type = context.socket_type().or(config.socket_type());
        let awaiting = Mechanism::start(config, context);
        out.extend_from_slice(&awaiting.greeting()[..VERSION_LEN]);
        Self::NeedsInput(NeedsInput {
            waiting: Waiting::Version(awaiting),
            link: Link {
                settings: config.settings().clone(),
                socket_type,
                zmtp_3_0: config.settings().zmtp_3_0,
                has_valid_command: false,
            },
        })
    }
}

/// What all steps of one handshake share.
#[derive(Debug)]
struct Link {
    settings: Arc<Settings>,
    socket_type: Option<SocketType>,
    zmtp_3_0: bool,
    has_valid_command: bool,
}

impl Link {
    /// Frames what a step sends, and turns its outcome into a [`Handshake`].
    fn take(self, step: Result<Step, Refused>, out: &mut BytesMut) -> Result<Handshake, Error> {
        let step = match step {
            Ok(step) => step,
            Err(Refused { send, error }) => {
                put_command(send, out);
                return Err(error);
            }
        };
        put_command(step.send, out);
        Ok(match step.next {
            Next::Wait(mechanism) => Handshake::NeedsInput(NeedsInput {
                waiting: Waiting::Command(mechanism),
                link: self,
            }),
            Next::Authorize(question) => Handshake::Authorize(Authorize {
                question,
                link: self,
            }),
            Next::NeedsMetadata(pause) => {
                Handshake::NeedsMetadata(NeedsMetadata { pause, link: self })
            }
            Next::Done(done) => Handshake::Complete(Box::new(Established {
                sealer: done.sealer,
                opener: done.opener,
                peer: done.peer,
                zmtp_3_0: self.zmtp_3_0,
                socket_type: self.socket_type.ok_or(LocalError::SocketTypeMissing)?,
            })),
        })
    }
}

fn put_command(body: Option<bytes::Bytes>, out: &mut BytesMut) {
    if let Some(body) = body {
        let len = FrameHeader::encoded_len(body.len()) + body.len();
        if out.capacity() - out.len() < len {
            // `out` may still hold HELLO with its password, because a server that does not wait
            // for HELLO makes us append INITIATE at once.
            grow_and_wipe(out, out.len() + len);
        }
        FrameHeader::encode(Flags::Command, body.len(), out);
        out.extend_from_slice(&body);
    }
}

/// A handshake that waits for bytes.
#[derive(Debug)]
pub struct NeedsInput {
    waiting: Waiting,
    link: Link,
}

#[derive(Debug)]
enum Waiting {
    Version(AwaitGreeting),
    Greeting(AwaitGreeting),
    Command(Mechanism),
}

impl NeedsInput {
    /// Processes complete commands at the front of `input` and appends to `out` what is to be sent.
    ///
    /// It returns when it needs more bytes or a pause begins. After a pause, call it again with
    /// what has arrived meanwhile before reading more. Once the handshake is complete, the rest of
    /// `input` is traffic. The bytes of each command are wiped after use, because HELLO may hold a
    /// password.
    ///
    /// # Errors
    /// Returns [`Error`] if the handshake has failed. Send `out`, then close.
    pub fn process(self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Handshake, Error> {
        self.process_noting(&mut Stage::Greeting, input, out)
    }

    /// As [`NeedsInput::process`]. `stage` becomes what was awaited last, also after an error.
    pub(crate) fn process_noting(
        mut self,
        stage: &mut Stage,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Handshake, Error> {
        loop {
            *stage = self.stage();
            let step = match self.waiting {
                Waiting::Version(awaiting) => {
                    // Refuses an older peer at the first byte that shows its version.
                    let _ = Greeting::parse(input)?;
                    if input.len() < VERSION_LEN {
                        self.waiting = Waiting::Version(awaiting);
                        return Ok(Handshake::NeedsInput(self));
                    }
                    out.extend_from_slice(&awaiting.greeting()[VERSION_LEN..]);
                    self.waiting = Waiting::Greeting(awaiting);
                    continue;
                }
                Waiting::Greeting(awaiting) => {
                    let Some(greeting) = Greeting::parse(input)? else {
                        self.waiting = Waiting::Greeting(awaiting);
                        return Ok(Handshake::NeedsInput(self));
                    };
                    self.link.zmtp_3_0 |= greeting.is_zmtp_3_0();
                    input.advance(GREETING_LEN);
                    awaiting.on_peer_greeting(&greeting)
                }
                Waiting::Command(mechanism) => {
                    let max = mechanism.max_command_len(&self.link.settings.limits);
                    let Some(mut body) = take_command(input, max)? else {
                        self.waiting = Waiting::Command(mechanism);
                        return Ok(Handshake::NeedsInput(self));
                    };
                    let step = mechanism.on_command(&body);
                    wipe(&mut body);
                    self.link.has_valid_command |= step.is_ok();
                    step
                }
            };
            match self.link.take(step, out)? {
                Handshake::NeedsInput(next) => self = next,
                other => return Ok(other),
            }
        }
    }

    /// What the handshake waits for.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match &self.waiting {
            Waiting::Version(_) | Waiting::Greeting(_) => Stage::Greeting,
            Waiting::Command(mechanism) => mechanism.stage(),
        }
    }

    /// Whether the peer has sent at least one valid command. A host with too many handshakes in
    /// progress should first end those without one.
    #[must_use]
    pub const fn has_valid_command(&self) -> bool {
        self.link.has_valid_command
    }

    /// The error for a peer that closed the connection. Its meaning depends on the stage: a CURVE
    /// server that closes after HELLO has another key than we expect, or no room for us.
    #[must_use]
    pub fn peer_closed(self) -> Error {
        Error::ClosedByPeer(self.stage())
    }

    /// The error for a stage whose time is up.
    #[must_use]
    pub fn timed_out(self) -> Error {
        Error::Timeout(self.stage())
    }
}

/// Takes one complete command of at most `max` bytes from `input`.
fn take_command(input: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, Error> {
    let Some((header, header_len)) = FrameHeader::parse(input)? else {
        return Ok(None);
    };
    // RFC 37, "Formal Grammar": a handshake consists of commands only.
    if header.flags != Flags::Command {
        return Err(ProtocolError::MessageInHandshake.into());
    }
    // RFC 37, "Framing": a body that fits a short frame should come in one. No known peer does
    // otherwise during a handshake.
    if header.is_overlong() {
        return Err(ProtocolError::LongFrameInHandshake { size: header.size }.into());
    }
    let len = match usize::try_from(header.size) {
        Ok(len) if len <= max => len,
        _ => {
            return Err(LimitExceeded::HandshakeCommand {
                size: header.size,
                limit: max,
            }
            .into());
        }
    };
    if input.len() - header_len < len {
        return Ok(None);
    }
    input.advance(header_len);
    Ok(Some(input.split_to(len)))
}

/// A handshake that is paused for a verdict. Dropping it refuses the peer without a word.
#[derive(Debug)]
pub struct Authorize {
    question: machine::Authorize,
    link: Link,
}

impl Authorize {
    /// The question to policy.
    #[must_use]
    pub const fn request(&self) -> &AccessRequest {
        self.question.request()
    }

    /// Continues with the verdict.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] if the verdict is a denial. Send `out`, then close.
    pub fn resume(self, verdict: Verdict, out: &mut BytesMut) -> Result<Handshake, Error> {
        self.link.take(self.question.resume(verdict), out)
    }
}

/// A relay's handshake that is paused until the relay knows the metadata of its far side. Dropping
/// it refuses the peer without a word.
#[derive(Debug)]
pub struct NeedsMetadata {
    pause: machine::NeedsMetadata,
    link: Link,
}

impl NeedsMetadata {
    /// What the peer claims; `None` if it has not sent its claims yet.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.pause.claims()
    }

    /// The peer as far as it is known, if it has sent its claims.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn peer(&self, origin: (PeerAddress, Option<u16>)) -> Option<Peer> {
        let claims = self.claims()?.clone();
        let authenticated = self.authenticated().cloned();
        Some(Peer::new(
            authenticated,
            self.pause.proven_key(),
            claims,
            origin,
        ))
    }

    /// The peer as policy admitted it, if policy was asked.
    #[must_use]
    pub fn authenticated(&self) -> Option<&Authenticated> {
        self.pause.authenticated()
    }

    /// Continues with the metadata to send.
    ///
    /// # Errors
    /// As [`mechanism::NeedsMetadata::resume`](crate::mechanism::NeedsMetadata::resume).
    pub fn resume(self, metadata: &Metadata, out: &mut BytesMut) -> Result<Handshake, Error> {
        self.link.take(self.pause.resume(metadata), out)
    }
}

/// A connection that is ready for traffic. Only a [`Handshake`] makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Established {
    /// Seals what we send. It may move to another task than `opener`.
    pub sealer: Sealer,
    /// Opens what the peer sends.
    pub opener: Opener,
    /// The peer and its claims.
    pub peer: Peer,
    /// Our type of socket on this connection.
    pub socket_type: SocketType,
    /// Whether the peer, or our own configuration, speaks ZMTP 3.0 (RFC 23): subscriptions are then
    /// messages instead of commands, and there is no PING.
    pub zmtp_3_0: bool,
}

impl Established {
    /// The peer, and a [`Channel`] for messages to and from it. `ours` is the type of our socket,
    /// `limits` bound what the peer may send, and `heartbeat` enables PINGs to it.
    #[must_use]
    pub fn into_channel(
        self,
        ours: SocketType,
        limits: &Limits,
        heartbeat: Option<HeartbeatSettings>,
        now: Instant,
    ) -> (Peer, Channel) {
        let halves = (self.sealer, self.opener);
        let channel = Channel::new(halves, self.zmtp_3_0, ours, limits, heartbeat, now);
        (self.peer, channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(any(feature = "futures-io", feature = "tokio")))]
    use crate::access::address::PeerAddress;
    use crate::crypto::keys::KeyPair;
    use crate::crypto::x25519::count;

    /// A server needs C'->S, C'->S' and C->S', and its transient key; a client the same.
    #[test]
    fn each_shared_secret_of_a_curve_handshake_is_computed_once() {
        let keys = KeyPair::generate().unwrap();
        let client = Config::builder(SocketType::Push)
            .curve_client(KeyPair::generate().unwrap(), keys.public_key())
            .finish()
            .unwrap();
        let server = Config::builder(SocketType::Pull)
            .curve_server(keys)
            .accept_any_peer()
            .finish()
            .unwrap();
        let here = || PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
        let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
        let mut sides = [
            (Handshake::start(&client, here(), &mut to_server), (0, 0)),
            (Handshake::start(&server, here(), &mut to_client), (0, 0)),
        ];
        while !sides
            .iter()
            .all(|(side, _)| matches!(side, Handshake::Complete(_)))
        {
            sides = sides.map(|(side, so_far)| {
                std::mem::swap(&mut to_server, &mut to_client);
                let Handshake::NeedsInput(waiting) = side else {
                    return (side, so_far);
                };
                let (next, now) =
                    count::of(|| waiting.process(&mut to_server, &mut to_client).unwrap());
                (next, (so_far.0 + now.0, so_far.1 + now.1))
            });
        }
        assert_eq!(sides.map(|(_, counted)| counted), [(3, 1), (3, 1)]);
    }
}
