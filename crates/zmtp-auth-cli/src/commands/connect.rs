//! `connect`: sends lines of standard input as messages and prints the messages that arrive.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::runtime::block_on;
use crate::security::argument_source;
use crate::security::client::ClientSecurity;
use crate::security::server::{LoadedPolicy, ServerConfig, ServerRole, reloaded};
use crate::signals::{Signal, Signals};
use crate::socket::any_socket::AnySocket;
use crate::socket::arguments::{SocketArguments, TopicArguments};
use crate::socket::bound::Traffic;
use crate::socket::dialled::{DialledSocket, Ended};
use crate::socket::outgoing::Outgoing;
use crate::socket::socket_type::TypeArgument;
use clap::Args;
use std::path::PathBuf;
use zmtp_auth::net::Endpoint;
use zmtp_auth::{MechanismKind, Security, SocketType};
use zmtp_sockets::SocketOptions;

/// Connect a socket, send lines of standard input, and print the messages that arrive
///
/// Each line of standard input is one message. It may hold any bytes and ends at the line feed.
/// A req waits for the reply to a line before it sends the next one, and a rep answers each request with
/// a line; both add and remove the empty frame before the body. A router takes the routing id from the
/// first frame of a line. A pub or xpub waits for a subscriber before it reads the first line.
///
/// Prints one JSON object per line: first "connected", then a "message" for each that arrives, for an
/// xpub also "subscribed" and "unsubscribed", and "closed" when the peer closes. No messages are
/// received while stdout is full.
///
/// The socket connects once, and not again after the peer is gone.
///
/// SIGTERM ends the command in order, within 5 seconds. A second SIGTERM ends it at once.
///
/// If the peer closes before the end of standard input, or before it has replied to a req, the command
/// ends with exit code 8: the lines sent last may be lost, and the lines after them were not sent. It
/// ends with 0 if everything was
/// sent before the peer closed, or if the socket sends nothing (pull, sub). ZeroMQ has no receipts: 0
/// means that the operating system has taken everything, not that the peer has received it.
#[derive(Debug, Args)]
pub(crate) struct ConnectArguments {
    /// Where to connect, such as tcp://127.0.0.1:5555 or ipc:///run/app.sock
    endpoint: Endpoint,
    /// The type of this socket
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: TypeArgument,
    #[command(flatten)]
    security: ClientSecurity,
    /// Be the PLAIN server, although this side connects
    #[arg(
        long,
        group = "mechanism",
        requires = "policy",
        conflicts_with_all = ["accept_any_peer", "password_file", "server_key", "key"]
    )]
    plain_server: bool,
    /// Be the server, although this side connects: this policy file decides about the peer. SIGHUP
    /// reloads it
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    policy: Option<PathBuf>,
    /// The section of the policy that applies to this socket: [domain.NAME]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        requires = "policy",
        conflicts_with_all = ["accept_any_peer", "password_file"]
    )]
    domain: String,
    /// Be the server, although this side connects, and accept any peer (not with --plain-server)
    #[arg(long, conflicts_with_all = ["policy", "password_file"])]
    accept_any_peer: bool,
    /// Split each line into frames at this text
    #[arg(long, value_name = "SEPARATOR")]
    multipart: Option<String>,
    #[command(flatten)]
    topics: TopicArguments,
    /// End after this many messages have arrived. Without it the command ends with standard input
    /// if no message can come back, and otherwise when the peer closes
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    socket: SocketArguments,
}

pub(crate) fn run(arguments: &ConnectArguments) -> Result<(), Failure> {
    if arguments.multipart.as_deref() == Some("") {
        return Err(Failure::usage(
            "--multipart needs a separator that is not empty",
        ));
    }
    let TypeArgument(socket_type) = arguments.socket_type;
    arguments.check(socket_type)?;
    if socket_type.sends() {
        argument_source::reserve_stdin("read for lines to send")?;
    }
    match arguments.config()? {
        ServerConfig::Authorizing(config, router, policy) => {
            let security = (config, router).into();
            block_on(converse(arguments, security, Some(policy)))
        }
        ServerConfig::NoPolicy(config) => block_on(converse(arguments, config.into(), None)),
    }
}

