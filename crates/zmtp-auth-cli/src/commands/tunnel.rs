//! `tunnel`: security for a program that has none.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::runtime::block_on;
use crate::security::client::ClientCredentials;
use crate::security::key_file::load_key_pair;
use crate::security::server::{LoadedPolicy, Scope, reloaded};
use crate::signals::{Signal, Signals};
use crate::socket::arguments::{BindArguments, LimitArguments};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use zmtp_auth::net::{NetError, Tunnel, TunnelOptions};
use zmtp_auth::relay::IdentityRule;
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::{
    Authorizing, Builder, Config, Domain, MechanismKind, NoPolicy, SocketType, WantsMechanism,
};

/// Time that the last events have to be read.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Give a program CURVE or PLAIN that does not know them, without changing it
///
/// What stunnel is to TLS. Each side of a tunnel speaks NULL to the program beside it and CURVE,
/// or PLAIN, across the network. Every connection of a program crosses as one of its own, so that
/// any pattern works: socket types, identities, subscriptions, multipart messages, back-pressure
/// and closing pass through.
///
///   program --NULL--> tunnel client --CURVE--> tunnel server --NULL--> program
///
/// Either tunnel may be left out where the program speaks CURVE or PLAIN itself.
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum TunnelCommand {
    Server(ServerArguments),
    Client(ClientArguments),
}

/// Let authenticated peers in from the network, to a program that binds
///
///   zmtp-auth keygen --secret server.secret
///   zmtp-auth tunnel server --bind tcp://*:6000 --forward tcp://127.0.0.1:5000 \
///       --key server.secret --policy policy.toml
///
/// The policy decides about each peer; nothing is forwarded for one that it refuses. The log, on
/// stderr, says who came, from where, and why each connection ended. SIGHUP loads the policy
/// again, and puts out whom it no longer admits; SIGTERM ends the tunnel in order, and a second one
/// at once; the exit code says whether everything was sent on. Refusals of one peer are summed
/// up in a line a minute.
///
/// The program behind sees the tunnel's address, not its peers': address rules belong into the
/// tunnel's policy. It finds who each peer is in the property User-Id of its messages
/// (zmq_msg_gets, Frame.get), which no peer can forge; any other property is what the peer says of
/// itself. With --identity user-id a ROUTER addresses its peers by user id.
///
/// Whoever reaches the program beside the tunnel goes in without being asked: bind it to loopback,
/// or to an ipc path, which only its owner can open.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ServerArguments {
    /// Where peers connect, such as tcp://*:6000
    #[arg(long, value_name = "ENDPOINT")]
    bind: String,
    /// Where the program listens, such as tcp://127.0.0.1:5000 or ipc:///run/app.sock
    #[arg(long, value_name = "ENDPOINT")]
    forward: String,
    /// CURVE, with this secret key: a certificate with the secret in it, or what `keygen` writes,
    /// in a file, - for standard input, or env:NAME. Up to four, so that clients may still know an
    /// older one
    #[arg(long, value_name = "FILE", required_unless_present = "plain")]
    key: Vec<PathBuf>,
    /// PLAIN instead: names and passwords, in clear on the wire
    #[arg(long, conflicts_with = "key")]
    plain: bool,
    /// Who may come in: a policy file, - for standard input, or env:NAME. SIGHUP loads a file again,
    /// once it was read twice the same, two seconds apart: replace it by renaming a whole one
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The domain of the policy that rules this tunnel
    #[arg(long, value_name = "NAME", default_value = "")]
    domain: String,
    /// The user, by id, who runs the program at an ipc --forward; without it, the one who runs the
    /// tunnel, or root. Nothing is forwarded to a program of another
    #[arg(long, value_name = "UID")]
    forward_uid: Option<u32>,
    /// What becomes of the identity that a peer claims
    #[arg(long, value_enum, default_value_t)]
    identity: IdentityArgument,
    #[command(flatten)]
    common: BothSides,
}

