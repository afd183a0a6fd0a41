//! One handshake of any mechanism and role, one command at a time. To read this folder, start here.
#![forbid(unsafe_code)]

use crate::access::peer::{Authenticated, Claims};
use crate::access::request::AccessRequest;
use crate::access::verdict::{Approved, Verdict};
use crate::config::settings::{Config, Role};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
use crate::crypto::keys::PublicKey;
use crate::error::{Error, Stage};
use crate::limits::Limits;
use crate::mechanism::refusal::Refused;
use crate::mechanism::session::{PeerContext, Session};
use crate::mechanism::transition::{self, Transition};
use crate::mechanism::{curve, null, plain, refusal};
use crate::wire::greeting::{GREETING_LEN, Greeting, MechanismName, mechanism_name};
use crate::wire::metadata::Metadata;
use bytes::Bytes;
use std::convert::Infallible;
use std::fmt;

pub use crate::mechanism::transition::Done;

/// Longest body where the expected command is shorter than an ERROR, whose reason has up to 255
/// bytes.
const MAX_ERROR_LEN: usize = 1 + 5 + 1 + 255;

/// A handshake before the peer's greeting has arrived.
pub struct AwaitGreeting(Session);

impl AwaitGreeting {
    /// Our greeting, 64 bytes (RFC 37, "Greeting").
    #[must_use]
    pub fn greeting(&self) -> [u8; GREETING_LEN] {
        let settings = &self.0.settings;
        let minor = u8::from(!settings.zmtp_3_0);
        Greeting::encode_minor(minor, self.greeting_name(), settings.role.is_server())
    }

    /// Our mechanism's name, for a host that writes its own greeting.
    #[must_use]
    pub fn greeting_name(&self) -> MechanismName {
        mechanism_name(self.name())
    }

    fn name(&self) -> &'static str {
        self.0.settings.role.mechanism().name()
    }

    /// Checks the peer's greeting and takes the first step of the handshake. The peer's as-server
    /// byte is ignored, because libzmq always sends 0.
    ///
    /// # Errors
    /// Returns [`Refused`] if the peer is older than ZMTP 3 or does not speak exactly our mechanism,
    /// or if the random source fails.
    pub fn on_peer_greeting(self, greeting: &Greeting) -> Result<Step, Refused> {
        greeting.require(self.name()).map_err(Error::from)?;
        self.0.require_socket_type().map_err(Error::from)?;
        let session = self.0;
        let settings = session.settings.clone();
        Ok(match &settings.role {
            Role::Null { policy } => null_step(null::start(session, policy)),
            Role::PlainClient { username, password } => {
                plain_client_step(plain::client::start(session, username, password))
            }
            Role::PlainServer {
                domain,
                libzmq_error_spelling,
            } => plain_server_step(plain::server::start(
                session,
                domain.clone(),
                *libzmq_error_spelling,
            )),
            Role::CurveClient { keys, server } => {
                curve_client_step(curve::client::start(session, keys.clone(), *server)?)
            }
            Role::CurveServer { keys, policy } => {
                curve_server_step(curve::server::start(session, keys.clone(), policy.clone()))
            }
        })
    }
}

/// A handshake that waits for one command from the peer.
pub struct Mechanism(State);

enum State {
    Null(null::Null),
    PlainClient(plain::client::Client),
    PlainServer(plain::server::Server),
    CurveClient(curve::client::Client),
    CurveServer(curve::server::Server),
}

impl Mechanism {
    /// Prepares a handshake on one connection. It draws no randomness and sends nothing yet.
    #[must_use]
    pub fn start<A>(config: &Config<A>, context: PeerContext) -> AwaitGreeting {
        AwaitGreeting(Session::new(config.settings().clone(), context))
    }

    /// Handles the body of one command frame, including the command's name. The host wipes the body
    /// of a PLAIN HELLO, which holds a password.
    ///
    /// # Errors
    /// Returns [`Refused`] if the peer is refused, refuses us, or sends anything but the one command
    /// that is expected now. The host sends [`Refused::send`], if any, and closes.
    pub fn on_command(self, body: &[u8]) -> Result<Step, Refused> {
        Ok(match self.0 {
            State::Null(state) => null_step(state.on_command(body)?),
            State::PlainClient(state) => plain_client_step(state.on_command(body)?),
            State::PlainServer(state) => plain_server_step(state.on_command(body)?),
            State::CurveClient(state) => curve_client_step(state.on_command(body)?),
            State::CurveServer(state) => curve_server_step(state.on_command(body)?),
        })
    }

