//! See `zmtp_auth_fuzz::targets::auth_stream`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::auth_stream::run(data));
