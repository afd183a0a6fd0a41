//! One value, handed from whoever makes it to a task or thread that waits for it.
#![forbid(unsafe_code)]

use crate::zap::contain::contain;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

enum State<T> {
    Awaited(Option<Waker>),
    Kept(T),
    /// The promise was dropped, or the value taken.
    Over,
}

/// The side that makes the value. Dropped without one, it tells the other side so.
pub(crate) struct Promise<T>(Arc<Mutex<State<T>>>);

/// The side that waits: gives `None` if there will be no value.
pub(crate) struct Promised<T>(Arc<Mutex<State<T>>>);

/// Both sides of a value.
pub(crate) fn promise<T>() -> (Promise<T>, Promised<T>) {
    let state = Arc::new(Mutex::new(State::Awaited(None)));
    (Promise(Arc::clone(&state)), Promised(state))
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // Nothing under this lock can panic half-way.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Promise<T> {
    pub(crate) fn keep(self, value: T) {
        self.end(State::Kept(value));
    }

    fn end(&self, end: State<T>) {
        let mut state = lock(&self.0);
        if let State::Awaited(waker) = &mut *state {
            let waker = waker.take();
            *state = end;
            drop(state);
            // A waker belongs to a foreign executor.
            let _unheard = contain(|| waker.map(Waker::wake));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.end(State::Over);
    }
}

impl<T> Future for Promised<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, State::Over) {
            State::Awaited(before) => {
                *state = State::Awaited(Some(context.waker().clone()));
                drop(state);
                // The drop of a waker is foreign code.
                drop(before);
                Poll::Pending
            }
            State::Kept(value) => Poll::Ready(Some(value)),
            State::Over => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(promised: &mut Promised<T>) -> Poll<Option<T>> {
        Pin::new(promised).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_value_comes_once() {
        let (promise, mut promised) = promise();
        assert_eq!(poll(&mut promised), Poll::Pending);
        promise.keep(7);
        assert_eq!(poll(&mut promised), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut promised), Poll::Ready(None));
    }

    #[test]
    fn a_dropped_promise_keeps_nobody_waiting() {
        let (promise, mut promised) = promise::<u8>();
        assert_eq!(poll(&mut promised), Poll::Pending);
        drop(promise);
        assert_eq!(poll(&mut promised), Poll::Ready(None));
    }
}
