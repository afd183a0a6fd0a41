//! See `zmtp_auth_fuzz::targets::zap_reply`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::zap_reply::run(data));
