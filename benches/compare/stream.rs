//! Messages a second through `AuthStream`s, against our own connections and against a tunnel: CURVE
//! over loopback.

use crate::child::Child;
use crate::job::{Job, Side, Task};
use crate::report::Report;
use crate::under_load::{BOTH_ENDS, Ends};

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
const ROUNDS: usize = 5;

pub fn run(report: &mut Report) {
    for size in SIZES {
        let case = format!("AuthStream CURVE {size}");
        report.compare(&case, "Connection", BOTH_ENDS, ROUNDS, |side| {
            against_connection(side, size)
        });
    }
    for size in SIZES {
        let case = format!("AuthStream, server, CURVE {size}");
        report.compare(&case, "tunnel over ipc", BOTH_ENDS, ROUNDS, |side| {
            against_tunnel(side, size)
        });
    }
}

const fn job(task: Task, curve: bool, size: usize) -> Job {
    Job {
        side: Side::Ours,
        task,
        curve,
        size,
        threads: 1,
    }
}

/// Two hosts behind streams, or two connections.
fn against_connection(side: Side, size: usize) -> [f64; 3] {
    let (pull, push): (_, fn(String) -> Task) = match side {
        Side::Ours => (Task::StreamPull, |to| Task::StreamPush { to }),
        Side::Libzmq => (Task::Pull, |to| Task::Push { to }),
    };
    Ends::start(|task| job(task, true, size), pull, push).figures()
}

/// A host behind a stream, or a connection without security behind a tunnel. Their sender is the same.
fn against_tunnel(side: Side, size: usize) -> [f64; 3] {
    let start = |task, curve| Child::start(&job(task, curve, size));
    let mut receivers = match side {
        Side::Ours => vec![start(Task::StreamPull, true)],
        Side::Libzmq => vec![start(Task::PullIpc, false)],
    };
    let mut to = receivers[0].line();
    if side == Side::Libzmq {
        let tunnel = start(Task::Tunnel { to }, true);
        to = tunnel.line();
        receivers.push(tunnel);
    }
    let sender = start(Task::Push { to }, true);
    Ends { sender, receivers }.figures()
}
