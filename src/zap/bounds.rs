//! Bounds on questions to foreign code: how many at once, and for how long.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

/// A number of places, without a queue.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    most: usize,
}

/// A taken place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Places);

impl Places {
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            most,
        }
    }

    /// Takes a place; `None` if all are taken.
    pub(crate) fn take(&self) -> Option<Place<'_>> {
        // The counter guards no other memory, so relaxed is enough.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < self.most).then_some(taken + 1)
            })
            .ok()
            .map(|_| Place(self))
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Awaits `future` for at most `time` from its first pause on; `None` if it took longer. Without
/// feature `tokio`, or outside tokio's runtime, there is no clock, and the caller drops what takes
/// too long.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    // What does not pause needs no timer.
    let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
    if let Poll::Ready(value) = first.await {
        return Some(value);
    }
    #[cfg(feature = "tokio")]
    if tokio::runtime::Handle::try_current().is_ok() {
        return tokio::time::timeout(time, future).await.ok();
    }
    #[cfg(not(feature = "tokio"))]
    let _no_clock = time;
    Some(future.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
    }

    #[test]
    fn no_place_at_all_is_a_legal_number() {
        assert!(Places::new(0).take().is_none());
    }
}
