//! What an `AuthStream` shares with those who wake it: the stream to the network, which a revocation
//! closes although the host does nothing, and the wakers of the host's reader and writer.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::{Context, Wake, Waker};

/// Which half of the stream the host polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Read,
    Write,
}

pub(crate) struct Link<S> {
    /// `None` once it is closed.
    stream: Mutex<Option<S>>,
    is_revoked: AtomicBool,
    /// Something may have changed since the stream was driven last.
    is_woken: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Waiting {
    const fn half(&mut self, half: Half) -> &mut Option<Waker> {
        match half {
            Half::Read => &mut self.reader,
            Half::Write => &mut self.writer,
        }
    }
}

impl<S> Link<S> {
    pub(crate) fn new(stream: S) -> Arc<Self> {
        Arc::new(Self {
            stream: Mutex::new(Some(stream)),
            is_revoked: AtomicBool::new(false),
            is_woken: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    /// The stream, for as long as it is not closed. A revocation meanwhile closes it at the end.
    pub(crate) fn borrow(&self) -> Borrowed<'_, S> {
        Borrowed {
            link: self,
            guard: Some(lock(&self.stream)),
        }
    }

    /// Closes the stream, and wakes both halves.
    ///
    /// If the stream is borrowed now, the end of the borrow closes it. Whichever comes second, the
    /// mark here or the end there, sees the other, because both look after they have acted. The fences
    /// keep what each does before its look.
    pub(crate) fn revoke(&self) {
        self.is_revoked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.close_if_revoked();
        self.wake_both();
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::SeqCst)
    }

    fn close_if_revoked(&self) {
        if !self.is_revoked() {
            return;
        }
        let mut guard = match self.stream.try_lock() {
            Ok(guard) => guard,
            // The stream has panicked while it was borrowed.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let stream = guard.take();
        drop(guard);
        drop(stream);
    }

    /// Closes the stream when the host drops it. The stream may keep a waker, which keeps this link,
    /// which would keep the stream.
    pub(crate) fn close(&self) {
        let stream = lock(&self.stream).take();
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        // Their drops are foreign code, so the locks are free.
        drop((stream, waiting));
    }

    /// Whether something may have changed since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }

    /// Keeps the waker of a half that is about to wait.
    pub(crate) fn wait(&self, half: Half, cx: &Context<'_>) {
        let mut waiting = lock(&self.waiting);
        let waker = waiting.half(half);
        match waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Notes that a half waits no longer.
    pub(crate) fn goes_on(&self, half: Half) {
        lock(&self.waiting).half(half).take();
    }

    /// Wakes a half, if it waits.
    pub(crate) fn wake_half(&self, half: Half) {
        let waker = lock(&self.waiting).half(half).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_both(&self) {
        self.is_woken.store(true, Ordering::Release);
        let Waiting { reader, writer } = std::mem::take(&mut *lock(&self.waiting));
        match (reader, writer) {
            (Some(reader), Some(writer)) => {
                // One task that polls both halves needs to be woken once.
                if !reader.will_wake(&writer) {
                    writer.wake();
                }
                reader.wake();
            }
            (reader, writer) => {
                if let Some(waker) = reader.or(writer) {
                    waker.wake();
                }
            }
        }
    }
}

/// What the stream to the network wakes: it knows one waker, and both halves of the host may wait.
impl<S: Send + 'static> Wake for Link<S> {
    fn wake(self: Arc<Self>) {
        self.wake_both();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_both();
    }
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("is_revoked", &self.is_revoked())
            .finish_non_exhaustive()
    }
}

/// The stream to the network, borrowed.
pub(crate) struct Borrowed<'a, S> {
    link: &'a Link<S>,
    /// Present until the end.
    guard: Option<MutexGuard<'a, Option<S>>>,
}

impl<S> Borrowed<'_, S> {
    pub(crate) fn get(&self) -> Option<&S> {
        self.guard.as_deref().and_then(Option::as_ref)
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut S> {
        self.guard.as_deref_mut().and_then(Option::as_mut)
    }

    pub(crate) fn close(&mut self) {
        if let Some(stream) = self.guard.as_deref_mut() {
            *stream = None;
        }
    }
}

impl<S> Drop for Borrowed<'_, S> {
    fn drop(&mut self) {
        self.guard = None;
        fence(Ordering::SeqCst);
        self.link.close_if_revoked();
    }
}
