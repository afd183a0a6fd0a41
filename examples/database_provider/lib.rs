//! The example of a provider with a database: `cargo run --example database_provider`. It has a package
//! of its own, since it needs a database. This library is empty: cargo wants one next to examples.
#![forbid(unsafe_code)]
