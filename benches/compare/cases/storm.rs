//! Many clients of one address that connect to one server at the same moment, each with one attempt: how
//! long it takes until the last one is served, and how many our server loses, with which error.

use crate::child::handle::Child;
use crate::child::job::{Job, Task, client_secret, server_secret};
use crate::measuring::pairing::{Side, median};
use crate::measuring::stopwatch;
use crate::output::report::Report;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zmtp_auth::net::Connection;
use zmtp_auth::{Config, KeyPair, Limits, SocketType, WithCauses};

/// The number of clients, and how long all may take.
const CLIENTS: usize = 5000;
const TIME: Duration = Duration::from_secs(40);
const ROUNDS: usize = 3;

pub fn run(report: &mut Report) {
    let case = format!("storm of {CLIENTS} handshakes");
    if !report.wants(&case) {
        return;
    }
    stopwatch::open_many_files();
    let storms: Vec<Storm> = (0..ROUNDS).map(|_| storm()).collect();
    let mut lost = 0;
    for (error, count) in storms.iter().flat_map(|storm| &storm.errors) {
        eprintln!("{case}: {count} clients: {error}");
        lost += count;
    }
    let took = storms.iter().map(|storm| storm.took.as_secs_f64() * 1e3);
    report.alone(&format!("{case}, all done"), "ms", median(took));
    let unit = format!("of {}", ROUNDS * CLIENTS);
    report.alone(&format!("{case}, lost"), &unit, lost as f64);
}

struct Storm {
    /// Until the last client is connected or has failed.
    took: Duration,
    /// How often each error occurred.
    errors: BTreeMap<String, usize>,
}

/// A new server for each storm, with default limits.
fn storm() -> Storm {
    let server = Child::start(&Job {
        side: Side::Ours,
        task: Task::Serve,
        curve: true,
        size: 0,
        threads: 1,
    });
    let endpoint = server.line();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = Config::builder(SocketType::Push)
            .curve_client(
                KeyPair::from_secret(client_secret()),
                server_secret().public_key(),
            )
            // A client that waits for a busy server is not lost.
            .limits(
                Limits::default()
                    .with_greeting_timeout(TIME)
                    .with_handshake_timeout(TIME),
            )
            .finish()
            .unwrap();
        let start = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (endpoint, config) = (endpoint.clone(), config.clone());
                tokio::spawn(async move {
                    let connecting = Connection::connect(endpoint.as_str(), config);
                    match tokio::time::timeout(TIME, connecting).await {
                        Ok(Ok(connection)) => Ok(connection),
                        Ok(Err(error)) => Err(WithCauses(&error).to_string()),
                        Err(_) => Err("takes too long".to_owned()),
                    }
                })
            })
            .collect();
        let mut errors = BTreeMap::new();
        // Each connection is kept until all are there.
        let mut connected = Vec::with_capacity(CLIENTS);
        for client in clients {
            match client.await.unwrap() {
                Ok(connection) => connected.push(connection),
                Err(error) => *errors.entry(error).or_insert(0) += 1,
            }
        }
        let took = start.elapsed();
        Storm { took, errors }
    })
}
