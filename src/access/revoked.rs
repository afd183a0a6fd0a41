//! Waiting for the end of an admission without borrowing it: as a future of its own, or by a
//! function that is called.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Resolves once an admission is withdrawn, and stays resolved. It is `Send`, `Sync` and
/// `'static`, so a socket can keep it as a field.
///
/// [`Grant::revoked_owned`](crate::Grant::revoked_owned) and
/// [`Peer::revoked_owned`](crate::Peer::revoked_owned) make one. It keeps the grant. The default never
/// resolves: it is what the field holds before the handshake.
#[derive(Default)]
pub struct Revoked(State);

#[derive(Default)]
enum State {
    #[default]
    Never,
    /// The lock is never taken, because polling has exclusive access. It makes the future `Sync`.
    Waiting(Mutex<Waiting>),
    Over,
}

impl Revoked {
    pub(crate) fn new(waiting: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(State::Waiting(Mutex::new(Box::pin(waiting))))
    }

    /// Whether the admission has been withdrawn. If not, the task of `cx` is woken when it is.
    ///
    /// This is [`Future::poll`] without the pinning, for code that implements `poll_read` and the
    /// like. As with those, only the task of the last call is woken.
    pub fn poll_revoked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            State::Never => return Poll::Pending,
            State::Over => return Poll::Ready(()),
            State::Waiting(waiting) => {
                let waiting = waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
                if waiting.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        self.0 = State::Over;
        Poll::Ready(())
    }
}

impl Future for Revoked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_revoked(cx)
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Never => "Revoked(never)",
            State::Waiting(_) => "Revoked(waiting)",
            State::Over => "Revoked(over)",
        })
    }
}

/// Keeps the function of [`Grant::on_revoked`](crate::Grant::on_revoked) registered. Dropping it
/// unregisters the function, unless it has been called already or is being called.
#[must_use = "dropping the guard unregisters the function"]
pub struct RevocationGuard(Arc<Hook>);

impl RevocationGuard {
    pub(crate) fn register(revoked: Revoked, call: impl FnOnce() + Send + 'static) -> Self {
        let hook = Arc::new(Hook {
            state: Mutex::new(HookState {
                waiting: Some(revoked),
                call: Some(Box::new(call)),
                woken: false,
            }),
            #[cfg(feature = "tokio")]
            runtime: tokio::runtime::Handle::try_current().ok(),
        });
        hook.advance();
        Self(hook)
    }
}

impl Drop for RevocationGuard {
    fn drop(&mut self) {
        let (waiting, call) = {
            let mut state = lock(&self.0.state);
            (state.waiting.take(), state.call.take())
        };
        // The drop of either is foreign code, so the lock is free. Dropping the future also breaks
        // the circle of the hook, its future, the grant, and the hook as the grant's waker.
        drop((waiting, call));
    }
}

impl fmt::Debug for RevocationGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationGuard")
            .field("is_waiting", &lock(&self.0.state).call.is_some())
            .finish()
    }
}

/// A function and the future that it waits for. The hook is its future's waker: what wakes the
/// future polls it, so no task is needed.
struct Hook {
    state: Mutex<HookState>,
    /// The runtime where the function was registered. The future makes its timers there, whichever
    /// thread polls it.
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Handle>,
}

struct HookState {
    /// Absent while it is polled, and when the function has been called or unregistered.
    waiting: Option<Revoked>,
    /// Absent when the function has been called or unregistered.
    call: Option<Box<dyn FnOnce() + Send>>,
    /// Whether the future was woken while it was polled.
    woken: bool,
}

impl Hook {
    /// Polls the future, and calls the function once the future is ready.
    ///
    /// No lock is held while foreign code runs: the future, the function, and the drop of either.
    /// So the future is taken out while it is polled. A wake that comes meanwhile, from another
    /// thread or from the poll itself, leaves a note, and the future is polled again.
    fn advance(self: &Arc<Self>) {
        #[cfg(feature = "tokio")]
        let _entered = self.runtime.as_ref().map(tokio::runtime::Handle::enter);
        let waker = Waker::from(Arc::clone(self));
        loop {
            let taken = {
                let mut state = lock(&self.state);
                let taken = state.waiting.take();
                state.woken = taken.is_none();
                taken
            };
            let Some(mut waiting) = taken else {
                return;
            };
            let mut cx = Context::from_waker(&waker);
            // A future that panics will not tell of a revocation, so it counts as one. Timers
            // panic when their runtime ends.
            let polled = catch_unwind(AssertUnwindSafe(|| waiting.poll_revoked(&mut cx)));
            if !matches!(polled, Ok(Poll::Pending)) {
                let call = lock(&self.state).call.take();
                drop(waiting);
                if let Some(call) = call {
                    call();
                }
                return;
            }
            let mut state = lock(&self.state);
            if state.call.is_none() {
                // It was unregistered meanwhile.
                drop(state);
                return;
            }
            state.waiting = Some(waiting);
            if !state.woken {
                return;
            }
        }
    }
}

impl Wake for Hook {
    fn wake(self: Arc<Self>) {
        self.advance();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.advance();
    }
}
