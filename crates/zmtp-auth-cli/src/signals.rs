//! Signals: SIGHUP asks to load the policy again, SIGTERM and SIGINT to end in order, and the
//! second of these to end at once.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::future::{Future, pending};
use std::io;
use std::time::Duration;

/// Time that an end by signal may take: for peers to take what was sent to them, and for a reader
/// of stdout to take the last events. Supervisors wait for 10 s or more before they kill.
const ENDING: Duration = Duration::from_secs(5);

/// What the process was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Reload,
    Stop,
}

/// What comes from outside.
pub(crate) struct Signals {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on signals are told here and do not end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        tokio::select! {
            Some(()) = self.hangup.recv() => Signal::Reload,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            Signal::Stop
        }
    }

    /// The next that asks to end. Cancel-safe.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }

    /// Ends what a signal asked to end: in order, unless that takes too long or a second signal
    /// comes.
    pub(crate) async fn end(
        &mut self,
        ending: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.end_within(tokio::time::sleep(ENDING), ending).await
    }

    /// Ends what has come to its end by itself: in order, for as long as no signal comes.
    pub(crate) async fn end_patiently(
        &mut self,
        ending: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.end_within(pending(), ending).await
    }

    async fn end_within(
        &mut self,
        bound: impl Future<Output = ()>,
        ending: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let why = tokio::select! {
            ended = ending => return ended,
            () = bound => "it was not taken in time",
            () = self.stop() => "a signal came",
        };
        Err(Failure::new(format_args!(
            "ended before all was sent and written: {why}"
        )))
    }
}
