//! Connections over TCP on loopback with a process for each end: messages per second with the processor
//! time of each end, round trips, and the cost of a handshake to a server.

use crate::child::handle::Child;
use crate::child::job::{Job, Task};
use crate::child::under_load::{BOTH_ENDS, Ends};
use crate::measuring::pairing::{Better, Side, rounds};
use crate::measuring::stopwatch;
use crate::ours::over_tcp;
use crate::output::report::Report;
use std::thread;
use std::time::{Duration, Instant};
use zmtp_auth::SocketType;
use zmtp_auth::net::Connection;

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const ROUNDS: usize = 5;

/// The number of handshakes in a round, and of rounds. Rounds are short and differ much.
const HANDSHAKES: usize = 200;
const HANDSHAKE_ROUNDS: usize = 15;
/// The number of clients that connect at once, and how long all may take.
const STORM: usize = 1000;
const STORM_TIME: Duration = Duration::from_secs(15);
/// The name of the threads of tokio's runtime.
const WORKER: &str = "tokio-rt-worker";

/// How long a server may take to finish with its last peer.
const SETTLE: Duration = Duration::from_millis(50);

pub fn run(report: &mut Report, libzmq: &str) {
    for curve in [true, false] {
        let mechanism = if curve { "CURVE" } else { "NULL" };
        for size in SIZES {
            let case = format!("throughput {mechanism} {size}");
            report.compare(&case, libzmq, BOTH_ENDS, ROUNDS, |side| {
                throughput(side, curve, size)
            });
        }
    }
    for curve in [true, false] {
        let mechanism = if curve { "CURVE" } else { "NULL" };
        let case = format!("round trip {mechanism} 64");
        if report.wants(&case) {
            let pair = rounds(ROUNDS, Better::Less, |side| round_trip(side, curve));
            report.measured(&case, libzmq, "ns", pair);
        }
    }
    let case = "handshake, server, TCP";
    if report.wants(case) {
        let mut ours = Server::start(Side::Ours);
        let mut peer = Server::start(Side::Libzmq);
        let pair = rounds(HANDSHAKE_ROUNDS, Better::Less, |side| match side {
            Side::Ours => ours.handshakes(),
            Side::Libzmq => peer.handshakes(),
        });
        report.measured(case, libzmq, "ns CPU", pair);
    }
    if report.wants("storm of 1000 handshakes") {
        let storm = storm();
        report.alone("storm of 1000 handshakes, p99 / median", "", storm.tail);
        report.alone(
            "storm of 1000 handshakes, busiest thread",
            &format!("of the work, on {} threads", storm.threads),
            storm.busiest,
        );
    }
}

/// The figures of many clients at once.
struct Storm {
    /// The 99th percentile of the time to connect, over the median.
    tail: f64,
    /// Threads of the server's runtime.
    threads: usize,
    /// The share of the busiest thread in their processor time.
    busiest: f64,
}

fn storm() -> Storm {
    stopwatch::open_many_files();
    let server = Server::start(Side::Ours);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let before = server.process.cpu_of_threads(WORKER);
    let mut took = runtime.block_on(async {
        let clients: Vec<_> = (0..STORM)
            .map(|_| {
                let endpoint = server.endpoint.clone();
                let config = over_tcp::client(SocketType::Push, true);
                tokio::spawn(async move {
                    let start = Instant::now();
                    let connecting = Connection::connect(endpoint.as_str(), config);
                    let connected = tokio::time::timeout(STORM_TIME, connecting).await;
                    let took = start.elapsed();
                    (connected.unwrap().unwrap(), took)
                })
            })
            .collect();
        let mut connected = Vec::with_capacity(STORM);
        for client in clients {
            connected.push(client.await.unwrap());
        }
        connected.iter().map(|(_, took)| *took).collect::<Vec<_>>()
    });
    took.sort_unstable();
    let used: Vec<f64> = server
        .process
        .cpu_of_threads(WORKER)
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    Storm {
        tail: took[STORM * 99 / 100].as_secs_f64() / took[STORM / 2].as_secs_f64(),
        threads: used.len(),
        busiest: used.iter().copied().fold(0.0, f64::max) / used.iter().sum::<f64>(),
    }
}

fn throughput(side: Side, curve: bool, size: usize) -> [f64; 3] {
    let job = |task| Job {
        side,
        task,
        curve,
        size,
        threads: 1,
    };
    Ends::start(job, Task::Pull, |to| Task::Push { to }).figures()
}

fn round_trip(side: Side, curve: bool) -> f64 {
    let job = |task| Job {
        side,
        task,
        curve,
        size: 64,
        threads: 1,
    };
    let echo = Child::start(&job(Task::Echo));
    let to = echo.line();
    Child::start(&job(Task::Ping { to })).figure()
}

/// A server for clients of ours, which are the same for both libraries.
struct Server {
    process: Child,
    endpoint: String,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(side: Side) -> Self {
        let process = Child::start(&Job {
            side,
            task: Task::Serve,
            curve: true,
            size: 0,
            threads: 1,
        });
        let endpoint = process.line();
        let mut server = Self {
            process,
            endpoint,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        };
        server.handshakes(); // The first ones are slower.
        server
    }

    /// The processor time of one handshake in nanoseconds, including connecting and closing.
    fn handshakes(&mut self) -> f64 {
        let before = self.process.cpu();
        self.runtime.block_on(async {
            for _ in 0..HANDSHAKES {
                let config = over_tcp::client(SocketType::Push, true);
                let connection = Connection::connect(self.endpoint.as_str(), config);
                let connected = tokio::time::timeout(Duration::from_secs(10), connection).await;
                connected.unwrap().unwrap().close().await.unwrap();
            }
        });
        thread::sleep(SETTLE);
        (self.process.cpu() - before) / HANDSHAKES as f64
    }
}
