//! Conducts the handshake of one connection, with what a listener adds: slots, permits and log
//! fields.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::request::AccessRequest;
use crate::access::verdict::Approval;
use crate::error::{Error, LimitExceeded, LocalError, Stage};
use crate::handshake::{Established, NeedsMetadata};
use crate::host::clock::TokioClock;
use crate::host::conduct::owner::HandshakeOwner;
use crate::host::conduct::{Agreed, Conduct, Failure, StepError, Stop};
use crate::host::subject::Subject;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::mechanism::session::PeerContext;
use crate::net::accept::connection_limit::{Permit, User};
use crate::net::accept::inbound::InboundPeer;
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::socket::stream::Stream;
use crate::net::span::record_user_id;
use crate::security::Security;
use crate::status::Denied;
use bytes::BytesMut;
use std::future::Future;
use tracing::Span;

/// The security of sockets of one type, before anything is bound or dialled with it.
pub(crate) fn typed(security: impl Into<Security>) -> Result<Security, NetError> {
    let security = security.into();
    match security.socket_type() {
        Some(_) => Ok(security),
        None => Err(NetError::SocketTypeMissing),
    }
}

/// A handshake in progress.
pub(crate) struct Negotiation<'a>(Conduct<'a, &'a Stream, TokioClock, Owner<'a>>);

/// A handshake that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) stage: Stage,
    pub(crate) error: NetError,
    /// Boxed because it is large and failures are rare.
    pub(crate) subject: Box<Subject>,
    /// What the peer should still get to read: an ERROR command, or our greeting. Empty if there is
    /// nothing.
    pub(crate) error_frame: HandshakeBytes,
}

impl Failed {
    /// A new connection that found no slot. Its peer is not told.
    pub(crate) fn no_slot() -> Self {
        Self {
            stage: Stage::Greeting,
            error: NetError::Handshake(LimitExceeded::Evicted.into()),
            subject: Box::default(),
            error_frame: HandshakeBytes::default(),
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self {
            stage: failure.stage,
            error: match failure.error {
                StepError::Protocol(error) => NetError::Handshake(error),
                StepError::Io(doing, error) => NetError::io(doing)(error),
            },
            subject: failure.subject,
            error_frame: failure.error_frame,
        }
    }
}

/// The slot and the permit of the peer, if it connected to us, and its span.
struct Owner<'a> {
    span: &'a Span,
    inbound: Option<InboundPeer<'a>>,
    permit: Option<Permit>,
}

impl HandshakeOwner for Owner<'_> {
    fn spoke(&self) {
        if let Some(inbound) = self.inbound {
            inbound.spoke();
        }
    }

    fn pause(&self) -> Result<(), Denied> {
        self.inbound.map_or(Ok(()), InboundPeer::pause)
    }

    fn admit(&mut self, approved: Option<(&AccessRequest, &Approval)>) -> Result<(), Denied> {
        if let Some((_, approval)) = approved {
            record_user_id(self.span, &approval.user_id);
        }
        if let Some(inbound) = self.inbound {
            let user = approved.map(|(request, approval)| User {
                mechanism: request.credentials.mechanism(),
                domain: request.domain.clone(),
                user_id: approval.user_id.clone(),
            });
            self.permit = Some(inbound.acquire_permit(user)?);
        }
        Ok(())
    }
}

impl<'a> Negotiation<'a> {
    /// Prepares a handshake. Its time starts now. `span` gets the user id as soon as policy has
    /// assigned one. `inbound` is present for a peer that connected to us.
    pub(crate) fn new(
        stream: &'a Stream,
        security: &'a Security,
        span: &'a Span,
        inbound: Option<InboundPeer<'a>>,
    ) -> Self {
        let owner = Owner {
            span,
            inbound,
            permit: None,
        };
        let input = HandshakeBytes::default();
        Self(Conduct::new(stream, &TokioClock, security, owner, input))
    }

    /// The permit that the peer has taken as a connection, to be held until its socket is closed.
    pub(crate) const fn take_permit(&mut self) -> Option<Permit> {
        self.0.owner().permit.take()
    }

    /// Conducts the handshake to its end, within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    pub(crate) async fn run(&mut self, context: PeerContext) -> Result<Agreed, Failed> {
        match self.0.run(context).await? {
            Stop::Complete(established) => Ok(self.0.agreed(established)),
            // Only a relay pauses, and a relay without metadata uses `run_to_pause`.
            Stop::Paused(_) => Err(self.failed(LocalError::MetadataMissing.into())),
        }
    }

    /// Conducts the handshake of a relay's front until it pauses for metadata, within the same
    /// time.
    pub(crate) async fn run_to_pause(
        &mut self,
        context: PeerContext,
    ) -> Result<NeedsMetadata, Failed> {
        match self.0.run(context).await? {
            Stop::Paused(pause) => Ok(*pause),
            // It got its metadata at the start, which the front of a relay never does.
            Stop::Complete(_) => Err(self.failed(LocalError::MetadataMissing.into())),
        }
    }

    /// Runs `work` during a relay's pause, while the peer stays and within the same time. The peer
    /// has been admitted and counts as a connection, so its slot is freed: no stranger can evict it
    /// now, and it takes no slot from new connections.
    pub(crate) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failed> {
        if let Some(inbound) = self.0.owner().inbound {
            inbound.slot.release();
        }
        Ok(self.0.meanwhile(work).await?)
    }

    /// Completes the handshake after a relay's pause, within the same time.
    pub(crate) async fn resume(
        &mut self,
        complete: impl FnOnce(&mut BytesMut) -> Result<Box<Established>, Error>,
    ) -> Result<Agreed, Failed> {
        Ok(self.0.resume(complete).await?)
    }

    /// A failure after the pause or from outside. The peer is not told.
    pub(crate) fn failed(&mut self, error: Error) -> Failed {
        self.0.failed(error).into()
    }

    /// A failure of the far side while the front was paused. The peer is not told.
    pub(crate) fn failed_behind(&mut self, error: NetError) -> Failed {
        Failed {
            error,
            ..self.failed(LocalError::MetadataMissing.into())
        }
    }
}

/// Warns that the policy of a listener has no rule for its domain, which may be misspelt. Called
/// once for each listener. A program may configure the domain later.
pub(crate) fn warn_of_no_rule(endpoint: &Endpoint, security: &Security) {
    if let Some(rule) = security.missing_rule() {
        tracing::warn!(%endpoint, "no peer can be admitted now: {rule}");
    }
}

/// Warns that PLAIN sends passwords and everything else in clear (RFC 24, "Security
/// Considerations"). Called once for each listener or client.
pub(crate) fn warn_of_plain(endpoint: &Endpoint, security: &Security) {
    if security.mechanism() == MechanismKind::Plain && !endpoint.is_local() {
        tracing::warn!(%endpoint, "PLAIN sends passwords in clear to and from other machines");
    }
}
