//! Sending to many peers in turn, and receiving from them in turn.
#![forbid(unsafe_code)]

use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::TurnedAway;
use crate::peers::held::Inlet;
use crate::peers::news::{PipeId, Reporter};
use crate::peers::outlet::Outlet;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_auth::net::SendQueue;

/// Gives every peer to the round-robin and to the fair queue.
pub(crate) struct BothWays {
    pub(crate) sending: Reporter<Outlet>,
    pub(crate) receiving: Reporter<Inlet<Arc<Peer>>>,
    pub(crate) immediate: bool,
}

impl Pattern for BothWays {
    fn queues_for_dialled(&self) -> bool {
        !self.immediate
    }

    fn keep(&self, pipe: PipeId, queue: SendQueue) {
        self.sending.add(pipe, Outlet::Dialled(queue));
    }

    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer: data,
            sender,
            receiver,
        } = new;
        // In this order, so that a REQ knows the peers it asks.
        self.receiving.add(pipe, Inlet { receiver, data });
        if let Some(sender) = sender {
            self.sending.add(pipe, Outlet::Connection(sender));
        }
        Ok(())
    }

    fn lost(&self, pipe: PipeId, has_queue: bool) {
        // What has arrived is still received.
        if !has_queue {
            self.sending.lost(pipe);
        }
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.receiving.retain(pipe, Inlet::is_open)
    }

    fn revoked(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.sending.lost(pipe);
        }
        self.receiving.withdraw(pipe, Inlet::is_admitted);
    }

    fn remove(&self, pipe: PipeId) {
        self.sending.remove(pipe);
        self.receiving.remove(pipe);
    }
}

/// Adds the methods of a socket with a round-robin in the field `sender` and a fair queue in the field
/// `receiver`, and its halves.
macro_rules! both_ways_methods {
    ($socket:ident, $sender:ident, $receiver:ident) => {
        #[doc = concat!("The sending half of a [`", stringify!($socket), "`].")]
        pub struct $sender {
            sender: crate::peers::round_robin::RoundRobin,
            _endpoints: std::sync::Arc<crate::endpoints::handle::Endpoints>,
        }

        #[doc = concat!("The receiving half of a [`", stringify!($socket), "`].")]
        pub struct $receiver {
            receiver: crate::peers::fair_queue::FairQueue<std::sync::Arc<zmtp_auth::Peer>>,
            _endpoints: std::sync::Arc<crate::endpoints::handle::Endpoints>,
        }

        sending_methods!($socket, sender);
        sending_methods!($sender, sender);
        receiving_methods!($socket, receiver);
        receiving_methods!($receiver, receiver);

        impl $socket {
            /// Splits the socket into two halves for two tasks. The endpoints are given up when both are
            /// dropped.
            #[must_use]
            pub fn split(self) -> ($sender, $receiver) {
                let endpoints = std::sync::Arc::new(self.endpoints);
                let sender = $sender {
                    sender: self.sender,
                    _endpoints: std::sync::Arc::clone(&endpoints),
                };
                let receiver = $receiver {
                    receiver: self.receiver,
                    _endpoints: endpoints,
                };
                (sender, receiver)
            }

            /// Sends what is queued, then closes. What was not received is dropped.
            ///
            /// Cancel-safe: dropping the future does the same in the background.
            ///
            /// # Errors
            /// Returns [`NetError::Unsent`](zmtp_auth::net::NetError::Unsent) if not everything had left
            /// within the linger time.
            pub async fn close(mut self) -> Result<(), zmtp_auth::net::NetError> {
                drop(self.receiver);
                let outlets = self.sender.drain();
                crate::endpoints::handle::close(self.endpoints, outlets).await
            }

            fn settle(&mut self) {
                self.sender.take_news();
                self.receiver.take_news();
            }
        }
    };
}

/// Adds the methods of a socket or half that sends to peers in turn, by a round-robin in this field.
macro_rules! sending_methods {
    ($socket:ident, $field:ident) => {
        impl $socket {
            /// Queues a message for the next peer that has room. Waits while no peer has room.
            ///
            /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
            pub async fn send(&mut self, message: impl Into<zmtp_auth::net::Message>) {
                self.$field.send(message.into()).await;
            }

            /// Queues a message if a peer has room, and does not wait.
            ///
            /// # Errors
            /// Returns the message with [`SendReason::Full`](crate::SendReason::Full) if no peer has
            /// room.
            pub fn try_send(
                &mut self,
                message: impl Into<zmtp_auth::net::Message>,
            ) -> Result<(), crate::SendError> {
                let sent = self.$field.try_send(message.into());
                sent.map(drop).map_err(crate::SendError::full)
            }

            /// Waits until a peer has room: `try_send` then succeeds, unless the peer goes away in
            /// between. For a task that sends and receives at once. The task of the last call is woken.
            pub fn poll_ready(
                &mut self,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<()> {
                self.$field.poll_ready(context)
            }
        }

        sink_of!(zmtp_auth::net::Message; $socket, $field, |socket, message| {
            socket.$field.put(message).map_err(crate::SendError::full)
        });
    };
}

/// Adds the methods of a socket or half that receives from peers in turn, by a fair queue in this
/// field.
macro_rules! receiving_methods {
    ($socket:ident, $field:ident) => {
        impl $socket {
            /// Receives the next message. Waits until there is one, also while there is no peer.
            ///
            /// Cancel-safe: a message stays queued until it is returned.
            pub async fn recv(&mut self) -> crate::Received {
                std::future::poll_fn(|context| self.poll_recv(context)).await
            }

            /// Receives a message if one has arrived, and does not wait.
            pub fn try_recv(&mut self) -> Option<crate::Received> {
                self.$field.try_pick(crate::Received::of)
            }

            /// As `recv`. The task of the last call is woken.
            pub fn poll_recv(
                &mut self,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<crate::Received> {
                self.$field.poll_pick(context, crate::Received::of)
            }
        }

        stream_of!(crate::Received; $socket);
    };
}
