//! Runs a future on a thread without an async runtime.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread for at most `time`; `None` if it takes longer.
pub(crate) fn block_on<T>(future: impl Future<Output = T>, time: Duration) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let end = Instant::now().checked_add(time);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        match end {
            None => thread::park(),
            Some(end) => {
                let left = end.checked_duration_since(Instant::now())?;
                thread::park_timeout(left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[test]
    fn a_future_runs_for_at_most_the_given_time() {
        assert_eq!(block_on(ready(7), Duration::ZERO), Some(7));
        assert_eq!(block_on(pending::<u8>(), Duration::from_millis(1)), None);
    }
}
