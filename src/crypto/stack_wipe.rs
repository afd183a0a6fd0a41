//! Wipes what arithmetic on secrets leaves on the stack.
//!
//! The cipher crates wipe their keys, but not every intermediate value. The state of HSalsa20, for
//! example, holds half of the key that it derives. Later code reuses that part of the stack. If it
//! moves a value to the heap, such as a future, the padding of that value may carry the remains of
//! a key along.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use std::hint::black_box;

/// How many times more stack a less optimised build needs. It inlines less, and gives every value a
/// place of its own. Twice as much has been seen. `build.rs` tells the level, and without it this is 4.
const LESS_OPTIMISED: usize = if cfg!(zmtp_auth_optimised) && !cfg!(debug_assertions) {
    1
} else {
    4
};

/// Bytes of stack that are wiped. 10 KiB: more than any of our ciphers, hashes and curves uses.
const DEPTH: usize = 10 * 1024 * LESS_OPTIMISED;

/// The same for short boxes only, 2.5 KiB. They are frequent and use less stack: with AVX2 they may use 2 KiB.
const SHALLOW_DEPTH: usize = 2560 * LESS_OPTIMISED;

/// The same for longer boxes, unless the code for them needs more.
pub(crate) const LONG_DEPTH: usize = 6 * 1024 * LESS_OPTIMISED;
/// The same for a batch of boxes, whose key stream is all on the stack.
pub(crate) const BATCH_DEPTH: usize = 11 * 1024 * LESS_OPTIMISED;
/// The same for a batch of few blocks, or of boxes of one length. The latter need 6,180 bytes.
pub(crate) const SMALL_BATCH_DEPTH: usize = 7680 * LESS_OPTIMISED;
/// The same for precomputing key stream.
pub(crate) const PRECOMPUTE_DEPTH: usize = 4 * 1024 * LESS_OPTIMISED;
/// The same for a box with precomputed key stream.
pub(crate) const READY_DEPTH: usize = 512 * LESS_OPTIMISED;

/// Most bytes of a box that needs no more than [`SHALLOW_DEPTH`].
pub(crate) const SHORT: usize = 352;

/// Runs `work` in a stack frame of its own, and then wipes the stack that it and its callees have
/// used. The returned value is not touched.
pub(crate) fn with_clean_stack<T>(work: impl FnOnce() -> T) -> T {
    with_clean_stack_of::<DEPTH, T>(work)
}

/// [`with_clean_stack`] for boxes of at most [`SHORT`] bytes, for which a full wipe would take a
/// good part of the time.
pub(crate) fn with_clean_shallow_stack<T>(work: impl FnOnce() -> T) -> T {
    with_clean_stack_of::<SHALLOW_DEPTH, T>(work)
}

/// [`with_clean_stack`] for work that is known to use at most `BYTES` of stack.
pub(crate) fn with_clean_stack_of<const BYTES: usize, T>(work: impl FnOnce() -> T) -> T {
    let outcome = on_own_frame(work);
    scrub::<BYTES>();
    outcome
}

/// Never inlined: otherwise `work` would leave its remains in the caller's frame, where [`scrub`]
/// does not reach.
#[inline(never)]
fn on_own_frame<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Never inlined, so that its frame begins where the frame of `on_own_frame` began.
#[inline(never)]
fn scrub<const BYTES: usize>() {
    let mut used = [0_u8; BYTES];
    black_box(&mut used);
}

/// Overwrites bytes with zeros at the speed of memory. Crate zeroize writes them one at a time.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}

/// Grows a buffer to `capacity` and wipes its old memory.
pub(crate) fn grow_and_wipe(buffer: &mut BytesMut, capacity: usize) {
    let mut larger = BytesMut::with_capacity(capacity);
    larger.extend_from_slice(buffer);
    wipe(buffer);
    *buffer = larger;
}
