//! See `zmtp_auth_fuzz::targets::handshake_server`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::handshake_server::run(data));
