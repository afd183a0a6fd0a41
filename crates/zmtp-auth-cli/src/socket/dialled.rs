//! A socket that connects to one peer, until the exchange with it ends.
#![forbid(unsafe_code)]

use crate::exit::{Exit, Failure};
use crate::output::events::Events;
use crate::socket::any_socket::AnySocket;
use crate::socket::bound::Traffic;
use crate::socket::exchange::Exchange;
use crate::socket::peers::known::Side;
use crate::socket::peers::news::NewsSource;
use crate::socket::peers::table::Peers;
use crate::socket::peers::told::Told;
use crate::socket::stop::{Lost, Stop};
use zmtp_auth::net::{Endpoint, NetError};
use zmtp_auth::{Security, WithCauses};

/// The socket, and the exchange with its peer.
pub(crate) struct DialledSocket {
    exchange: Exchange,
    /// Whether messages that were sent may be lost.
    sends: bool,
    /// Whether no message is waited for.
    is_done: bool,
    told: Events,
}

/// How an exchange ends.
pub(crate) enum Ended {
    /// Everything was sent and received.
    Done,
    /// The connection was lost.
    Lost {
        lost: Lost,
        /// Whether lines of standard input were not sent.
        is_cut_short: bool,
    },
}

impl DialledSocket {
    /// Connects the socket in the background. With `left`, the exchange ends after so many messages.
    pub(crate) fn connect(
        mut socket: AnySocket,
        endpoint: &Endpoint,
        security: Security,
        traffic: Traffic,
        left: Option<u64>,
        told: Events,
    ) -> Result<Self, Failure> {
        let mechanism = security.mechanism().name();
        let news = NewsSource::direct(socket.events());
        socket.connect(endpoint, security)?;
        let side = Side::Dialled {
            endpoint: endpoint.clone(),
            left,
        };
        Ok(Self {
            exchange: Exchange {
                socket,
                peers: Peers::new(traffic.socket_type, mechanism, side, told.clone(), news),
                echo: traffic.echo,
                lines: traffic.lines,
            },
            sends: traffic.socket_type.sends(),
            is_done: left == Some(0),
            told,
        })
    }

    /// Waits for the connection, and prints it.
    ///
    /// # Errors
    /// Returns why there is no connection.
    pub(crate) async fn connected(&mut self) -> Result<(), Failure> {
        Ok(self.exchange.peers.connected().await?)
    }

    /// Exchanges messages until that ends.
    ///
    /// # Errors
    /// Returns a failure if stdout or standard input is broken.
    pub(crate) async fn exchange(&mut self) -> Result<Ended, Failure> {
        if self.is_done {
            return Ok(Ended::Done);
        }
        match self.exchange.exchange().await {
            Stop::Failed(failure) => Err(failure),
            Stop::Done => Ok(Ended::Done),
            Stop::Lost(lost) => {
                let is_cut_short = match &mut self.exchange.lines {
                    Some(lines) => !lines.is_all_taken().await,
                    None => false,
                };
                Ok(Ended::Lost { lost, is_cut_short })
            }
        }
    }

    /// Sends what is queued, closes the socket, and waits until everything is printed.
    ///
    /// # Errors
    /// Returns a failure if not everything was sent.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        let Exchange {
            socket, mut peers, ..
        } = self.exchange;
        socket.close().await?;
        let lost = match peers.last_lost().await {
            Ok(()) | Err(Stop::Done) => None,
            Err(Stop::Lost(lost)) => Some(lost),
            Err(Stop::Failed(failure)) => return Err(failure),
        };
        match lost {
            Some(lost) if self.sends && !lost.all_sent => return Err(unsent(lost.error)),
            _ => {}
        }
        self.told.written().await
    }

    /// Prints the loss of the connection, and waits until everything is printed.
    ///
    /// # Errors
    /// Returns a failure if not everything was sent, or the peer has not closed in order.
    pub(crate) async fn end(self, lost: Lost, is_cut_short: bool) -> Result<(), Failure> {
        let closed = Told::Closed {
            which: None,
            reason: WithCauses(&lost.error).to_string(),
        };
        self.told.tell_at(&closed, lost.at).await?;
        let outcome = match lost.error {
            NetError::Closed if is_cut_short => Err(Failure::with(
                Exit::Unsent,
                "the peer closed before the end of standard input: later lines were not \
                 sent, and the last ones may be lost",
            )),
            NetError::Closed if lost.all_sent || !self.sends => Ok(()),
            error => Err(unsent(error)),
        };
        self.told.written().await?;
        outcome
    }
}

fn unsent(error: NetError) -> Failure {
    match error {
        NetError::Closed => Failure::with(
            Exit::Unsent,
            "the peer closed before everything was sent: messages may be lost",
        ),
        error => error.into(),
    }
}
