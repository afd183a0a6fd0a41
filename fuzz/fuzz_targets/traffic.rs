//! See `zmtp_auth_fuzz::targets::traffic`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::traffic::run(data));
