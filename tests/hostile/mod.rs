//! Sieges: hostile peers over real sockets against a listener or a connection of ours, each in a
//! process of its own, each followed by an honest peer that must be served and by a look at memory.
//!
//! Quick counts by default, the promised ones with `ZMTP_AUTH_FULL=1`. `-- --nocapture` shows the
//! figures.
#![allow(dead_code)] // each test crate uses its part

pub mod curve;
pub mod raw;
pub mod relay;
pub mod server;

use peak_alloc::PeakAlloc;
use server::{Server, Setup};
use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Counts the bytes that live, of all threads.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Generous: a test that hangs fails, a slow machine does not.
const PATIENCE: Duration = Duration::from_secs(120);

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// What may be left of a siege, in bytes: live, and resident.
const MAY_LIVE: usize = 64 * KIB;
const MAY_RESIDE: usize = 16 * MIB;

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("takes too long")
}

/// Whether the promised counts are wanted.
pub fn is_full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

pub fn scaled(full: usize, quick: usize) -> usize {
    if is_full() { full } else { quick }
}

const IN_CHILD: &str = "ZMTP_AUTH_TEST_SIEGE";

/// Runs `body` alone in a process: this test binary once more, with nothing but the test of this
/// name, and with as many file descriptors as it can get.
pub fn alone(test: &str, body: impl AsyncFnOnce()) {
    if std::env::var_os(IN_CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body());
        return;
    }
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -S -n \"$(ulimit -H -n)\" && exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    for line in told.lines().filter(|line| line.starts_with("siege: ")) {
        println!("{line}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{test}: {}\n{told}\n{complaint}",
        output.status
    );
}

/// How many of `wanted` things can be had at `each` file descriptors; says so if not all.
pub fn affordable(wanted: usize, each: usize) -> usize {
    const FOR_THE_REST: usize = 256;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(usize::MAX);
    let most = limit.saturating_sub(FOR_THE_REST) / each;
    if most < wanted {
        println!("siege: only {most} of {wanted}, since `ulimit -n` is {limit}");
    }
    wanted.min(most)
}

/// Runs `attack` against a server with a tenth of `load`, then with all of it. After each an
/// honest peer must be served, and memory must be what it was before the first.
pub async fn siege(
    what: &str,
    setup: Setup,
    load: usize,
    attack: impl AsyncFn(&mut Server, usize),
) {
    siege_within(what, setup, load, usize::MAX, attack).await;
}

/// A siege during which no more than `most` bytes may live beyond what was there before it,
/// those of the besiegers included.
pub async fn siege_within(
    what: &str,
    setup: Setup,
    load: usize,
    most: usize,
    attack: impl AsyncFn(&mut Server, usize),
) {
    let mut server = setup.open().await;
    server.serve_honest().await;
    server.forget().await;
    let (live, resident) = settled(None).await;
    for load in [load.div_ceil(10), load] {
        ALLOCATOR.reset_peak_usage();
        let begun = Instant::now();
        attack(&mut server, load).await;
        let took = begun.elapsed();
        let peak = ALLOCATOR.peak_usage().saturating_sub(live);
        server.serve_honest().await;
        server.forget().await;
        let (live_now, resident_now) = settled(Some(live + MAY_LIVE)).await;
        println!(
            "siege: {what}: {load} in {:.1} s; live {:+} bytes, at most {} KiB; resident {:+} KiB",
            took.as_secs_f64(),
            live_now as i64 - live as i64,
            peak / KIB,
            (resident_now as i64 - resident as i64) / KIB as i64,
        );
        assert!(
            live_now.abs_diff(live) <= MAY_LIVE,
            "{what}: live memory grew"
        );
        assert!(
            resident_now <= resident + MAY_RESIDE,
            "{what}: resident memory grew"
        );
        assert!(
            peak <= most,
            "{what}: {peak} bytes lived at once, {most} allowed"
        );
    }
}

/// Live and resident bytes once tasks that are ending have ended: as soon as no more than
/// `expected` live. Without an expectation, when their number has come to rest.
async fn settled(expected: Option<usize>) -> (usize, usize) {
    let mut live = ALLOCATOR.current_usage();
    let (mut looks, mut still) = (0, 0);
    loop {
        let is_settled = match expected {
            Some(most) => live <= most || looks == 2000,
            None => still == 40,
        };
        if is_settled {
            return (live, resident());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = ALLOCATOR.current_usage();
        still = if now == live { still + 1 } else { 0 };
        looks += 1;
        live = now;
    }
}

/// Resident bytes; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok())
        .map_or(0, |kib| kib * KIB)
}

/// Does `task` for `0..count`, at most `width` of them at a time, and gives what they give, in
/// the order in which they end.
pub async fn crowd<T, F>(count: usize, width: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for index in 0..count {
        if running.len() == width {
            done.push(soon(running.join_next()).await.unwrap().unwrap());
        }
        running.spawn(task(index));
    }
    while let Some(ended) = soon(running.join_next()).await {
        done.push(ended.unwrap());
    }
    done
}

/// A predictable stream of numbers (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}
