//! One peer of a PUB, SUB, XPUB or XSUB that listens: prints what it sends, and sends it the messages for
//! it.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::socket::frames::Shown;
use crate::socket::outlet::{Recipient, Recipients};
use crate::socket::who::Who;
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::sync::watch;
use zmtp_auth::net::{Connection, Incoming, Message, NetError};
use zmtp_auth::{Peer, SocketType, WithCauses};

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Accepted {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        address: String,
        socket_type: Option<&'static str>,
        claims: BTreeMap<String, Shown>,
    },
    Message {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        frames: Vec<Shown>,
    },
    Subscribed {
        peer: u64,
        topic: Shown,
    },
    Unsubscribed {
        peer: u64,
        topic: Shown,
    },
    Closed {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        reason: String,
    },
}

/// One peer.
pub(crate) struct Conversation {
    pub(crate) id: u64,
    pub(crate) who: Who,
    pub(crate) ours: SocketType,
    pub(crate) events: Events,
    pub(crate) recipients: Option<Recipients>,
}

impl Conversation {
    /// Prints what the peer sends until it closes, or until the program stops.
    pub(crate) async fn hold(
        self,
        mut connection: Connection,
        mut stopped: watch::Receiver<()>,
    ) -> Result<(), Failure> {
        // A full stdout or a peer that does not read must not delay the end of the program.
        let reason = tokio::select! {
            ended = self.exchange(&mut connection) => WithCauses(&ended?).to_string(),
            _ = stopped.changed() => match connection.close().await {
                Ok(()) | Err(NetError::Closed) => "this side has stopped".to_owned(),
                Err(error) => WithCauses(&error).to_string(),
            },
        };
        let closed = Told::Closed {
            peer: self.id,
            who: &self.who,
            reason,
        };
        self.events.tell(&closed).await
    }

    /// Exchanges messages until the connection ends. Returns the reason.
    async fn exchange(&self, connection: &mut Connection) -> Result<NetError, Failure> {
        // Before the event, so that a line that is sent after it finds the peer.
        let mut recipient = self.recipients.as_ref().map(Recipients::join);
        self.introduce(connection.peer()).await?;
        if self.ours.subscribes() {
            // Subscribes to all topics. If this fails, receiving fails too and says why.
            let _ = connection.subscribe("").await;
        }
        // Why sending failed. Messages that have arrived are still printed.
        let mut unsent = None;
        loop {
            let sent = tokio::select! {
                incoming = connection.recv() => match incoming {
                    Ok(incoming) => {
                        self.tell(incoming, recipient.as_ref()).await?;
                        Ok(())
                    }
                    Err(error) => return Ok(unsent.unwrap_or(error)),
                },
                message = next(&mut recipient) => connection.send(message).await,
            };
            if let Err(error) = sent {
                recipient = None;
                unsent = Some(error);
            }
        }
    }

    async fn introduce(&self, peer: &Peer) -> Result<(), Failure> {
        let claims = peer.claims.properties.iter();
        let accepted = Told::Accepted {
            peer: self.id,
            who: &self.who,
            address: peer.address.to_string(),
            socket_type: peer.claims.socket_type.map(SocketType::name),
            claims: claims
                .map(|(name, value)| (name.to_owned(), Shown::of(value)))
                .collect(),
        };
        self.events.tell(&accepted).await
    }

    /// Prints what has arrived.
    async fn tell(&self, incoming: Incoming, recipient: Option<&Recipient>) -> Result<(), Failure> {
        let peer = self.id;
        match incoming {
            Incoming::Message(message) => {
                let told = Told::Message {
                    peer,
                    who: &self.who,
                    frames: message
                        .frames()
                        .iter()
                        .map(|frame| Shown::of(frame))
                        .collect(),
                };
                self.events.tell(&told).await?;
            }
            Incoming::Subscribe(topic) => {
                let told = Told::Subscribed {
                    peer,
                    topic: Shown::of(&topic),
                };
                self.events.tell(&told).await?;
                if let Some(recipient) = recipient {
                    recipient.subscribe(topic);
                }
            }
            Incoming::Unsubscribe(topic) => {
                let told = Told::Unsubscribed {
                    peer,
                    topic: Shown::of(&topic),
                };
                self.events.tell(&told).await?;
                if let Some(recipient) = recipient {
                    recipient.unsubscribe(&topic);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The next message for a peer. Never completes without a recipient.
async fn next(recipient: &mut Option<Recipient>) -> Message {
    match recipient {
        Some(recipient) => recipient.next().await,
        None => std::future::pending().await,
    }
}
