//! `probe`: finds out what an endpoint speaks, and whether it accepts the given credentials.
#![forbid(unsafe_code)]

use crate::commands::probe_link::{Link, Seen, Step};
use crate::exit::{Exit, Failure};
use crate::output::console::Console;
use crate::runtime::block_on;
use crate::security::client::{ClientCredentials, ClientSecurity};
use crate::socket::socket_type::TypeArgument;
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;
use zmtp_auth::net::Endpoint;
use zmtp_auth::{
    Config, Error, Incompatible, LikelyCause, NoPolicy, SocketType, Stage, WithCauses,
};

/// Find out what an endpoint speaks, and whether it accepts your credentials
///
/// Without credentials, prints the protocol version and the mechanism, and for NULL the socket type.
/// With credentials (--curve, --plain or --null), prints whether they are accepted. The exit code
/// says the same to scripts.
///
/// A libzmq socket closes the connection if the two socket types do not fit together, which looks
/// like a temporary refusal. Without --type the command therefore tries one type after the other,
/// each on a new connection, until one fits.
#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// Where to connect, such as tcp://127.0.0.1:5555 or ipc:///run/app.sock
    endpoint: Endpoint,
    #[command(flatten)]
    security: ClientSecurity,
    /// The socket type to claim; the default is to try all
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: Option<TypeArgument>,
    /// How many seconds the handshake may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f64,
}

/// The types to claim. Every stable type fits one of them.
const TYPES: [SocketType; 6] = [
    SocketType::Dealer,
    SocketType::Sub,
    SocketType::Push,
    SocketType::Pull,
    SocketType::Pub,
    SocketType::Pair,
];

#[derive(Serialize)]
struct Report {
    endpoint: String,
    /// Such as `3.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    zmtp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_type: Option<String>,
    outcome: &'static str,
    detail: String,
    steps: Vec<Step>,
}

pub(crate) fn run(arguments: &ProbeArguments, console: Console) -> Result<(), Failure> {
    let endpoint = &arguments.endpoint;
    let timeout = Duration::try_from_secs_f64(arguments.timeout)
        .map_err(|_| Failure::usage("--timeout must be a number of seconds"))?;
    let with_credentials = arguments.security.mechanism().is_some();
    // With NULL, a relay learns the peer's type without sending its own. A peer that waits for our
    // type, or closes because none comes, is asked again with each of the types.
    let types = match (arguments.security.mechanism(), arguments.socket_type) {
        (_, Some(TypeArgument(given))) => vec![given],
        (None | Some(zmtp_auth::MechanismKind::Null), None) => {
            [&[SocketType::Relay][..], &TYPES].concat()
        }
        (Some(_), None) => TYPES.to_vec(),
    };
    let credentials = match with_credentials {
        true => arguments.security.load()?,
        false => ClientCredentials::Null,
    };
    let configs = types
        .into_iter()
        .map(|claimed| credentials.config(Config::builder(claimed)));
    let configs: Vec<_> = configs.collect::<Result<_, _>>()?;
    let waiting = console.waiting(&format!("asking {endpoint}"));
    let (seen, ended) = block_on(attempts(endpoint, &configs, timeout))?;
    drop(waiting);
    let (outcome, exit) = judge(&ended, with_credentials);
    let report = Report {
        endpoint: endpoint.to_string(),
        zmtp: seen.version(),
        mechanism: seen.mechanism(),
        socket_type: socket_type(&seen, &ended),
        outcome,
        detail: match &ended {
            Ok(()) => outcome.to_owned(),
            Err(error) => WithCauses(error).to_string(),
        },
        steps: seen.steps,
    };
    console.result(&report, &told(&report))?;
    match exit {
        None => Ok(()),
        Some(exit) if report.detail.starts_with(outcome) => Err(Failure::with(exit, report.detail)),
        Some(exit) => {
            let why = format_args!("{}: {}", in_words(outcome), report.detail);
            Err(Failure::with(exit, why))
        }
    }
}

/// Tries one configuration after the other until the outcome does not depend on the socket type.
async fn attempts(
    endpoint: &Endpoint,
    configs: &[Config<NoPolicy>],
    timeout: Duration,
) -> Result<(Seen, Result<(), Error>), Failure> {
    let mut last = None;
    for config in configs {
        let link = Link::connect(endpoint, timeout).await?;
        let (seen, ended) = link.shake_hands(config, timeout).await;
        let type_may_matter = match ended {
            Err(Error::ClosedByPeer(Stage::CurveReady | Stage::PlainReady | Stage::NullReady)) => {
                true
            }
            Err(Error::Timeout(Stage::NullReady)) => {
                config.socket_type() == Some(SocketType::Relay)
            }
            _ => false,
        };
        last = Some((seen, ended));
        if !type_may_matter {
            break;
        }
    }
    last.ok_or_else(|| Failure::new("no attempt was made"))
}

/// The outcome in a word, and the exit code if it is a failure.
fn judge(ended: &Result<(), Error>, with_credentials: bool) -> (&'static str, Option<Exit>) {
    let Err(error) = ended else {
        return ("accepted", None);
    };
    let exit = Exit::of_protocol(error);
    let outcome = match error {
        // Without credentials the mechanism was all that was asked for.
        Error::Incompatible(Incompatible::Mechanism { .. }) if !with_credentials => {
            return ("recognised", None);
        }
        Error::Incompatible(Incompatible::Mechanism { .. }) => "other mechanism",
        // The types are compared after the verdict, so the credentials were accepted.
        Error::Incompatible(Incompatible::SocketType { .. }) => return ("accepted", None),
        Error::Incompatible(_) => "other protocol",
        _ if error.likely_cause() == Some(LikelyCause::WrongServerKey) => "wrong server key",
        _ => match exit {
            Exit::Refused => "refused",
            Exit::Temporary => "temporary",
            Exit::TimedOut => "time-out",
            Exit::Protocol => "protocol error",
            _ => "failed",
        },
    };
    (outcome, Some(exit))
}

/// The outcome for people, where the word alone says too little.
fn in_words(outcome: &str) -> &str {
    match outcome {
        "recognised" => "recognised; no credentials were checked",
        "temporary" => "refused for now",
        outcome => outcome,
    }
}

fn socket_type(seen: &Seen, ended: &Result<(), Error>) -> Option<String> {
    match ended {
        Err(Error::Incompatible(Incompatible::SocketType { peer, .. })) => Some(peer.clone()),
        _ => seen.socket_type.map(|kind| kind.name().to_owned()),
    }
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    let lines = [
        ("ZMTP", &report.zmtp),
        ("mechanism", &report.mechanism),
        ("socket type", &report.socket_type),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    for step in &report.steps {
        let _ = writeln!(text, "{:>9.3} ms  {}", step.ms, step.step);
    }
    let _ = writeln!(text, "{}", in_words(report.outcome));
    text
}
