//! ROUTER: sends to one peer out of many by its routing id, and receives from all in turn (RFC 28).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::error::{SendError, SendReason};
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::held::Inlet;
use crate::peers::news::{PipeId, Reporter, news};
use crate::peers::outlet::Outlet;
use crate::peers::routes::{Route, Routes, Unroutable};
use crate::peers::routing_ids::{Assigned, RoutingIds};
use crate::request::{Addressed, Request, Routed};
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use zmtp_auth::SocketType;
use zmtp_auth::net::{Incoming, Message, NetError};

/// A ROUTER socket: it receives from many peers in turn and knows each by a routing id, by which it
/// sends to that peer. It talks to REQ, DEALER and ROUTER sockets.
///
/// A peer may claim its routing id. The claim is bound to the authenticated user: while a peer is
/// connected, another user's claim to its id is turned away, which is an event, and another connection
/// of the same user takes the id over. A peer without a claim gets an id of five bytes that begins with
/// 0.
///
/// Sending never waits. A message to a peer that is unknown or full is given back.
///
/// It returns every message, also where the policy has topic permissions: a ROUTER often receives what is
/// no topic, such as the envelope of another peer. A program that wants them drops what
/// [`Request::is_permitted`] says no to:
///
/// ```no_run
/// # async fn example(mut router: zmtp_sockets::Router) {
/// loop {
///     let request = router.recv().await;
///     if !request.is_permitted() {
///         continue;
///     }
///     // ..
/// }
/// # }
/// ```
pub struct Router {
    endpoints: Endpoints,
    routes: Routes,
    queue: FairQueue<Routed>,
}

endpoint_methods!(Router);
stream_of!(Request; Router, RouterReceiver);
sink_of!(Addressed; Router, routes, Router::send);
sink_of!(Addressed; RouterSender, routes, RouterSender::send);

/// The sending half of a [`Router`].
pub struct RouterSender {
    routes: Routes,
    _endpoints: Arc<Endpoints>,
}

/// The receiving half of a [`Router`].
pub struct RouterReceiver {
    queue: FairQueue<Routed>,
    _endpoints: Arc<Endpoints>,
}

/// Gives every peer a routing id, a route and a place in the fair queue.
struct Routing {
    sending: Reporter<Route>,
    receiving: Reporter<Inlet<Routed>>,
    ids: Mutex<RoutingIds>,
}

impl Routing {
    fn ids<T>(&self, change: impl FnOnce(&mut RoutingIds) -> T) -> T {
        change(&mut self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pattern for Routing {
    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer,
            sender,
            receiver,
        } = new;
        // All of it under one lock, so that the socket hears of takeovers in their order. What was told
        // wakes the socket when the lock is free.
        let _told = self.ids(|ids| {
            let Assigned {
                routing_id,
                displaced,
            } = ids.assign(pipe, &peer)?;
            let displaced = displaced.map(|displaced| {
                let unsent = self.sending.lost(displaced);
                (unsent, self.receiving.finish(displaced))
            });
            let route = sender.map(|sender| {
                let routing_id = routing_id.clone();
                self.sending.add(pipe, Route { routing_id, sender })
            });
            let data = Routed { peer, routing_id };
            let inlet = self.receiving.add(pipe, Inlet { receiver, data });
            Ok((displaced, route, inlet))
        })?;
        Ok(())
    }

    fn routing_id(&self, pipe: PipeId) -> Option<Bytes> {
        self.ids(|ids| ids.of(pipe))
    }

    fn lost(&self, pipe: PipeId, _has_queue: bool) {
        self.ids(|ids| ids.release(pipe));
        self.sending.lost(pipe);
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.receiving.retain(pipe, Inlet::is_open)
    }

    fn remove(&self, pipe: PipeId) {
        self.ids(|ids| ids.release(pipe));
        self.sending.remove(pipe);
        self.receiving.remove(pipe);
    }
}

impl Router {
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
        let pattern = Routing {
            sending,
            receiving,
            ids: Mutex::new(RoutingIds::new(options.route_by)),
        };
        let endpoints = Endpoints::new(SocketType::Router, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            routes: Routes::new(sent),
            queue: FairQueue::new(received).with_events(Told::new(events, |from| &from.peer)),
        }
    }

    /// Queues a message for one peer, and never waits.
    ///
    /// # Errors
    /// Returns the message with [`SendReason::NoRoute`] if no peer has the routing id, and with
    /// [`SendReason::Full`] if the peer has as many messages queued as its marks allow. To drop such
    /// messages, as a ROUTER of libzmq does without `ZMQ_ROUTER_MANDATORY`, ignore the error.
    pub fn send(&mut self, addressed: Addressed) -> Result<(), SendError> {
        send(&mut self.routes, addressed)
    }

    /// Receives the next message. Waits until there is one, also while there is no peer.
    ///
    /// Cancel-safe: a message stays queued until it is returned.
    pub async fn recv(&mut self) -> Request {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Receives a message if one has arrived, and does not wait.
    pub fn try_recv(&mut self) -> Option<Request> {
        self.queue.try_pick(request)
    }

    /// As [`Router::recv`]. The task of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Request> {
        self.queue.poll_pick(context, request)
    }

    /// Splits the socket into two halves for two tasks. The endpoints are given up when both are
    /// dropped.
    #[must_use]
    pub fn split(self) -> (RouterSender, RouterReceiver) {
        let endpoints = Arc::new(self.endpoints);
        let sender = RouterSender {
            routes: self.routes,
            _endpoints: Arc::clone(&endpoints),
        };
        let receiver = RouterReceiver {
            queue: self.queue,
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
        drop(self.queue);
        let outlets = self.routes.drain().into_iter().map(Outlet::Connection);
        close(self.endpoints, outlets.collect()).await
    }

    /// From now on, drops what its sender may not publish.
    pub(crate) fn apply_topic_permissions(&mut self) {
        self.queue
            .apply_topic_permissions(TopicFrame::BehindDelimiter);
    }

    /// Sends a message whose first frame is the routing id. What has no route, or no room, is dropped.
    pub(crate) fn send_routed(&mut self, message: Message) {
        let mut frames = message.into_frames();
        let routing_id = frames.remove(0);
        if !frames.is_empty() {
            let _ = self.send(Addressed::new(routing_id, frames));
        }
    }

    fn settle(&mut self) {
        self.routes.take_news();
        self.queue.take_news();
    }
}

impl RouterSender {
    /// As [`Router::send`].
    ///
    /// # Errors
    /// As [`Router::send`].
    pub fn send(&mut self, addressed: Addressed) -> Result<(), SendError> {
        send(&mut self.routes, addressed)
    }
}

impl RouterReceiver {
    /// As [`Router::recv`].
    pub async fn recv(&mut self) -> Request {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`Router::try_recv`].
    pub fn try_recv(&mut self) -> Option<Request> {
        self.queue.try_pick(request)
    }

    /// As [`Router::poll_recv`].
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Request> {
        self.queue.poll_pick(context, request)
    }
}

fn send(routes: &mut Routes, addressed: Addressed) -> Result<(), SendError> {
    let (routing_id, answered, message) = addressed.into_parts();
    routes
        .try_send(&routing_id, answered.as_deref(), message)
        .map_err(|unroutable| match unroutable {
            Unroutable::Full(message) => SendError::full(message),
            Unroutable::Unknown(message) => SendError {
                message,
                reason: SendReason::NoRoute(routing_id),
            },
        })
}

fn request(from: &Routed, incoming: Incoming) -> Option<Request> {
    Some(Request::to_router(incoming.into_message()?, from.clone()))
}
