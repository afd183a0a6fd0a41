//! What a queue held when it was refused, to be dropped without its lock.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::task::Waker;

/// What a queue held when it was refused, and who is to be woken.
#[must_use]
pub(crate) struct Refused<T> {
    pub(crate) items: [VecDeque<(T, usize)>; 2],
    pub(crate) waiting: [Option<Waker>; 3],
}

impl<T> Default for Refused<T> {
    fn default() -> Self {
        Self {
            items: [VecDeque::new(), VecDeque::new()],
            waiting: [const { None }; 3],
        }
    }
}

impl<T> Refused<T> {
    /// Wakes who waits, and drops what it held.
    pub(crate) fn wake(self) {
        for waker in self.waiting.into_iter().flatten() {
            waker.wake();
        }
        drop(self.items);
    }
}
