//! The examples of `zmtp-auth`: `cargo run --example ironhouse`, and so on for each file beside this
//! one. This library is empty: cargo wants one beside examples.
#![forbid(unsafe_code)]
