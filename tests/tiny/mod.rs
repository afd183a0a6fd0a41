//! A tiny ZMTP host, as a stranger writes one: it knows NULL alone, and has a codec of its own.
//! `plain.rs` is the host without this library. The other two are the same file, secured: `conducted.rs`
//! by `Security::conduct`, `wrapped.rs` by `AuthStream`. `docs/EMBEDDING.md` states how many lines
//! differ, and tests/structure counts them.
// As in a stranger's project.
#![allow(clippy::cast_possible_truncation)]

pub mod codec;
pub mod conducted;
pub mod plain;
pub mod types;
pub mod wrapped;
