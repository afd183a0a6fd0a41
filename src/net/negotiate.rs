//! Conducts one handshake over a stream: drives the machine of `handshake` and enforces its
//! time-outs.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::request::AccessRequest;
use crate::access::verdict::Verdict;
use crate::crypto::keys::PublicKey;
use crate::error::{Error, LimitExceeded, LocalError, Stage};
use crate::handshake::{Established, Handshake, NeedsInput, NeedsMetadata, PeerContext};
use crate::net::accept::connection_limit::{Permit, User};
use crate::net::accept::inbound::InboundPeer;
use crate::net::deadline::deadline;
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::socket::stream::{Stream, is_hangup};
use crate::net::socket::wiped_buffer::HandshakeBytes;
use crate::net::span::record_user_id;
use crate::net::subject::Subject;
use crate::security::Security;
use crate::status::Denied;
use crate::wire::frame::MAX_HEADER_LEN;
use crate::zap::bounds::first_poll;
use bytes::BytesMut;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tracing::Span;

/// A handshake in progress.
pub(crate) struct Negotiation<'a> {
    stream: &'a Stream,
    security: &'a Security,
    span: &'a Span,
    inbound: Option<InboundPeer<'a>>,
    permit: Option<Permit>,
    subject: Subject,
    /// The key that the peer has proven to hold, as soon as it has.
    proven_key: Arc<OnceLock<PublicKey>>,
    started: Instant,
    stage: Stage,
    input: HandshakeBytes,
    out: HandshakeBytes,
}

/// A handshake that is complete.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) established: Box<Established>,
    /// Bytes that arrived after the last command, which are traffic already.
    pub(crate) input: BytesMut,
}

/// A handshake that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) stage: Stage,
    pub(crate) error: NetError,
    /// Boxed because it is large and failures are rare.
    pub(crate) subject: Box<Subject>,
    /// The ERROR command that the peer should get to read; empty if it gets none.
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

impl<'a> Negotiation<'a> {
    /// Prepares a handshake. Its time starts now. `span` gets the user id as soon as policy has
    /// assigned one. `inbound` is present for a peer that connected to us.
    pub(crate) fn new(
        stream: &'a Stream,
        security: &'a Security,
        span: &'a Span,
        inbound: Option<InboundPeer<'a>>,
    ) -> Self {
        Self {
            stream,
            security,
            span,
            inbound,
            permit: None,
            subject: Subject::default(),
            proven_key: Arc::default(),
            started: Instant::now(),
            stage: Stage::Greeting,
            input: HandshakeBytes::default(),
            out: HandshakeBytes::default(),
        }
    }

