//! The benchmarks of `zmtp-auth`. This library is empty: cargo wants one beside benchmarks.
#![forbid(unsafe_code)]
