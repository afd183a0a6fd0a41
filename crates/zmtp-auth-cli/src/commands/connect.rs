//! `connect`: sends lines of standard input as messages and prints the messages that arrive.
#![forbid(unsafe_code)]

use crate::exit::{Exit, Failure};
use crate::output::events::Events;
use crate::runtime::block_on;
use crate::security::argument_source;
use crate::security::client::ClientSecurity;
use crate::security::server::{LoadedPolicy, ServerConfig, ServerRole, reloaded};
use crate::signals::{Signal, Signals};
use crate::socket::arguments::SocketArguments;
use crate::socket::frames::{Shown, message, shown};
use crate::socket::lines::{Line, Lines};
use crate::socket::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;
use zmtp_auth::net::{Connection, Endpoint, Incoming, NetError, Options};
use zmtp_auth::{MechanismKind, Security, SocketType, WithCauses};

/// How long the program still waits for the end of standard input after the peer has closed. If it
/// comes within this time, every line was sent. 1 s is much longer than a busy machine needs to read
/// an end that is there already.
const END_OF_STDIN: Duration = Duration::from_secs(1);

/// Connect a socket, send lines of standard input, and print the messages that arrive
///
/// Each line of standard input is one message. It may hold any bytes and ends at the line feed.
/// A req waits for the reply to a line before it sends the next one. A pub waits for a subscriber
/// before it reads the first line.
///
/// Prints one JSON object per line: first "connected", then a "message" for each that arrives, and
/// "closed" when the peer closes. No messages are received while stdout is full.
///
/// SIGTERM ends the command in order, within 5 seconds. A second SIGTERM ends it at once.
///
/// If the peer closes before the end of standard input, the command ends with exit code 8: the lines
/// sent last may be lost, and the lines after them were not sent. It ends with 0 if everything was
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
    /// The topic that a sub or xsub subscribes to; the default is every topic
    #[arg(long, value_name = "TOPIC")]
    subscribe: Option<String>,
    /// End after this many messages have arrived. Without it the command ends with standard input
    /// if no message can come back, and otherwise when the peer closes
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    socket: SocketArguments,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Connected {
        endpoint: String,
        socket_type: Option<&'static str>,
    },
    Message {
        frames: Vec<Shown>,
    },
    Closed {
        reason: String,
    },
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
            (self.subscribe.is_some() && !socket_type.subscribes())
                .then_some(("--subscribe", "subscribes to nothing")),
            (self.count.is_some() && !socket_type.receives())
                .then_some(("--count", "receives nothing")),
        ];
        match without_effect.into_iter().flatten().next() {
            Some((option, why)) => Err(Failure::usage(format_args!(
                "{option} has no effect: a {socket_type} socket {why}"
            ))),
            None => Ok(()),
        }
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

/// This side of the connection.
struct Conversation<'a> {
    ours: SocketType,
    arguments: &'a ConnectArguments,
    events: &'a Events,
    /// How many messages to wait for.
    left: Option<u64>,
    /// Whether standard input has not ended yet.
    reading: bool,
}

