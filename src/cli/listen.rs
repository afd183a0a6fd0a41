//! `listen`: a socket that takes peers and tells what they are and what they send.
#![forbid(unsafe_code)]

use crate::cli::console::Console;
use crate::cli::exit::Failure;
use crate::cli::frames::{Shown, shown};
use crate::cli::program::block_on;
use crate::cli::server::{LoadedPolicy, ServerConfig, ServerSecurity, reason_and_rule};
use crate::cli::signals::{Signal, Signals};
use crate::cli::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zmtp_auth::net::{Access, Connection, Event, Incoming, Listener, NetError, Refusal};
use zmtp_auth::{Config, Denied, Error, Peer, SocketType};

/// Bind a socket, and tell who comes and what they send
///
/// One JSON object a line: first {"event":"listening","endpoint":".."} with the port that was
/// bound, then accepted, refused (with the rule that decided), message, and closed. SIGHUP loads
/// the policy again: peers that it no longer admits are closed. SIGTERM ends it in order.
#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    /// Such as tcp://*:5555, tcp://127.0.0.1:* or ipc:///run/app.sock
    endpoint: String,
    /// The type of our socket
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: TypeArgument,
    #[command(flatten)]
    security: ServerSecurity,
    /// Send every message back to whoever sent it: rep, router, dealer and pair
    #[arg(long)]
    echo: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Listening {
        endpoint: String,
    },
    Accepted {
        peer: u64,
        #[serde(flatten)]
        who: Who,
        address: String,
        socket_type: Option<&'static str>,
        claims: BTreeMap<String, Shown>,
    },
    Refused {
        address: String,
        status: Option<&'static str>,
        reason: String,
        rule: Option<String>,
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
    Cancelled {
        peer: u64,
        topic: Shown,
    },
    Closed {
        peer: u64,
        #[serde(flatten)]
        who: &'a Who,
        reason: String,
    },
    Reloaded {
        warnings: Vec<String>,
    },
    ReloadFailed {
        error: String,
    },
}

/// Who a peer is by the word of our policy; all of it absent if nobody was asked.
#[derive(Serialize, Clone)]
struct Who {
    user_id: Option<String>,
    mechanism: &'static str,
    domain: Option<String>,
}

impl Who {
    fn of(peer: &Peer, mechanism: &'static str) -> Self {
        let authenticated = peer.authenticated.as_ref();
        Self {
            user_id: authenticated.map(|peer| text(&peer.user_id)),
            mechanism,
            domain: authenticated.map(|peer| text(peer.domain.as_bytes())),
        }
    }
}

/// Bytes as text; what is not UTF-8 is escaped.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

pub(crate) fn run(arguments: &ListenArguments, console: Console) -> Result<(), Failure> {
    let TypeArgument(socket_type) = arguments.socket_type;
    let echoes = matches!(
        socket_type,
        SocketType::Rep | SocketType::Router | SocketType::Dealer | SocketType::Pair
    );
    if arguments.echo && !echoes {
        let types = "--echo needs --type rep, router, dealer or pair";
        return Err(Failure::usage(types));
    }
    let echo = arguments.echo;
    let endpoint = arguments.endpoint.as_str();
    match arguments.security.config(socket_type)? {
        ServerConfig::Asks(config, router, policy) => {
            block_on(serve(endpoint, config, router, Some(policy), echo, console))
        }
        ServerConfig::Open(config) => block_on(serve(endpoint, config, (), None, echo, console)),
    }
}

