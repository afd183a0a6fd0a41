//! Two processes, or three, between which messages run without end: messages a second, and the
//! processor time of each end for one message. On two cores messages a second depend on where four
//! threads run, and processor time does so less.

use crate::child::handle::Child;
use crate::child::job::{Job, Task};
use crate::measuring::pairing::{Better, Side};
use crate::output::report::Figure;
use std::time::Instant;

/// The figures of both ends.
pub const BOTH_ENDS: [Figure; 3] = [
    ("", "msg/s", Better::More),
    (", sender", "ns CPU", Better::Less),
    (", receiver", "ns CPU", Better::Less),
];

/// The figures of both ends together.
pub const TOGETHER: [Figure; 2] = [
    ("", "msg/s", Better::More),
    (", processor time", "ns CPU", Better::Less),
];

/// A sender, and a receiver with what stands in front of it.
pub struct Ends {
    pub sender: Child,
    /// Their processor time is the receiver's together. The first one counts messages.
    pub receivers: Vec<Child>,
}

impl Ends {
    /// The receiver binds.
    pub fn start(
        job: impl Fn(Task) -> Job,
        receives: Task,
        sends: impl FnOnce(String) -> Task,
    ) -> Self {
        let receiver = Child::start(&job(receives));
        let sender = Child::start(&job(sends(receiver.line())));
        Self {
            sender,
            receivers: vec![receiver],
        }
    }

    /// The sender binds.
    pub fn start_sender_first(
        job: impl Fn(Task) -> Job,
        sends: Task,
        receives: impl FnOnce(String) -> Task,
    ) -> Self {
        let sender = Child::start(&job(sends));
        let receiver = Child::start(&job(receives(sender.line())));
        Self {
            sender,
            receivers: vec![receiver],
        }
    }

    /// Messages a second, and nanoseconds of processor time for one, of the sender and of the receiver.
    pub fn figures(&self) -> [f64; 3] {
        let used = || {
            let receivers = self.receivers.iter().map(Child::cpu_seen);
            [self.sender.cpu_seen(), receivers.sum()]
        };
        let counting = &self.receivers[0];
        // What runs before this belongs to the start.
        counting.figure();
        let (begin, before) = (Instant::now(), used());
        let rate = counting.figure();
        let (took, after) = (begin.elapsed(), used());
        let each = |at: usize| (after[at] - before[at]) / (rate * took.as_secs_f64());
        [rate, each(0), each(1)]
    }

    /// Messages a second, and nanoseconds of processor time for one on both ends together.
    pub fn together(&self) -> [f64; 2] {
        let [rate, sender, receiver] = self.figures();
        [rate, sender + receiver]
    }
}

/// The figures of our side, or the better ones of libzmq with one thread for its connections, its
/// default, and with two. The first figure is a rate, the others are processor time.
pub fn at_best<const N: usize>(side: Side, run: impl Fn(u8) -> [f64; N]) -> [f64; N] {
    let mut best = run(1);
    if side == Side::Libzmq {
        for (at, (best, other)) in best.iter_mut().zip(run(2)).enumerate() {
            *best = if at == 0 {
                best.max(other)
            } else {
                best.min(other)
            };
        }
    }
    best
}
