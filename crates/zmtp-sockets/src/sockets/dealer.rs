//! DEALER: sends to many peers in turn, and receives from them in turn (RFC 28).
#![forbid(unsafe_code)]

use crate::endpoints::handle::Endpoints;
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::news::news;
use crate::peers::round_robin::RoundRobin;
use crate::sockets::shared::both_ways::BothWays;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::net::Message;
use zmtp_auth::{Peer, SocketType};

/// A DEALER socket: it sends each message to the next peer that has room, and receives one message of
/// each peer in turn. It talks to ROUTER, DEALER and REP sockets.
///
/// Messages pass as they are. For a REP, an empty frame comes before the body (RFC 28).
pub struct Dealer {
    endpoints: Endpoints,
    sender: RoundRobin,
    receiver: FairQueue<Arc<Peer>>,
}

endpoint_methods!(Dealer);
both_ways_methods!(Dealer, DealerSender, DealerReceiver);
topic_methods!(Dealer, receiver);

impl Dealer {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (sending, sent) = news();
        let (receiving, received) = news();
        let pattern = BothWays {
            sending,
            receiving,
            immediate: options.immediate,
        };
        let endpoints = Endpoints::new(SocketType::Dealer, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            sender: RoundRobin::new(sent),
            receiver: FairQueue::new(received)
                .with_topic_permissions(TopicFrame::BehindDelimiter)
                .with_events(Told::new(events, |peer| peer)),
        }
    }

    pub(crate) fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.sender.poll_send(message, context).map(drop)
    }
}
