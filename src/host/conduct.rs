//! Conducts one handshake over a byte stream: drives the machine of `handshake` and enforces its
//! time-outs.
#![forbid(unsafe_code)]

pub(crate) mod owner;

use crate::access::request::AccessRequest;
use crate::access::verdict::Verdict;
use crate::crypto::keys::PublicKey;
use crate::error::{Error, LimitExceeded, Stage};
use crate::handshake::{Established, Handshake, NeedsInput, NeedsMetadata};
use crate::host::byte_stream::{ByteStream, is_hangup};
use crate::host::clock::{Clock, deadline, in_time};
use crate::host::conduct::owner::HandshakeOwner;
use crate::host::linger::write_all;
use crate::host::subject::Subject;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::mechanism::session::PeerContext;
use crate::security::Security;
use crate::status::DenialStatus;
use crate::wire::frame::MAX_HEADER_LEN;
use crate::zap::bounds::{first_poll, has_timers};
use bytes::BytesMut;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};
use std::time::Instant;

/// A handshake in progress.
pub(crate) struct Conduct<'a, S, C, O> {
    stream: S,
    clock: &'a C,
    security: &'a Security,
    owner: O,
    admitted: bool,
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
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) error: StepError,
    /// Boxed because it is large and failures are rare.
    pub(crate) subject: Box<Subject>,
    /// What the peer should still get to read: an ERROR command, or our greeting. Empty if there is
    /// nothing.
    pub(crate) error_frame: HandshakeBytes,
}

/// Where the conduct of a handshake stops.
pub(crate) enum Stop {
    Complete(Box<Established>),
    /// `host` itself drives no relay.
    Paused(
        #[cfg_attr(
            not(any(feature = "futures-io", feature = "tokio")),
            expect(dead_code, reason = "only tunnels and `AuthStream` resume it")
        )]
        Box<NeedsMetadata>,
    ),
}

/// Why a step of a handshake failed.
#[derive(Debug)]
pub(crate) enum StepError {
    Protocol(Error),
    Io(&'static str, io::Error),
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl<'a, S: ByteStream, C: Clock, O: HandshakeOwner> Conduct<'a, S, C, O> {
    /// Prepares a handshake. Its time starts now. `input` is what has been read already.
    pub(crate) fn new(
        stream: S,
        clock: &'a C,
        security: &'a Security,
        owner: O,
        input: HandshakeBytes,
    ) -> Self {
        Self {
            started: clock.now(),
            stream,
            clock,
            security,
            owner,
            admitted: false,
            subject: Subject::default(),
            proven_key: Arc::default(),
            stage: Stage::Greeting,
            input,
            out: HandshakeBytes::default(),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) const fn owner(&mut self) -> &mut O {
        &mut self.owner
    }

    /// Conducts the handshake to its end, or until it pauses for metadata, within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    pub(crate) async fn run(&mut self, context: PeerContext) -> Result<Stop, Failure> {
        let (clock, deadline) = (self.clock, self.deadline());
        let outcome = in_time(clock, deadline, pin!(self.converse(context))).await;
        self.or_failed(outcome)
    }

    /// Runs `work` during a pause for metadata, while the peer stays and within the same time.
    #[cfg(feature = "tokio")]
    pub(crate) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        self.stage = Stage::Metadata;
        let (clock, deadline) = (self.clock, self.deadline());
        let work = pin!(work);
        let outcome = in_time(clock, deadline, pin!(self.paused(work))).await;
        self.or_failed(outcome)
    }

    /// Completes the handshake after a pause for metadata, within the same time.
    #[cfg(feature = "tokio")]
    pub(crate) async fn resume(
        &mut self,
        complete: impl FnOnce(&mut BytesMut) -> Result<Box<Established>, Error>,
    ) -> Result<Agreed, Failure> {
        let established = complete(self.out.for_machine()).map_err(|error| self.failed(error))?;
        let (clock, deadline) = (self.clock, self.deadline());
        let outcome = in_time(clock, deadline, pin!(self.flush())).await;
        self.or_failed(outcome)?;
        Ok(self.agreed(established))
    }

    /// A failure after the pause or from outside. The peer is not told.
    pub(crate) fn failed(&mut self, error: impl Into<StepError>) -> Failure {
        self.out.wipe();
        self.fail(error.into())
    }

    pub(crate) fn agreed(&mut self, established: Box<Established>) -> Agreed {
        let input = std::mem::take(&mut self.input).into_traffic();
        Agreed { established, input }
    }

    /// What has arrived behind the last command, and who the peer is.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn into_rest(self) -> (BytesMut, Subject) {
        let subject = self.subject.or_key(self.proven_key.get());
        (self.input.into_traffic(), subject)
    }

