//! `tunnel`: CURVE or PLAIN for a program that speaks only NULL.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::runtime::block_on;
use crate::security::client::ClientCredentials;
use crate::security::key_file::load_key_pair;
use crate::security::scope::Scope;
use crate::security::server::{LoadedPolicy, reloaded};
use crate::signals::{Signal, Signals};
use crate::socket::arguments::{BindArguments, LimitArguments};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use zmtp_auth::config::WantsMechanism;
use zmtp_auth::net::{Endpoint, NetError, Tunnel, TunnelError, TunnelOptions};
use zmtp_auth::relay::IdentityRule;
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::{Authorizing, Builder, Config, Domain, MechanismKind, NoPolicy, SocketType};

/// How long to wait for the last events to be read. 1 s, since the log records the same.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Add CURVE or PLAIN to a program that speaks only NULL, without changing it
///
/// A tunnel is to ZeroMQ what stunnel is to TLS. Each end speaks NULL to a local program and CURVE
/// or PLAIN across the network:
///
///   program --NULL--> tunnel client --CURVE--> tunnel server --NULL--> program
///
/// Each connection of a program becomes one connection through the tunnel, so every pattern works:
/// socket types, identities, subscriptions, multipart messages, back-pressure and closing pass
/// through. A program that speaks CURVE or PLAIN itself needs no tunnel on its side.
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum TunnelCommand {
    Server(ServerArguments),
    Client(ClientArguments),
}

/// Accept authenticated peers from the network and forward them to a local program
///
///   zmtp-auth keygen --secret server.secret
///   zmtp-auth tunnel server --bind tcp://*:6000 --forward tcp://127.0.0.1:5000 \
///       --key server.secret --policy policy.toml
///
/// The policy decides about each peer. Nothing is forwarded for a peer that it refuses. The log on
/// stderr names each peer, its address, and the reason why its connection ended. Repeated refusals
/// of one peer become one line per minute.
///
/// SIGHUP reloads the policy and closes peers that it no longer admits. SIGTERM ends the tunnel in
/// order, and a second SIGTERM ends it at once. The exit code says whether everything was forwarded.
///
/// The program sees the tunnel's address and not its peers' addresses, so address rules belong in
/// the tunnel's policy. The program reads the authenticated user id of each peer from the message
/// property User-Id (zmq_msg_gets, Frame.get), which no peer can forge. All other properties are
/// what the peer claims. With --identity user-id a ROUTER addresses its peers by user id.
///
/// The program accepts every local connection, also those that do not come from the tunnel. Bind it
/// to loopback, or to an ipc path, which only its owner can open.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ServerArguments {
    /// Where peers connect from the network, such as tcp://*:6000
    #[arg(long, value_name = "ENDPOINT")]
    bind: Endpoint,
    /// Where the local program listens, such as tcp://127.0.0.1:5000 or ipc:///run/app.sock
    #[arg(long, value_name = "ENDPOINT")]
    forward: Endpoint,
    /// Use CURVE with this secret key: a secret certificate or the output of `keygen`, from a file,
    /// standard input (-) or a variable (env:NAME). Give up to four keys while clients change from
    /// an old key to a new one
    #[arg(long, value_name = "FILE", required_unless_present = "plain")]
    key: Vec<PathBuf>,
    /// Use PLAIN instead: user names and passwords, sent in clear text
    #[arg(long, conflicts_with = "key")]
    plain: bool,
    /// Which peers are admitted: a policy file, standard input (-) or a variable (env:NAME). SIGHUP
    /// reloads a file, which takes two seconds. To replace the file, rename a complete new one
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The section of the policy that applies to this tunnel: [domain.NAME]
    #[arg(long, value_name = "NAME", default_value = "")]
    domain: String,
    /// The id of the user who runs the program at an ipc --forward. The default is the user who runs
    /// the tunnel, or root. Nothing is forwarded to another user's program
    #[arg(long, value_name = "UID")]
    forward_uid: Option<u32>,
    /// Which identity (ZMQ_ROUTING_ID) the program sees
    #[arg(long, value_enum, default_value_t)]
    identity: IdentityArgument,
    #[command(flatten)]
    common: BothSides,
}

