//! Measures two ways of doing the same in turn, so that a disturbance of the machine affects both.

use std::fmt;
use std::time::{Duration, Instant};

/// How long each side runs in its turn: much longer than the resolution of the clock, and shorter than
/// a time slice of the system.
const SLICE: Duration = Duration::from_micros(400);
const PAIRS: usize = 151;

/// Which library is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Libzmq,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Libzmq => "libzmq",
        })
    }
}

/// The medians of paired runs.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub ours: f64,
    pub peer: f64,
    /// The median of the ratios of all pairs. Above 1, this library is faster.
    pub ratio: f64,
}

/// A measured operation: runs `count` times and returns how long that took, without preparations.
pub trait Run: FnMut(usize) -> Duration {}
impl<F: FnMut(usize) -> Duration> Run for F {}

/// Measures both in turn, each first equally often, with at most `max` operations at once.
pub fn measure(mut ours: impl Run, mut peer: impl Run, max: usize) -> Pair {
    let count_ours = calibrate(&mut ours, max);
    let count_peer = calibrate(&mut peer, max);
    let mut pairs = Vec::with_capacity(PAIRS);
    for turn in 0..PAIRS {
        let (mine, theirs);
        if turn % 2 == 0 {
            mine = each(&mut ours, count_ours);
            theirs = each(&mut peer, count_peer);
        } else {
            theirs = each(&mut peer, count_peer);
            mine = each(&mut ours, count_ours);
        }
        pairs.push((mine, theirs));
    }
    medians(&pairs, Better::Less)
}

/// Whether a higher or a lower figure is better.
#[derive(Debug, Clone, Copy)]
pub enum Better {
    More,
    Less,
}

/// Runs something long on both sides in turn, `count` times each.
pub fn rounds(count: usize, better: Better, mut figure: impl FnMut(Side) -> f64) -> Pair {
    let [pair] = rounds_of([better], count, |side| [figure(side)]);
    pair
}

/// As [`rounds`], with several figures of each run.
pub fn rounds_of<const N: usize>(
    better: [Better; N],
    count: usize,
    mut figures: impl FnMut(Side) -> [f64; N],
) -> [Pair; N] {
    let mut pairs = Vec::with_capacity(count);
    for turn in 0..count {
        let (mine, theirs);
        if turn % 2 == 0 {
            mine = figures(Side::Ours);
            theirs = figures(Side::Libzmq);
        } else {
            theirs = figures(Side::Libzmq);
            mine = figures(Side::Ours);
        }
        pairs.push((mine, theirs));
    }
    std::array::from_fn(|at| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(mine, theirs)| (mine[at], theirs[at]))
            .collect();
        medians(&pairs, better[at])
    })
}

fn medians(pairs: &[(f64, f64)], better: Better) -> Pair {
    let ratio = |pair: &(f64, f64)| match better {
        Better::More => pair.0 / pair.1,
        Better::Less => pair.1 / pair.0,
    };
    Pair {
        ours: median(pairs.iter().map(|pair| pair.0)),
        peer: median(pairs.iter().map(|pair| pair.1)),
        ratio: median(pairs.iter().map(ratio)),
    }
}

/// The wall time of `count` calls of `operation`.
pub fn timed(count: usize, mut operation: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        operation();
    }
    start.elapsed()
}

fn each(run: &mut impl Run, count: usize) -> f64 {
    run(count).as_secs_f64() * 1e9 / count as f64
}

/// How many operations fill a slice.
fn calibrate(run: &mut impl Run, max: usize) -> usize {
    let mut count = 1;
    loop {
        let took = run(count);
        if took >= SLICE || count >= max {
            return count;
        }
        count = (count * 2).min(max);
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}