    /// Longest command body that can be valid now, in bytes. A codec refuses a longer one when it
    /// sees the frame header.
    #[must_use]
    pub fn max_command_len(&self, limits: &Limits) -> usize {
        match self.stage() {
            Stage::PlainHello => plain::commands::MAX_HELLO_LEN,
            Stage::CurveHello => curve::commands::HELLO_LEN,
            Stage::PlainWelcome | Stage::CurveWelcome => MAX_ERROR_LEN,
            _ => limits.max_handshake_command,
        }
    }

    /// The command that is expected.
    #[must_use]
    pub fn stage(&self) -> Stage {
        use curve::client::Client as CurveClient;
        use curve::server::Server as CurveServer;
        use plain::client::Client as PlainClient;
        use plain::server::Server as PlainServer;
        match &self.0 {
            State::Null(_) => Stage::NullReady,
            State::PlainClient(PlainClient::ExpectWelcome(_)) => Stage::PlainWelcome,
            State::PlainClient(PlainClient::ExpectReady(_)) => Stage::PlainReady,
            State::PlainServer(PlainServer::ExpectHello(_)) => Stage::PlainHello,
            State::PlainServer(PlainServer::ExpectInitiate(_)) => Stage::PlainInitiate,
            State::CurveClient(CurveClient::ExpectWelcome(_)) => Stage::CurveWelcome,
            State::CurveClient(CurveClient::ExpectReady(_)) => Stage::CurveReady,
            State::CurveServer(CurveServer::ExpectHello(_)) => Stage::CurveHello,
            State::CurveServer(CurveServer::ExpectInitiate(_)) => Stage::CurveInitiate,
        }
    }
}

/// The result of a command: at most one command to send, and what to do next.
#[must_use]
#[expect(clippy::exhaustive_structs, reason = "a host takes it apart")]
pub struct Step {
    /// The body of a command to send first.
    pub send: Option<Bytes>,
    /// What to do next.
    pub next: Next,
}

impl fmt::Debug for Step {
    /// Shows only the length of the command, because PLAIN's HELLO holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("send_len", &self.send.as_ref().map(Bytes::len))
            .field("next", &self.next)
            .finish()
    }
}

/// What a handshake needs next. The enum is exhaustive on purpose: a host must handle every case.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a host must handle every case")]
pub enum Next {
    /// The peer's next command.
    Wait(Mechanism),
    /// A verdict.
    Authorize(Authorize),
    /// A relay's metadata.
    NeedsMetadata(NeedsMetadata),
    /// Nothing: the handshake is complete.
    Done(Box<Done>),
}

/// A handshake that is paused until policy has decided. Dropping it ends the handshake.
pub struct Authorize {
    request: AccessRequest,
    state: AwaitVerdict,
}

enum AwaitVerdict {
    Null(null::AwaitVerdict),
    Plain(plain::server::AwaitVerdict),
    Curve(Box<curve::server::AwaitVerdict>),
}

impl Authorize {
    /// The question for policy.
    #[must_use]
    pub const fn request(&self) -> &AccessRequest {
        &self.request
    }

    /// Continues with the answer.
    ///
    /// # Errors
    /// Returns [`Refused`] if the verdict is a denial. It carries an ERROR for 400 and 500, and
    /// nothing for 300 (RFC 27, "The Reply").
    pub fn resume(self, verdict: Verdict) -> Result<Step, Refused> {
        let approved = match Approved::by_verdict(self.request, verdict) {
            Ok(approved) => approved,
            Err(denied) => {
                let misspelled = matches!(
                    &self.state,
                    AwaitVerdict::Plain(state) if state.libzmq_error_spelling
                );
                let send = refusal::error_command(denied.status, misspelled);
                return Err(Refused {
                    send,
                    error: Error::Denied(denied),
                });
            }
        };
        Ok(match self.state {
            AwaitVerdict::Null(state) => null_step(state.resume(approved)),
            AwaitVerdict::Plain(state) => plain_server_step(state.resume(approved)),
            AwaitVerdict::Curve(state) => curve_server_step(state.resume(approved)),
        })
    }
}

/// A relay's handshake that is paused until the metadata from its far side is known. It takes no
/// commands. Dropping it ends the handshake.
pub struct NeedsMetadata(AwaitMetadata);

