//! Writes over what arithmetic on secrets leaves on the stack.
//!
//! The cipher crates wipe their keys, but not every intermediate value: the state of HSalsa20,
//! for one, holds half of the key that it derives. The next value that moves to the heap, a
//! future for example, may take such a remainder along in bytes that it does not use itself.
#![forbid(unsafe_code)]

use std::hint::black_box;

/// How many times more of the stack a build needs that is not optimised: it inlines less, and keeps
/// every value in a place of its own.
const UNOPTIMISED: usize = if cfg!(debug_assertions) { 3 } else { 1 };

/// Bytes of stack that are written over: more than any of our ciphers, hashes and curves uses.
const DEPTH: usize = 10 * 1024 * UNOPTIMISED;

/// The same for short boxes alone, which are many, and for which less is written.
const SHALLOW_DEPTH: usize = 2 * 1024 * UNOPTIMISED;

/// For several boxes at once, which have key stream for all of them there.
pub(crate) const BATCH_DEPTH: usize = 13 * 1024 * UNOPTIMISED;
/// For key stream that is made ahead.
pub(crate) const AHEAD_DEPTH: usize = 4 * 1024 * UNOPTIMISED;
/// For a box with key stream that is there already.
pub(crate) const READY_DEPTH: usize = 512 * UNOPTIMISED;

/// Boxes up to this size need no more than [`SHALLOW_DEPTH`].
pub(crate) const SHORT: usize = 352;

/// Runs `work` in a stack frame of its own, and then writes over what it and its callees have had
/// there. What it returns is not touched.
pub(crate) fn with_clean_stack<T>(work: impl FnOnce() -> T) -> T {
    with_clean_stack_of::<DEPTH, T>(work)
}

/// [`with_clean_stack`] for boxes of at most [`SHORT`] bytes, where the other would take a good
/// part of the time.
pub(crate) fn with_clean_shallow_stack<T>(work: impl FnOnce() -> T) -> T {
    with_clean_stack_of::<SHALLOW_DEPTH, T>(work)
}

/// [`with_clean_stack`] for what is known to use no more than `BYTES` of the stack.
pub(crate) fn with_clean_stack_of<const BYTES: usize, T>(work: impl FnOnce() -> T) -> T {
    let outcome = on_own_frame(work);
    scrub::<BYTES>();
    outcome
}

/// Never inlined: in its caller's frame, what `work` leaves would lie out of [`scrub`]'s reach.
#[inline(never)]
fn on_own_frame<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Begins where `on_own_frame` began.
#[inline(never)]
fn scrub<const BYTES: usize>() {
    let mut used = [0_u8; BYTES];
    black_box(&mut used);
}

/// Writes zeros over bytes, as fast as memory takes them; crate zeroize goes one by one.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}
