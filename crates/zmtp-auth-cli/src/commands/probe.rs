//! `probe`: what speaks at an endpoint, and what it says to our credentials.
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
use zmtp_auth::{Config, CryptoError, Error, Incompatible, NoPolicy, SocketType, Stage};

/// Say what speaks at an endpoint, and whether it lets us in
///
/// Without credentials: protocol version and mechanism, and for NULL the type of the socket. With
/// them, the exact outcome; the exit code tells it to scripts.
///
/// A libzmq socket closes on a peer whose type does not fit, which looks like a temporary refusal.
/// Without --type one type after the other is tried, on a connection of its own, until one fits.
/// A NULL server says its type first, or, if it is silent for a second, after ours.
#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// Such as tcp://127.0.0.1:5555 or ipc:///run/app.sock
    endpoint: String,
    #[command(flatten)]
    security: ClientSecurity,
    /// The type that we claim
    #[arg(long = "type", value_name = "TYPE")]
    socket_type: Option<TypeArgument>,
    /// Seconds for the whole handshake
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f64,
}

/// Types to claim: together they fit every stable one.
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
    let endpoint: Endpoint = arguments.endpoint.parse()?;
    let timeout = Duration::try_from_secs_f64(arguments.timeout)
        .map_err(|_| Failure::usage("--timeout must be a number of seconds"))?;
    let with_credentials = arguments.security.mechanism().is_some();
    // A relay learns the type of a NULL socket before it tells its own, and tells none. A socket
    // that waits for ours, or closes because none comes, gets one afterwards.
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
    let (seen, ended) = block_on(attempts(&endpoint, &configs, timeout))?;
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
            Err(error) => error.to_string(),
        },
        steps: seen.steps,
    };
    console.result(&report, &told(&report))?;
    match exit {
        None => Ok(()),
        Some(exit) => Err(Failure::with(
            exit,
            format_args!("{outcome}: {}", report.detail),
        )),
    }
}

/// One attempt after the other, until the type that we claim is not what stands in the way.
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
            Err(Error::Timeout(Stage::NullReady)) => config.socket_type() == SocketType::Relay,
            _ => false,
        };
        last = Some((seen, ended));
        if !type_may_matter {
            break;
        }
    }
    last.ok_or_else(|| Failure::new("no attempt was made"))
}

/// The outcome in a word, and the exit code if it is none to be happy with.
fn judge(ended: &Result<(), Error>, with_credentials: bool) -> (&'static str, Option<Exit>) {
    let Err(error) = ended else {
        return ("accepted", None);
    };
    let exit = Exit::of_protocol(error);
    let outcome = match error {
        // Without credentials we only wanted to know what speaks there.
        Error::Incompatible(Incompatible::Mechanism { .. }) if !with_credentials => {
            return ("recognised", None);
        }
        Error::Incompatible(Incompatible::Mechanism { .. }) => "other mechanism",
        // What comes after the verdict: we are let in, under another type.
        Error::Incompatible(Incompatible::SocketType { .. }) => return ("accepted", None),
        Error::Incompatible(_) => "other protocol",
        Error::ClosedByPeer(Stage::CurveWelcome) | Error::Crypto(CryptoError::BoxNotOpened(_)) => {
            "wrong server key"
        }
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
    let _ = writeln!(text, "{}", report.outcome);
    text
}
