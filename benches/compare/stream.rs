//! Messages a second through `AuthStream`s, against our own connections and against a tunnel: CURVE
//! over loopback.

use crate::child::Child;
use crate::job::{Job, Side, Task};
use crate::pairing::{Better, rounds};
use crate::report::Report;
use std::time::Instant;

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const ROUNDS: usize = 5;

pub fn run(report: &mut Report) {
    for size in SIZES {
        let case = format!("AuthStream CURVE {size}");
        if report.wants(&case) {
            let pair = rounds(ROUNDS, Better::More, |side| against_connection(side, size));
            report.measured(&case, "Connection", "msg/s", pair);
        }
    }
    for size in SIZES {
        let case = format!("AuthStream, server, CURVE {size}");
        if report.wants(&case) {
            let figure = |side| Servers::start(side, size).rate();
            let pair = rounds(ROUNDS, Better::More, figure);
            report.measured(&case, "tunnel over ipc", "msg/s", pair);
        }
    }
    for size in SIZES {
        let case = format!("AuthStream, server's processor time, CURVE {size}");
        if report.wants(&case) {
            let figure = |side| Servers::start(side, size).processor_time();
            let pair = rounds(ROUNDS, Better::Less, figure);
            report.measured(&case, "tunnel over ipc", "ns CPU", pair);
        }
    }
}

fn start(task: Task, curve: bool, size: usize) -> Child {
    Child::start(&Job {
        side: Side::Ours,
        task,
        curve,
        size,
        threads: 1,
    })
}

/// Two hosts behind streams, or two connections.
fn against_connection(side: Side, size: usize) -> f64 {
    let (pull, push): (_, fn(String) -> Task) = match side {
        Side::Ours => (Task::StreamPull, |to| Task::StreamPush { to }),
        Side::Libzmq => (Task::Pull, |to| Task::Push { to }),
    };
    let pull = start(pull, true, size);
    let _push = start(push(pull.line()), true, size);
    pull.figure()
}

/// A host behind a stream, or a connection without security behind a tunnel, and their sender, which is
/// the same.
struct Servers {
    pull: Child,
    tunnel: Option<Child>,
    _push: Child,
}

impl Servers {
    fn start(side: Side, size: usize) -> Self {
        let pull = match side {
            Side::Ours => start(Task::StreamPull, true, size),
            Side::Libzmq => start(Task::PullIpc, false, size),
        };
        let mut to = pull.line();
        let tunnel =
            (side == Side::Libzmq).then(|| start(Task::Tunnel { to: to.clone() }, true, size));
        if let Some(tunnel) = &tunnel {
            to = tunnel.line();
        }
        Self {
            pull,
            tunnel,
            _push: start(Task::Push { to }, true, size),
        }
    }

    /// Messages a second.
    fn rate(&self) -> f64 {
        self.pull.figure()
    }

    /// Nanoseconds of processor time for a message, of all processes but the sender's.
    fn processor_time(&self) -> f64 {
        let used = || {
            let tunnel = self.tunnel.as_ref().map_or(0.0, Child::cpu_seen);
            self.pull.cpu_seen() + tunnel
        };
        self.rate();
        let (begin, before) = (Instant::now(), used());
        let rate = self.rate();
        let (took, after) = (begin.elapsed(), used());
        (after - before) / (rate * took.as_secs_f64())
    }
}