async fn converse(
    arguments: &ConnectArguments,
    security: Security,
    mut policy: Option<LoadedPolicy>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let events = Events::on_stdout()?;
    let TypeArgument(ours) = arguments.socket_type;
    let mut side = Conversation {
        ours,
        arguments,
        events: &events,
        left: arguments.count,
        reading: ours.sends(),
    };
    let endpoint = &arguments.endpoint;
    let mut options = Options::default();
    arguments.socket.apply(&mut options);
    let mut connection = tokio::select! {
        connected = Connection::connect_with(endpoint, security, &options) => {
            connected.map_err(|error| Failure::at(&endpoint.to_string(), &error))?
        }
        () = signals.stop() => {
            return Err(Failure::new("a signal came before the connection was complete"));
        }
    };
    let ended = {
        let exchange = side.exchange(&mut connection);
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
    let sends = side.ours.sends();
    let is_cut_short = side.reading;
    let Some(ended) = ended else {
        let ending = async {
            after_close(connection.close().await, sends)?;
            events.written().await
        };
        return signals.end(ending).await;
    };
    let ending = async {
        match ended {
            Ended::Done => after_close(connection.close().await, sends)?,
            Ended::Lost(error, at) => {
                let reason = WithCauses(&error).to_string();
                events.tell_at(&Told::Closed { reason }, at).await?;
                let outcome = match error {
                    NetError::Closed if is_cut_short => Err(Failure::with(
                        Exit::Unsent,
                        "the peer closed before the end of standard input: later lines were not \
                         sent, and the last ones may be lost",
                    )),
                    NetError::Closed => after_close(connection.close().await, sends),
                    error => Err(error.into()),
                };
                events.written().await?;
                return outcome;
            }
        }
        events.written().await
    };
    signals.end_patiently(ending).await
}

/// The outcome of a connection that has closed. With `may_lose`, messages that were sent may be lost.
fn after_close(closed: Result<(), NetError>, may_lose: bool) -> Result<(), Failure> {
    match closed {
        Err(NetError::Closed) if may_lose => Err(Failure::with(
            Exit::Unsent,
            "the peer closed before everything was sent: messages may be lost",
        )),
        closed => Ok(closed?),
    }
}

/// How an exchange ends.
enum Ended {
    /// Everything was sent and received.
    Done,
    /// The connection was lost at this time.
    Lost(NetError, SystemTime),
}

impl Conversation<'_> {
    async fn exchange(&mut self, connection: &mut Connection) -> Result<Ended, Failure> {
        let claims = &connection.peer().claims;
        let connected = Told::Connected {
            endpoint: self.arguments.endpoint.to_string(),
            socket_type: claims.socket_type.map(SocketType::name),
        };
        self.events.tell(&connected).await?;
        if self.ours.subscribes() {
            let topic = self.arguments.subscribe.clone().unwrap_or_default();
            connection.subscribe(topic).await?;
        }
        let max_line = self.arguments.socket.limits().max_message;
        let mut lines = Lines::of_stdin(max_line);
        let receives = self.ours.receives();
        let mut subscribed = !self.ours.publishes();
        // REQ and REP take turns: whether this side may send now.
        let mut our_turn = self.ours != SocketType::Rep;
        // Why sending failed. Messages that have arrived are still printed.
        let mut unsent = None;
        if self.left == Some(0) {
            return Ok(Ended::Done);
        }
        loop {
            let may_send = self.reading && subscribed && our_turn && unsent.is_none();
            tokio::select! {
                line = lines.next(), if may_send => match line.map_err(Failure::stdin)? {
                    Some(Line::Whole(line)) => {
                        let separator = self.arguments.multipart.as_deref();
                        let message = message(self.ours, line, separator);
                        unsent = connection.send(message).await.err();
                        our_turn = !matches!(self.ours, SocketType::Req | SocketType::Rep);
                    }
                    Some(Line::TooLong) => return Err(Failure::long_line(max_line)),
                    None => {
                        self.reading = false;
                        if !receives || self.ours == SocketType::Req {
                            return Ok(Ended::Done);
                        }
                    }
                },
                incoming = connection.recv() => match incoming {
                    Ok(Incoming::Message(message)) => {
                        our_turn = true;
                        let frames = shown(self.ours, message.frames());
                        self.events.tell(&Told::Message { frames }).await?;
                        self.left = self.left.map(|left| left.saturating_sub(1));
                        if self.left == Some(0) {
                            let now = SystemTime::now();
                            return Ok(unsent.map_or(Ended::Done, |error| Ended::Lost(error, now)));
                        }
                    }
                    Ok(Incoming::Subscribe(_)) => subscribed = true,
                    Ok(_) => {}
                    Err(error) => {
                        let at = SystemTime::now();
                        // Standard input may have ended without this being read yet.
                        if self.reading && unsent.is_none() {
                            let end = timeout(END_OF_STDIN, lines.next()).await;
                            self.reading = !matches!(end, Ok(Ok(None)));
                        }
                        return Ok(Ended::Lost(unsent.unwrap_or(error), at));
                    }
                },
            }
        }
    }
}
