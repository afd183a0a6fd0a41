//! A client that connects again after each connection, and reports why an attempt failed.
#![forbid(unsafe_code)]

use crate::crypto::random::{self, OsRandom};
use crate::net::connection::handle::Connection;
use crate::net::connection::queue::producer::KeptQueue;
use crate::net::connection::queue::run::Queued;
use crate::net::connection::send_queue::SendQueue;
use crate::net::connection::sendable::require_sendable;
use crate::net::deadline::deadline;
use crate::net::endpoint::{Endpoint, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::negotiate::typed;
use crate::net::options::Options;
use crate::security::Security;
use crate::traffic::message::Message;
use crate::with_causes::WithCauses;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// Makes connections to one endpoint, one at a time. Each call of [`Connector::next`] makes a new
/// one, after a delay that [`ReconnectPolicy`](crate::net::ReconnectPolicy) determines.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_auth::{Config, KeyPair, PublicKey, SocketType, net::Connector};
///
/// let server = PublicKey::from_z85("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")?;
/// let config = Config::builder(SocketType::Pull)
///     .curve_client(KeyPair::generate()?, server)
///     .finish()?;
/// let mut connector = Connector::new("tcp://example.org:5555", config)?;
/// loop {
///     // Fails only if no later attempt can succeed.
///     let mut connection = connector.next().await?;
///     while let Ok(message) = connection.recv_message().await {
///         println!("{message:?}");
///     }
/// }
/// # }
/// ```
pub struct Connector {
    endpoint: Endpoint,
    security: Security,
    options: Options,
    /// What the connections send from, if they share a queue.
    queue: Option<KeptQueue<Queued>>,
    /// Failures in a row. A connection that did not last counts as one.
    failures: u32,
    /// When the latest connection was made, until it is known whether it lasted.
    connected_at: Option<Instant>,
    /// The next attempt is not made before then.
    wait_until: Option<Instant>,
    /// The attempt in progress. It is kept here so that the next call continues an attempt whose
    /// call was dropped, for example in a `select!`.
    attempt: Option<Dialing>,
    last_error: Option<NetError>,
    stopped: bool,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Connection, NetError>> + Send>>;

/// The outcome of one attempt.
#[must_use = "the attempt may hold a connection, which closes when it is dropped"]
#[derive(Debug)]
#[non_exhaustive]
pub enum Attempt {
    /// A connection. Boxed because it is much larger than a failure.
    Connected(Box<Connection>),
    /// No connection.
    Failed {
        /// Why.
        error: NetError,
        /// How long [`Connector::next_attempt`] waits before it tries again; `None` if it does not
        /// try again.
        retry_after: Option<Duration>,
    },
}

impl Connector {
    /// A connector with default [`Options`]. It connects when [`Connector::next`] is first called.
    ///
    /// # Errors
    /// Returns [`NetError::Endpoint`] if the text is no endpoint, or one that cannot be connected
    /// to, and [`NetError::SocketTypeMissing`] if the configuration is of no type.
    pub fn new(
        endpoint: impl IntoEndpoint,
        security: impl Into<Security>,
    ) -> Result<Self, NetError> {
        Self::with_options(endpoint, security, Options::default())
    }

    /// As [`Connector::new`], with `options`.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn with_options(
        endpoint: impl IntoEndpoint,
        security: impl Into<Security>,
        options: Options,
    ) -> Result<Self, NetError> {
        let endpoint = endpoint.into_endpoint()?;
        endpoint.require_connectable()?;
        Ok(Self {
            endpoint,
            security: typed(security)?,
            options,
            queue: None,
            failures: 0,
            connected_at: None,
            wait_until: None,
            attempt: None,
            last_error: None,
            stopped: false,
        })
    }

    /// Lets every connection send what is queued in `queue`, whose messages so outlive each of them.
    /// A connection takes messages from the queue while it lives, and what it has not taken waits for
    /// the next one. Use one connection at a time: an attempt fails with [`NetError::QueueInUse`]
    /// while an earlier connection still has the queue.
    ///
    /// The [`SendHalf`](crate::net::SendHalf) of such a connection pushes to the same queue.
    #[must_use]
    pub fn with_queue(mut self, queue: &SendQueue) -> Self {
        self.queue = Some(queue.source());
        self
    }

    /// Whether the queue of [`Connector::with_queue`] is closed and nothing waits in it, so that no
    /// connection has anything to send.
    #[must_use]
    pub fn has_sent_all(&self) -> bool {
        self.queue.as_ref().is_some_and(KeptQueue::is_finished)
    }

    /// Tries until there is a new connection. Cancel-safe: the next call continues the attempt.
    ///
    /// # Errors
    /// Returns the failure of an attempt if no later attempt can succeed. Later calls return the
    /// same failure.
    pub async fn next(&mut self) -> Result<Connection, NetError> {
        loop {
            match self.next_attempt().await {
                Attempt::Connected(connection) => return Ok(*connection),
                Attempt::Failed {
                    error,
                    retry_after: None,
                } => return Err(error),
                Attempt::Failed { .. } => {}
            }
        }
    }

    /// Waits for the delay that is due, then makes one attempt. Cancel-safe, as
    /// [`Connector::next`].
    ///
    /// After a failure without a retry, every call fails at once until [`Connector::reset`]. So it does
    /// after a connection with [`ReconnectPolicy::once`](crate::net::ReconnectPolicy::once), with
    /// [`NetError::Closed`].
    pub async fn next_attempt(&mut self) -> Attempt {
        if self.stopped {
            let error = self.last_error.clone().unwrap_or(NetError::Closed);
            let retry_after = None;
            return Attempt::Failed { error, retry_after };
        }
        self.judge_last_connection();
        if self.attempt.is_none()
            && let Some(then) = self.wait_until
        {
            tokio::time::sleep_until(then).await;
        }
        let outcome = self
            .attempt
            .get_or_insert_with(|| {
                Self::dial(
                    self.endpoint.clone(),
                    self.security.clone(),
                    self.options.clone(),
                    self.queue.clone(),
                )
            })
            .await;
        self.attempt = None;
        match outcome {
            Ok(connection) => {
                self.connected_at = Some(Instant::now());
                self.stopped = self.options.reconnect.once;
                Attempt::Connected(Box::new(connection))
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let policy = &self.options.reconnect;
                let mechanism = self.security.mechanism();
                let retry_after = policy.delay(&error, mechanism, self.failures, chance());
                self.stopped = retry_after.is_none();
                self.wait_until = retry_after.map(|delay| deadline(Instant::now(), delay));
                tracing::info!(endpoint = %self.endpoint, error = %WithCauses(&error), ?retry_after,
                    "cannot connect");
                self.last_error = Some(error.clone());
                Attempt::Failed { error, retry_after }
            }
        }
    }

    fn dial(
        endpoint: Endpoint,
        security: Security,
        options: Options,
        queue: Option<KeptQueue<Queued>>,
    ) -> Dialing {
        Box::pin(
            async move { Connection::dial(&endpoint, &security, &options, queue.as_ref()).await },
        )
    }

    /// The error of the latest attempt that failed. Kept until the next failure.
    #[must_use]
    pub const fn last_error(&self) -> Option<&NetError> {
        self.last_error.as_ref()
    }

    /// Whether it has stopped, because no later attempt can succeed or one was to be made.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Forgets past failures: the next attempt is made at once.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.stopped = false;
        self.connected_at = None;
        self.wait_until = None;
    }

    /// Checks that our type of socket subscribes: SUB and XSUB only.
    pub(crate) fn require_subscriber(&self) -> Result<(), NetError> {
        match self.security.socket_type() {
            Some(ours) if !ours.subscribes() => Err(NetError::CannotSubscribe(ours)),
            _ => Ok(()),
        }
    }

    /// Checks that our type of socket may send this message.
    pub(crate) fn require_sendable(&self, message: &Message) -> Result<(), NetError> {
        match self.security.socket_type() {
            Some(ours) => require_sendable(ours, message),
            None => Ok(()),
        }
    }

    /// Counts a connection that was lost at once as a failure. Otherwise a server that admits us
    /// and then crashes would be called without pause.
    fn judge_last_connection(&mut self) {
        let Some(connected_at) = self.connected_at.take() else {
            return;
        };
        let policy = &self.options.reconnect;
        if connected_at.elapsed() >= policy.stable_after {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = policy.delay_after_loss(self.failures, chance());
        self.wait_until = Some(deadline(Instant::now(), delay));
    }
}

/// A random number. If the random source fails, delays are not shortened, which is harmless.
pub(crate) fn chance() -> u64 {
    random::array(&OsRandom).map_or(u64::MAX, u64::from_ne_bytes)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("endpoint", &self.endpoint)
            .field("failures", &self.failures)
            .field("last_error", &self.last_error)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
