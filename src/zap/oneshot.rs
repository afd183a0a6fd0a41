//! A channel for one value, to a task that waits for it.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::zap::contain::contain;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

enum Value<T> {
    Awaited(Option<Waker>),
    Sent(T),
    /// The sender was dropped, or the value taken.
    Over,
}

/// The sending side. Dropping it without sending resolves the receiver with `None`.
pub(crate) struct Sender<T>(Arc<Mutex<Value<T>>>);

/// The receiving side: a future that resolves with the value, or with `None` if there will be none.
pub(crate) struct Receiver<T>(Arc<Mutex<Value<T>>>);

/// Creates a channel.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(Value::Awaited(None)));
    (Sender(Arc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    pub(crate) fn send(self, value: T) {
        self.end(Value::Sent(value));
    }

    fn end(&self, end: Value<T>) {
        let mut state = lock(&self.0);
        if let Value::Awaited(waker) = &mut *state {
            let waker = waker.take();
            *state = end;
            drop(state);
            // A waker is code of a foreign executor and may panic.
            let _unheard = contain(|| waker.map(Waker::wake));
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.end(Value::Over);
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, Value::Over) {
            Value::Awaited(before) => {
                *state = Value::Awaited(Some(context.waker().clone()));
                drop(state);
                // Dropping a waker runs foreign code, so the lock is released first.
                drop(before);
                Poll::Pending
            }
            Value::Sent(value) => Poll::Ready(Some(value)),
            Value::Over => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(receiver: &mut Receiver<T>) -> Poll<Option<T>> {
        Pin::new(receiver).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_value_comes_once() {
        let (sender, mut receiver) = channel();
        assert_eq!(poll(&mut receiver), Poll::Pending);
        sender.send(7);
        assert_eq!(poll(&mut receiver), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut receiver), Poll::Ready(None));
    }

    #[test]
    fn a_dropped_sender_keeps_nobody_waiting() {
        let (sender, mut receiver) = channel::<u8>();
        assert_eq!(poll(&mut receiver), Poll::Pending);
        drop(sender);
        assert_eq!(poll(&mut receiver), Poll::Ready(None));
    }
}
