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
use crate::socket::arguments::{BindArguments, SocketArguments};
use crate::socket::conversation::{Conversation, Who};
use crate::socket::outlet::Outlet;
use crate::socket::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zmtp_auth::net::{Endpoint, Event, Listener};
use zmtp_auth::{Security, SocketType};

/// Bind a socket, and print its peers and the messages that they send
///
/// Prints one JSON object per line. The first is {"event":"listening","endpoint":".."} with the port
/// that was bound. After that come "accepted", "refused" (with the key or user, if that was proven,
/// and the rule that decided), "message" and "closed". Data from peers, such as user ids and frames,
/// is {"text":".."}, or {"base64":".."} if it is not UTF-8.
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
    /// Send every message back to the peer that sent it (rep, router, dealer, pair)
    #[arg(long)]
    echo: bool,
    /// Send lines of standard input. A push, dealer or pair sends each line to one peer, in turn. A
    /// pub or xpub sends each line to every peer with a subscription that matches its beginning. The
    /// first line waits for such a peer, and each line waits for peers that read slowly
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
    arguments.bind.check(&arguments.endpoint)?;
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
        argument_source::reserve_stdin("read for lines to send")?;
    }
    let limits = arguments.bind.limits(arguments.socket.limits());
    let builder = arguments.socket.builder(socket_type)?.limits(limits);
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
    let TypeArgument(ours) = arguments.socket_type;
    let mechanism = security.mechanism().name();
    let mut options = arguments.socket.options();
    arguments.bind.apply(&mut options);
    let endpoint = &arguments.endpoint;
    let listener = Listener::bind_with(endpoint, security, options).await;
    let listener = listener.map_err(|error| Failure::at(&endpoint.to_string(), &error))?;
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
            // A task fails only if stdout or standard input is broken, so the program ends.
            Some(ended) = tasks.join_next() => ended.map_err(Failure::of)??,
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
        listener.close().await;
        drop(recipients);
        // Fails if no task is left to hear it.
        let _ = stop.send(());
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(Failure::of)??;
        }
        refusals.tell_rest()?;
        events.written().await
    };
    signals.end(ending).await
}
