//! The two judges, and what both of them say.
#![forbid(unsafe_code)]

use crate::judge::Judge;
use crate::rust_crypto::RustCrypto;
use crate::sodium::Sodium;
use crate::wheel;
use std::sync::OnceLock;

/// Both judges: libsodium in C, and the crates of RustCrypto and dalek.
///
/// # Panics
/// Panics with one line that says how to get libsodium if it is not there.
#[must_use]
#[allow(clippy::panic)]
pub fn both() -> [&'static dyn Judge; 2] {
    static SODIUM: OnceLock<Sodium> = OnceLock::new();
    let sodium = SODIUM.get_or_init(|| {
        let loaded = wheel::sodium().and_then(|path| Sodium::load(&path));
        loaded.unwrap_or_else(|missing| panic!("{missing}"))
    });
    [sodium, &RustCrypto]
}

/// What both judges say, which must be the same.
///
/// # Panics
/// Panics if they do not agree, and as [`both`].
#[track_caller]
pub fn agreed<T: PartialEq>(ask: impl Fn(&dyn Judge) -> T) -> T {
    let [first, second] = both();
    let verdict = ask(first);
    assert!(
        verdict == ask(second),
        "{} and {} do not agree",
        first.name(),
        second.name()
    );
    verdict
}
