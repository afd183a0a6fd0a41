//! A socket of the type that was asked for.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::task::{Context, Poll};
use zmtp_auth::net::{Endpoint, Message, NetError};
use zmtp_auth::{Security, SocketType};
use zmtp_sockets::{
    AttachError, Dealer, Events, FromSubscriber, Pair, Pub, Pull, Push, Rep, Req, Router,
    SocketOptions, Sub, Xpub, Xsub,
};

/// A socket of one of the types that have a pattern.
pub(crate) enum AnySocket {
    Dealer(Dealer),
    Pair(Pair),
    Pub(Pub),
    Pull(Pull),
    Push(Push),
    Rep(Rep),
    Req(Req),
    Router(Router),
    Sub(Sub),
    Xpub(Xpub),
    Xsub(Xsub),
}

/// Does the same with a socket of any type.
macro_rules! each {
    ($any:expr, $socket:ident => $done:expr) => {
        match $any {
            AnySocket::Dealer($socket) => $done,
            AnySocket::Pair($socket) => $done,
            AnySocket::Pub($socket) => $done,
            AnySocket::Pull($socket) => $done,
            AnySocket::Push($socket) => $done,
            AnySocket::Rep($socket) => $done,
            AnySocket::Req($socket) => $done,
            AnySocket::Router($socket) => $done,
            AnySocket::Sub($socket) => $done,
            AnySocket::Xpub($socket) => $done,
            AnySocket::Xsub($socket) => $done,
        }
    };
}

impl AnySocket {
    /// A socket that subscribes to `topics` if it is a SUB or XSUB.
    ///
    /// # Errors
    /// Returns a usage failure for a draft type.
    pub(crate) fn new(
        socket_type: SocketType,
        options: SocketOptions,
        topics: &[String],
    ) -> Result<Self, Failure> {
        Ok(match socket_type {
            SocketType::Dealer => Self::Dealer(Dealer::with_options(options)),
            SocketType::Pair => Self::Pair(Pair::with_options(options)),
            SocketType::Pub => Self::Pub(Pub::with_options(options)),
            SocketType::Pull => Self::Pull(Pull::with_options(options)),
            SocketType::Push => Self::Push(Push::with_options(options)),
            SocketType::Rep => Self::Rep(Rep::with_options(options)),
            SocketType::Req => Self::Req(Req::with_options(options)),
            SocketType::Router => Self::Router(Router::with_options(options)),
            SocketType::Sub => {
                let mut sub = Sub::with_options(options);
                for topic in topics {
                    sub.subscribe(topic.clone());
                }
                Self::Sub(sub)
            }
            // Every subscription and every end of one is printed.
            SocketType::Xpub => Self::Xpub(Xpub::with_options(options.with_xpub_verboser(true))),
            SocketType::Xsub => {
                let mut xsub = Xsub::with_options(options);
                for topic in topics {
                    xsub.subscribe(topic.clone());
                }
                Self::Xsub(xsub)
            }
            other => {
                return Err(Failure::usage(format_args!(
                    "there is no {other} socket here"
                )));
            }
        })
    }

    pub(crate) fn events(&self) -> Events {
        each!(self, socket => socket.events())
    }

    pub(crate) async fn bind(
        &mut self,
        endpoint: &Endpoint,
        security: Security,
    ) -> Result<Endpoint, Failure> {
        let bound = each!(self, socket => socket.bind(endpoint, security).await);
        bound.map_err(|error| not_attached(endpoint, error))
    }

    pub(crate) fn connect(
        &mut self,
        endpoint: &Endpoint,
        security: Security,
    ) -> Result<(), Failure> {
        let connecting = each!(self, socket => socket.connect(endpoint, security));
        connecting.map_err(|error| not_attached(endpoint, error))
    }

    /// Sends what is queued, then closes.
    pub(crate) async fn close(self) -> Result<(), NetError> {
        match self {
            Self::Pull(pull) => pull.close().await,
            Self::Sub(sub) => sub.close().await,
            Self::Dealer(dealer) => return dealer.close().await,
            Self::Pair(pair) => return pair.close().await,
            Self::Pub(publisher) => return publisher.close().await,
            Self::Push(push) => return push.close().await,
            Self::Rep(rep) => return rep.close().await,
            Self::Req(req) => return req.close().await,
            Self::Router(router) => return router.close().await,
            Self::Xpub(xpub) => return xpub.close().await,
            Self::Xsub(xsub) => return xsub.close().await,
        }
        Ok(())
    }
}

fn not_attached(endpoint: &Endpoint, error: AttachError) -> Failure {
    match error {
        AttachError::Net(error) => Failure::at(&endpoint.to_string(), &error),
        // It follows from the options alone.
        error @ AttachError::NoUserId => Failure::usage(error),
        error => Failure::of(error),
    }
}

/// A socket that sends and receives at any time.
pub(crate) trait BothWays {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<FromSubscriber>;

    /// Waits until there is room for the message.
    fn poll_ready(&mut self, message: &Message, context: &mut Context<'_>) -> Poll<()>;

    /// Queues a message, and returns it if there is no room.
    fn queue(&mut self, message: Message) -> Result<(), Message>;

    /// Whether a message that is sent now waits for a peer, or there is one that may want it.
    fn may_send(&mut self, _has_peers: bool, _has_sent: bool) -> bool {
        true
    }
}

macro_rules! to_one_peer {
    ($socket:ty) => {
        impl BothWays for $socket {
            fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<FromSubscriber> {
                self.poll_recv(context).map(FromSubscriber::Message)
            }

            fn poll_ready(&mut self, _: &Message, context: &mut Context<'_>) -> Poll<()> {
                self.poll_ready(context)
            }

            fn queue(&mut self, message: Message) -> Result<(), Message> {
                self.try_send(message).map_err(|error| error.message)
            }
        }
    };
}

to_one_peer!(Dealer);
to_one_peer!(Pair);

impl BothWays for Xpub {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<FromSubscriber> {
        self.poll_recv(context)
    }

    fn poll_ready(&mut self, message: &Message, context: &mut Context<'_>) -> Poll<()> {
        self.poll_ready_for(message, context)
    }

    fn queue(&mut self, message: Message) -> Result<(), Message> {
        self.send(message);
        Ok(())
    }

    /// The first message waits for a subscription.
    fn may_send(&mut self, _has_peers: bool, has_sent: bool) -> bool {
        has_sent || self.subscribers().any(|it| it.subscriptions > 0)
    }
}

impl BothWays for Xsub {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<FromSubscriber> {
        self.poll_recv(context).map(FromSubscriber::Message)
    }

    fn poll_ready(&mut self, _: &Message, context: &mut Context<'_>) -> Poll<()> {
        self.poll_ready(context)
    }

    fn queue(&mut self, message: Message) -> Result<(), Message> {
        self.send(message);
        Ok(())
    }

    fn may_send(&mut self, has_peers: bool, _has_sent: bool) -> bool {
        has_peers
    }
}