enum AwaitMetadata {
    Null(null::AwaitMetadata),
    PlainClient(plain::client::AwaitMetadata),
    PlainServer(plain::server::AwaitMetadata),
    CurveClient(Box<curve::client::AwaitMetadata>),
    CurveServer(Box<curve::server::AwaitMetadata>),
}

impl NeedsMetadata {
    /// What the peer claims. `None` for a PLAIN or CURVE client, whose server has not sent its
    /// metadata yet.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        match &self.0 {
            AwaitMetadata::Null(state) => state.claims.as_ref(),
            AwaitMetadata::PlainServer(state) => Some(&state.claims),
            AwaitMetadata::CurveServer(state) => Some(state.claims()),
            AwaitMetadata::PlainClient(_) | AwaitMetadata::CurveClient(_) => None,
        }
    }

    /// The peer's identity as policy approved it, if policy was asked.
    #[must_use]
    pub fn authenticated(&self) -> Option<&Authenticated> {
        match &self.0 {
            AwaitMetadata::Null(state) => state.approved.authenticated(),
            AwaitMetadata::PlainServer(state) => state.authenticated.as_ref(),
            AwaitMetadata::CurveServer(state) => state.authenticated(),
            AwaitMetadata::PlainClient(_) | AwaitMetadata::CurveClient(_) => None,
        }
    }

    /// The key that a CURVE client has proven to hold.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn proven_key(&self) -> Option<PublicKey> {
        match &self.0 {
            AwaitMetadata::CurveServer(state) => Some(state.proven_key()),
            _ => None,
        }
    }

    /// Continues with the metadata to send. Put `Socket-Type` first, as peers expect it.
    ///
    /// # Errors
    /// Returns [`Refused`] if the random source fails.
    pub fn resume(self, metadata: &Metadata) -> Result<Step, Refused> {
        Ok(match self.0 {
            AwaitMetadata::Null(state) => null_step(state.resume(metadata)),
            AwaitMetadata::PlainClient(state) => plain_client_step(state.resume(metadata)),
            AwaitMetadata::PlainServer(state) => plain_server_step(state.resume(metadata)),
            AwaitMetadata::CurveClient(state) => curve_client_step(state.resume(metadata)?),
            AwaitMetadata::CurveServer(state) => curve_server_step(state.resume(metadata)),
        })
    }
}

fn null_step(transition: Transition<null::Null, null::AwaitVerdict, null::AwaitMetadata>) -> Step {
    step(
        transition,
        State::Null,
        AwaitVerdict::Null,
        AwaitMetadata::Null,
    )
}

fn plain_client_step(
    transition: Transition<plain::client::Client, Infallible, plain::client::AwaitMetadata>,
) -> Step {
    step(
        transition,
        State::PlainClient,
        |never| match never {},
        AwaitMetadata::PlainClient,
    )
}

fn plain_server_step(
    transition: Transition<
        plain::server::Server,
        plain::server::AwaitVerdict,
        plain::server::AwaitMetadata,
    >,
) -> Step {
    step(
        transition,
        State::PlainServer,
        AwaitVerdict::Plain,
        AwaitMetadata::PlainServer,
    )
}

fn curve_client_step(
    transition: Transition<curve::client::Client, Infallible, Box<curve::client::AwaitMetadata>>,
) -> Step {
    step(
        transition,
        State::CurveClient,
        |never| match never {},
        AwaitMetadata::CurveClient,
    )
}

fn curve_server_step(
    transition: Transition<
        curve::server::Server,
        Box<curve::server::AwaitVerdict>,
        Box<curve::server::AwaitMetadata>,
    >,
) -> Step {
    step(
        transition,
        State::CurveServer,
        AwaitVerdict::Curve,
        AwaitMetadata::CurveServer,
    )
}

/// Turns a role's transition into a step of the common machine.
fn step<W, V, M>(
    transition: Transition<W, V, M>,
    wait: fn(W) -> State,
    verdict: fn(V) -> AwaitVerdict,
    metadata: fn(M) -> AwaitMetadata,
) -> Step {
    let next = match transition.next {
        transition::Next::Wait(state) => Next::Wait(Mechanism(wait(state))),
        transition::Next::Verdict(request, state) => Next::Authorize(Authorize {
            request,
            state: verdict(state),
        }),
        transition::Next::Metadata(state) => Next::NeedsMetadata(NeedsMetadata(metadata(state))),
        transition::Next::Done(done) => Next::Done(done),
    };
    Step {
        send: transition.send,
        next,
    }
}

macro_rules! opaque_debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque_debug!(AwaitGreeting Mechanism Authorize NeedsMetadata);
