//! See `zmtp_auth_fuzz::targets::judges`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::judges::run(data));
