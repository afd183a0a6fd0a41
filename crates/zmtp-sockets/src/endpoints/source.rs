//! Where the connections of a dialled endpoint come from.
#![forbid(unsafe_code)]

use crate::endpoints::inproc::{Binder, DialledName};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use zmtp_auth::net::{Attempt, Connector, InProcess, NetError, ReconnectPolicy};

/// Makes one connection after another.
pub(crate) enum Source {
    /// Over tcp or ipc.
    Net(Box<Connector>),
    /// Within the process.
    Inproc(Box<InprocDialer>),
}

impl Source {
    /// Whether no later attempt can succeed.
    pub(crate) const fn is_stopped(&self) -> bool {
        match self {
            Self::Net(connector) => connector.is_stopped(),
            // Another socket may be bound at any time.
            Self::Inproc(_) => false,
        }
    }

    /// Waits for the next attempt. Cancel-safe: the next call continues it.
    pub(crate) async fn next_attempt(&mut self) -> Attempt {
        match self {
            Self::Net(connector) => connector.next_attempt().await,
            Self::Inproc(dialer) => dialer.next_attempt().await,
        }
    }
}

/// Connects to the socket that is bound to a name: after a delay if the latest connection was to the same
/// one, and otherwise at once.
pub(crate) struct InprocDialer {
    name: DialledName,
    side: InProcess,
    policy: ReconnectPolicy,
    /// The socket of the latest attempt, and when another one may follow.
    latest: Option<(Weak<Binder>, Retry)>,
    failures: u32,
}

/// When the same socket is tried again.
enum Retry {
    /// After the delay that is due when a connection is lost that was made then.
    AfterLoss(Instant),
    At(Instant),
}

impl InprocDialer {
    pub(crate) const fn new(name: DialledName, side: InProcess, policy: ReconnectPolicy) -> Self {
        Self {
            name,
            side,
            policy,
            latest: None,
            failures: 0,
        }
    }

    async fn next_attempt(&mut self) -> Attempt {
        let binder = self.next_binder().await;
        let outcome = binder.connect(&self.side);
        let latest = Arc::downgrade(&binder);
        match outcome {
            Ok(connection) => {
                self.latest = Some((latest, Retry::AfterLoss(Instant::now())));
                Attempt::Connected(Box::new(connection))
            }
            Err(error) => {
                let delay = match error {
                    // Another type of socket. As over tcp, it is unlikely that a retry mends it.
                    NetError::Handshake(_) => self.policy.slow_delay,
                    _ => self.delay(),
                };
                tracing::info!(endpoint = %binder.endpoint, %error, "cannot connect");
                self.latest = Some((latest, Retry::At(Instant::now() + delay)));
                let retry_after = Some(delay);
                Attempt::Failed { error, retry_after }
            }
        }
    }

    /// Waits until a socket is bound that may be tried now and has room for a peer.
    async fn next_binder(&mut self) -> Arc<Binder> {
        loop {
            let binder = self.name.bound().await;
            if let Some(then) = self.not_before(&binder) {
                tokio::select! {
                    biased;
                    () = self.name.left(&binder) => continue,
                    () = sleep_until(then) => {}
                }
            }
            tokio::select! {
                biased;
                () = self.name.left(&binder) => {}
                () = binder.hub.await_room() => return binder,
            }
        }
    }

    /// When a socket may be tried, unless at once.
    fn not_before(&mut self, binder: &Arc<Binder>) -> Option<Instant> {
        let (latest, retry) = self.latest.as_ref()?;
        if !std::ptr::eq(latest.as_ptr(), Arc::as_ptr(binder)) {
            self.failures = 0;
            return None;
        }
        let then = match *retry {
            Retry::At(then) => then,
            Retry::AfterLoss(connected_at) => {
                if connected_at.elapsed() >= self.policy.stable_after {
                    self.failures = 0;
                }
                let then = Instant::now() + self.delay();
                // If the call is dropped while it waits, the next one waits for what is left.
                self.latest = Some((Arc::downgrade(binder), Retry::At(then)));
                then
            }
        };
        Some(then)
    }

    /// The delay after one more failure: twice as long as before.
    fn delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let delay = self.policy.first_delay.saturating_mul(factor);
        delay.min(self.policy.max_delay)
    }
}
