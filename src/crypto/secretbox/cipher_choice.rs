//! For tests alone, with the feature `test-ciphers`: the variable `ZMTP_AUTH_CIPHER` names the code
//! that a process encrypts with, so that the same binaries run on each.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::sync::LazyLock;

/// The name in the environment, if there is one.
pub(crate) fn named() -> Option<&'static str> {
    static NAMED: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("ZMTP_AUTH_CIPHER").ok());
    NAMED.as_deref()
}

/// Ends the process: what was named must not be replaced by something else. Writes past the test
/// harness, which would keep the line back.
pub(crate) fn lacks(name: &str, all: &[&str]) -> ! {
    let all = all.join(", ");
    let line = format!("ZMTP_AUTH_CIPHER={name}: this processor or build has only {all}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    std::process::exit(2)
}