    /// When the time for the whole handshake is up.
    fn deadline(&self) -> Instant {
        deadline(self.started, self.security.limits().handshake_timeout)
    }

    /// The outcome of a step. An error or a time-out becomes a failure.
    fn or_failed<T>(&mut self, outcome: Option<Result<T, StepError>>) -> Result<T, Failure> {
        match outcome {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => Err(self.fail(error)),
            // `out` holds no ERROR but a command that could not be sent.
            None => Err(self.failed(Error::Timeout(self.stage))),
        }
    }

    fn fail(&mut self, error: StepError) -> Failure {
        Failure {
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
            // What a step has written is sent before anything else is done.
            self.flush().await?;
        }
    }

    /// Processes the bytes that have arrived, and waits for more if they are too few.
    async fn listen(&mut self, waiting: NeedsInput) -> Result<Handshake, StepError> {
        self.note_stage(&waiting);
        if self.stage == Stage::Greeting && self.input.is_empty() {
            // A peer that has said its version already gets our whole greeting, in one write.
            let early = first_poll(pin!(self.read())).await;
            if let Poll::Ready(read) = early {
                self.arrived(read)?;
            }
        }
        let (input, out) = (self.input.for_machine(), self.out.for_machine());
        let next = waiting.process_noting(&mut self.stage, input, out)?;
        self.admit_unasked(&next)?;
        let Handshake::NeedsInput(waiting) = next else {
            return Ok(next);
        };
        self.flush().await?;
        self.note_stage(&waiting);
        let read = if self.stage == Stage::Greeting {
            let time = self.security.limits().greeting_timeout;
            let (clock, deadline) = (self.clock, deadline(self.started, time));
            in_time(clock, deadline, pin!(self.read()))
                .await
                .ok_or(Error::Timeout(Stage::Greeting))?
        } else {
            self.read().await
        };
        self.arrived(read)?;
        Ok(Handshake::NeedsInput(waiting))
    }

    fn read(&mut self) -> impl Future<Output = io::Result<usize>> {
        let most = self.longest_input();
        poll_fn(move |cx| self.stream.poll_read(cx, &mut self.input.room(most)))
    }

    /// The outcome of a read. `Err` if it has brought nothing.
    fn arrived(&self, read: io::Result<usize>) -> Result<(), StepError> {
        match read {
            Ok(0) => Err(Error::ClosedByPeer(self.stage).into()),
            Ok(_) => Ok(()),
            // A close becomes a reset if the peer leaves bytes unread. Elsewhere that says no more.
            Err(error) if is_hangup(&error) && self.stage == Stage::CurveWelcome => {
                Err(Error::ResetByServer(self.stage).into())
            }
            Err(error) if is_hangup(&error) => Err(Error::ClosedByPeer(self.stage).into()),
            Err(error) => Err(StepError::Io("read", error)),
        }
    }

    fn note_stage(&mut self, waiting: &NeedsInput) {
        self.stage = waiting.stage();
        if waiting.has_valid_command() {
            self.owner.spoke();
        }
    }

