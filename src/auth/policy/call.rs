//! The order of configuration calls. A later call takes precedence.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// The place of an explicit configuration call in the order of all such calls of this process. A
/// call that loads a policy file takes its place when it begins to read. Every other call takes its
/// place when it comes into force. A policy file that took long to read therefore does not replace
/// what another call has configured meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Call(u64);

impl Call {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::SeqCst))
    }
}
