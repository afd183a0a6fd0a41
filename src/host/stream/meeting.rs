//! The handshakes on both sides of an `AuthStream`, once that of the network has paused.
//!
//! ```text
//! server: Admitted ─(host's READY)─► READY to the network ──────────────────────────► traffic
//! client: Welcomed ─(host's READY)─► INITIATE to the network ─► Introduced ─(READY)─► traffic
//! ```
//!
//! It is the mechanism's role that decides, and not who has connected. NULL has no roles: one that
//! connects sends its READY first, as a client.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::peer::Peer;
use crate::error::{Error, LocalError, Stage};
use crate::handshake::{Established, Handshake, NeedsInput, NeedsMetadata};
use crate::host::stream::ended::{Ended, StreamError};
use crate::mechanism::session::PeerContext;
use crate::relay::handoff::{IdentityRule, PeerHandoff};
use crate::relay::side::{Side, Sides};
use crate::security::Security;
use bytes::BytesMut;

/// Where the two handshakes stand.
#[derive(Debug)]
pub(crate) enum Meeting {
    /// Policy has admitted the network's peer, whose claims the host is told. The host's own are
    /// awaited.
    Admitted(PeerHandoff, NeedsInput),
    /// The network's server has sent WELCOME. The host's claims are awaited.
    Welcomed(NeedsMetadata, NeedsInput, IdentityRule),
    /// The host's claims are sent to the network's server, whose READY is awaited.
    Introduced(PeerHandoff, NeedsInput, IdentityRule),
}

/// What a step leads to.
pub(crate) enum MeetingOutcome {
    /// More bytes are needed.
    Waiting(Box<Meeting>),
    /// Both handshakes are complete.
    Complete(Box<Complete>),
}

/// Both sides after their handshakes.
pub(crate) struct Complete {
    pub(crate) front: Established,
    pub(crate) back: Established,
    /// The network's peer, where it was not known before.
    pub(crate) server: Option<Peer>,
}

fn host_failed(error: impl Into<Error>) -> Ended {
    Ended::Stream(StreamError::Host(error.into()))
}

fn network_failed(stage: Stage) -> impl FnOnce(Error) -> Ended {
    move |error| Ended::Handshake(stage, error)
}

impl Meeting {
    /// Begins the handshake with the host, which is NULL on the `clear` side. `identity` is for what
    /// the host is told. Returns what the host is to read first, too.
    pub(crate) fn new(
        pause: NeedsMetadata,
        identity: IdentityRule,
        clear: &Security,
        address: PeerAddress,
    ) -> Result<(Self, BytesMut), Error> {
        let mut to_host = BytesMut::new();
        let mut greet = |context| match clear.start(context, &mut to_host) {
            Handshake::NeedsInput(host) => Ok(host),
            // Every handshake begins with the peer's greeting.
            _ => Err(Error::from(LocalError::MetadataMissing)),
        };
        let meeting = if pause.claims().is_some() {
            let handoff = PeerHandoff::new(pause, identity)?;
            let host = greet(handoff.peer_context(address))?;
            Self::Admitted(handoff, host)
        } else {
            let host = greet(PeerContext::new(address))?;
            Self::Welcomed(pause, host, identity)
        };
        Ok((meeting, to_host))
    }

    /// The side of the relay on which the network is.
    pub(crate) const fn network(&self) -> Side {
        match self {
            Self::Admitted(..) => Side::Front,
            Self::Welcomed(..) | Self::Introduced(..) => Side::Back,
        }
    }

