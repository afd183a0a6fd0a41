//! Measures whether code takes the same time for two classes of input, as dudect does: Welch's
//! t-test over times of both classes in random order, with the slowest cropped at many points.
//!
//! The tests that measure are ignored, because they take minutes and mean something only in an
//! optimised build: `./test --full timing` runs them.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

/// A |t| from here on is a difference. Equal times pass 5 once in a million tests, and 100 tests on
/// the same times are made, one for each crop.
const DIFFERENT: f64 = 10.0;
/// The |t| that a comparison which stops at the first difference must have. A machine on which it
/// has less is too noisy to say anything.
const CONTROL: f64 = 100.0;
/// Runs of each case. The median counts, so that one run that something disturbed does not.
const RUNS: usize = 3;
/// Inputs that are made before their times are taken, so that making them leaves the same traces in
/// caches for both classes.
const AT_ONCE: usize = 64;
/// Points at which the slowest are cropped.
const CROPS: u32 = 100;
/// Times that are left of each class at the least, for t to mean something.
const FEWEST: usize = 500;

/// Which of the two kinds of input a time belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    One,
    Other,
}

/// Numbers that need to be unrelated to what is measured, and no more. Not for keys.
pub(crate) struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Random bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| (self.next() >> 56) as u8)
    }

    /// Random bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// Zeros or random bytes, written in the same way to memory that was taken in the same way: two
    /// buffers, one of which is given back, would differ in what caches hold of them.
    pub(crate) fn text(&mut self, class: Class, len: usize) -> Vec<u8> {
        let mask = of_class(class, 0, 0xff);
        let mut text = self.bytes(len);
        for byte in &mut text {
            *byte &= mask;
        }
        text
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 32) as usize % end
    }
}

/// Panics if `work` takes another time for one class of inputs than for the other. `input` makes an
/// input. It does the same for both classes, and takes the same memory.
pub(crate) fn assert_same_time<I, O>(
    what: &str,
    samples: usize,
    input: impl FnMut(Class, &mut Random) -> I,
    work: impl FnMut(&mut I) -> O,
) {
    let control = control();
    let t = median_t(what, samples, input, work);
    assert!(
        control > CONTROL,
        "the control has a |t| of {control:.1}: this machine is too noisy, no result counts"
    );
    assert!(
        t < DIFFERENT,
        "{what}: the time depends on the class, |t| is {t:.1}"
    );
}

/// The |t| of a comparison that stops at the first difference, measured once.
fn control() -> f64 {
    static ONCE: OnceLock<f64> = OnceLock::new();
    *ONCE.get_or_init(|| {
        let own: [u8; 64] = Random::new().array();
        let input = |class, random: &mut Random| of_class(class, own, random.array());
        median_t(
            "control: a comparison that stops at the first difference",
            20_000,
            input,
            |given| {
                own.iter()
                    .zip(&*given)
                    .all(|(own, given)| black_box(own) == black_box(given))
            },
        )
    })
}

/// The value of a class, after both were made.
pub(crate) fn of_class<T>(class: Class, one: T, other: T) -> T {
    match class {
        Class::One => one,
        Class::Other => other,
    }
}