impl ConnectArguments {
    /// # Errors
    /// Returns a usage failure if an option has no effect on a socket of this type.
    fn check(&self, socket_type: SocketType) -> Result<(), Failure> {
        let without_effect = [
            (self.multipart.is_some() && !socket_type.sends())
                .then_some(("--multipart", "sends nothing")),
            (self.count.is_some() && !socket_type.receives())
                .then_some(("--count", "receives nothing")),
        ];
        match without_effect.into_iter().flatten().next() {
            Some((option, why)) => Err(Failure::usage(format_args!(
                "{option} has no effect: a {socket_type} socket {why}"
            ))),
            None if socket_type == SocketType::Router && self.multipart.is_none() => {
                Err(Failure::usage(
                    "--type router needs --multipart: the first frame is the routing id",
                ))
            }
            None => self.topics.check(socket_type),
        }
    }

    /// Connects the socket in the background.
    fn dial(&self, security: Security, events: Events) -> Result<DialledSocket, Failure> {
        let TypeArgument(socket_type) = self.socket_type;
        // One connection and no other. What is sent has its queue, and so ends with it.
        let mut options = SocketOptions::default().with_immediate(true);
        options.connection.reconnect.once = true;
        self.socket.apply(&mut options.connection);
        let socket = AnySocket::new(socket_type, options, &self.topics.of(socket_type))?;
        let max_line = self.socket.limits().max_message;
        let lines = || {
            // A req has its reply before it reads on.
            let ends = !socket_type.receives() || socket_type == SocketType::Req;
            Outgoing::of_stdin(max_line, self.multipart.clone()).ending(ends)
        };
        let traffic = Traffic {
            socket_type,
            echo: false,
            lines: socket_type.sends().then(lines),
        };
        DialledSocket::connect(
            socket,
            &self.endpoint,
            security,
            traffic,
            self.count,
            events,
        )
    }

    fn config(&self) -> Result<ServerConfig, Failure> {
        let TypeArgument(socket_type) = self.socket_type;
        let builder = self.socket.builder(socket_type)?;
        let policy = self.policy.as_deref();
        if policy.is_none() && !self.accept_any_peer {
            return Ok(ServerConfig::NoPolicy(
                self.security.load()?.config(builder)?,
            ));
        }
        let mechanism = match self.security.mechanism() {
            None if self.plain_server => MechanismKind::Plain,
            Some(MechanismKind::Plain) => {
                return Err(Failure::usage(
                    "--plain makes a client: a PLAIN server takes --plain-server",
                ));
            }
            Some(_) if self.security.knows_a_server() => {
                return Err(Failure::usage(
                    "--server-key makes a client, but --policy and --accept-any-peer make a server",
                ));
            }
            Some(mechanism) => mechanism,
            None => {
                return Err(Failure::usage(
                    "choose one of --curve, --plain-server, --null",
                ));
            }
        };
        let role = ServerRole {
            mechanism,
            keys: self.security.key().into_iter().collect(),
            policy,
            domain: &self.domain,
            accept_any_peer: self.accept_any_peer,
        };
        role.config(builder)
    }
}

async fn converse(
    arguments: &ConnectArguments,
    security: Security,
    mut policy: Option<LoadedPolicy>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let events = Events::on_stdout()?;
    let mut dialled = arguments.dial(security, events)?;
    tokio::select! {
        connected = dialled.connected() => connected?,
        () = signals.stop() => {
            return Err(Failure::new("a signal came before the connection was complete"));
        }
    }
    let ended = {
        let exchange = dialled.exchange();
        tokio::pin!(exchange);
        loop {
            tokio::select! {
                ended = &mut exchange => break Some(ended?),
                signal = signals.next() => match (signal, &mut policy) {
                    (Signal::Stop, _) => break None,
                    (Signal::Reload, Some(policy)) => policy.reload(),
                    (Signal::Reload, None) => {
                        tracing::warn!("SIGHUP: there is no policy to reload");
                    }
                },
                outcome = reloaded(policy.as_mut()) => {
                    if let Err(failure) = outcome {
                        tracing::warn!("policy not reloaded: {}", failure.message);
                    }
                }
            }
        }
    };
    match ended {
        None => signals.end(dialled.close()).await,
        Some(Ended::Done) => signals.end_patiently(dialled.close()).await,
        Some(Ended::Lost { lost, is_cut_short }) => {
            let ending = dialled.end(lost, is_cut_short);
            signals.end_patiently(ending).await
        }
    }
}
