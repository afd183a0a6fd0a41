//! The vectors of `vectors/refused/`: input that must be refused, each with the reason.

mod clear;
mod hello;
mod initiate;
mod metadata;
mod ready;
mod traffic;

use super::file::Vector;

/// All vectors by name.
pub fn vectors() -> Vec<Vector> {
    let mut vectors = [
        clear::vectors(),
        hello::vectors(),
        initiate::vectors(),
        ready::vectors(),
        traffic::vectors(),
    ]
    .concat();
    vectors.sort_by(|one, other| one.name.cmp(&other.name));
    vectors
}
