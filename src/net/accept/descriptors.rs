//! The file descriptors of the process, shared among its listeners and tunnels.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

/// Descriptors where the system sets no limit, or none that can be read: what a server with
/// large connections can still hold in memory.
const UNKNOWN: usize = 4096;

/// Most descriptors that are counted on where no listener says how many connections it wants:
/// containers often have a soft limit of a thousand million, which bounds nothing.
const MAX_UNASKED: usize = 64 * 1024;

/// Fewest descriptors that are left to the program and its libraries.
const SMALLEST_RESERVE: usize = 16;

/// One part in so many is left to the program: its files, and the connections that it makes.
const RESERVE: usize = 8;

/// One part in so many is for handshakes in progress.
const HANDSHAKES: usize = 4;

/// One part in so many of the connections' descriptors is kept for the listeners that hold fewer
/// than an even share.
const LATECOMERS: usize = 8;

static PROCESS: LazyLock<Arc<Descriptors>> = LazyLock::new(Arc::default);

/// How many descriptors there are, and how many connections hold.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What the process may have.
    limit: usize,
    /// What connections hold.
    taken: usize,
    /// Listeners and tunnels.
    sharers: usize,
    /// How many of them have a bound of their own.
    bounded: usize,
}

impl Descriptors {
    /// The descriptors of this process.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&PROCESS)
    }

    /// A listener or tunnel more, with a bound of its own or without, in a process that may have
    /// `limit` descriptors.
    pub(crate) fn join(&self, limit: usize, is_bounded: bool) {
        let mut state = self.lock();
        state.limit = limit;
        state.sharers += 1;
        state.bounded += usize::from(is_bounded);
    }

    /// One less.
    pub(crate) fn leave(&self, is_bounded: bool) {
        let mut state = self.lock();
        state.sharers -= 1;
        state.bounded -= usize::from(is_bounded);
    }

    /// How many handshakes a listener may conduct at once: it evicts, so an even share will do.
    pub(crate) fn handshakes(&self) -> usize {
        let state = self.lock();
        state.counted() / HANDSHAKES / state.sharers.max(1)
    }

    /// Takes descriptors for a connection of a listener that holds so many; false if there are
    /// none for it. A listener takes what is free, but the last eighth only as long as it holds
    /// less than an even share: however many peers one listener has, each other one gets some.
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

    /// Gives them back.
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

/// How many descriptors the process may have now: the soft limit, which a program may have raised
/// since it looked last.
pub(crate) fn process_limit() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let limit = getrlimit(Resource::Nofile).current;
        limit.and_then(|limit| usize::try_from(limit).ok())
    }
    .unwrap_or(UNKNOWN)
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
            descriptors.join(limit, false);
            assert_eq!(descriptors.handshakes(), handshakes);
            assert_eq!(filled(&descriptors, 1), connections);
            assert!(limit < 64 || handshakes + connections <= limit - SMALLEST_RESERVE);
            descriptors.give_back(connections);
            assert_eq!(filled(&descriptors, 2), connections / 2 * 2);
        }
    }

    #[test]
    fn a_crowded_listener_leaves_room_for_the_others() {
        let descriptors = Descriptors::default();
        descriptors.join(1024, false);
        descriptors.join(1024, false);
        assert_eq!(descriptors.handshakes(), 128);
        // An eighth of 640 is left.
        assert_eq!(filled(&descriptors, 1), 560);
        assert_eq!(filled(&descriptors, 1), 80);
        descriptors.give_back(80);
        // Where a listener is alone again, everything is its own.
        descriptors.leave(false);
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