/// Forward a local program's connections to a server across the network
///
///   zmtp-auth tunnel client --bind tcp://127.0.0.1:5000 --forward tcp://host:6000 \
///       --server-key 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7' --key client.secret
///
/// The program connects to --bind instead of the server. If the server refuses or the connection is
/// lost, the program's connection is closed, and the program reconnects by itself. The log on stderr
/// says why.
///
/// The tunnel limits how often it calls the server. After a failure it waits 100 ms, then longer
/// after each further failure, up to 30 seconds, and a minute after a refusal. Programs wait
/// meanwhile.
///
/// Every program that can connect to --bind uses this key, so --bind must be loopback or an ipc path.
/// On a machine with other users prefer ipc, which only its owner can open.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ClientArguments {
    /// Where the program connects, such as tcp://127.0.0.1:5000 or ipc:///run/app.sock
    #[arg(long, value_name = "ENDPOINT")]
    bind: Endpoint,
    /// The server, such as tcp://example.org:6000
    #[arg(long, value_name = "ENDPOINT")]
    forward: Endpoint,
    /// Use CURVE with the server that has this public key: its 40 characters, or a certificate, the
    /// output of `keygen` or the bare key, from a file, standard input (-) or a variable (env:NAME)
    #[arg(
        long,
        value_name = "Z85|FILE",
        required_unless_present = "plain",
        allow_hyphen_values = true
    )]
    server_key: Option<String>,
    /// The client's secret key: a secret certificate or the output of `keygen`, from a file, standard
    /// input (-) or a variable (env:NAME). The default is a new key, which only a server that admits
    /// any key accepts
    #[arg(
        long,
        value_name = "FILE",
        requires = "server_key",
        conflicts_with = "plain"
    )]
    key: Option<PathBuf>,
    /// Use PLAIN instead, as this user; name and password are sent in clear text. The password comes
    /// from --password-file, from $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "USER", conflicts_with = "server_key")]
    plain: Option<String>,
    /// Read the password from this file, standard input (-) or a variable (env:NAME)
    #[arg(
        long,
        value_name = "FILE",
        requires = "plain",
        conflicts_with = "server_key"
    )]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    common: BothSides,
}

/// The options of both ends.
#[derive(Debug, Args)]
struct BothSides {
    /// Send a PING across the network at this interval, and close a peer that does not answer within
    /// the same time; 0 sends none. The default is a PING every 20 seconds: a peer that has answered
    /// before is closed after 40 seconds of silence, or after 10 minutes while messages are waiting
    /// to be sent to it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    heartbeat: Option<u64>,
    /// Allow a NULL side that is neither loopback nor ipc. Everyone on that network can read and
    /// change everything
    #[arg(long)]
    allow_cleartext: bool,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    bind: BindArguments,
}

impl BothSides {
    fn builder(&self) -> Builder<WantsMechanism> {
        let limits = self.bind.limits(self.limits.limits());
        Config::builder(SocketType::Relay).limits(limits)
    }

    fn options(&self) -> TunnelOptions {
        let mut options = TunnelOptions::default();
        options.allow_cleartext = self.allow_cleartext;
        self.bind.apply(&mut options.sockets);
        if let Some(seconds) = self.heartbeat {
            let settings = HeartbeatSettings::every(Duration::from_secs(seconds));
            options.sockets.heartbeat = Some(settings).filter(|_| seconds > 0);
        }
        options
    }
}

/// [`IdentityRule`] as an argument.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum IdentityArgument {
    /// The identity that the peer claims
    #[default]
    Pass,
    /// The peer's authenticated user id
    UserId,
    /// None, so that the program chooses one itself
    Drop,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Listening { endpoint: String },
    Reloaded { warnings: Vec<String> },
    ReloadFailed { error: String },
}

pub(crate) fn run(command: &TunnelCommand) -> Result<(), Failure> {
    match command {
        TunnelCommand::Server(arguments) => {
            arguments.check()?;
            let scope = Scope {
                domain: arguments.domain.clone(),
                mechanism: match arguments.plain {
                    true => MechanismKind::Plain,
                    false => MechanismKind::Curve,
                },
                applies_topics: false,
            };
            let policy = LoadedPolicy::load(&arguments.policy, Some(scope))?;
            block_on(server(arguments, policy))
        }
        TunnelCommand::Client(arguments) => {
            arguments.check()?;
            let config = arguments.config()?;
            block_on(client(arguments, config))
        }
    }
}

