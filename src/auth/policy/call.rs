//! The order of explicit calls, by which a later one rules.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// An explicit call, by its place in the order of all such calls of this process. Loading a policy
/// file has its place from its beginning on, every other call from when it comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Call(u64);

impl Call {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::SeqCst))
    }
}
