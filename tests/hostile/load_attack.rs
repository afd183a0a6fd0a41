//! Runs an attack, checks that an honest peer is served and that memory is back, and repeats with
//! ten times the load.
//!
//! Memory is measured for a whole process, so each test runs in a child process of its own. Other
//! tests may run meanwhile.

use super::server::{Server, Setup};
use peak_alloc::PeakAlloc;
use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Counts the live bytes of all threads.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Generous: a test that hangs fails, a slow machine does not.
const PATIENCE: Duration = Duration::from_secs(120);

/// Interval for polling conditions without a notification.
const LOOK: Duration = Duration::from_millis(2);

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// Bytes that may remain after an attack: live, and resident.
const MAY_LIVE: usize = 64 * KIB;
const MAY_RESIDE: usize = 16 * MIB;

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("takes too long")
}

/// Waits for a condition without a notification.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

/// True in the full run, with the promised counts.
pub fn is_full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

pub fn scaled(full: usize, quick: usize) -> usize {
    if is_full() { full } else { quick }
}

const IN_CHILD: &str = "ZMTP_AUTH_TEST_LOAD_ATTACK";

/// Runs `body`, a closure of the calling test, in a child process: this test binary with only that
/// test, and with the highest allowed number of file descriptors.
pub fn alone<F: AsyncFnOnce()>(body: F) {
    if std::env::var_os(IN_CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body());
        return;
    }
    // The name of the closure's type contains its function: `crate::module::test::..`.
    let test = std::any::type_name::<F>()
        .split("::")
        .skip(1)
        .take_while(|part| !part.contains('{'))
        .collect::<Vec<_>>()
        .join("::");
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -S -n \"$(ulimit -H -n)\" && exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(&test)
        .env(IN_CHILD, "1")
        // glibc's default values, set explicitly. Otherwise glibc raises them after a large buffer,
        // keeps more of the freed memory, and resident memory grows.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .env("MALLOC_TRIM_THRESHOLD_", "131072")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    for line in told
        .lines()
        .filter_map(|line| line.split_once("load attack: "))
    {
        println!("{}", line.1);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{test}: {}\n{told}\n{complaint}",
        output.status
    );
}

/// Panics with an explanation if this process may not have `wanted` file descriptors.
pub fn require_descriptors(wanted: usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(usize::MAX);
    assert!(
        max >= wanted,
        "this test needs {wanted} file descriptors, and the hard limit (`ulimit -H -n`) is {max}"
    );
}

/// The bytes of this process that live now.
pub fn live() -> usize {
    ALLOCATOR.current_usage()
}

/// Runs `attack` against a server with a tenth of `load`, then with all of it. After each run an
/// honest peer must be served, and memory must be back at its value before the first. During a run
/// at most `max` additional bytes may live, those of the attackers included.
pub async fn load_attack(
    what: &str,
    setup: Setup,
    load: usize,
    max: usize,
    attack: impl AsyncFn(&mut Server, usize),
) {
    let mut server = setup.open().await;
    server.serve_honest().await;
    let before = Memory::at_rest(&mut server).await;
    for load in [load.div_ceil(10), load] {
        ALLOCATOR.reset_peak_usage();
        let begun = Instant::now();
        attack(&mut server, load).await;
        let took = begun.elapsed();
        let peak = ALLOCATOR.peak_usage().saturating_sub(before.live);
        server.serve_honest().await;
        let after = Memory::below(before.live + MAY_LIVE, &mut server).await;
        println!(
            "load attack: {what}: {load} in {:.1} s; live {:+} bytes, at most {} KiB; resident {:+} KiB",
            took.as_secs_f64(),
            after.live as i64 - before.live as i64,
            peak / KIB,
            (after.resident as i64 - before.resident as i64) / KIB as i64,
        );
        assert!(
            after.live.abs_diff(before.live) <= MAY_LIVE,
            "{what}: {} live bytes before, {} after",
            before.live,
            after.live
        );
        assert!(
            after.resident <= before.resident + MAY_RESIDE,
            "{what}: {} bytes resident before, {} after",
            before.resident,
            after.resident
        );
        assert!(
            peak <= max,
            "{what}: {peak} live bytes at once, {max} allowed"
        );
    }
}

/// Bytes of this process.
struct Memory {
    live: usize,
    resident: usize,
}

impl Memory {
    /// Measures once memory has not changed for a while.
    async fn at_rest(server: &mut Server) -> Self {
        const A_WHILE: usize = 15;
        let (mut live, mut still) = (0, 0);
        while still < A_WHILE {
            tokio::time::sleep(LOOK).await;
            server.forget();
            let now = ALLOCATOR.current_usage();
            still = if now == live { still + 1 } else { 0 };
            live = now;
        }
        Self::now()
    }

    /// Measures once at most `max` bytes live, since ending tasks may still free some. Measures
    /// after a time-out in any case.
    async fn below(max: usize, server: &mut Server) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            server.forget();
            if ALLOCATOR.current_usage() <= max || Instant::now() > deadline {
                return Self::now();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Resident memory is 0 on systems that do not report it.
    fn now() -> Self {
        let live = ALLOCATOR.current_usage();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok())
            .map_or(0, |kib| kib * KIB);
        Self { live, resident }
    }
}
/// Runs `task` for `0..count`, at most `width` at a time.
pub async fn crowd<F>(count: usize, width: usize, task: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for index in 0..count {
        if running.len() == width {
            soon(running.join_next()).await.unwrap().unwrap();
        }
        running.spawn(task(index));
    }
    while let Some(ended) = soon(running.join_next()).await {
        ended.unwrap();
    }
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

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}
