//! A socket of the type that was asked for.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::task::{Context, Poll};
use zmtp_auth::net::{Endpoint, Message, NetError};
use zmtp_auth::{Security, SocketType};
use zmtp_sockets::{
    AttachError, Dealer, Events, Pair, Pull, Push, Received, Rep, Req, Router, SocketOptions,
};

/// A socket of one of the types that speak to many peers by a pattern.
pub(crate) enum AnySocket {
    Dealer(Dealer),
    Pair(Pair),
    Pull(Pull),
    Push(Push),
    Rep(Rep),
    Req(Req),
    Router(Router),
}

/// Does the same with a socket of any type.
macro_rules! each {
    ($any:expr, $socket:ident => $done:expr) => {
        match $any {
            AnySocket::Dealer($socket) => $done,
            AnySocket::Pair($socket) => $done,
            AnySocket::Pull($socket) => $done,
            AnySocket::Push($socket) => $done,
            AnySocket::Rep($socket) => $done,
            AnySocket::Req($socket) => $done,
            AnySocket::Router($socket) => $done,
        }
    };
}

impl AnySocket {
    /// `None` for a type that publishes or subscribes.
    pub(crate) fn new(socket_type: SocketType, options: SocketOptions) -> Option<Self> {
        Some(match socket_type {
            SocketType::Dealer => Self::Dealer(Dealer::with_options(options)),
            SocketType::Pair => Self::Pair(Pair::with_options(options)),
            SocketType::Pull => Self::Pull(Pull::with_options(options)),
            SocketType::Push => Self::Push(Push::with_options(options)),
            SocketType::Rep => Self::Rep(Rep::with_options(options)),
            SocketType::Req => Self::Req(Req::with_options(options)),
            SocketType::Router => Self::Router(Router::with_options(options)),
            _ => return None,
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
        bound.map_err(|error| match error {
            AttachError::Net(error) => Failure::at(&endpoint.to_string(), &error),
            error => Failure::of(error),
        })
    }

    /// Sends what is queued, then closes.
    pub(crate) async fn close(self) -> Result<(), NetError> {
        match self {
            Self::Pull(pull) => pull.close().await,
            Self::Dealer(dealer) => return dealer.close().await,
            Self::Pair(pair) => return pair.close().await,
            Self::Push(push) => return push.close().await,
            Self::Rep(rep) => return rep.close().await,
            Self::Req(req) => return req.close().await,
            Self::Router(router) => return router.close().await,
        }
        Ok(())
    }
}

/// A socket that sends and receives at any time.
pub(crate) trait BothWays {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Received>;
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()>;
    /// Queues a message, and returns it if there is no room.
    fn queue(&mut self, message: Message) -> Result<(), Message>;
}

macro_rules! both_ways {
    ($socket:ty) => {
        impl BothWays for $socket {
            fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Received> {
                self.poll_recv(context)
            }

            fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
                self.poll_ready(context)
            }

            fn queue(&mut self, message: Message) -> Result<(), Message> {
                self.try_send(message).map_err(|error| error.message)
            }
        }
    };
}

both_ways!(Dealer);
both_ways!(Pair);
