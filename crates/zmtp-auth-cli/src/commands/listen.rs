//! `listen`: accepts peers, prints who they are and what they send, and sends them lines of
//! standard input.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::output::refused::Refusals;
use crate::output::repeats::at_time;
use crate::runtime::block_on;
use crate::security::argument_source;
use crate::security::server::{LoadedPolicy, ServerConfig, ServerSecurity, reloaded};
use crate::signals::{Signal, Signals};
use crate::socket::any_socket::AnySocket;
use crate::socket::arguments::{BindArguments, SocketArguments, TopicArguments};
use crate::socket::bound::{BoundSocket, Traffic};
use crate::socket::outgoing::Outgoing;
use crate::socket::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use zmtp_auth::net::Endpoint;
use zmtp_auth::{Security, SocketType};
use zmtp_sockets::{RouteBy, SocketOptions};

/// Bind a socket, and print its peers and the messages that they send
///
/// Prints one JSON object per line. The first is {"event":"listening","endpoint":".."} with the port
/// that was bound. After that come "accepted", "refused" (with the key or user, if that was proven,
/// and the rule that decided), "turned_away" (a peer that the policy admits and the socket does not
/// take, such as the second of a pair), "message", "undelivered" and "closed". An xpub also prints
/// "subscribed" and "unsubscribed", and a pub or xpub "subscription_refused". Data from peers, such
/// as user ids and frames, is {"text":".."}, or {"base64":".."} if it is not UTF-8.
///
/// Messages are received from each peer in turn. A rep and a req add and remove the empty frame before
/// the body.
///
/// Repeated refusals are summarised. They count as repeated if address, stage, kind of error, status,
/// and key or user are the same. The first is printed at once, then one line per minute with the
/// latest of them; its field "repeated" says how many refusals it stands for.
///
/// No messages are received while stdout is full, so none is lost by this program. A peer that sends
/// heartbeats may then close the connection, and its messages that were not received are lost.
/// Refusals are dropped while stdout is full, and an event "lost" says how many.
///
/// SIGHUP reloads the policy, which takes two seconds, and closes peers that it no longer admits.
/// SIGTERM ends the command in order, within 5 seconds. A second SIGTERM ends it at once.
#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    /// Where to listen, such as tcp://*:5555, tcp://127.0.0.1:* (any free port) or
    /// ipc:///run/app.sock
    endpoint: Endpoint,
    /// The type of this socket
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: TypeArgument,
    #[command(flatten)]
    security: ServerSecurity,
    /// Send every message back: a rep or router to the peer that sent it, a dealer or pair to its peers
    /// in turn
    #[arg(long)]
    echo: bool,
    /// Send lines of standard input. A push, dealer or pair sends each line to one peer, in turn, and
    /// a req waits for its reply. A rep answers each request with a line. A router sends a line to the
    /// peer whose routing id is its first frame. A pub or xpub sends each line to every peer with a
    /// subscription that matches its beginning, and an xsub to all peers. The first line waits for a
    /// peer that subscribes, with an xsub for a peer. Each line waits for peers that read slowly, but a
    /// rep and a router do not wait
    #[arg(long, conflicts_with = "echo")]
    send: bool,
    /// Split each line into frames at this text
    #[arg(
        long,
        value_name = "SEPARATOR",
        requires = "send",
        conflicts_with = "echo"
    )]
    multipart: Option<String>,
    /// Take the user id of each peer of a router for its routing id, in place of the identity that the
    /// peer claims. Needs the server of plain or curve and a policy, which give each peer a user id of its
    /// own. A later connection of a user takes over from an earlier one
    #[arg(long)]
    route_by_user_id: bool,
    #[command(flatten)]
    topics: TopicArguments,
    #[command(flatten)]
    socket: SocketArguments,
    #[command(flatten)]
    bind: BindArguments,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Listening { endpoint: String },
    Reloaded { warnings: Vec<String> },
    ReloadFailed { error: String },
}

