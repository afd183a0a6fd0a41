//! Decisions of a policy with many rules: `handle_zap_message` of the Authenticator against
//! pyzmq's, frames in, frames out, without sockets.

use crate::job::Side;
use crate::pairing::{Better, Pair, rounds, timed};
use crate::report::Report;
use crate::wheel;
use bytes::Bytes;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::pin::pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use zmtp_auth::PublicKey;
use zmtp_auth::auth::Authenticator;

const KEYS: u32 = 100_000;
const ADDRESSES: u32 = 10_000;
const ROUNDS: usize = 9;

/// Decisions in one round.
const OURS: usize = 20_000;
const PYZMQ: usize = 2_000;
/// Requests that lie ready at once: few, as if they had just arrived.
const READY: usize = 50;

pub fn run(report: &mut Report) {
    let case = "ZAP decision, 100000 keys, 10000 addresses";
    if report.wants(case) {
        let mut ours = Ours::new(&|number| address(number));
        let mut peer = Pyzmq::start();
        let pair = rounds(ROUNDS, Better::Less, |side| match side {
            Side::Ours => ours.decide(OURS),
            Side::Libzmq => peer.decide(PYZMQ),
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
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[28..].copy_from_slice(&number.to_be_bytes());
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
        let keys = (0..KEYS).map(|number| PublicKey::from_bytes(key(number)));
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
            let messages: Vec<_> = (0..READY).map(|_| self.message()).collect();
            let mut messages = messages.into_iter();
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
        .to_vec()
    }
}

/// pyzmq's Authenticator in a process of its own.
struct Pyzmq {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Pyzmq {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/pyzmq_zap.py");
        let mut process = Command::new(wheel::python())
            .args([script, &KEYS.to_string(), &ADDRESSES.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            stdin,
            stdout,
        }
    }

    fn decide(&mut self, count: usize) -> f64 {
        writeln!(self.stdin, "{count}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Pyzmq {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
