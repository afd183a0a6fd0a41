//! The task of a socket that listens: prints the messages that arrive, sends lines of standard input,
//! and answers, as the socket's pattern has it.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::socket::any_socket::{AnySocket, BothWays};
use crate::socket::frames::split;
use crate::socket::lines::{Line, Lines};
use crate::socket::peers::Peers;
use std::future::{pending, poll_fn};
use std::task::Poll;
use tokio::sync::oneshot;
use zmtp_auth::WithCauses;
use zmtp_auth::net::{Message, NetError};
use zmtp_sockets::{Addressed, Push, Received, Rep, Req, Router};

/// A socket, and what it does with messages.
pub(crate) struct Exchange {
    pub(crate) socket: AnySocket,
    pub(crate) peers: Peers,
    pub(crate) echo: bool,
    /// The lines to send. `None` if none are sent.
    pub(crate) lines: Option<Outgoing>,
}

/// The lines of standard input as messages.
pub(crate) struct Outgoing {
    lines: Lines,
    max_line: usize,
    multipart: Option<String>,
    has_ended: bool,
}

impl Outgoing {
    pub(crate) fn of_stdin(max_line: usize, multipart: Option<String>) -> Self {
        Self {
            lines: Lines::of_stdin(max_line),
            max_line,
            multipart,
            has_ended: false,
        }
    }

    /// The next message. Never completes after the end of standard input. Cancel-safe.
    async fn next(&mut self) -> Result<Message, Failure> {
        if !self.has_ended {
            match self.lines.next().await.map_err(Failure::stdin)? {
                Some(Line::Whole(line)) => {
                    return Ok(split(line, self.multipart.as_deref()).into());
                }
                Some(Line::TooLong) => return Err(Failure::long_line(self.max_line)),
                None => self.has_ended = true,
            }
        }
        pending().await
    }
}

/// The next line. Never completes without lines.
async fn next(lines: &mut Option<Outgoing>) -> Result<Message, Failure> {
    match lines {
        Some(lines) => lines.next().await,
        None => pending().await,
    }
}

impl Exchange {
    /// Exchanges messages until it is stopped. Then closes the socket.
    pub(crate) async fn run(mut self, stopped: oneshot::Receiver<()>) -> Result<(), Failure> {
        // A full stdout or a peer that does not read must not delay the end of the program.
        tokio::select! {
            ended = self.exchange() => return ended,
            _ = stopped => {}
        }
        self.peers.catch_up().await?;
        let reason = match self.socket.close().await {
            Ok(()) | Err(NetError::Closed) => "this side has stopped".to_owned(),
            Err(error) => WithCauses(&error).to_string(),
        };
        self.peers.end(&reason).await
    }

    /// Completes only with a failure: stdout or standard input is broken.
    async fn exchange(&mut self) -> Result<(), Failure> {
        let (peers, lines, echo) = (&mut self.peers, &mut self.lines, self.echo);
        match &mut self.socket {
            AnySocket::Dealer(dealer) => both_ways(dealer, peers, lines, echo).await,
            AnySocket::Pair(pair) => both_ways(pair, peers, lines, echo).await,
            AnySocket::Push(push) => send(push, peers, lines).await,
            AnySocket::Pull(pull) => loop {
                let received = peers.meanwhile(pull.recv()).await?;
                tell(peers, &received).await?;
            },
            AnySocket::Router(router) => route(router, peers, lines, echo).await,
            AnySocket::Rep(rep) => reply(rep, peers, lines, echo).await,
            AnySocket::Req(req) => request(req, peers, lines).await,
        }
    }
}

async fn tell(peers: &mut Peers, received: &Received) -> Result<(), Failure> {
    peers
        .message(received.peer(), None, received.frames())
        .await
}

/// What can happen next on a socket that sends and receives.
enum Step {
    Line(Message),
    HasRoom,
    Received(Received),
}

async fn both_ways(
    socket: &mut impl BothWays,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
    echo: bool,
) -> Result<(), Failure> {
    let mut unsent: Option<Message> = None;
    loop {
        let waits = unsent.is_some();
        let step = async {
            tokio::select! {
                line = next(lines), if !waits => line.map(Step::Line),
                step = poll_fn(|context| {
                    if waits && socket.poll_ready(context).is_ready() {
                        return Poll::Ready(Step::HasRoom);
                    }
                    socket.poll_recv(context).map(Step::Received)
                }) => Ok(step),
            }
        };
        match peers.meanwhile(step).await?? {
            Step::Line(line) => unsent = Some(line),
            Step::HasRoom => {
                if let Some(message) = unsent.take() {
                    unsent = socket.queue(message).err();
                }
            }
            Step::Received(received) => {
                tell(peers, &received).await?;
                if echo {
                    let (message, peer) = received.into_parts();
                    let mut message = Some(message);
                    // Nothing more is received before it has room.
                    let sending = async {
                        while let Some(unsent) = message.take() {
                            poll_fn(|context| socket.poll_ready(context)).await;
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
    }
}

async fn send(
    push: &mut Push,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
) -> Result<(), Failure> {
    loop {
        let message = peers.meanwhile(next(lines)).await??;
        peers.meanwhile(push.send(message)).await?;
    }
}

async fn route(
    router: &mut Router,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
    echo: bool,
) -> Result<(), Failure> {
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
) -> Result<(), Failure> {
    loop {
        let request = peers.meanwhile(rep.recv()).await?;
        peers
            .message(request.peer(), None, request.frames())
            .await?;
        let body = if echo {
            request.message().clone()
        } else if lines.is_some() {
            peers.meanwhile(next(lines)).await??
        } else {
            continue;
        };
        let before = rep.undelivered();
        rep.send(request.reply(body));
        if rep.undelivered() > before {
            let reason = "the peer is gone or takes no more".to_owned();
            peers
                .undelivered(Some(request.peer()), None, reason)
                .await?;
        }
    }
}

async fn request(
    req: &mut Req,
    peers: &mut Peers,
    lines: &mut Option<Outgoing>,
) -> Result<(), Failure> {
    loop {
        let message = peers.meanwhile(next(lines)).await??;
        match peers.meanwhile(req.request(message)).await? {
            Ok(reply) => tell(peers, &reply).await?,
            Err(error) => {
                let reason = WithCauses(&error).to_string();
                peers.undelivered(None, None, reason).await?;
            }
        }
    }
}
