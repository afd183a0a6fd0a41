//! The one way in which this crate takes a lock. A poisoned lock is not an error.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, even if a thread panicked while it held the lock.
///
/// Panicking on a poisoned lock would turn one panic into many. Use this only where no change under
/// the lock can be left half done: foreign code (wakers, providers, handlers) runs outside the lock
/// or is contained, and no code between two consistent states can panic.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
