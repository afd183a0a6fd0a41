//! See `zmtp_auth_fuzz::targets::handshake_client`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::handshake_client::run(data));
