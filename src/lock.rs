//! The one way in which this crate takes a lock: a panic elsewhere does not stop it.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also if a thread panicked while it held the lock.
///
/// A poisoned lock would turn one panic into a panic of everyone who comes after. Use this where no
/// change under the lock can be left half done: foreign code (wakers, providers, handlers) runs
/// without locks or contained, and what remains between two consistent states cannot panic.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