    /// The permit that the peer has taken as a connection, to be held until its socket is closed.
    pub(crate) const fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// Conducts the handshake to its end, within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    pub(crate) async fn run(&mut self, context: PeerContext) -> Result<Agreed, Failed> {
        let outcome = timeout_at(self.deadline(), self.converse(context)).await;
        match self.or_failed(outcome)? {
            Stop::Complete(established) => Ok(self.agreed(established)),
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
        let outcome = timeout_at(self.deadline(), self.converse(context)).await;
        match self.or_failed(outcome)? {
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
        self.stage = Stage::Metadata;
        if let Some(inbound) = self.inbound {
            inbound.slot.release();
        }
        let outcome = timeout_at(self.deadline(), self.paused(work)).await;
        self.or_failed(outcome)
    }

    /// Completes the handshake after a relay's pause, within the same time.
    pub(crate) async fn resume(
        &mut self,
        complete: impl FnOnce(&mut BytesMut) -> Result<Box<Established>, Error>,
    ) -> Result<Agreed, Failed> {
        let established = complete(self.out.for_machine()).map_err(|error| self.failed(error))?;
        let outcome = timeout_at(self.deadline(), self.flush()).await;
        self.or_failed(outcome)?;
        Ok(self.agreed(established))
    }

    /// A failure after the pause or from outside. The peer is not told.
    pub(crate) fn failed(&mut self, error: Error) -> Failed {
        self.failed_behind(NetError::Handshake(error))
    }

    /// A failure of the far side while the front was paused. The peer is not told.
    pub(crate) fn failed_behind(&mut self, error: NetError) -> Failed {
        self.out.wipe();
        self.fail(error)
    }

    /// When the time for the whole handshake is up.
    fn deadline(&self) -> Instant {
        deadline(self.started, self.security.limits().handshake_timeout)
    }

    /// The outcome of a step. An error or a time-out becomes a failure.
    fn or_failed<T>(
        &mut self,
        outcome: Result<Result<T, StepError>, Elapsed>,
    ) -> Result<T, Failed> {
        let error = match outcome {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(_) => {
                // `out` holds no ERROR but a command that could not be sent.
                self.out.wipe();
                Error::Timeout(self.stage).into()
            }
        };
        Err(self.fail(error.into()))
    }

    fn agreed(&mut self, established: Box<Established>) -> Agreed {
        let input = std::mem::take(&mut self.input).into_traffic();
        Agreed { established, input }
    }

    fn fail(&mut self, error: NetError) -> Failed {
        Failed {
            stage: self.stage,
            error,
            subject: Box::new(self.subject.clone().or_key(self.proven_key.get())),
            error_frame: std::mem::take(&mut self.out),
        }
    }

    async fn converse(&mut self, mut context: PeerContext) -> Result<Stop, StepError> {
        context.proven_key = Some(Arc::clone(&self.proven_key));
        let mut state = self.security.start(context, self.out.for_machine());
        loop {
            // What a step has written is sent before anything else is done.
            self.flush().await?;
            state = match state {
                Handshake::NeedsInput(waiting) => self.listen(waiting).await?,
                Handshake::Authorize(question) => {
                    self.stage = Stage::Verdict;
                    let verdict = self.ask(question.request()).await?;
                    question.resume(verdict, self.out.for_machine())?
                }
                Handshake::NeedsMetadata(pause) => return Ok(Stop::Paused(Box::new(pause))),
                Handshake::Complete(established) => return Ok(Stop::Complete(established)),
            };
        }
    }

    /// Processes the bytes that have arrived, and waits for more if they are too few.
    async fn listen(&mut self, waiting: NeedsInput) -> Result<Handshake, StepError> {
        self.note_stage(&waiting);
        let next = waiting.process(self.input.for_machine(), self.out.for_machine())?;
        self.acquire_permit_unasked(&next)?;
        let Handshake::NeedsInput(waiting) = next else {
            return Ok(next);
        };
        self.flush().await?;
        self.note_stage(&waiting);
        let read = if self.stage == Stage::Greeting {
            let deadline = deadline(self.started, self.security.limits().greeting_timeout);
            timeout_at(deadline, self.stream.read(&mut self.input.room()))
                .await
                .map_err(|_| Error::Timeout(Stage::Greeting))?
        } else {
            self.stream.read(&mut self.input.room()).await
        };
        match read {
            Ok(0) => Err(waiting.peer_closed().into()),
            Ok(_) => Ok(Handshake::NeedsInput(waiting)),
            // A close becomes a reset if the peer left bytes unread, so both mean the same.
            Err(error) if is_hangup(&error) => Err(waiting.peer_closed().into()),
            Err(error) => Err(StepError::Io("read", error)),
        }
    }

    fn note_stage(&mut self, waiting: &NeedsInput) {
        self.stage = waiting.stage();
        if let Some(inbound) = self.inbound
            && waiting.has_valid_command()
        {
            inbound.spoke();
        }
    }

    async fn ask(&mut self, request: &AccessRequest) -> Result<Verdict, StepError> {
        let security = self.security;
        self.subject = Subject::asked(request, false);
        let verdict = self.paused(security.authorize(request)).await?;
        Ok(match verdict {
            Verdict::Allow(approval) => {
                self.subject = Subject::asked(request, true);
                record_user_id(self.span, &approval.user_id);
                let user = User {
                    mechanism: request.credentials.mechanism(),
                    domain: request.domain.clone(),
                    user_id: approval.user_id.clone(),
                };
                match self.acquire_permit(Some(user)) {
                    Ok(()) => Verdict::Allow(approval),
                    Err(denied) => Verdict::Deny(denied),
                }
            }
            Verdict::Deny(denied) => {
                self.subject = Subject::asked(request, denied.knows_user());
                Verdict::Deny(denied)
            }
        })
    }

    /// Takes a permit for a peer that policy is not asked about, before the peer learns that it was
    /// admitted. Under NULL it learns that from our READY, which does not wait for the peer's.
    fn acquire_permit_unasked(&mut self, state: &Handshake) -> Result<(), StepError> {
        match state {
            Handshake::Authorize(_) => return Ok(()),
            _ if self.permit.is_some() => return Ok(()),
            Handshake::NeedsInput(waiting) if waiting.stage() != Stage::NullReady => return Ok(()),
            _ => {}
        }
        self.acquire_permit(None).map_err(|denied| {
            self.out.wipe();
            Error::Denied(denied).into()
        })
    }

    /// Takes a permit for the peer, if it connected to us.
    fn acquire_permit(&mut self, user: Option<User>) -> Result<(), Denied> {
        let Some(inbound) = self.inbound else {
            return Ok(());
        };
        self.permit = Some(inbound.acquire_permit(user)?);
        Ok(())
    }

    /// Runs `work` during a pause. Abandons it if the peer leaves or sends more than one command
    /// meanwhile, because the outcome is of no use then.
    async fn paused<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StepError> {
        // Most verdicts are ready at the first poll and cost no pause.
        let mut work = pin!(work);
        if let Poll::Ready(outcome) = first_poll(work.as_mut()).await {
            return Ok(outcome);
        }
        let stage = self.stage;
        let inbound = self.inbound;
        inbound
            .map_or(Ok(()), InboundPeer::pause)
            .map_err(Error::Denied)?;
        let limit = MAX_HEADER_LEN + self.security.limits().max_handshake_command;
        let departure = async {
            loop {
                match self.stream.read(&mut self.input.room()).await {
                    Ok(0) => return Error::ClosedByPeer(stage).into(),
                    Ok(_) if self.input.len() > limit => {
                        return Error::from(LimitExceeded::HandshakeCommand {
                            size: self.input.len() as u64,
                            limit,
                        })
                        .into();
                    }
                    Ok(_) => {}
                    Err(error) if is_hangup(&error) => {
                        return Error::ClosedByPeer(stage).into();
                    }
                    Err(error) => return StepError::Io("read", error),
                }
            }
        };
        tokio::select! {
            outcome = work => {
                if let Some(inbound) = inbound {
                    inbound.spoke();
                }
                Ok(outcome)
            }
            ended = departure => Err(ended),
        }
    }

    /// Sends what has been written. A peer that has left is noticed by the next read, because it
    /// may have sent an ERROR before it left.
    async fn flush(&mut self) -> Result<(), StepError> {
        let Err(error) = self.stream.write_all(&mut self.out).await else {
            return Ok(());
        };
        self.out.wipe();
        if is_hangup(&error) {
            return Ok(());
        }
        Err(StepError::Io("write", error))
    }
}

/// Where the conduct of a handshake stops.
enum Stop {
    Complete(Box<Established>),
    Paused(Box<NeedsMetadata>),
}

/// Why a step of a handshake failed.
enum StepError {
    Protocol(Error),
    Io(&'static str, io::Error),
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl From<StepError> for NetError {
    fn from(ended: StepError) -> Self {
        match ended {
            StepError::Protocol(error) => Self::Handshake(error),
            StepError::Io(doing, error) => Self::io(doing)(error),
        }
    }
}

/// Warns that PLAIN sends passwords and everything else in clear (RFC 24, "Security
/// Considerations"). Called once for each listener or client.
pub(crate) fn warn_of_plain(endpoint: &Endpoint, security: &Security) {
    if security.mechanism() == MechanismKind::Plain && !endpoint.is_local() {
        tracing::warn!(%endpoint, "PLAIN sends passwords in clear to and from other machines");
    }
}
