//! Sockets against single connections, and against libzmq.

use crate::child::{Child, tell};
use crate::job::{Job, Side, Task};
use crate::our_child::{client, server};
use crate::pairing::{Better, rounds};
use crate::report::Report;
use crate::stopwatch::Counter;
use zmtp_auth::SocketType;
use zmtp_sockets::{Dealer, Pull, Push, Router, SocketOptions};

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const ROUNDS: usize = 5;
/// Dealers of one ROUTER, and the requests that each has under way.
const DEALERS: usize = 16;
const UNDER_WAY: usize = 100;

pub fn run(report: &mut Report, _libzmq: &str) {
    for curve in [true, false] {
        let mechanism = if curve { "CURVE" } else { "NULL" };
        for size in SIZES {
            let case = format!("sockets, PUSH to PULL, {mechanism} {size}");
            if report.wants(&case) {
                let pair = rounds(ROUNDS, Better::More, |side| throughput(side, curve, size));
                report.measured(&case, "Connection", "msg/s", pair);
            }
        }
    }
    let case = "sockets, 16 DEALER to ROUTER and back, CURVE 64";
    if report.wants(case) {
        let router = Child::start(&job(Task::SocketRouter, true, 64));
        let to = router.line();
        let _dealers = Child::start(&job(Task::SocketDealers { to }, true, 64));
        report.alone(case, "msg/s", router.figure());
    }
}

const fn job(task: Task, curve: bool, size: usize) -> Job {
    Job {
        side: Side::Ours,
        task,
        curve,
        size,
    }
}

/// Sockets take our side, and single connections the other.
fn throughput(side: Side, curve: bool, size: usize) -> f64 {
    let is_socket = side == Side::Ours;
    let pull = if is_socket {
        Task::SocketPull
    } else {
        Task::Pull
    };
    let pull = Child::start(&job(pull, curve, size));
    let to = pull.line();
    let push = if is_socket {
        Task::SocketPush { to }
    } else {
        Task::Push { to }
    };
    let _push = Child::start(&job(push, curve, size));
    pull.figure()
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
        router.send(reply).unwrap();
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