    async fn ask(&mut self, request: &AccessRequest) -> Result<Verdict, StepError> {
        self.subject = Subject::asked(request, false);
        let asking = pin!(verdict(self.security, self.clock, request));
        let verdict = self.paused(asking).await?;
        Ok(match verdict {
            Verdict::Allow(approval) => {
                self.subject = Subject::asked(request, true);
                match self.owner.admit(Some((request, &approval))) {
                    Ok(()) => {
                        self.admitted = true;
                        Verdict::Allow(approval)
                    }
                    Err(denied) => Verdict::Deny(denied),
                }
            }
            Verdict::Deny(denied) => {
                self.subject = Subject::asked(request, denied.knows_user());
                Verdict::Deny(denied)
            }
        })
    }

    /// Admits a peer that policy is not asked about, before the peer learns so. Under NULL it learns
    /// that from our READY, which does not wait for the peer's.
    fn admit_unasked(&mut self, state: &Handshake) -> Result<(), StepError> {
        match state {
            Handshake::Authorize(_) => return Ok(()),
            _ if self.admitted => return Ok(()),
            Handshake::NeedsInput(waiting) if waiting.stage() != Stage::NullReady => return Ok(()),
            _ => {}
        }
        self.owner.admit(None).map_err(|denied| {
            self.out.wipe();
            Error::Denied(denied)
        })?;
        self.admitted = true;
        Ok(())
    }

    /// Runs `work` during a pause. Abandons it if the peer leaves or sends more than one command
    /// meanwhile, because the outcome is of no use then.
    async fn paused<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, StepError> {
        // Most verdicts are ready at the first poll and cost no pause.
        if let Poll::Ready(outcome) = first_poll(work.as_mut()).await {
            return Ok(outcome);
        }
        self.owner.pause().map_err(Error::Denied)?;
        let outcome = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
            Poll::Pending => self.poll_departure(cx).map(Err),
        })
        .await?;
        self.owner.spoke();
        Ok(outcome)
    }

    /// Reads what the peer sends during a pause, until it leaves or sends more than one command.
    fn poll_departure(&mut self, cx: &mut std::task::Context<'_>) -> Poll<StepError> {
        let limit = self.longest_input();
        loop {
            let error = match ready!(self.stream.poll_read(cx, &mut self.input.room(limit))) {
                Ok(0) => Error::ClosedByPeer(self.stage),
                Ok(_) if self.input.len() > limit => LimitExceeded::HandshakeCommand {
                    size: self.input.len() as u64,
                    limit,
                }
                .into(),
                Ok(_) => continue,
                Err(error) if is_hangup(&error) => Error::ClosedByPeer(self.stage),
                Err(error) => return Poll::Ready(StepError::Io("read", error)),
            };
            return Poll::Ready(error.into());
        }
    }

    /// The longest command, which is the most that waits to be processed.
    fn longest_input(&self) -> usize {
        MAX_HEADER_LEN.saturating_add(self.security.limits().max_handshake_command)
    }

    /// Sends what has been written. A peer that has left is noticed by the next read, because it
    /// may have sent an ERROR before it left.
    async fn flush(&mut self) -> Result<(), StepError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let Err(error) = write_all(&mut self.stream, &mut self.out).await else {
            return Ok(());
        };
        self.out.wipe();
        if is_hangup(&error) {
            return Ok(());
        }
        Err(StepError::Io("write", error))
    }
}

/// Asks policy. On tokio's runtime the router bounds the time of a handler itself, and a refusal that
/// it holds back may take longer. Elsewhere the router has no clock, so this one bounds the time.
async fn verdict(security: &Security, clock: &impl Clock, request: &AccessRequest) -> Verdict {
    let mut asking = pin!(security.authorize(request));
    if let Poll::Ready(verdict) = first_poll(asking.as_mut()).await {
        return verdict;
    }
    if has_timers() {
        return asking.await;
    }
    let deadline = deadline(clock.now(), security.limits().verdict_timeout);
    in_time(clock, deadline, asking)
        .await
        .unwrap_or_else(|| Verdict::deny(DenialStatus::Temporary, "the ZAP handler took too long"))
}
