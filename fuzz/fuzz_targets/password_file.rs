//! See `zmtp_auth_fuzz::targets::password_file`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::password_file::run(data));
