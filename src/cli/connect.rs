//! `connect`: lines of stdin become messages, and messages are told.
#![forbid(unsafe_code)]

use crate::cli::client::ClientSecurity;
use crate::cli::console::Console;
use crate::cli::exit::Failure;
use crate::cli::frames::{Shown, shown};
use crate::cli::program::block_on;
use crate::cli::signals::{Signal, Signals};
use crate::cli::socket_type::TypeArgument;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use zmtp_auth::net::{Connection, Incoming, Message, NetError};
use zmtp_auth::{Config, Open, SocketType};

/// Connect a socket, send lines of stdin, and tell what comes back
///
/// One JSON object a line: connected, then message for each that arrives, and closed. A req waits
/// for the reply to each line before it sends the next; a pub waits for a subscriber before it
/// reads the first.
#[derive(Debug, Args)]
pub(crate) struct ConnectArguments {
    /// Such as tcp://127.0.0.1:5555 or ipc:///run/app.sock
    endpoint: String,
    /// The type of our socket
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: TypeArgument,
    #[command(flatten)]
    security: ClientSecurity,
    /// Split each line into frames where this text stands
    #[arg(long, value_name = "SEPARATOR")]
    multipart: Option<String>,
    /// The topic of a sub or xsub
    #[arg(long, value_name = "TOPIC", default_value = "")]
    subscribe: String,
    /// End after so many messages have arrived. Without it: at the end of stdin where nothing
    /// can come back, else when the peer closes
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Connected {
        endpoint: &'a str,
        socket_type: Option<&'static str>,
    },
    Message {
        frames: Vec<Shown>,
    },
    Closed {
        reason: String,
    },
}

pub(crate) fn run(arguments: &ConnectArguments, console: Console) -> Result<(), Failure> {
    let TypeArgument(socket_type) = arguments.socket_type;
    if arguments.multipart.as_deref() == Some("") {
        return Err(Failure::usage("--multipart needs a text to split at"));
    }
    let config = arguments.security.config(socket_type)?;
    block_on(converse(arguments, config, console))
}

/// How one end of a conversation behaves.
struct Side<'a> {
    ours: SocketType,
    arguments: &'a ConnectArguments,
    console: Console,
    /// Messages that may still arrive.
    left: Option<u64>,
}

async fn converse(
    arguments: &ConnectArguments,
    config: Config<Open>,
    console: Console,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut side = Side {
        ours: config.socket_type(),
        arguments,
        console,
        left: arguments.count,
    };
    let endpoint = arguments.endpoint.as_str();
    let mut connection = Connection::connect(endpoint, config, ()).await?;
    let claims = &connection.peer().claims;
    console.event(&Told::Connected {
        endpoint,
        socket_type: claims.socket_type.map(SocketType::name),
    })?;
    if side.ours.subscribes() {
        connection.subscribe(arguments.subscribe.clone()).await?;
    }
    let ended = {
        let exchange = side.exchange(&mut connection);
        tokio::pin!(exchange);
        loop {
            tokio::select! {
                ended = &mut exchange => break ended?,
                signal = signals.next() => if signal == Signal::Stop { break Ended::Done },
            }
        }
    };
    match ended {
        Ended::Done => Ok(connection.close().await?),
        Ended::Lost(error) => {
            console.event(&Told::Closed {
                reason: error.to_string(),
            })?;
            match error {
                NetError::Closed => Ok(()),
                error => Err(error.into()),
            }
        }
    }
}

/// How an exchange ends.
enum Ended {
    /// We have no more to say or to hear.
    Done,
    /// The peer has gone.
    Lost(NetError),
}

impl Side<'_> {
    async fn exchange(&mut self, connection: &mut Connection) -> Result<Ended, Failure> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let sends = !matches!(self.ours, SocketType::Pull | SocketType::Sub);
        let receives = !matches!(self.ours, SocketType::Push | SocketType::Pub);
        let mut reading = sends;
        let mut subscribed = !self.ours.publishes();
        // Whether a reply is due to us, or a request to answer: REQ and REP take turns.
        let mut our_turn = self.ours != SocketType::Rep;
        if self.left == Some(0) {
            return Ok(Ended::Done);
        }
        loop {
            let may_send = reading && subscribed && our_turn;
            tokio::select! {
                line = next(&mut lines), if may_send => match line? {
                    Some(line) => {
                        if let Err(error) = connection.send(self.message(line)).await {
                            return Ok(Ended::Lost(error));
                        }
                        our_turn = !matches!(self.ours, SocketType::Req | SocketType::Rep);
                    }
                    None if !receives || self.ours == SocketType::Req => return Ok(Ended::Done),
                    None => reading = false,
                },
                incoming = connection.recv() => match incoming {
                    Ok(Incoming::Message(message)) => {
                        our_turn = true;
                        self.console.event(&Told::Message {
                            frames: shown(self.ours, message.frames()),
                        })?;
                        self.left = self.left.map(|left| left.saturating_sub(1));
                        if self.left == Some(0) {
                            return Ok(Ended::Done);
                        }
                    }
                    Ok(Incoming::Subscribe(_)) => subscribed = true,
                    Ok(_) => {}
                    Err(error) => return Ok(Ended::Lost(error)),
                },
            }
        }
    }

    fn message(&self, line: String) -> Message {
        let mut frames = Vec::new();
        if matches!(self.ours, SocketType::Req | SocketType::Rep) {
            frames.push(Bytes::new());
        }
        match &self.arguments.multipart {
            Some(separator) => {
                let parts = line.split(separator.as_str());
                frames.extend(parts.map(|part| Bytes::copy_from_slice(part.as_bytes())));
            }
            None => frames.push(line.into()),
        }
        frames.into()
    }
}

/// The next line. Cancel-safe.
async fn next(lines: &mut Lines<BufReader<Stdin>>) -> Result<Option<String>, Failure> {
    let line = lines.next_line().await;
    line.map_err(|error| Failure::new(format_args!("cannot read stdin: {error}")))
}