impl ListenArguments {
    async fn bind(&self, security: Security, events: Events) -> Result<BoundSocket, Failure> {
        let TypeArgument(socket_type) = self.socket_type;
        let mut options = SocketOptions::default();
        if self.route_by_user_id {
            options.route_by = RouteBy::UserId;
        }
        self.socket.apply(&mut options.connection);
        self.bind.apply(&mut options.connection);
        let socket = AnySocket::new(socket_type, options, &self.topics.of(socket_type))?;
        let max_line = self.socket.limits().max_message;
        let lines = || Outgoing::of_stdin(max_line, self.multipart.clone());
        let traffic = Traffic {
            socket_type,
            echo: self.echo,
            lines: self.send.then(lines),
        };
        BoundSocket::bind(socket, &self.endpoint, security, traffic, events).await
    }

    /// # Errors
    /// Returns a usage failure if an option has no effect on a socket of this type.
    fn check(&self) -> Result<(), Failure> {
        let TypeArgument(socket_type) = self.socket_type;
        self.bind.check(&self.endpoint)?;
        let echoes = matches!(
            socket_type,
            SocketType::Rep | SocketType::Router | SocketType::Dealer | SocketType::Pair
        );
        if self.echo && !echoes {
            let types = "--echo needs --type rep, router, dealer or pair";
            return Err(Failure::usage(types));
        }
        if self.send && !socket_type.sends() {
            return Err(Failure::usage(format_args!(
                "--send has no effect: a {socket_type} socket sends nothing"
            )));
        }
        if self.send && socket_type == SocketType::Router && self.multipart.is_none() {
            return Err(Failure::usage(
                "--send with --type router needs --multipart: the first frame is the routing id",
            ));
        }
        if self.route_by_user_id && socket_type != SocketType::Router {
            return Err(Failure::usage(format_args!(
                "--route-by-user-id has no effect: a {socket_type} socket does not route; a router does"
            )));
        }
        if self.multipart.as_deref() == Some("") {
            return Err(Failure::usage(
                "--multipart needs a separator that is not empty",
            ));
        }
        self.topics.check(socket_type)
    }
}

pub(crate) fn run(arguments: &ListenArguments) -> Result<(), Failure> {
    let TypeArgument(socket_type) = arguments.socket_type;
    arguments.check()?;
    if arguments.send {
        argument_source::reserve_stdin("read for lines to send")?;
    }
    let limits = arguments.bind.limits(arguments.socket.limits());
    let builder = arguments.socket.builder(socket_type)?.limits(limits);
    match arguments.security.config(builder)? {
        ServerConfig::Authorizing(config, router, policy) => {
            let security = (config, router).into();
            block_on(serve(arguments, security, Some(policy)))
        }
        ServerConfig::NoPolicy(config) => block_on(serve(arguments, config.into(), None)),
    }
}

async fn serve(
    arguments: &ListenArguments,
    security: Security,
    mut policy: Option<LoadedPolicy>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let events = Events::on_stdout()?;
    let mut bound = arguments.bind(security, events.clone()).await?;
    events.offer(&Told::Listening {
        endpoint: bound.endpoint().to_string(),
    })?;
    let mut refusals = Refusals::new(events.clone());
    loop {
        let due = refusals.deadline();
        tokio::select! {
            refusal = bound.next() => refusals.tell(&*refusal?)?,
            () = at_time(due), if due.is_some() => refusals.tell_due()?,
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => match &mut policy {
                    Some(policy) => policy.reload(),
                    None => events.offer(&Told::ReloadFailed {
                        error: "there is no policy to reload".to_owned(),
                    })?,
                },
            },
            outcome = reloaded(policy.as_mut()) => events.offer(&match outcome {
                Ok(warnings) => Told::Reloaded {
                    warnings: warnings.iter().map(ToString::to_string).collect(),
                },
                Err(failure) => Told::ReloadFailed { error: failure.message },
            })?,
        }
    }
    let ending = async {
        bound.end().await?;
        refusals.tell_rest()?;
        events.written().await
    };
    signals.end(ending).await
}
