//! See `zmtp_auth_fuzz::targets::metadata`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::metadata::run(data));
