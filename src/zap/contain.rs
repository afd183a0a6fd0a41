//! Catches panics of foreign code (handlers, providers, wakers), so that they do not end the task
//! that calls it.
#![forbid(unsafe_code)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Foreign code has panicked. The panic hook has reported it. The message may hold anything, even
/// secrets, and is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls foreign code.
///
/// # Errors
/// Returns [`Panicked`] if it panics.
pub(crate) fn contain<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // A panic can leave only the foreign code's own state half changed, and the next call has to
    // cope with that. What the call borrows of ours is replaced after a panic, or never half changed by one.
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        // Dropping the payload can panic as well. Its panic's payload is leaked, so that this ends.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        Panicked
    })
}

/// A foreign future whose panics, in `poll` or in `drop`, become [`Panicked`].
pub(crate) struct Contained<'a, T>(Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<'a, T> Contained<'a, T> {
    pub(crate) fn new(future: Pin<Box<dyn Future<Output = T> + Send + 'a>>) -> Self {
        Self(Some(future))
    }

    fn discard(&mut self) -> Result<(), Panicked> {
        let future = self.0.take();
        contain(|| drop(future))
    }
}

impl<T> Future for Contained<'_, T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.as_mut() else {
            return Poll::Ready(Err(Panicked));
        };
        match contain(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(self.discard().map(|()| value)),
            Err(Panicked) => {
                // The first panic is reported already.
                let _second = self.discard();
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

impl<T> Drop for Contained<'_, T> {
    fn drop(&mut self) {
        // No task waits for the result any longer, so a panic in the drop is not reported.
        let _unheard = self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn poll<T>(future: impl Future<Output = T> + Send) -> Poll<Result<T, Panicked>> {
        let mut contained = Contained::new(Box::pin(future));
        Pin::new(&mut contained).poll(&mut Context::from_waker(Waker::noop()))
    }

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[test]
    fn a_panic_in_poll_is_contained() {
        assert_eq!(
            poll(async { panic!("in poll") }),
            Poll::<Result<(), _>>::Ready(Err(Panicked))
        );
    }

    #[test]
    fn a_panic_in_the_drop_of_the_future_is_contained() {
        let held = PanicsInDrop;
        let waits = async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        assert_eq!(poll(waits), Poll::Pending);
    }

    #[test]
    fn a_panic_in_the_drop_of_the_panic_payload_is_contained() {
        assert_eq!(
            contain(|| std::panic::panic_any(PanicsInDrop)),
            Err::<(), _>(Panicked)
        );
    }

    #[test]
    fn what_does_not_panic_passes() {
        assert_eq!(poll(async { 7 }), Poll::Ready(Ok(7)));
    }
}
