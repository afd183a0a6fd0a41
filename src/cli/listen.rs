//! `listen`: a socket that takes peers, tells what they are and what they send, and sends them
//! lines of stdin.
#![forbid(unsafe_code)]

use crate::cli::conversation::{Conversation, Who};
use crate::cli::events::Events;
use crate::cli::exit::Failure;
use crate::cli::frames::Shown;
use crate::cli::outlet::Outlet;
use crate::cli::program::block_on;
use crate::cli::repeats::{Repeats, at_time, place_of};
use crate::cli::server::{LoadedPolicy, ServerConfig, ServerSecurity, reloaded};
use crate::cli::signals::{Signal, Signals};
use crate::cli::socket_arguments::{BindArguments, SocketArguments};
use crate::cli::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zmtp_auth::net::{Access, Event, Listener, Refusal};
use zmtp_auth::{Config, Credential, SocketType};

/// Bind a socket, and tell who comes and what they send
///
/// One JSON object a line: first {"event":"listening","endpoint":".."} with the port that was
/// bound, then accepted, refused (who it was, as far as that was proven, and by which rule),
/// message, and closed. What peers chose, user ids among it, is {"text":".."}, or {"base64":".."}
/// where it is not UTF-8.
///
/// Refusals of one address are summed up: after the first, one line a minute tells the latest and
/// in "repeated" how many it stands for. While stdout is full no messages are received, so that
/// none is lost; refusals are then dropped, and counted in an event "lost".
///
/// SIGHUP loads the policy again, which takes two seconds: peers that it no longer admits are closed. SIGTERM ends it in
/// order, within 5 seconds; a second one ends it at once.
#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    /// Such as tcp://*:5555, tcp://127.0.0.1:* or ipc:///run/app.sock
    endpoint: String,
    /// The type of our socket
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: TypeArgument,
    #[command(flatten)]
    security: ServerSecurity,
    /// Send every message back to the peer that sent it: rep, router, dealer and pair
    #[arg(long)]
    echo: bool,
    /// Send lines of stdin: push, dealer and pair each to one peer after the other, pub and xpub
    /// each to every peer that has subscribed to how it begins. Waits for the first such peer, and
    /// then for any that does not read
    #[arg(long, conflicts_with = "echo")]
    send: bool,
    /// Split each line into frames where this text stands
    #[arg(long, value_name = "SEPARATOR", requires = "send")]
    multipart: Option<String>,
    #[command(flatten)]
    socket: SocketArguments,
    #[command(flatten)]
    bind: BindArguments,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Listening { endpoint: String },
    Refused(&'a Refused),
    Reloaded { warnings: Vec<String> },
    ReloadFailed { error: String },
}

