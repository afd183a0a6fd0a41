//! PUB: sends to all who subscribe (RFC 29).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::options::SocketOptions;
use crate::peers::news::news;
use crate::peers::picking::{TOPIC_BYTES_AT_ONCE, TURNS_AT_ONCE};
use crate::topics::audience::{Audience, Heard, SubscriberStatus};
use crate::topics::judging::Judging;
use crate::topics::subscriber::Admitting;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use zmtp_auth::SocketType;
use zmtp_auth::net::{Message, NetError};

/// A PUB socket: it sends each message to all SUB and XSUB sockets that subscribe to the beginning of
/// its first frame and may have it by the topic permissions of the policy.
///
/// Sending never waits. A subscriber without room for a message misses it, and [`Pub::subscribers`]
/// counts what it has missed. [`Pub::ready_for`] waits for room instead. Subscriptions that have arrived are
/// taken in before each message is sent. Messages of subscribers are dropped.
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
            receives: false,
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

    /// Waits until every subscriber to `message` has room for it, so that [`Pub::send`] then drops it for
    /// none (libzmq's `ZMQ_XPUB_NODROP`). So one slow subscriber holds up all. Cancel-safe.
    pub async fn ready_for(&mut self, message: &Message) {
        poll_fn(|context| self.poll_ready_for(message, context)).await;
    }

    /// As [`Pub::ready_for`]. The task of the last call is woken.
    pub fn poll_ready_for(&mut self, message: &Message, context: &mut Context<'_>) -> Poll<()> {
        self.settle();
        self.audience.poll_ready(message, context)
    }

    /// Waits until a connected peer subscribes to something. For a publisher whose first message is
    /// not to be dropped. Cancel-safe.
    pub async fn subscribed(&mut self) {
        poll_fn(|context| self.poll_subscribed(context)).await;
    }

    /// As [`Pub::subscribed`]. The task of the last call is woken.
    pub fn poll_subscribed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.audience.has_topics() {
            let heard = ready!(self.audience.poll_hear(context));
            self.note(heard);
        }
        Poll::Ready(())
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

    /// Takes in what subscribers have sent. Peers have turns, so that none waits for another's flood, and
    /// what is left waits for the next call.
    fn settle(&mut self) {
        let mut left = TURNS_AT_ONCE;
        let before = self.audience.heard();
        while left > 0 && self.audience.heard().wrapping_sub(before) < TOPIC_BYTES_AT_ONCE {
            let Some(heard) = self.audience.try_hear() else {
                return;
            };
            // Peers that are gone come first, and cost no more than they had.
            left -= usize::from(!matches!(heard, Heard::Gone { .. }));
            self.note(heard);
        }
    }

    fn note(&self, heard: Heard) {
        if let Heard::Refused(Some(event)) = heard {
            self.endpoints.tell(event);
        }
    }
}
