//! Sockets against single connections, and against libzmq.

use crate::child::{Child, tell};
use crate::job::{Job, Side, Task};
use crate::our_child::{client, server};
use crate::pairing::{Better, rounds_of};
use crate::report::Report;
use crate::stopwatch::Counter;
use std::time::Instant;
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
            compare(report, &case, "Connection", |side| {
                let (pull, push): (_, fn(String) -> Task) = match side {
                    Side::Ours => (Task::SocketPull, |to| Task::SocketPush { to }),
                    Side::Libzmq => (Task::Pull, |to| Task::Push { to }),
                };
                Ends::start(|task| job(Side::Ours, task, curve, size, 1), pull, push).figures()
            });
        }
    }
    let case = "sockets, 16 DEALER to ROUTER and back, CURVE 64";
    compare(report, case, libzmq, |side| {
        at_best(side, |threads| {
            let dealers = |to| Task::SocketDealers { to };
            let job = |task| job(side, task, true, 64, threads);
            Ends::start(job, Task::SocketRouter, dealers)
        })
    });
    for curve in [true, false] {
        for subscribers in SUBSCRIBERS {
            let mechanism = mechanism(curve);
            let case = format!("sockets, PUB to {subscribers} SUB, {mechanism} 64");
            compare(report, &case, libzmq, |side| {
                at_best(side, |threads| {
                    let fan_in = |to| Task::FanIn { to, subscribers };
                    let job = |task| job(side, task, curve, 64, threads);
                    Ends::start(job, Task::FanOut { subscribers }, fan_in).reversed()
                })
            });
        }
    }
}

const fn mechanism(curve: bool) -> &'static str {
    if curve { "CURVE" } else { "NULL" }
}

/// Compares messages a second, and the processor time that one takes on both ends together.
fn compare(report: &mut Report, case: &str, peer: &str, figures: impl FnMut(Side) -> [f64; 2]) {
    if report.wants(case) {
        let [rate, processor] = rounds_of([Better::More, Better::Less], ROUNDS, figures);
        report.measured(case, peer, "msg/s", rate);
        report.measured(
            &format!("{case}, processor time"),
            peer,
            "ns CPU",
            processor,
        );
    }
}

/// The figures of our side, or the better ones of libzmq with one thread for its connections, its
/// default, and with two.
fn at_best(side: Side, start: impl Fn(u8) -> Ends) -> [f64; 2] {
    let [rate, processor] = start(1).figures();
    if side == Side::Ours {
        return [rate, processor];
    }
    let other = start(2).figures();
    [rate.max(other[0]), processor.min(other[1])]
}

/// Two processes, one of which counts messages.
struct Ends {
    counting: Child,
    other: Child,
}

impl Ends {
    /// The side that binds counts.
    fn start(
        job: impl Fn(Task) -> Job,
        binds: Task,
        connects: impl FnOnce(String) -> Task,
    ) -> Self {
        let counting = Child::start(&job(binds));
        let other = Child::start(&job(connects(counting.line())));
        Self { counting, other }
    }

    /// The side that connects counts.
    fn reversed(self) -> Self {
        Self {
            counting: self.other,
            other: self.counting,
        }
    }

    /// Messages a second, and nanoseconds of processor time for one.
    fn figures(&self) -> [f64; 2] {
        let used = || self.counting.cpu_seen() + self.other.cpu_seen();
        self.counting.figure();
        let (begin, before) = (Instant::now(), used());
        let rate = self.counting.figure();
        let (took, after) = (begin.elapsed(), used());
        [rate, (after - before) / (rate * took.as_secs_f64())]
    }
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
