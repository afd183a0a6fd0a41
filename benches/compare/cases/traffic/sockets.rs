//! Sockets against single connections, and against libzmq.

use crate::child::handle::tell;
use crate::child::job::{Job, Task};
use crate::child::under_load::{Ends, TOGETHER, at_best};
use crate::measuring::pairing::Side;
use crate::measuring::stopwatch::Counter;
use crate::ours::over_tcp::{client, server};
use crate::output::report::Report;
use zmtp_auth::SocketType;
use zmtp_sockets::{Dealer, Pull, Push, Router, SocketOptions};

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const ROUNDS: usize = 5;
/// Dealers of one ROUTER, and the requests that each has under way.
pub const DEALERS: usize = 16;
pub const UNDER_WAY: usize = 100;
/// Subscribers of one PUB.
const SUBSCRIBERS: [usize; 2] = [50, 500];

pub fn run(report: &mut Report, libzmq: &str) {
    for curve in [true, false] {
        for size in SIZES {
            let case = format!("sockets, PUSH to PULL, {} {size}", mechanism(curve));
            report.compare(&case, "Connection", TOGETHER, ROUNDS, |side| {
                let (pull, push): (_, fn(String) -> Task) = match side {
                    Side::Ours => (Task::SocketPull, |to| Task::SocketPush { to }),
                    Side::Libzmq => (Task::Pull, |to| Task::Push { to }),
                };
                Ends::start(|task| job(Side::Ours, task, curve, size, 1), pull, push).together()
            });
        }
    }
    let case = "sockets, 16 DEALER to ROUTER and back, CURVE 64";
    report.compare(case, libzmq, TOGETHER, ROUNDS, |side| {
        at_best(side, |threads| {
            let dealers = |to| Task::SocketDealers { to };
            let job = |task| job(side, task, true, 64, threads);
            Ends::start(job, Task::SocketRouter, dealers).together()
        })
    });
    for curve in [true, false] {
        for subscribers in SUBSCRIBERS {
            let mechanism = mechanism(curve);
            let case = format!("sockets, PUB to {subscribers} SUB, {mechanism} 64");
            report.compare(&case, libzmq, TOGETHER, ROUNDS, |side| {
                at_best(side, |threads| {
                    let fan_in = |to| Task::FanIn { to, subscribers };
                    let job = |task| job(side, task, curve, 64, threads);
                    Ends::start_sender_first(job, Task::FanOut { subscribers }, fan_in).together()
                })
            });
        }
    }
}

const fn mechanism(curve: bool) -> &'static str {
    if curve { "CURVE" } else { "NULL" }
}

const fn job(side: Side, task: Task, curve: bool, size: usize, threads: u8) -> Job {
    Job {
        side,
        task,
        curve,
        size,
        threads,
    }
}

fn options() -> SocketOptions {
    // Bytes alone bound the queues, as for single connections.
    SocketOptions::default()
        .with_send_high_water_mark(usize::MAX)
        .with_receive_high_water_mark(usize::MAX)
}

pub async fn pull(job: &Job) {
    let mut pull = Pull::with_options(options());
    let security = server(SocketType::Pull, job.curve);
    tell(pull.bind("tcp://127.0.0.1:*", security).await.unwrap());
    let mut counter = Counter::new(job.size);
    loop {
        let received = pull.recv().await;
        assert_eq!(received.frames()[0].len(), job.size);
        if let Some(rate) = counter.count() {
            tell(rate);
        }
    }
}

pub async fn push(job: &Job, to: &str, payload: &[u8]) {
    let mut push = Push::with_options(options());
    push.connect(to, client(SocketType::Push, job.curve))
        .unwrap();
    loop {
        push.send(payload).await;
    }
}

pub async fn router(job: &Job) {
    let mut router = Router::with_options(options());
    let security = server(SocketType::Router, job.curve);
    tell(router.bind("tcp://127.0.0.1:*", security).await.unwrap());
    let mut counter = Counter::new(job.size);
    loop {
        let request = router.recv().await;
        let reply = request.reply(request.message().clone());
        // Until the dealers are gone.
        if router.send(reply).is_err() {
            return;
        }
        if let Some(rate) = counter.count() {
            tell(rate);
        }
    }
}

pub async fn dealers(job: &Job, to: &str, payload: &[u8]) {
    for _ in 0..DEALERS {
        let mut dealer = Dealer::with_options(options());
        dealer
            .connect(to, client(SocketType::Dealer, job.curve))
            .unwrap();
        let payload = payload.to_vec();
        tokio::spawn(async move {
            for _ in 0..UNDER_WAY {
                dealer.send(payload.as_slice()).await;
            }
            loop {
                dealer.recv().await;
                dealer.send(payload.as_slice()).await;
            }
        });
    }
    // Until the parent ends this process.
    std::future::pending().await
}
