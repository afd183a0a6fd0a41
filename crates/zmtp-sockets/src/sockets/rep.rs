//! REP: receives requests from many peers in turn, and sends each reply to the peer that asked
//! (RFC 28).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::held::Inlet;
use crate::peers::news::{PipeId, Reporter, news};
use crate::peers::outlet::Outlet;
use crate::peers::routes::{Route, Routes};
use crate::peers::sending::Sending;
use crate::request::{Addressed, Request, Routed};
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::SocketType;
use zmtp_auth::net::{Incoming, NetError};

/// Adds what sends replies.
macro_rules! replying_methods {
    ($socket:ident) => {
        impl $socket {
            /// Queues the reply to a request, and never waits. A reply to a peer that is gone, or that
            /// does not read its replies, is dropped and counted.
            pub fn send(&mut self, reply: Addressed) {
                self.answers.send(reply);
            }

            /// The number of replies that were dropped.
            #[must_use]
            pub const fn undelivered(&self) -> u64 {
                self.answers.undelivered
            }
        }

        sink_of!(Addressed; $socket, answers, |socket, reply| {
            socket.send(reply);
            Ok(())
        });
    };
}

/// Adds what receives requests.
macro_rules! asked_methods {
    ($socket:ident) => {
        impl $socket {
            /// Receives the next request. Waits until there is one, also while there is no peer.
            ///
            /// Cancel-safe: a request stays queued until it is returned.
            pub async fn recv(&mut self) -> Request {
                poll_fn(|context| self.poll_recv(context)).await
            }

            /// Receives a request if one has arrived, and does not wait.
            pub fn try_recv(&mut self) -> Option<Request> {
                self.questions.try_recv()
            }

            /// As `recv`. The task of the last call is woken.
            pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Request> {
                self.questions.poll_recv(context)
            }

            /// The number of requests that were dropped because they had no empty frame before a
            /// body.
            #[must_use]
            pub const fn malformed(&self) -> u64 {
                self.questions.malformed
            }
        }

        stream_of!(Request; $socket);
    };
}

/// A REP socket: it receives requests from REQ and DEALER sockets, one of each peer in turn, and
/// sends each reply to the peer that asked.
///
/// Unlike libzmq's, it may receive several requests before it replies to them, in any order. Each
/// reply takes the envelope of its request along.
///
/// A request without the empty frame before its body is dropped (RFC 28), and so is a reply to a peer
/// that is gone or takes no more. Both are counted.
///
/// It returns every other request, also where the policy has topic permissions, because a REQ waits for a
/// reply: the program decides which one. It asks [`Request::is_permitted`]:
///
/// ```no_run
/// # async fn example(mut rep: zmtp_sockets::Rep) {
/// loop {
///     let request = rep.recv().await;
///     let reply = if request.is_permitted() { "done" } else { "not permitted" };
///     rep.send(request.reply(reply));
/// }
/// # }
/// ```
pub struct Rep {
    endpoints: Endpoints,
    answers: Answers,
    questions: Questions,
}

endpoint_methods!(Rep);
replying_methods!(Rep);
asked_methods!(Rep);

/// The sending half of a [`Rep`].
pub struct RepSender {
    answers: Answers,
    _endpoints: Arc<Endpoints>,
}

replying_methods!(RepSender);

/// The receiving half of a [`Rep`].
pub struct RepReceiver {
    questions: Questions,
    _endpoints: Arc<Endpoints>,
}

asked_methods!(RepReceiver);

/// Where replies go.
struct Answers {
    routes: Routes,
    undelivered: u64,
}

/// Where requests come from.
struct Questions {
    queue: FairQueue<Routed>,
    malformed: u64,
}

/// Gives every peer a route by its pipe, and a place in the fair queue.
struct Replying {
    sending: Reporter<Route>,
    receiving: Reporter<Inlet<Routed>>,
}

impl Pattern for Replying {
    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer,
            sender,
            receiver,
        } = new;
        let routing_id = Bytes::copy_from_slice(&pipe.0.to_be_bytes());
        if let Some(sender) = sender {
            let routing_id = routing_id.clone();
            self.sending.add(pipe, Route { routing_id, sender });
        }
        let data = Routed { peer, routing_id };
        self.receiving.add(pipe, Inlet { receiver, data });
        Ok(())
    }

    fn lost(&self, pipe: PipeId, _has_queue: bool) {
        self.sending.lost(pipe);
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.receiving.retain(pipe, Inlet::is_open)
    }

    fn remove(&self, pipe: PipeId) {
        self.sending.remove(pipe);
        self.receiving.remove(pipe);
    }
}

impl Rep {
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
        let pattern = Replying { sending, receiving };
        let endpoints = Endpoints::new(SocketType::Rep, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            answers: Answers {
                routes: Routes::new(sent),
                undelivered: 0,
            },
            questions: Questions {
                queue: FairQueue::new(received).with_events(Told::new(events, |from| &from.peer)),
                malformed: 0,
            },
        }
    }

    /// Splits the socket into two halves for two tasks. The endpoints are given up when both are
    /// dropped.
    #[must_use]
    pub fn split(self) -> (RepSender, RepReceiver) {
        let endpoints = Arc::new(self.endpoints);
        let sender = RepSender {
            answers: self.answers,
            _endpoints: Arc::clone(&endpoints),
        };
        let receiver = RepReceiver {
            questions: self.questions,
            _endpoints: endpoints,
        };
        (sender, receiver)
    }

    /// Sends what is queued, then closes. What was not received is dropped.
    ///
    /// Cancel-safe: dropping the future does the same in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(mut self) -> Result<(), NetError> {
        drop(self.questions);
        let outlets = self
            .answers
            .routes
            .drain()
            .into_iter()
            .map(Outlet::Connection);
        close(self.endpoints, outlets.collect()).await
    }

    fn settle(&mut self) {
        self.answers.routes.take_news();
        self.questions.queue.take_news();
    }
}

impl Answers {
    fn send(&mut self, reply: Addressed) {
        let (routing_id, answered, message) = reply.into_parts();
        let sent = self
            .routes
            .try_send(&routing_id, answered.as_deref(), message);
        if sent.is_err() {
            self.undelivered = self.undelivered.saturating_add(1);
        }
    }
}

impl Sending for Answers {
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.routes.poll_sent(context)
    }
}

impl Questions {
    fn try_recv(&mut self) -> Option<Request> {
        let Self { queue, malformed } = self;
        queue.try_pick(|from, incoming| request(from, incoming, malformed))
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Request> {
        let Self { queue, malformed } = self;
        queue.poll_pick(context, |from, incoming| request(from, incoming, malformed))
    }
}

/// The request, if it is one. What is malformed is counted.
fn request(from: &Routed, incoming: Incoming, malformed: &mut u64) -> Option<Request> {
    let request = Request::to_rep(incoming.into_message()?, from.clone());
    if request.is_none() {
        *malformed = malformed.saturating_add(1);
    }
    request
}
