//! Messages per second through a server's tunnel, compared with the same two libzmq sockets without a
//! tunnel: CURVE from libzmq to the tunnel and NULL from there to libzmq, against CURVE all the way.

use crate::child::Child;
use crate::job::{Job, Side, Task};
use crate::pairing::{Better, rounds};
use crate::report::Report;

const SIZES: [usize; 2] = [64, 64 * 1024];
const ROUNDS: usize = 5;

pub fn run(report: &mut Report, libzmq: &str) {
    for size in SIZES {
        let case = format!("tunnel CURVE {size}");
        if report.wants(&case) {
            let pair = rounds(ROUNDS, Better::More, |side| throughput(side, size));
            report.measured(&case, libzmq, "msg/s", pair);
        }
    }
}

/// Ours: through a tunnel. libzmq's: straight.
fn throughput(side: Side, size: usize) -> f64 {
    let job = |side, task, curve| Job {
        side,
        task,
        curve,
        size,
        threads: 1,
    };
    let pull = Child::start(&job(Side::Libzmq, Task::Pull, side == Side::Libzmq));
    let behind = pull.line();
    let tunnel = (side == Side::Ours)
        .then(|| Child::start(&job(Side::Ours, Task::Tunnel { to: behind.clone() }, true)));
    let to = tunnel.as_ref().map_or(behind, Child::line);
    let _push = Child::start(&job(Side::Libzmq, Task::Push { to }, true));
    pull.figure()
}