    /// What the network's handshake waits for.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Admitted(..) | Self::Welcomed(..) => Stage::Metadata,
            Self::Introduced(_, network, _) => network.stage(),
        }
    }

    /// Processes what has arrived from both sides. Appends to `out` what is to be sent.
    ///
    /// # Errors
    /// Returns the failure of either side.
    pub(crate) fn process(
        self,
        input: &mut Sides<BytesMut>,
        out: &mut Sides<BytesMut>,
    ) -> Result<MeetingOutcome, Ended> {
        match self {
            Self::Admitted(handoff, host) => {
                let next = host.process(&mut input.back, &mut out.back);
                match next.map_err(host_failed)? {
                    Handshake::NeedsInput(host) => Ok(waiting(Self::Admitted(handoff, host))),
                    Handshake::Complete(back) => {
                        let front = handoff.complete(&back.peer.claims, &mut out.front);
                        let front = front.map_err(network_failed(Stage::Metadata))?;
                        Ok(complete(*front, *back, None))
                    }
                    _ => Err(host_failed(LocalError::MetadataMissing)),
                }
            }
            Self::Welcomed(pause, host, identity) => {
                let next = host.process(&mut input.front, &mut out.front);
                match next.map_err(host_failed)? {
                    Handshake::NeedsInput(host) => {
                        Ok(waiting(Self::Welcomed(pause, host, identity)))
                    }
                    Handshake::NeedsMetadata(host) => {
                        let handoff =
                            PeerHandoff::new(host, IdentityRule::Pass).map_err(host_failed)?;
                        let next = pause
                            .resume(handoff.metadata(), &mut out.back)
                            .map_err(network_failed(Stage::Metadata))?;
                        Self::introduced((handoff, identity), next, input, out)
                    }
                    _ => Err(host_failed(LocalError::MetadataMissing)),
                }
            }
            Self::Introduced(handoff, network, identity) => {
                let network = Handshake::NeedsInput(network);
                Self::introduced((handoff, identity), network, input, out)
            }
        }
    }

    /// Goes on with the network's handshake, which knows the host's claims.
    fn introduced(
        (handoff, identity): (PeerHandoff, IdentityRule),
        network: Handshake,
        input: &mut Sides<BytesMut>,
        out: &mut Sides<BytesMut>,
    ) -> Result<MeetingOutcome, Ended> {
        let (stage, next) = match network {
            Handshake::NeedsInput(network) => {
                let mut stage = network.stage();
                let next = network.process_noting(&mut stage, &mut input.back, &mut out.back);
                (stage, next)
            }
            other => (Stage::Metadata, Ok(other)),
        };
        match next.map_err(network_failed(stage))? {
            Handshake::NeedsInput(network) => {
                Ok(waiting(Self::Introduced(handoff, network, identity)))
            }
            Handshake::Complete(back) => {
                let front = handoff.complete_with(&back.peer, identity, &mut out.front);
                let front = front.map_err(host_failed)?;
                let server = Some(back.peer.clone());
                Ok(complete(*front, *back, server))
            }
            _ => Err(Ended::Handshake(stage, LocalError::MetadataMissing.into())),
        }
    }

    /// The failure of a network whose peer has closed.
    pub(crate) fn peer_closed(self) -> Ended {
        let stage = self.stage();
        let error = match self {
            Self::Admitted(..) | Self::Welcomed(..) => Error::ClosedByPeer(stage),
            Self::Introduced(_, network, _) => network.peer_closed(),
        };
        Ended::Handshake(stage, error)
    }

    /// The failure if the time for the handshakes is up.
    pub(crate) fn timed_out(&self) -> Ended {
        let stage = self.stage();
        Ended::Handshake(stage, Error::Timeout(stage))
    }

    /// Whether it waits for the host.
    pub(crate) const fn awaits_host(&self) -> bool {
        matches!(self, Self::Admitted(..) | Self::Welcomed(..))
    }
}

fn waiting(meeting: Meeting) -> MeetingOutcome {
    MeetingOutcome::Waiting(Box::new(meeting))
}

fn complete(front: Established, back: Established, server: Option<Peer>) -> MeetingOutcome {
    MeetingOutcome::Complete(Box::new(Complete {
        front,
        back,
        server,
    }))
}
