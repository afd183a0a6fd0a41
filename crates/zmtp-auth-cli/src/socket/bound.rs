//! A bound socket.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::socket::any_socket::AnySocket;
use crate::socket::exchange::Exchange;
use crate::socket::outgoing::Outgoing;
use crate::socket::peers::known::Side;
use crate::socket::peers::news::{News, NewsSource};
use crate::socket::peers::table::Peers;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zmtp_auth::net::{Endpoint, Refusal};
use zmtp_auth::{Security, SocketType};
use zmtp_sockets::SocketEvent;

/// The most events about admitted peers that wait while stdout is not read. 1,024 is more than peers
/// cause that do not reconnect without end.
const MAX_NEWS: usize = 1024;

/// The socket, whose messages a task of its own exchanges.
pub(crate) struct BoundSocket {
    endpoint: Endpoint,
    events: zmtp_sockets::Events,
    /// What the events have missed that is counted already.
    missed: u64,
    told: Events,
    news: mpsc::Sender<News>,
    /// Whether the task is to be told that it has missed news.
    tells_missed: bool,
    task: JoinHandle<Result<(), Failure>>,
    stop: oneshot::Sender<()>,
}

/// What happens with messages.
pub(crate) struct Traffic {
    pub(crate) socket_type: SocketType,
    pub(crate) echo: bool,
    pub(crate) lines: Option<Outgoing>,
}

impl BoundSocket {
    /// Binds the socket.
    pub(crate) async fn bind(
        mut socket: AnySocket,
        endpoint: &Endpoint,
        security: Security,
        traffic: Traffic,
        told: Events,
    ) -> Result<Self, Failure> {
        let mechanism = security.mechanism().name();
        let events = socket.events();
        let endpoint = socket.bind(endpoint, security).await?;
        let (news, hears) = mpsc::channel(MAX_NEWS);
        let (stop, stopped) = oneshot::channel();
        let exchange = Exchange {
            socket,
            peers: Peers::new(
                traffic.socket_type,
                mechanism,
                Side::Bound,
                told.clone(),
                NewsSource::Forwarded(hears),
            ),
            echo: traffic.echo,
            lines: traffic.lines,
        };
        Ok(Self {
            endpoint,
            events,
            missed: 0,
            told,
            news,
            tells_missed: false,
            task: tokio::spawn(exchange.run(stopped)),
            stop,
        })
    }

    /// The endpoint, with its real port.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Passes events on to the task until a peer is refused. Cancel-safe.
    ///
    /// # Errors
    /// Returns the failure that has ended the task.
    pub(crate) async fn next(&mut self) -> Result<Arc<Refusal>, Failure> {
        loop {
            let event = tokio::select! {
                event = self.events.next() => event,
                permit = self.news.reserve(), if self.tells_missed => {
                    if let Ok(permit) = permit {
                        permit.send(News::Missed);
                    }
                    self.tells_missed = false;
                    continue;
                }
                ended = &mut self.task => {
                    // It ends by itself only if stdout or standard input is broken.
                    ended.map_err(Failure::of)??;
                    return Err(Failure::new("the socket has ended"));
                }
            };
            let missed = self.events.missed();
            let before = std::mem::replace(&mut self.missed, missed);
            self.lose(missed - before);
            match event {
                Some(SocketEvent::Refused { refusal, .. }) => return Ok(refusal),
                Some(event) => {
                    if self.news.try_send(News::Event(event)).is_err() {
                        self.lose(1);
                    }
                }
                // The task ends with the socket, and says why.
                None => tokio::task::yield_now().await,
            }
        }
    }

    fn lose(&mut self, count: u64) {
        if count > 0 {
            self.told.lose(count);
            self.tells_missed = true;
        }
    }

    /// Closes the socket, and prints the end of its peers.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        // Fails if the task has ended by itself.
        let _ = self.stop.send(());
        self.task.await.map_err(Failure::of)?
    }
}