/// The median |t| of some runs. Prints them.
fn median_t<I, O>(
    what: &str,
    samples: usize,
    mut input: impl FnMut(Class, &mut Random) -> I,
    mut work: impl FnMut(&mut I) -> O,
) -> f64 {
    let mut random = Random::new();
    let mut runs: [f64; RUNS] = std::array::from_fn(|_| {
        // What comes first finds caches, predictors and clocks as others left them.
        times(samples / 10, &mut random, &mut input, &mut work);
        largest_t(&times(samples, &mut random, &mut input, &mut work))
    });
    let shown = runs.map(|t| format!("{t:.1}")).join(", ");
    println!("|t| {shown}  {what}, {samples} times");
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

/// How many nanoseconds `work` took for each of `samples` inputs, by class.
fn times<I, O>(
    samples: usize,
    random: &mut Random,
    input: &mut impl FnMut(Class, &mut Random) -> I,
    work: &mut impl FnMut(&mut I) -> O,
) -> [Vec<f64>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    let mut inputs = Vec::with_capacity(AT_ONCE);
    for _ in 0..samples.div_ceil(AT_ONCE) {
        inputs.clear();
        inputs.extend((0..AT_ONCE).map(|_| {
            let class = [Class::One, Class::Other][random.below(2)];
            (class, input(class, random))
        }));
        for (class, input) in &mut inputs {
            let start = Instant::now();
            black_box(work(black_box(input)));
            let took = start.elapsed().as_nanos() as f64;
            times[usize::from(*class == Class::Other)].push(took);
        }
    }
    times
}

/// The largest |t| over all crops. Interrupts make some times long at random. They hide small
/// differences, which show when the slowest are left out.
fn largest_t([one, other]: &[Vec<f64>; 2]) -> f64 {
    let mut all = [&one[..], other].concat();
    all.sort_by(f64::total_cmp);
    let crops = (1..=CROPS).map(|crop| {
        // As in dudect, most crops are close to the slowest.
        let kept = 1.0 - 0.5_f64.powf(10.0 * f64::from(crop) / f64::from(CROPS));
        all[(kept * (all.len() - 1) as f64) as usize]
    });
    let crops = crops.chain([f64::INFINITY]);
    let t = crops.map(|limit| {
        let faster = |times: &[f64]| -> Vec<f64> {
            times
                .iter()
                .copied()
                .filter(|time| *time <= limit)
                .collect()
        };
        let (one, other) = (faster(one), faster(other));
        if one.len().min(other.len()) < FEWEST {
            return 0.0;
        }
        welch(&one, &other).abs()
    });
    t.fold(0.0, f64::max)
}

/// Welch's t: the difference of two means, in units of its standard error.
fn welch(one: &[f64], other: &[f64]) -> f64 {
    let [(one, one_error), (other, other_error)] = [one, other].map(|values| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2));
        (mean, squares.sum::<f64>() / (count - 1.0) / count)
    });
    if one == other {
        return 0.0;
    }
    (one - other) / (one_error + other_error).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times as machines have them: around 100 ns, and one in fifty up to 100 us.
    fn noisy(random: &mut Random, count: usize, more: f64) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let noise: f64 = (0..4).map(|_| random.below(10) as f64).sum();
                let interrupt = random.below(50) == 0;
                let lost = if interrupt { random.below(100_000) } else { 0 };
                100.0 + noise + more + lost as f64
            })
            .collect()
    }

    #[test]
    fn t_is_welchs() {
        let one = [3.0, 4.0, 1.0, 2.1];
        let other = [490.2, 340.0, 433.9];
        // Judged by Python's statistics.mean and statistics.variance.
        assert!((welch(&one, &other) - -9.559_497_721_932_658).abs() < 1e-9);
        assert_eq!(welch(&one, &one), 0.0);
        assert_eq!(welch(&[1.0, 1.0], &[2.0, 2.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn equal_classes_stay_below_and_a_shift_under_much_noise_is_found() {
        let mut random = Random(1);
        for _ in 0..3 {
            let same = [0.0, 0.0].map(|more| noisy(&mut random, 5000, more));
            assert!(largest_t(&same) < DIFFERENT);
            let shifted = [0.0, 3.0].map(|more| noisy(&mut random, 5000, more));
            assert!(welch(&shifted[0], &shifted[1]).abs() < DIFFERENT);
            assert!(largest_t(&shifted) > DIFFERENT);
        }
    }

    #[test]
    fn both_classes_come_in_random_order_and_keep_their_inputs() {
        let mut order = Vec::new();
        let mut seen = Vec::new();
        let taken = times(
            6400,
            &mut Random(2),
            &mut |class, _| {
                order.push(class);
                class
            },
            &mut |class| seen.push(*class),
        );
        assert_eq!(order, seen);
        let ones = order.iter().filter(|class| **class == Class::One).count();
        assert_eq!([ones, order.len() - ones], [taken[0].len(), taken[1].len()]);
        assert!((3000..3400).contains(&ones), "{ones}");
        let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((3000..3400).contains(&changes), "{changes}");
    }
}
