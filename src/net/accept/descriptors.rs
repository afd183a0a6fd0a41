//! The file descriptors of the process, shared among its listeners and tunnels.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

/// Descriptors assumed where the system sets no limit or none can be read. 4096, which a server
/// with large connections can still hold in memory.
const UNKNOWN: usize = 4096;

/// Most descriptors that are shared out where no listener sets its own bound on connections.
/// Containers often have a soft limit of a thousand million, which bounds nothing. 65,536, so that
/// connections cannot take all memory.
const MAX_UNASKED: usize = 64 * 1024;

/// Fewest descriptors that stay with the program and its libraries. 16, for standard streams, the
/// runtime and a few files.
const SMALLEST_RESERVE: usize = 16;

/// One in 8 descriptors stays with the program, for its files and the connections that it makes.
const RESERVE: usize = 8;

/// One in 4 descriptors is for handshakes in progress alone.
const HANDSHAKES: usize = 4;

/// One in 8 of the descriptors for connections is kept for listeners that hold less than an even
/// share.
const LATECOMERS: usize = 8;

static PROCESS: LazyLock<Arc<Descriptors>> = LazyLock::new(Arc::default);

/// The descriptors that exist, and those that connections hold.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The descriptors that the process may have.
    limit: usize,
    /// The descriptors that connections hold.
    taken: usize,
    /// The number of listeners and tunnels.
    sharers: usize,
    /// The descriptors that a connection of each of them costs, together.
    costs: usize,
    /// The number of those that have a bound of their own.
    bounded: usize,
}

impl Descriptors {
    /// The descriptors of this process.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&PROCESS)
    }

    /// Registers a listener or tunnel, whose connections cost `each` descriptors, with or without a
    /// bound of its own, in a process that may have `limit` descriptors.
    pub(crate) fn join(&self, limit: usize, each: usize, is_bounded: bool) {
        let mut state = self.lock();
        state.limit = limit;
        state.sharers += 1;
        state.costs += each;
        state.bounded += usize::from(is_bounded);
    }

    /// Removes a listener or tunnel.
    pub(crate) fn leave(&self, each: usize, is_bounded: bool) {
        let mut state = self.lock();
        state.sharers -= 1;
        state.costs -= each;
        state.bounded -= usize::from(is_bounded);
    }

    /// How many handshakes a listener may conduct at a time. A listener that is alone also uses the
    /// descriptors that no connection holds: a handshake that succeeds becomes a connection and keeps
    /// its descriptor. That of a tunnel takes one more, which is left free for it. So when all clients of a server connect again at once, no handshake is evicted
    /// for want of a descriptor that its connection would get. Several listeners share a quarter
    /// evenly, because each evicts a handshake when it needs a slot.
    pub(crate) fn handshakes(&self) -> usize {
        let state = self.lock();
        let share = state.counted() / HANDSHAKES;
        if state.sharers <= 1 {
            let free = state.for_connections().saturating_sub(state.taken);
            return share + free / state.costs.max(1);
        }
        share / state.sharers
    }

    /// Takes `count` descriptors for a connection of a listener that holds `held` of them. Returns
    /// false if too few are free. A listener may take the last eighth only while it holds less than
    /// an even share, so that one crowded listener leaves some for each other one.
    pub(crate) fn take(&self, count: usize, held: usize) -> bool {
        let mut state = self.lock();
        let all = state.for_connections();
        let is_latecomer = held + count <= all / state.sharers.max(1);
        let kept = if is_latecomer { 0 } else { all / LATECOMERS };
        let free = all.saturating_sub(state.taken);
        let is_free = free >= count + kept;
        if is_free {
            state.taken += count;
        }
        is_free
    }

    /// Gives `count` descriptors back.
    pub(crate) fn give_back(&self, count: usize) {
        self.lock().taken -= count;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    /// The descriptors that are shared out.
    const fn counted(&self) -> usize {
        if self.bounded == 0 && self.limit > MAX_UNASKED {
            MAX_UNASKED
        } else {
            self.limit
        }
    }

    const fn for_connections(&self) -> usize {
        let limit = self.counted();
        let reserve = limit / RESERVE;
        let reserve = if reserve < SMALLEST_RESERVE {
            SMALLEST_RESERVE
        } else {
            reserve
        };
        limit
            .saturating_sub(reserve)
            .saturating_sub(limit / HANDSHAKES)
    }
}

/// How many descriptors the process may have now. This is the soft limit, which a program can raise
/// at any time.
pub(crate) fn process_limit() -> usize {
    soft_limit().unwrap_or(UNKNOWN)
}

#[cfg(unix)]
fn soft_limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

/// Sockets of this system are no file descriptors and have no such limit.
#[cfg(not(unix))]
fn soft_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(descriptors: &Descriptors, each: usize) -> usize {
        let mut held = 0;
        while descriptors.take(each, held) {
            held += each;
        }
        held
    }

    #[test]
    fn handshakes_connections_and_the_program_have_their_parts() {
        for (limit, handshakes, connections) in [(128, 32, 80), (1024, 256, 640), (16, 4, 0)] {
            let descriptors = Descriptors::default();
            descriptors.join(limit, 1, false);
            assert_eq!(descriptors.handshakes(), handshakes + connections);
            assert_eq!(filled(&descriptors, 1), connections);
            assert_eq!(descriptors.handshakes(), handshakes);
            assert!(limit < 64 || handshakes + connections <= limit - SMALLEST_RESERVE);
            descriptors.give_back(connections);
            assert_eq!(filled(&descriptors, 2), connections / 2 * 2);
        }
    }

    #[test]
    fn a_crowded_listener_leaves_room_for_the_others() {
        let descriptors = Descriptors::default();
        descriptors.join(1024, 1, false);
        descriptors.join(1024, 1, false);
        assert_eq!(descriptors.handshakes(), 128);
        // An eighth of 640 is left.
        assert_eq!(filled(&descriptors, 1), 560);
        assert_eq!(filled(&descriptors, 1), 80);
        descriptors.give_back(80);
        // Where a listener is alone again, everything is its own.
        descriptors.leave(1, false);
        assert!(descriptors.take(80, 560) && !descriptors.take(1, 640));
    }

    #[cfg(unix)]
    #[test]
    fn the_system_tells_the_limit() {
        let told = std::process::Command::new("sh")
            .args(["-c", "ulimit -n"])
            .output()
            .unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert_eq!(told.trim().parse().unwrap_or(UNKNOWN), process_limit());
    }
}