/// Take a program's connections to a server across the network
///
///   zmtp-auth tunnel client --bind tcp://127.0.0.1:5000 --forward tcp://host:6000 \
///       --server-key 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7' --key client.secret
///
/// The program connects to --bind instead of the server. When the server refuses or is lost, the
/// program sees its connection closed, as if the server had gone, and tries again by itself; the
/// log, on stderr, says why. The tunnel asks a server that is down again after 100 ms, and ever
/// slower up to 30 seconds, one that refuses every minute; programs wait for it meanwhile.
///
/// Whoever reaches --bind speaks with this key. It is loopback or an ipc path; on a machine with
/// other users prefer ipc, which only its owner can open.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ClientArguments {
    /// Where the program connects, such as tcp://127.0.0.1:5000 or ipc:///run/app.sock
    #[arg(long, value_name = "ENDPOINT")]
    bind: String,
    /// The server, such as tcp://example.org:6000
    #[arg(long, value_name = "ENDPOINT")]
    forward: String,
    /// CURVE, with the server of this public key: 40 characters, or what holds them: a
    /// certificate, what `keygen` prints, or the key alone, in a file, - for standard input, or
    /// env:NAME
    #[arg(
        long,
        value_name = "Z85|FILE",
        required_unless_present = "plain",
        allow_hyphen_values = true
    )]
    server_key: Option<String>,
    /// Our secret key: a certificate with the secret in it, or what `keygen` writes, in a file, -
    /// for standard input, or env:NAME. Without it a fresh key is made, which only a server that
    /// knows no keys lets in
    #[arg(long, value_name = "FILE", requires = "server_key")]
    key: Option<PathBuf>,
    /// PLAIN instead: name and password, in clear on the wire; the password comes from
    /// --password-file, from $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "USER", conflicts_with = "server_key")]
    plain: Option<String>,
    /// What holds the password and nothing else: a file, - for standard input, or env:NAME
    #[arg(long, value_name = "FILE", requires = "plain")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    common: BothSides,
}

/// What either side takes.
#[derive(Debug, Args)]
struct BothSides {
    /// Send a PING across the network so often, and close a peer that does not answer for as long;
    /// 0 sends none. Without this option a PING goes out every 20 seconds, and only a peer that has
    /// answered one before is closed when it does not answer for 40 (or for 10 minutes, while it
    /// may have messages to take first)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    heartbeat: Option<u64>,
    /// Let the clear side leave this machine. Everybody on the way reads and writes everything
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
    /// It is passed on as claimed
    #[default]
    Pass,
    /// The authenticated user id takes its place
    UserId,
    /// It is emptied, and the program makes up one of its own
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
            let scope = Scope {
                domain: arguments.domain.clone(),
                mechanism: match arguments.plain {
                    true => MechanismKind::Plain,
                    false => MechanismKind::Curve,
                },
            };
            let policy = LoadedPolicy::load(&arguments.policy, Some(scope))?;
            block_on(server(arguments, policy))
        }
        TunnelCommand::Client(arguments) => {
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
    let (bind, forward) = (arguments.bind.as_str(), arguments.forward.as_str());
    let tunnel = Tunnel::server(bind, forward, (config, policy.router()?), options).await;
    serve(
        tunnel.map_err(|error| named(bind, error))?,
        Some(&mut policy),
        signals,
    )
    .await
}

async fn client(arguments: &ClientArguments, config: Config<NoPolicy>) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let options = arguments.common.options();
    let (bind, forward) = (arguments.bind.as_str(), arguments.forward.as_str());
    let tunnel = Tunnel::client(bind, forward, config, options).await;
    serve(tunnel.map_err(|error| named(bind, error))?, None, signals).await
}

/// What the system says of the endpoint to bind names it; all else names what it is about.
fn named(bind: &str, error: NetError) -> Failure {
    match error {
        NetError::Io { .. } => Failure::at(bind, &error),
        other => other.into(),
    }
}

/// Runs until it is told to stop.
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
                    error: "there is no policy to load again".to_owned(),
                },
            },
            outcome = reloaded(policy.as_deref_mut()) => match outcome {
                Ok(warnings) => Told::Reloaded {
                    warnings: warnings.iter().map(ToString::to_string).collect(),
                },
                Err(failure) => Told::ReloadFailed { error: failure.message },
            },
        };
        // A tunnel goes on without a reader: its record is the log.
        let _ = events.offer(&told);
    }
    let ending = async {
        // Bounded by the time that a connection may stand still.
        let closed = tunnel.close().await;
        let _unread = tokio::time::timeout(LAST_EVENTS, events.written()).await;
        Ok(closed?)
    };
    signals.end_patiently(ending).await
}

impl ServerArguments {
    fn config(&self) -> Result<Config<Authorizing>, Failure> {
        let builder = self.common.builder();
        let domain = Domain::from(self.domain.clone());
        let Some((first, more)) = self.key.split_first() else {
            // Every client understands libzmq's spelling, and libzmq's clients no other.
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