async fn serve<A: Access>(
    endpoint: &str,
    config: Config<A>,
    router: A::Router,
    policy: Option<LoadedPolicy>,
    echo: bool,
    console: Console,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let ours = config.socket_type();
    let mechanism = config.mechanism().name();
    let listener = Listener::bind(endpoint, config, router).await?;
    console.event(&Told::Listening {
        endpoint: listener.local_endpoint().to_string(),
    })?;
    let (stop, stopped) = watch::channel(());
    let mut peers: JoinSet<Result<(), Failure>> = JoinSet::new();
    let mut next_peer = 1;
    loop {
        tokio::select! {
            event = listener.next_event() => match event? {
                Event::Accepted(connection) => {
                    let peer = Conversation {
                        id: next_peer,
                        who: Who::of(connection.peer(), mechanism),
                        ours,
                        echo,
                        console,
                    };
                    next_peer += 1;
                    peer.introduce(connection.peer())?;
                    peers.spawn(peer.hold(*connection, stopped.clone()));
                }
                Event::Refused(refusal) => console.event(&refused(&refusal))?,
                _ => {}
            },
            // Nobody reads what we have to say: there is no use in going on.
            Some(ended) = peers.join_next() => ended.map_err(Failure::new)??,
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => reload(policy.as_ref(), console)?,
            },
        }
    }
    listener.close().await;
    // Fails if nobody is connected.
    let _ = stop.send(());
    while let Some(ended) = peers.join_next().await {
        ended.map_err(Failure::new)??;
    }
    Ok(())
}

fn reload(policy: Option<&LoadedPolicy>, console: Console) -> Result<(), Failure> {
    let Some(policy) = policy else { return Ok(()) };
    match policy.reload() {
        Ok(warnings) => console.event(&Told::Reloaded {
            warnings: warnings.iter().map(ToString::to_string).collect(),
        }),
        Err(failure) => console.event(&Told::ReloadFailed {
            error: failure.message,
        }),
    }
}

fn refused(refusal: &Refusal) -> Told<'static> {
    let address = refusal.address.to_string();
    match refusal.error.protocol() {
        Some(Error::Denied(Denied { status, reason })) => {
            let (reason, rule) = reason_and_rule(reason);
            Told::Refused {
                address,
                status: Some(status.as_str()),
                reason: reason.to_owned(),
                rule,
            }
        }
        _ => Told::Refused {
            address,
            status: None,
            reason: refusal.error.to_string(),
            rule: None,
        },
    }
}

/// One peer.
struct Conversation {
    id: u64,
    who: Who,
    ours: SocketType,
    echo: bool,
    console: Console,
}

impl Conversation {
    fn introduce(&self, peer: &Peer) -> Result<(), Failure> {
        let claims = peer.claims.properties.iter();
        self.console.event(&Told::Accepted {
            peer: self.id,
            who: self.who.clone(),
            address: peer.address.to_string(),
            socket_type: peer.claims.socket_type.map(SocketType::name),
            claims: claims
                .map(|(name, value)| (name.to_owned(), Shown::of(value)))
                .collect(),
        })
    }

    /// Tells what the peer sends until it goes, or we do.
    async fn hold(
        self,
        mut connection: Connection,
        mut stopped: watch::Receiver<()>,
    ) -> Result<(), Failure> {
        if self.ours.subscribes() {
            // All topics. If it fails, receiving says why.
            let _ = connection.subscribe("").await;
        }
        let reason = loop {
            tokio::select! {
                incoming = connection.recv() => match incoming {
                    Ok(incoming) => {
                        if let Some(echo) = self.tell(incoming)?
                            && let Err(error) = connection.send(echo).await
                        {
                            break error.to_string();
                        }
                    }
                    Err(error) => break error.to_string(),
                },
                _ = stopped.changed() => {
                    break match connection.close().await {
                        Ok(()) | Err(NetError::Closed) => "we have stopped".to_owned(),
                        Err(error) => error.to_string(),
                    };
                }
            }
        };
        self.console.event(&Told::Closed {
            peer: self.id,
            who: &self.who,
            reason,
        })
    }

    /// Tells what has come; gives what is to be sent back.
    fn tell(&self, incoming: Incoming) -> Result<Option<zmtp_auth::net::Message>, Failure> {
        let peer = self.id;
        match incoming {
            Incoming::Message(message) => {
                self.console.event(&Told::Message {
                    peer,
                    who: &self.who,
                    frames: shown(self.ours, message.frames()),
                })?;
                // As it came: with the delimiter that a REQ waits for.
                return Ok(self.echo.then_some(message));
            }
            Incoming::Subscribe(topic) => self.console.event(&Told::Subscribed {
                peer,
                topic: Shown::of(&topic),
            })?,
            Incoming::Cancel(topic) => self.console.event(&Told::Cancelled {
                peer,
                topic: Shown::of(&topic),
            })?,
            _ => {}
        }
        Ok(None)
    }
}
