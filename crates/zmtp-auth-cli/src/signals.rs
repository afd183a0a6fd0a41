//! Signals. SIGHUP reloads the policy. The first SIGTERM or SIGINT ends the program in order, the
//! second at once.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::future::{Future, pending};
use std::io;
use std::time::Duration;

/// How long an end by signal may take, for peers to receive what was sent and for the reader of
/// stdout to take the last events. 5 s, since supervisors wait 10 s or more before they kill.
const ENDING: Duration = Duration::from_secs(5);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    #[cfg_attr(not(unix), expect(dead_code, reason = "SIGHUP is a signal of unix"))]
    Reload,
    Stop,
}

/// The signals that the program handles.
pub(crate) struct Signals {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes over the signals: they no longer end the process by themselves.
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

    /// The next signal. Cancel-safe.
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

    /// Waits for a signal that asks to end. Cancel-safe.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }

    /// Runs `ending` after a signal, for at most [`ENDING`] and until a second signal.
    pub(crate) async fn end(
        &mut self,
        ending: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.end_within(tokio::time::sleep(ENDING), ending).await
    }

    /// Runs `ending` without a time limit, until a signal asks to stop.
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
            () = bound => "it took too long",
            () = self.stop() => "a signal came",
        };
        Err(Failure::new(format_args!(
            "ended before everything was sent and written: {why}"
        )))
    }
}
