//! Messages per second through a server's tunnel, compared with the same two libzmq sockets without a
//! tunnel: CURVE from libzmq to the tunnel and NULL from there to libzmq, against CURVE all the way. The
//! tunnel's processor time is the receiver's.

use crate::child::handle::Child;
use crate::child::job::{Job, Task};
use crate::child::under_load::{BOTH_ENDS, Ends};
use crate::measuring::pairing::Side;
use crate::output::report::Report;

const SIZES: [usize; 2] = [64, 64 * 1024];
const ROUNDS: usize = 5;

pub fn run(report: &mut Report, libzmq: &str) {
    for size in SIZES {
        let case = format!("tunnel CURVE {size}");
        report.compare(&case, libzmq, BOTH_ENDS, ROUNDS, |side| {
            throughput(side, size)
        });
    }
}

/// Ours: through a tunnel. libzmq's: straight.
fn throughput(side: Side, size: usize) -> [f64; 3] {
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
    let sender = Child::start(&job(Side::Libzmq, Task::Push { to }, true));
    let receivers = [pull].into_iter().chain(tunnel).collect();
    Ends { sender, receivers }.figures()
}