async fn server(arguments: &ServerArguments, mut policy: LoadedPolicy) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let config = arguments.config()?;
    let mut options = arguments.common.options();
    options.forward_uid = arguments.forward_uid;
    options.identity = match arguments.identity {
        IdentityArgument::Pass => IdentityRule::Pass,
        IdentityArgument::UserId => IdentityRule::UserId,
        IdentityArgument::Drop => IdentityRule::Drop,
    };
    let (bind, forward) = (&arguments.bind, &arguments.forward);
    let tunnel = Tunnel::server(bind, forward, (config, policy.router()?), options).await;
    serve(tunnel.map_err(named)?, Some(&mut policy), signals).await
}

async fn client(arguments: &ClientArguments, config: Config<NoPolicy>) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let options = arguments.common.options();
    let (bind, forward) = (&arguments.bind, &arguments.forward);
    let tunnel = Tunnel::client(bind, forward, config, options).await;
    serve(tunnel.map_err(named)?, None, signals).await
}

/// An error in the words of the program, which has options.
fn named(error: NetError) -> Failure {
    match error {
        NetError::Tunnel(TunnelError::Cleartext(endpoint)) => Failure::usage(format_args!(
            "the clear side, {endpoint}, is neither loopback nor ipc: others can read and change what \
             passes there; --allow-cleartext permits it"
        )),
        other => other.into(),
    }
}

/// Runs the tunnel until a signal stops it.
async fn serve(
    tunnel: Tunnel,
    mut policy: Option<&mut LoadedPolicy>,
    mut signals: Signals,
) -> Result<(), Failure> {
    let events = Events::on_stdout()?;
    events.offer(&Told::Listening {
        endpoint: tunnel.local_endpoint().to_string(),
    })?;
    loop {
        let told = tokio::select! {
            signal = signals.next() => match (signal, &mut policy) {
                (Signal::Stop, _) => break,
                (Signal::Reload, Some(policy)) => {
                    policy.reload();
                    continue;
                }
                (Signal::Reload, None) => Told::ReloadFailed {
                    error: "there is no policy to reload".to_owned(),
                },
            },
            outcome = reloaded(policy.as_deref_mut()) => match outcome {
                Ok(warnings) => Told::Reloaded {
                    warnings: warnings.iter().map(ToString::to_string).collect(),
                },
                Err(failure) => Told::ReloadFailed { error: failure.message },
            },
        };
        // A tunnel goes on without a reader of stdout, since its record is the log.
        let _ = events.offer(&told);
    }
    let ending = async {
        // Bounded by the time that a connection may make no progress.
        let closed = tunnel.close().await;
        let _unread = tokio::time::timeout(LAST_EVENTS, events.written()).await;
        Ok(closed?)
    };
    signals.end_patiently(ending).await
}

impl ServerArguments {
    /// # Errors
    /// Returns a usage failure if an option has no effect at these endpoints.
    fn check(&self) -> Result<(), Failure> {
        self.common.bind.check(&self.bind)?;
        if self.forward_uid.is_some() && matches!(self.forward, Endpoint::Tcp { .. }) {
            return Err(Failure::usage(
                "--forward-uid has no effect with tcp: only an ipc endpoint shows whose program it is",
            ));
        }
        Ok(())
    }

    fn config(&self) -> Result<Config<Authorizing>, Failure> {
        let builder = self.common.builder();
        let domain = Domain::from(self.domain.clone());
        let Some((first, more)) = self.key.split_first() else {
            // All clients understand libzmq's spelling, and libzmq's clients only this one.
            let builder = builder.plain_server().libzmq_error_spelling();
            return Ok(builder.authorize(domain).finish()?);
        };
        let mut builder = builder.curve_server(load_key_pair(first)?);
        for path in more {
            builder = builder.also_accept(load_key_pair(path)?);
        }
        Ok(builder.authorize(domain).finish()?)
    }
}

impl ClientArguments {
    /// # Errors
    /// Returns a usage failure if an option has no effect on the client's end.
    fn check(&self) -> Result<(), Failure> {
        if self.common.bind.limits_users() {
            return Err(Failure::usage(
                "--max-connections-per-user has no effect: the programs that connect have no user id",
            ));
        }
        self.common.bind.check(&self.bind)
    }

    fn config(&self) -> Result<Config<NoPolicy>, Failure> {
        let builder = self.common.builder();
        let credentials = match (&self.plain, &self.server_key) {
            (Some(user), _) => ClientCredentials::plain(user, self.password_file.as_deref())?,
            (None, Some(server)) => ClientCredentials::curve(server, self.key.as_deref())?,
            (None, None) => return Err(Failure::usage("choose one of --server-key, --plain")),
        };
        credentials.config(builder)
    }
}
