//! Keeps the panics of foreign code (handlers, providers) from the tasks that ask it.
#![forbid(unsafe_code)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Foreign code has panicked. The panic hook has told the operator; its message may hold
/// anything and is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls foreign code.
///
/// # Errors
/// [`Panicked`] if it panics.
pub(crate) fn contain<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What the call may have left half-done is its own state; the next call will find out.
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        // A payload's own drop can panic as well. One that does is leaked.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        Panicked
    })
}

/// A foreign future whose panics, in `poll` and in its drop, end in [`Panicked`].
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
                // Already refused for its first panic.
                let _second = self.discard();
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

impl<T> Drop for Contained<'_, T> {
    fn drop(&mut self) {
        // No task waits for the answer, so there is no task to tell.
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
