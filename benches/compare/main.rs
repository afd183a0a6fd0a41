//! Compares this library with libsodium, libzmq and pyzmq in one run, and prints one JSON line for
//! each case.
//!
//! ```text
//! cargo bench -p zmtp-auth-benches --bench compare                      # every case
//! cargo bench -p zmtp-auth-benches --bench compare -- seal handshake    # cases whose names contain one of these
//! cargo bench -p zmtp-auth-benches --bench compare -- --write           # rows go to benches/results/
//! cargo bench -p zmtp-auth-benches --bench compare -- --sodium /usr/lib/x86_64-linux-gnu/libsodium.so.23
//! ```
//!
//! The other libraries come from the pyzmq wheel of the test environment: the one of
//! `ZMTP_AUTH_PYTHON`, or the one that `./test` prepares.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cases;
mod child;
mod libzmq_child;
mod measuring;
mod our_child;
mod ours;
mod output;
mod peers;

use crate::cases::traffic::{auth_stream, fan_out, links, many_connections, sockets, tunnel};
use crate::cases::{boxes, handshake, heap, idle, policy, storm, topics, zap};
use crate::child::handle;
use crate::child::job::Job;
use crate::measuring::pairing::Side;
use crate::output::report::Report;
use crate::output::results::Results;
use crate::output::table;
use crate::peers::zmq::Zmq;
use std::path::PathBuf;
use zmtp_auth_judges::judge::Judge;
use zmtp_auth_judges::sodium::Sodium;
use zmtp_auth_judges::wheel;

/// What the command line asks for.
struct Request {
    /// Parts of names: a case runs if its name contains one of them. Empty: all cases run.
    filters: Vec<String>,
    /// A libsodium to use instead of the wheel's.
    sodium: Option<PathBuf>,
    /// Whether rows go to `benches/results/`.
    write: bool,
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut request = Self {
            filters: Vec::new(),
            sodium: None,
            write: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // cargo adds these.
                "--bench" => {}
                "--write" => request.write = true,
                "--sodium" => {
                    let path = arguments.next().expect("--sodium takes a path");
                    request.sodium = Some(path.into());
                }
                option if option.starts_with('-') => panic!("no such option: {option}"),
                _ => request.filters.push(argument),
            }
        }
        request
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, job @ ..] = arguments.as_slice()
        && mark == handle::MARK
    {
        let job = Job::from_arguments(job);
        handle::obey();
        match job.side {
            Side::Ours => our_child::run(job),
            Side::Libzmq => libzmq_child::run(&job),
        }
        return;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only checks that it starts.
        return;
    }
    let request = Request::parse(arguments.into_iter());
    let is_peer_named = request.sodium.is_some();
    let path = request
        .sodium
        .map_or_else(wheel::sodium, Ok)
        .unwrap_or_else(|missing| panic!("{missing}"));
    let sodium = Sodium::load(&path).unwrap_or_else(|missing| panic!("{missing}"));
    let results = request.write.then(|| {
        let against = is_peer_named.then(|| sodium.name());
        Results::open(title(against), command())
    });
    let mut report = Report::new(request.filters, results);
    boxes::run(&mut report, &sodium);
    handshake::run(&mut report, &sodium);
    let zmq = Zmq::load(1);
    links::run(&mut report, &zmq.name);
    storm::run(&mut report);
    tunnel::run(&mut report, &zmq.name);
    auth_stream::run(&mut report);
    sockets::run(&mut report, &zmq.name);
    many_connections::run(&mut report, &zmq.name);
    fan_out::run(&mut report, &zmq.name);
    idle::run(&mut report, &zmq.name);
    topics::run(&mut report);
    zap::run(&mut report);
    policy::run(&mut report);
    heap::run(&mut report, &zmq);
    report.finish();
}

/// What is measured: the library as a user gets it, unless this build or the command line names code
/// for another processor or another libsodium.
fn title(against: Option<&str>) -> String {
    let code = match CIPHER {
        None => table::USUAL.to_owned(),
        Some(cipher) => format!("The code for `{cipher}`"),
    };
    against.map_or_else(|| code.clone(), |name| format!("{code}, against {name}"))
}

/// The code for one kind of processor that this build is limited to.
const CIPHER: Option<&str> = if cfg!(zmtp_auth_cipher = "avx2") {
    Some("avx2")
} else if cfg!(zmtp_auth_cipher = "portable") {
    Some("portable")
} else {
    None
};

/// The command that repeats this run.
fn command() -> String {
    let flags = CIPHER.map(|cipher| format!("RUSTFLAGS='--cfg zmtp_auth_cipher=\"{cipher}\"' "));
    let flags = flags.unwrap_or_default();
    let mut command = format!("{flags}cargo bench -p zmtp-auth-benches --bench compare --");
    for argument in std::env::args().skip(1).filter(|one| one != "--bench") {
        match argument.contains(' ') {
            true => command += &format!(" '{argument}'"),
            false => command += &format!(" {argument}"),
        }
    }
    command
}
