//! Policies of many keys: a decision, memory, loading, and changes while admitted peers are connected,
//! compared with pyzmq where it can do the same. A directory of certificates, loaded and reloaded.

use crate::measuring::pairing::{Better, Pair, Side, rounds};
use crate::measuring::stopwatch::process_cpu;
use crate::output::report::Report;
use crate::peers::pyzmq::Pyzmq;
use allocation_counter::measure;
use bytes::Bytes;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use zmtp_auth::auth::{Authenticator, Reload, ReloadEvent, ReloadSettings};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{AccessRequest, Approval, Credentials, Domain, PeerAddress, PublicKey, Verdict};

const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
const CERTIFICATES: usize = 20_000;
const ROUNDS: usize = 9;

/// The peers that are connected during a change. In the smallest table ten share a key.
const GRANTS: u32 = 10_000;

/// Decisions in one round.
const OURS: u32 = 20_000;
const PYZMQ: u32 = 2_000;
/// Requests that lie ready at once: few, as if they had just arrived.
const READY: u32 = 50;

/// Changes in one round.
const CHANGES: u32 = 20;

/// The longest wait for a reload.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(report: &mut Report) {
    for keys in SIZES {
        decisions(report, keys);
        loading(report, keys);
        changes(report, keys);
    }
    certificates(report);
}

fn decisions(report: &mut Report, keys: u32) {
    let case = format!("policy decision, {keys} keys");
    if report.wants(&case) {
        let mut ours = Table::new(keys);
        let mut peer = pyzmq(keys);
        let pair = rounds(ROUNDS, Better::Less, |side| match side {
            Side::Ours => ours.decide(OURS),
            Side::Libzmq => peer.figures(&format!("decide {PYZMQ}"))[0],
        });
        report.measured(&case, "pyzmq", "ns CPU", pair);
    }
    let case = format!("policy decision with a grant, {keys} keys");
    if report.wants(&case) {
        let mut ours = Table::new(keys);
        let _connected = ours.connect();
        report.alone(
            &case,
            "ns CPU",
            ours_alone(|| ours.decide_with_grants(OURS)),
        );
    }
}

fn loading(report: &mut Report, keys: u32) {
    let case = format!("policy heap of a key, {keys} keys");
    if report.wants(&case) {
        let given = all_keys(keys);
        let mut table = None;
        let held = measure(|| {
            let auth = Authenticator::new();
            auth.configure_curve_keys("bench", given.iter().copied());
            table = Some(auth);
        });
        report.alone(&case, "bytes", held.bytes_current as f64 / f64::from(keys));
    }
    let case = format!("policy load, {keys} keys");
    if report.wants(&case) {
        let mut peer = pyzmq(keys);
        let given = all_keys(keys);
        let pair = rounds(ROUNDS, Better::Less, |side| match side {
            Side::Ours => {
                let auth = Authenticator::new();
                millis(|| _ = auth.configure_curve_keys("bench", given.iter().copied()))
            }
            Side::Libzmq => peer.figures("load 1")[0],
        });
        report.measured(&case, "pyzmq", "ms CPU", pair);
    }
}

fn changes(report: &mut Report, keys: u32) {
    let case = format!("policy set again, {keys} keys, {GRANTS} grants");
    if report.wants(&case) {
        let table = Table::new(keys);
        let _connected = table.connect();
        let given = all_keys(keys);
        let again = || {
            let given = given.iter().copied();
            millis(|| _ = table.auth.configure_curve_keys("bench", given))
        };
        report.alone(&case, "ms CPU", ours_alone(again));
    }
    let case = format!("policy change of a key, {keys} keys, {GRANTS} grants");
    if report.wants(&case) {
        let table = Table::new(keys);
        let connected = table.connect();
        let more = key(keys);
        let change = || {
            let took = millis(|| {
                for _ in 0..CHANGES / 2 {
                    table.add(more);
                    table.remove(&[more]);
                }
            });
            took * 1e3 / f64::from(CHANGES)
        };
        report.alone(&case, "us CPU", ours_alone(change));
        assert!(connected.iter().all(stands));
    }
    let case = format!("policy end of half of {GRANTS} grants, {keys} keys");
    if report.wants(&case) {
        let gone = all_keys(keys.min(GRANTS) / 2);
        let ends = || {
            let table = Table::new(keys);
            let connected = table.connect();
            let took = millis(|| table.remove(&gone));
            let left = connected.iter().filter(|approval| stands(approval)).count();
            assert_eq!(left, GRANTS as usize / 2);
            took
        };
        report.alone(&case, "ms CPU", ours_alone(ends));
    }
}

