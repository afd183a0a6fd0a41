//! The benchmarks of `zmtp-auth`. This library is empty: cargo wants one next to benchmarks.
#![forbid(unsafe_code)]
