//! See `zmtp_auth_fuzz::targets::zap_request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::zap_request::run(data));
