//! `listen`: a socket that takes peers, tells what they are and what they send, and sends them
//! lines of stdin.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::output::refused::Refusals;
use crate::output::repeats::at_time;
use crate::runtime::block_on;
use crate::security::argument_source;
use crate::security::server::{LoadedPolicy, ServerConfig, ServerSecurity, reloaded};
use crate::signals::{Signal, Signals};
use crate::socket::arguments::{BindArguments, SocketArguments};
use crate::socket::conversation::{Conversation, Who};
use crate::socket::outlet::Outlet;
use crate::socket::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zmtp_auth::net::{Event, Listener};
use zmtp_auth::{Security, SocketType};

/// Bind a socket, and tell who comes and what they send
///
/// One JSON object a line: first {"event":"listening","endpoint":".."} with the port that was
/// bound, then accepted, refused (who it was, as far as that was proven, and by which rule),
/// message, and closed. What peers chose, user ids among it, is {"text":".."}, or {"base64":".."}
/// where it is not UTF-8.
///
/// Refusals with the same status of one key or known user at one address are summed up: after the
/// first, one line a minute tells the latest and in "repeated" how many it stands for. While stdout
/// is full no messages are received, so that none is lost here; a peer with heartbeats of its own
/// may then give us up, and what it has sent and we have not received is lost. Refusals are then
/// dropped, and counted in an event "lost".
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
enum Told {
    Listening { endpoint: String },
    Reloaded { warnings: Vec<String> },
    ReloadFailed { error: String },
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
    if arguments.send {
        argument_source::reserve_stdin("for lines to send")?;
    }
    let limits = arguments.bind.limits(arguments.socket.limits());
    let builder = arguments.socket.builder(socket_type).limits(limits);
    match arguments.security.config(builder)? {
        ServerConfig::Authorizing(config, router, policy) => {
            let security = (config, router).into();
            block_on(serve(arguments, security, Some(policy), outlet))
        }
        ServerConfig::NoPolicy(config) => block_on(serve(arguments, config.into(), None, outlet)),
    }
}

async fn serve(
    arguments: &ListenArguments,
    security: Security,
    mut policy: Option<LoadedPolicy>,
    outlet: Option<Outlet>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let events = Events::on_stdout()?;
    let (ours, mechanism) = (security.socket_type(), security.mechanism().name());
    let mut options = arguments.socket.options();
    arguments.bind.apply(&mut options);
    let endpoint = arguments.endpoint.as_str();
    let listener = Listener::bind_with(endpoint, security, options).await;
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
    let mut refusals = Refusals::new(events.clone());
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
                Event::Refused(refusal) => refusals.tell(&refusal)?,
                _ => {}
            },
            () = at_time(due), if due.is_some() => refusals.tell_due()?,
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
        refusals.tell_rest()?;
        events.written().await
    };
    signals.end(ending).await
}