fn certificates(report: &mut Report) {
    let load = format!("policy load, {CERTIFICATES} certificates");
    let reload = format!("policy reload of a file, {CERTIFICATES} certificates");
    if !report.wants(&load) && !report.wants(&reload) {
        return;
    }
    let dir = std::env::temp_dir().join(format!("zmtp-auth-bench-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    for number in 0..CERTIFICATES {
        write_certificate(&dir, number, 0);
    }
    let auth = Authenticator::new();
    if report.wants(&load) {
        let first = || millis(|| drop(auth.configure_curve("bench", dir.as_path()).unwrap()));
        report.alone(&load, "ms CPU", ours_alone(first));
    }
    if report.wants(&reload) {
        let (sender, events) = channel();
        let settings = ReloadSettings::default().with_debounce(Duration::from_millis(300));
        let tell = move |event: &ReloadEvent| _ = sender.send(event.admitted);
        let watch = Reload::start(&auth, settings, tell).unwrap();
        watch.curve("bench", dir.as_path()).unwrap();
        let mut version = 0;
        let one = || {
            version += 1;
            let start = process_cpu();
            write_certificate(&dir, 7, version);
            let admitted = events.recv_timeout(PATIENCE).unwrap();
            assert_eq!(admitted, CERTIFICATES);
            (process_cpu() - start).as_secs_f64() * 1e3
        };
        report.alone(&reload, "ms CPU", ours_alone(one));
        drop(watch);
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// A certificate file with a key of that number and version.
fn write_certificate(dir: &Path, number: usize, version: usize) {
    let key = key((number + version * CERTIFICATES) as u32).to_z85();
    let text =
        format!("metadata\n    name = \"peer {number}\"\ncurve\n    public-key = \"{key}\"\n");
    let path = dir.join(format!("peer{number}.key"));
    let fresh = dir.join("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(&fresh, path).unwrap();
}

/// A key without an owner.
fn key(number: u32) -> PublicKey {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(key).unwrap()
}

fn all_keys(count: u32) -> Vec<PublicKey> {
    (0..count).map(key).collect()
}

fn address(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// An Authenticator that admits keys by number.
struct Table {
    auth: Authenticator,
    router: ZapRouter,
    keys: u32,
    asked: u32,
}

impl Table {
    fn new(keys: u32) -> Self {
        let auth = Authenticator::new();
        auth.configure_curve_keys("bench", all_keys(keys));
        let router = ZapRouter::new();
        router.bind(Domain::ALL, auth.clone()).unwrap();
        let asked = 0;
        Self {
            auth,
            router,
            keys,
            asked,
        }
    }

    /// Admits [`GRANTS`] peers.
    fn connect(&self) -> Vec<Approval> {
        (0..GRANTS).map(|number| self.authorize(number)).collect()
    }

    fn authorize(&self, number: u32) -> Approval {
        let request = self.request(number);
        allowed(ready(pin!(self.router.authorize(&request))))
    }

    fn request(&self, number: u32) -> AccessRequest {
        let address = PeerAddress::from_zap(address(number).as_bytes());
        let key = key(number % self.keys);
        AccessRequest::new(Domain::from("bench"), address, Credentials::Curve { key })
    }

    fn next(&mut self) -> u32 {
        // Far apart, as peers are.
        self.asked = self.asked.wrapping_add(7_919);
        self.asked % self.keys
    }

    /// Nanoseconds of processor time for a decision from frames to frames.
    fn decide(&mut self, count: u32) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..count / READY {
            let messages: Vec<_> = (0..READY).map(|_| message(self.next())).collect();
            let start = process_cpu();
            for message in messages {
                let reply = ready(pin!(self.auth.handle_zap_message(message))).unwrap();
                assert_eq!(reply[2], "200");
            }
            took += process_cpu() - start;
        }
        took.as_secs_f64() * 1e9 / f64::from(count)
    }

    /// Nanoseconds of processor time for a decision inside the process, from its request to the end of its grant.
    fn decide_with_grants(&mut self, count: u32) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..count / READY {
            let requests: Vec<_> = (0..READY).map(|_| self.next()).collect();
            let requests: Vec<_> = requests
                .iter()
                .map(|number| self.request(*number))
                .collect();
            let mut held = Vec::with_capacity(READY as usize);
            let start = process_cpu();
            for request in &requests {
                held.push(allowed(ready(pin!(self.router.authorize(request)))));
            }
            held.clear();
            took += process_cpu() - start;
        }
        took.as_secs_f64() * 1e9 / f64::from(count)
    }

    fn add(&self, more: PublicKey) {
        let added = self.auth.add_curve_users("bench", [more]);
        assert!(added.is_ok());
    }

    fn remove(&self, gone: &[PublicKey]) {
        let gone = gone.iter().copied();
        let removed = self.auth.remove_curve_keys("bench", gone.clone());
        assert_eq!(removed.removed_keys, gone.count());
    }
}

/// A CURVE request by the key of that number.
fn message(number: u32) -> Vec<Bytes> {
    let (address, key) = (address(number), key(number));
    let parts: [&[u8]; 7] = [
        b"1.0",
        b"1",
        b"bench",
        address.as_bytes(),
        b"",
        b"CURVE",
        key.as_bytes(),
    ];
    parts.map(Bytes::copy_from_slice).into()
}

/// The output of a future that waits for nothing.
fn ready<T>(future: impl Future<Output = T> + Unpin) -> T {
    let mut future = future;
    match pin!(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a table decides at once"),
    }
}

fn allowed(verdict: Verdict) -> Approval {
    match verdict {
        Verdict::Allow(approval) => approval,
        other => panic!("{other:?}"),
    }
}

fn stands(approval: &Approval) -> bool {
    approval
        .grant
        .as_ref()
        .is_some_and(|grant| grant.still_valid())
}

/// Milliseconds of processor time.
fn millis(act: impl FnOnce()) -> f64 {
    let start = process_cpu();
    act();
    (process_cpu() - start).as_secs_f64() * 1e3
}

/// The median of several runs.
fn ours_alone(mut figure: impl FnMut() -> f64) -> f64 {
    let Pair { ours, .. } = rounds(ROUNDS, Better::Less, |_| figure());
    ours
}

/// pyzmq's Authenticator with that many keys.
fn pyzmq(keys: u32) -> Pyzmq {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/compare/peers/pyzmq_policy.py");
    Pyzmq::start(script, &[&keys.to_string()])
}
