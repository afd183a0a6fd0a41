//! PUB: sends to all who subscribe (RFC 29).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::options::SocketOptions;
use crate::peers::news::news;
use crate::topics::audience::{Audience, Heard, SubscriberStatus};
use crate::topics::judging::Judging;
use crate::topics::subscriber::Admitting;
use zmtp_auth::SocketType;
use zmtp_auth::net::{Message, NetError};

/// Subscriptions that one call takes in at most: 1,024, which take less than a millisecond. Peers have
/// turns, so that none waits for another's flood, and what is left waits for the next call.
const SUBSCRIPTIONS_AT_ONCE: usize = 1024;

/// A PUB socket: it sends each message to all SUB and XSUB sockets that subscribe to the beginning of
/// its first frame and may have it by the topic permissions of the policy.
///
/// Sending never waits. A subscriber without room for a message misses it, and [`Pub::subscribers`]
/// counts what it has missed. Subscriptions that have arrived are taken in before each message is sent.
/// Messages of subscribers are dropped.
pub struct Pub {
    endpoints: Endpoints,
    audience: Audience,
}

endpoint_methods!(Pub);
sink_of!(Message; Pub, audience, |socket, message| {
    socket.send(message);
    Ok(())
});

impl Pub {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (reporter, news) = news();
        let judging = Judging::default();
        let bounds = options.bounds();
        let pattern = Admitting {
            reporter,
            judging: judging.clone(),
            welcome: None,
        };
        Self {
            endpoints: Endpoints::new(SocketType::Pub, options, pattern),
            audience: Audience::new(news, judging, bounds),
        }
    }

    /// Queues a message for all who subscribe to the beginning of its first frame. Never waits.
    pub fn send(&mut self, message: impl Into<Message>) {
        self.settle();
        self.audience.send(message.into());
    }

    /// The subscribers that are connected: what each subscribes to, and what it has missed.
    pub fn subscribers(&mut self) -> impl Iterator<Item = SubscriberStatus> {
        self.settle();
        self.audience.status()
    }

    /// Sends what is queued, then closes.
    ///
    /// Cancel-safe: dropping the future does the same in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(mut self) -> Result<(), NetError> {
        let outlets = self.audience.drain();
        close(self.endpoints, outlets).await
    }

    /// Takes in what subscribers have sent.
    fn settle(&mut self) {
        let mut left = SUBSCRIPTIONS_AT_ONCE;
        while left > 0 {
            match self.audience.try_hear() {
                // Peers that are gone come first, and cost no more than they had.
                Some(Heard::Gone { .. }) => {}
                Some(Heard::Refused(event)) => {
                    left -= 1;
                    if let Some(event) = event {
                        self.endpoints.tell(event);
                    }
                }
                Some(_) => left -= 1,
                None => return,
            }
        }
    }
}
