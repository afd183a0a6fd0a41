//! Decisions of a policy with many rules, compared with pyzmq's: the function from frames to frames,
//! without sockets, and a request that a server sends and gets answered.

use crate::measuring::pairing::{Better, Pair, Side, rounds, timed};
use crate::measuring::stopwatch::process_cpu;
use crate::output::report::Report;
use crate::peers::pyzmq::Pyzmq;
use bytes::Bytes;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use zmtp_auth::auth::{Authenticator, ThreadAuthenticator};
use zmtp_auth::zap::{ZapHandler, ZapRouter};
use zmtp_auth::{AccessRequest, Credentials, Domain, PeerAddress, PublicKey, Verdict};

const KEYS: u32 = 100_000;
const ADDRESSES: u32 = 10_000;
const ROUNDS: usize = 9;

/// Decisions in one round.
const OURS: usize = 20_000;
const PYZMQ: usize = 2_000;
/// Requests that lie ready, or are in flight, at once: few, as if they had just arrived.
const READY: usize = 50;

pub fn run(report: &mut Report) {
    let case = "ZAP decision, 100000 keys, 10000 addresses";
    if report.wants(case) {
        let mut ours = Ours::new(&|number| address(number));
        let mut peer = pyzmq("function");
        let pair = rounds(ROUNDS, Better::Less, |side| match side {
            Side::Ours => ours.decide(OURS),
            Side::Libzmq => peer.figures(&PYZMQ.to_string())[0],
        });
        report.measured(case, "pyzmq", "ns", pair);
    }
    let case = "ZAP decision, 100000 keys, 10000 networks";
    if report.wants(case) {
        let mut ours = Ours::new(&|number| format!("{}/31", address(number & !1)));
        let one = |_| ours.decide(OURS);
        let Pair { ours, .. } = rounds(ROUNDS, Better::Less, one);
        report.alone(case, "ns", ours);
    }
    let case = "ZAP request answered, 100000 keys, 10000 addresses";
    if report.wants(case) {
        let authenticator = Ours::new(&|number| address(number)).authenticator;
        let mut ours = Answering::new(authenticator);
        let mut peer = pyzmq("thread");
        let pair = rounds(ROUNDS, Better::Less, |side| match side {
            Side::Ours => ours.authorize(OURS),
            Side::Libzmq => peer.figures(&PYZMQ.to_string())[1],
        });
        report.measured(case, "pyzmq", "ns CPU", pair);
    }
    let case = "ZAP request answered by a thread, 100000 keys, 10000 addresses";
    if report.wants(case) {
        let authenticator = Ours::new(&|number| address(number)).authenticator;
        let thread = ThreadAuthenticator::new(authenticator);
        thread.start().unwrap();
        let mut ours = Answering::new(thread);
        let mut peer = pyzmq("thread");
        let pair = rounds(ROUNDS, Better::Less, |side| match side {
            Side::Ours => ours.authorize_at_once(OURS),
            Side::Libzmq => peer.figures(&PYZMQ.to_string())[0],
        });
        report.measured(case, "pyzmq", "ns", pair);
    }
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

fn address(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

struct Ours {
    authenticator: Authenticator,
    asked: u32,
}

impl Ours {
    /// Allows as many rules as there are addresses, each made from a number.
    fn new(rule: &dyn Fn(u32) -> String) -> Self {
        let authenticator = Authenticator::new();
        let rules: Vec<String> = (0..ADDRESSES).map(rule).collect();
        authenticator
            .allow(rules.iter().map(String::as_str))
            .unwrap();
        let keys = (0..KEYS).map(|number| PublicKey::from_bytes(key(number)).unwrap());
        authenticator.configure_curve_keys("bench", keys);
        Self {
            authenticator,
            asked: 0,
        }
    }

    /// Nanoseconds for a decision.
    fn decide(&mut self, count: usize) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..count / READY {
            let mut messages = ready(|| self.message());
            took += timed(READY, || {
                let message = messages.next().unwrap();
                let asked = pin!(self.authenticator.handle_zap_message(message));
                match asked.poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(reply)) => assert_eq!(reply[2], "200"),
                    other => panic!("{other:?}"),
                }
            });
        }
        took.as_secs_f64() * 1e9 / count as f64
    }

    fn message(&mut self) -> Vec<Bytes> {
        self.asked = self.asked.wrapping_add(1);
        [
            &b"1.0"[..],
            b"1",
            b"bench",
            address(self.asked % ADDRESSES).as_bytes(),
            b"",
            b"CURVE",
            &key(self.asked % KEYS),
        ]
        .map(Bytes::copy_from_slice)
        .into()
    }
}

/// What is made beforehand, and used up in turn.
fn ready<T>(make: impl FnMut() -> T) -> std::vec::IntoIter<T> {
    let made: Vec<_> = std::iter::repeat_with(make).take(READY).collect();
    made.into_iter()
}

/// A router with one handler for all domains, asked as a server of ours asks.
struct Answering {
    router: ZapRouter,
    runtime: Runtime,
    asked: u32,
}

impl Answering {
    fn new(handler: impl ZapHandler) -> Self {
        let router = ZapRouter::new();
        router.bind(Domain::ALL, handler).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            router,
            runtime,
            asked: 0,
        }
    }

    fn request(&mut self) -> AccessRequest {
        self.asked = self.asked.wrapping_add(1);
        AccessRequest::new(
            Domain::from("bench"),
            PeerAddress::from_zap(address(self.asked % ADDRESSES).as_bytes()),
            Credentials::Curve {
                key: PublicKey::from_bytes(key(self.asked % KEYS)).unwrap(),
            },
        )
    }

    /// Nanoseconds of processor time for a request, one after the other. The grants are held until
    /// the last of those that lay ready is there, and their end is counted.
    fn authorize(&mut self, count: usize) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..count / READY {
            let requests = ready(|| self.request());
            let mut held = Vec::with_capacity(READY);
            let start = process_cpu();
            self.runtime.block_on(async {
                for request in requests.as_slice() {
                    held.push(allowed(self.router.authorize(request).await));
                }
            });
            held.clear();
            took += process_cpu() - start;
        }
        took.as_secs_f64() * 1e9 / count as f64
    }

    /// Nanoseconds for a request by the clock, each from a task of its own.
    fn authorize_at_once(&mut self, count: usize) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..count / READY {
            let requests = ready(|| self.request());
            took += timed(1, || {
                self.runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for request in requests.as_slice() {
                        let (router, request) = (self.router.clone(), request.clone());
                        tasks.spawn(async move { router.authorize(&request).await });
                    }
                    for verdict in tasks.join_all().await {
                        let _allowed = allowed(verdict);
                    }
                });
            });
        }
        took.as_secs_f64() * 1e9 / count as f64
    }
}

/// The verdict, which must be a good one and come with a grant.
fn allowed(verdict: Verdict) -> Verdict {
    assert!(matches!(&verdict, Verdict::Allow(approval) if approval.grant.is_some()));
    verdict
}

/// pyzmq's Authenticator, asked in the way of that name; see the script.
fn pyzmq(way: &str) -> Pyzmq {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/compare/peers/pyzmq_zap.py");
    Pyzmq::start(script, &[way, &KEYS.to_string(), &ADDRESSES.to_string()])
}
