//! Exchanges messages as the socket's pattern has it: prints what arrives, sends lines of standard
//! input, and answers.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::socket::any_socket::{AnySocket, BothWays};
use crate::socket::outgoing::{Outgoing, next, sent};
use crate::socket::peers::table::Peers;
use crate::socket::stop::Stop;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::task::Poll;
use tokio::sync::oneshot;
use zmtp_auth::WithCauses;
use zmtp_auth::net::{Message, NetError};
use zmtp_sockets::{Addressed, FromSubscriber, Pub, Push, Received, Rep, Req, Router};

/// A socket, and what it does with messages.
pub(crate) struct Exchange {
    pub(crate) socket: AnySocket,
    pub(crate) peers: Peers,
    pub(crate) echo: bool,
    /// The lines to send. `None` if none are sent.
    pub(crate) lines: Option<Outgoing>,
}

/// An exchange goes on until it is stopped.
type Endless = Result<Infallible, Stop>;

impl Exchange {
    /// Exchanges messages until it is stopped. Then closes the socket.
    pub(crate) async fn run(mut self, stopped: oneshot::Receiver<()>) -> Result<(), Failure> {
        // A full stdout or a peer that does not read must not delay the end of the program.
        tokio::select! {
            stop = self.exchange() => return Err(stop.into()),
            _ = stopped => {}
        }
        self.peers.catch_up().await?;
        let reason = match self.socket.close().await {
            Ok(()) | Err(NetError::Closed) => "this side has stopped".to_owned(),
            Err(error) => WithCauses(&error).to_string(),
        };
        self.peers.end(&reason).await
    }

    /// Exchanges messages. Returns why that has ended.
    pub(crate) async fn exchange(&mut self) -> Stop {
        let Err(stop) = self.exchange_all().await;
        stop
    }

    async fn exchange_all(&mut self) -> Endless {
        let (peers, lines, echo) = (&mut self.peers, &mut self.lines, self.echo);
        match &mut self.socket {
            AnySocket::Dealer(dealer) => both_ways(dealer, peers, lines, echo).await,
            AnySocket::Pair(pair) => both_ways(pair, peers, lines, echo).await,
            AnySocket::Xpub(xpub) => both_ways(xpub, peers, lines, echo).await,
            AnySocket::Xsub(xsub) => both_ways(xsub, peers, lines, echo).await,
            AnySocket::Push(push) => send(push, peers, lines).await,
            AnySocket::Pub(publisher) => publish(publisher, peers, lines).await,
            AnySocket::Pull(pull) => loop {
                let received = peers.meanwhile(pull.recv()).await?;
                tell(peers, &received).await?;
            },
            AnySocket::Sub(sub) => loop {
                let received = peers.meanwhile(sub.recv()).await?;
                tell(peers, &received).await?;
            },
            AnySocket::Router(router) => route(router, peers, lines, echo).await,
            AnySocket::Rep(rep) => reply(rep, peers, lines, echo).await,
            AnySocket::Req(req) => request(req, peers, lines).await,
        }
    }
}

async fn tell(peers: &mut Peers, received: &Received) -> Result<(), Stop> {
    peers
        .message(received.peer(), None, received.frames())
        .await
}

/// What can happen next on a socket that sends and receives.
enum Step {
    Line(Message),
    HasRoom,
    Arrived(FromSubscriber),
}

async fn both_ways(
    socket: &mut impl BothWays,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
    echo: bool,
) -> Endless {
    let mut unsent: Option<Message> = None;
    let mut has_sent = false;
    loop {
        let may_read =
            lines.is_some() && unsent.is_none() && socket.may_send(peers.has_some(), has_sent);
        let step = async {
            tokio::select! {
                line = next(lines), if may_read => line.map(Step::Line),
                step = poll_fn(|context| {
                    if let Some(message) = &unsent
                        && socket.poll_ready(message, context).is_ready()
                    {
                        return Poll::Ready(Step::HasRoom);
                    }
                    socket.poll_recv(context).map(Step::Arrived)
                }) => Ok(step),
            }
        };
        let Some(step) = peers.until_news(step).await? else {
            continue;
        };
        let received = match step? {
            Step::Line(line) => {
                unsent = Some(line);
                continue;
            }
            Step::HasRoom => {
                if let Some(message) = unsent.take() {
                    unsent = socket.queue(message).err();
                }
                if unsent.is_none() {
                    has_sent = true;
                    sent(lines);
                }
                continue;
            }
            Step::Arrived(FromSubscriber::Message(received)) => received,
            Step::Arrived(subscription) => {
                peers.subscription(&subscription).await?;
                continue;
            }
        };
        tell(peers, &received).await?;
        if echo {
            let (message, peer) = received.into_parts();
            let mut message = Some(message);
            // Nothing more is received before it has room.
            let sending = async {
                while let Some(unsent) = message.take() {
                    poll_fn(|context| socket.poll_ready(&unsent, context)).await;
                    message = socket.queue(unsent).err();
                }
            };
            if peers.while_connected(&peer, sending).await?.is_none() {
                let reason = "the peer is gone".to_owned();
                peers.undelivered(Some(&peer), None, reason).await?;
            }
        }
    }
}

