//! The examples of `zmtp-auth`: `cargo run --example ironhouse`, and so on for each file next to
//! this one. This library is empty: cargo wants one next to examples.
#![forbid(unsafe_code)]
