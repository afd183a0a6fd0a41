//! See `zmtp_auth_fuzz::targets::inside_boxes`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zmtp_auth_fuzz::targets::inside_boxes::run(data));