async fn send(push: &mut Push, peers: &mut Peers, lines: &mut Option<Outgoing>) -> Endless {
    loop {
        let message = peers.meanwhile(next(lines)).await??;
        peers.meanwhile(push.send(message)).await?;
        sent(lines);
    }
}

async fn publish(publisher: &mut Pub, peers: &mut Peers, lines: &mut Option<Outgoing>) -> Endless {
    peers.meanwhile(publisher.subscribed()).await?;
    loop {
        let message = peers.meanwhile(next(lines)).await??;
        peers.meanwhile(publisher.ready_for(&message)).await?;
        publisher.send(message);
        sent(lines);
    }
}

async fn route(
    router: &mut Router,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
    echo: bool,
) -> Endless {
    loop {
        let step = async {
            tokio::select! {
                line = next(lines) => line.map(Err),
                request = router.recv() => Ok(Ok(request)),
            }
        };
        let (addressed, peer) = match peers.meanwhile(step).await?? {
            Ok(request) => {
                let routing_id = request.routing_id().clone();
                if !peers.permits(&request, Some(&routing_id)).await? {
                    continue;
                }
                peers
                    .message(request.peer(), Some(&routing_id), request.frames())
                    .await?;
                if !echo {
                    continue;
                }
                // Unchanged, with the delimiter that a REQ expects.
                let peer = request.peer().clone();
                (
                    Addressed::new(routing_id, request.into_message()),
                    Some(peer),
                )
            }
            Err(line) => {
                sent(lines);
                let mut frames = line.into_frames();
                let routing_id = frames.remove(0);
                if frames.is_empty() {
                    let reason = "the line has no frame after the routing id".to_owned();
                    peers.undelivered(None, Some(&routing_id), reason).await?;
                    continue;
                }
                (Addressed::new(routing_id, frames), None)
            }
        };
        if let Err(error) = router.send(addressed) {
            let reason = error.reason.to_string();
            peers.undelivered(peer.as_ref(), None, reason).await?;
        }
    }
}

async fn reply(
    rep: &mut Rep,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
    echo: bool,
) -> Endless {
    loop {
        let request = peers.meanwhile(rep.recv()).await?;
        if !peers.permits(&request, None).await? {
            continue;
        }
        peers
            .message(request.peer(), None, request.frames())
            .await?;
        let body = if echo {
            request.message().clone()
        } else if lines.is_none() {
            continue;
        } else if peers.has_one_only() {
            let line = next(lines);
            match peers.while_connected(request.peer(), line).await? {
                Some(line) => line?,
                // The rest of what has arrived is received.
                None => continue,
            }
        } else {
            peers.meanwhile(next(lines)).await??
        };
        let before = rep.undelivered();
        rep.send(request.reply(body));
        sent(lines);
        if rep.undelivered() > before {
            let reason = "the peer is gone or takes no more".to_owned();
            peers
                .undelivered(Some(request.peer()), None, reason)
                .await?;
        }
    }
}

async fn request(req: &mut Req, peers: &mut Peers, lines: &mut Option<Outgoing>) -> Endless {
    loop {
        let message = peers.meanwhile(next(lines)).await??;
        peers.await_rest();
        let answered = peers.meanwhile(req.request(message)).await?;
        match answered {
            Ok(reply) => {
                tell(peers, &reply).await?;
                sent(lines);
            }
            Err(error) => {
                let reason = WithCauses(&error).to_string();
                peers.undelivered(None, None, reason).await?;
                if peers.has_one_only() {
                    // The loss of the peer ends the exchange, with a request that was not answered.
                    peers.await_no_rest().await?;
                    peers.meanwhile(pending::<()>()).await?;
                }
            }
        }
        peers.await_no_rest().await?;
    }
}
