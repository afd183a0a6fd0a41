//! The ZAP service for other processes: which processes may ask, and how they are answered.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::decisions::tell_decisions;
use crate::output::events::Events;
use crate::output::refused::Refusals;
use crate::output::repeats::at_time;
use crate::security::key_file::{load_key_pair, public_key};
use crate::security::server::LoadedPolicy;
use crate::signals::{Signal, Signals};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use tokio::task::JoinSet;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Endpoint, Event, Listener, NetError};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, Security, SocketType};

/// The most requests in progress on one connection. The next request is read when one is answered.
/// 512 is twice the number of slow decisions that the policy runs at once. The queue thus forms
/// inside the policy, which shares its places fairly among addresses, and not on the connection.
const MAX_ANSWERS: usize = 512;

/// The options of the service.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ServiceArguments {
    /// Serve other processes at this endpoint
    #[arg(long, value_name = "ENDPOINT")]
    listen: Option<Endpoint>,
    /// The service's secret key, for CURVE over tcp
    #[arg(
        long,
        value_name = "FILE",
        requires = "listen",
        requires = "client_key",
        conflicts_with = "explain"
    )]
    key: Option<PathBuf>,
    /// The public key of a client that may ask, for CURVE over tcp; may be repeated
    #[arg(
        long,
        value_name = "Z85|FILE",
        requires = "key",
        conflicts_with_all = ["insecure_clear_zap", "explain"],
        allow_hyphen_values = true
    )]
    client_key: Vec<String>,
    /// Let any process ask over tcp without encryption. Everyone on the network can read the
    /// passwords and forge the verdicts
    #[arg(long, requires = "listen", conflicts_with_all = ["key", "explain"])]
    insecure_clear_zap: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Listening {
        endpoint: String,
    },
    Accepted {
        address: String,
        port: Option<u16>,
        /// The CURVE key that was proven, in Z85.
        key: Option<String>,
    },
    Reloaded {
        warnings: Vec<String>,
    },
    ReloadFailed {
        error: String,
    },
}

impl ServiceArguments {
    /// The endpoint to listen at, if --listen was given.
    pub(crate) fn endpoint(&self) -> Result<Option<Endpoint>, Failure> {
        let Some(endpoint) = &self.listen else {
            return Ok(None);
        };
        let private = match endpoint {
            // An abstract name has no file mode: every user of the machine can connect to it.
            Endpoint::IpcPath(_) => true,
            _ => self.key.is_some() || self.insecure_clear_zap,
        };
        if private {
            Ok(Some(endpoint.clone()))
        } else {
            Err(Failure::usage(
                "requests contain passwords: listen on an ipc path, or give --key and \
                 --client-key, or --insecure-clear-zap",
            ))
        }
    }
}

/// Answers requests until a signal stops it.
pub(crate) async fn serve(
    endpoint: Endpoint,
    arguments: &ServiceArguments,
    policy: LoadedPolicy,
) -> Result<(), Failure> {
    let builder = Config::builder(SocketType::Router);
    if arguments.insecure_clear_zap {
        let config = builder.null().accept_any_peer().finish()?;
        return listen(endpoint, config.into(), policy).await;
    }
    let may_ask = Authenticator::new();
    let router = ZapRouter::new();
    router.bind("*", may_ask.clone()).map_err(Failure::of)?;
    let config = match &arguments.key {
        Some(key) => {
            let clients: Result<Vec<_>, _> = arguments
                .client_key
                .iter()
                .map(|key| public_key(key))
                .collect();
            may_ask.configure_curve_keys(Domain::EMPTY, clients?);
            let builder = builder.curve_server(load_key_pair(key)?);
            builder.authorize(Domain::EMPTY).finish()?
        }
        None => {
            let us = format!("uid:{}", own_uid()?);
            may_ask.allow([us]).map_err(Failure::of)?;
            builder.null().authorize(Domain::EMPTY).finish()?
        }
    };
    listen(endpoint, (config, router).into(), policy).await
}

/// The user id of this process, which the kernel tells of the other end of a socket pair.
#[cfg(unix)]
fn own_uid() -> Result<u32, Failure> {
    let (one, _other) = tokio::net::UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

#[cfg(not(unix))]
fn own_uid() -> Result<u32, Failure> {
    Err(Failure::usage("there is no ipc on this system"))
}

async fn listen(
    endpoint: Endpoint,
    security: Security,
    mut policy: LoadedPolicy,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let events = Events::on_stdout()?;
    let at = endpoint.to_string();
    // An ipc file has mode 0600 from the start: Options::ipc_mode.
    let listener = Listener::bind(endpoint, security).await;
    let listener = listener.map_err(|error| Failure::at(&at, &error))?;
    events.offer(&Told::Listening {
        endpoint: listener.local_endpoint().to_string(),
    })?;
    let mut deciding = tokio::spawn(tell_decisions(
        policy.authenticator().events(),
        events.clone(),
    ));
    let mut refusals = Refusals::new(events.clone());
    let mut clients = JoinSet::new();
    loop {
        let due = refusals.deadline();
        tokio::select! {
            event = listener.next_event() => match event? {
                Event::Accepted(connection) => {
                    let peer = connection.peer();
                    events.offer(&Told::Accepted {
                        address: peer.address.to_string(),
                        port: peer.port,
                        key: peer.proven_key.map(|key| key.to_z85()),
                    })?;
                    clients.spawn(answer(*connection, policy.authenticator().clone()));
                }
                Event::Refused(refusal) => refusals.tell(&refusal)?,
                _ => {}
            },
            () = at_time(due), if due.is_some() => refusals.tell_due()?,
            Some(_ended) = clients.join_next() => {}
            ended = &mut deciding => return ended.map_err(Failure::of)?,
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => policy.reload(),
            },
            outcome = policy.reloaded() => events.offer(&match outcome {
                Ok(warnings) => Told::Reloaded {
                    warnings: warnings.iter().map(ToString::to_string).collect(),
                },
                Err(failure) => Told::ReloadFailed { error: failure.message },
            })?,
        }
    }
    let ending = async {
        listener.close().await;
        clients.shutdown().await;
        // The stream of decisions ends when the last Authenticator is dropped. A reload in progress
        // holds one, and it may hang, so the end of the stream is not waited for then.
        let is_reloading = policy.is_reloading();
        drop(policy);
        if !is_reloading {
            deciding.await.map_err(Failure::of)??;
        }
        refusals.tell_rest()?;
        events.written().await
    };
    signals.end(ending).await
}

/// Answers one client, several requests at once.
async fn answer(connection: Connection, auth: Authenticator) -> NetError {
    let (mut sender, mut receiver) = connection.split();
    let mut answers: JoinSet<Option<Vec<Bytes>>> = JoinSet::new();
    loop {
        tokio::select! {
            message = receiver.recv_message(), if answers.len() < MAX_ANSWERS => match message {
                Ok(message) => {
                    let auth = auth.clone();
                    answers.spawn(async move {
                        auth.handle_zap_envelope(message.into_frames()).await
                    });
                }
                Err(error) => return error,
            },
            Some(answered) = answers.join_next() => {
                if let Ok(Some(frames)) = answered
                    && let Err(error) = sender.send(frames).await
                {
                    return error;
                }
            }
        }
    }
}