#[derive(Serialize)]
struct Refused {
    /// When, by RFC 3339.
    at: String,
    address: String,
    port: Option<u16>,
    /// The CURVE key that was proven, in Z85.
    key: Option<String>,
    /// The PLAIN user, if the policy knows that name.
    user: Option<Shown>,
    domain: Option<Shown>,
    stage: &'static str,
    status: Option<&'static str>,
    reason: String,
    rule: Option<String>,
    policy_version: Option<u64>,
    /// Refusals that this line stands for, if it is not the first of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

pub(crate) fn run(arguments: &ListenArguments) -> Result<(), Failure> {
    let TypeArgument(socket_type) = arguments.socket_type;
    let echoes = matches!(
        socket_type,
        SocketType::Rep | SocketType::Router | SocketType::Dealer | SocketType::Pair
    );
    if arguments.echo && !echoes {
        let types = "--echo needs --type rep, router, dealer or pair";
        return Err(Failure::usage(types));
    }
    let outlet = match arguments.send {
        true => Some(Outlet::new(
            socket_type,
            arguments.multipart.clone(),
            arguments.socket.limits().max_message,
        )?),
        false => None,
    };
    let limits = arguments.bind.limits(arguments.socket.limits());
    let builder = arguments.socket.builder(socket_type).limits(limits);
    match arguments.security.config(builder)? {
        ServerConfig::Asks(config, router, policy) => {
            block_on(serve(arguments, config, router, Some(policy), outlet))
        }
        ServerConfig::Open(config) => block_on(serve(arguments, config, (), None, outlet)),
    }
}

async fn serve<A: Access>(
    arguments: &ListenArguments,
    config: Config<A>,
    router: A::Router,
    mut policy: Option<LoadedPolicy>,
    outlet: Option<Outlet>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let events = Events::on_stdout()?;
    let (ours, mechanism) = (config.socket_type(), config.mechanism().name());
    let mut options = arguments.socket.options();
    arguments.bind.apply(&mut options);
    let endpoint = arguments.endpoint.as_str();
    let listener = Listener::bind_with(endpoint, config, router, options).await;
    let listener = listener.map_err(|error| Failure::at(endpoint, &error))?;
    events.offer(&Told::Listening {
        endpoint: listener.local_endpoint().to_string(),
    })?;
    let (stop, stopped) = watch::channel(());
    let mut tasks: JoinSet<Result<(), Failure>> = JoinSet::new();
    let recipients = outlet.as_ref().map(Outlet::recipients);
    if let Some(outlet) = outlet {
        tasks.spawn(outlet.send_lines(stopped.clone()));
    }
    let mut refusals = Repeats::new();
    let mut next_peer = 1;
    loop {
        let due = refusals.deadline();
        tokio::select! {
            event = listener.next_event() => match event? {
                Event::Accepted(connection) => {
                    let peer = Conversation {
                        id: next_peer,
                        who: Who::of(connection.peer(), mechanism),
                        ours,
                        echo: arguments.echo,
                        events: events.clone(),
                        recipients: recipients.clone(),
                    };
                    next_peer += 1;
                    tasks.spawn(peer.hold(*connection, stopped.clone()));
                }
                Event::Refused(refusal) => {
                    let place = (place_of(&refusal.address), status_of(&refusal));
                    let now = Instant::now();
                    if let Some(refused) = refusals.note(place, refused(&refusal), now) {
                        events.offer(&Told::Refused(&refused))?;
                    }
                }
                _ => {}
            },
            () = at_time(due), if due.is_some() => {
                tell_repeated(refusals.due(Instant::now()), &events)?;
            }
            // A failure means that stdout or stdin is gone: there is no use in going on.
            Some(ended) = tasks.join_next() => ended.map_err(Failure::new)??,
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => match &mut policy {
                    Some(policy) => policy.reload(),
                    None => events.offer(&Told::ReloadFailed {
                        error: "there is no policy to load again".to_owned(),
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
        listener.close().await;
        drop(recipients);
        // Fails if there are no peers.
        let _ = stop.send(());
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(Failure::new)??;
        }
        tell_repeated(refusals.rest(), &events)?;
        events.written().await
    };
    signals.end(ending).await
}

fn tell_repeated(due: Vec<(Refused, u64)>, events: &Events) -> Result<(), Failure> {
    for (mut refused, more) in due {
        refused.repeated = Some(more);
        events.offer(&Told::Refused(&refused))?;
    }
    Ok(())
}

fn status_of(refusal: &Refusal) -> Option<&'static str> {
    refusal.denied().map(|denied| denied.status.as_str())
}

fn refused(refusal: &Refusal) -> Refused {
    let denied = refusal.denied();
    let (key, user) = match &refusal.credential {
        Some(Credential::Key(key)) => (Some(key.to_z85()), None),
        Some(Credential::UserName(name)) => (None, Some(Shown::of(name))),
        _ => (None, None),
    };
    Refused {
        at: humantime::format_rfc3339_millis(refusal.at).to_string(),
        address: refusal.address.to_string(),
        port: refusal.port,
        key,
        user,
        domain: refusal
            .domain
            .as_ref()
            .map(|name| Shown::of(name.as_bytes())),
        stage: refusal.stage.name(),
        status: status_of(refusal),
        reason: denied.map_or_else(|| refusal.error.to_string(), |denied| denied.reason.clone()),
        rule: refusal.rule().map(str::to_owned),
        policy_version: denied.and_then(|denied| denied.by.as_ref()?.policy_version),
        repeated: None,
    }
}
