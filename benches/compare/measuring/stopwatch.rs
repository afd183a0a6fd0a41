//! Measurements that a child makes while it works.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

/// How long a stream of messages runs before it is measured, and how long it is measured.
const WARM_UP: Duration = Duration::from_millis(150);
const MEASURE: Duration = Duration::from_millis(400);

/// The number of round trips before measuring, and the number measured.
const PINGS_BEFORE: usize = 300;
const PINGS: usize = 2000;

/// The processor time of all threads of this process.
pub fn process_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the system writes one `timespec`, and there is one.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Lets this process and its children open as many files as the system allows.
pub fn open_many_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the system reads or writes one `rlimit`, and there is one.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // If the limit cannot be raised, a case with many connections fails and says so.
            let _ = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Counts messages, starting with the first.
pub struct Counter {
    start: Option<Instant>,
    from: Option<Instant>,
    counted: u64,
    look_every: u64,
    seen: u64,
}

impl Counter {
    pub const fn new(size: usize) -> Self {
        Self {
            start: None,
            from: None,
            counted: 0,
            // Reading the clock has a cost.
            look_every: if size < 4096 { 64 } else { 4 },
            seen: 0,
        }
    }

    /// Counts a message. Returns messages per second when enough time has passed.
    pub fn count(&mut self) -> Option<f64> {
        self.seen += 1;
        self.counted += 1;
        if !self.seen.is_multiple_of(self.look_every) {
            return None;
        }
        self.look()
    }

    /// As [`Counter::count`], for many messages at once.
    pub fn count_many(&mut self, messages: u64) -> Option<f64> {
        self.counted += messages;
        self.look()
    }

    fn look(&mut self) -> Option<f64> {
        let now = Instant::now();
        let start = *self.start.get_or_insert(now);
        match self.from {
            None if now - start >= WARM_UP => {
                self.from = Some(now);
                self.counted = 0;
                None
            }
            Some(from) if now - from >= MEASURE => {
                self.from = Some(now);
                let counted = std::mem::take(&mut self.counted);
                Some(counted as f64 / (now - from).as_secs_f64())
            }
            _ => None,
        }
    }
}

/// Times round trips.
pub struct Pings {
    sent: usize,
    took: Vec<f64>,
}

impl Pings {
    pub fn new() -> Self {
        Self {
            sent: 0,
            took: Vec::with_capacity(PINGS),
        }
    }

    /// Adds a round trip. Returns the median in nanoseconds when there are enough.
    pub fn took(&mut self, time: Duration) -> Option<f64> {
        self.sent += 1;
        if self.sent > PINGS_BEFORE {
            self.took.push(time.as_secs_f64() * 1e9);
        }
        (self.took.len() == PINGS)
            .then(|| crate::measuring::pairing::median(self.took.iter().copied()))
    }
}
