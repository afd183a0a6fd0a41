//! Reads passwords from a prompt, a file or the environment, and never from an argument, since every
//! process on the machine can read arguments.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::security::argument_source;
use std::path::Path;
use zeroize::Zeroizing;
use zmtp_auth::Password;

/// The environment variable that holds a password.
pub(crate) const VARIABLE: &str = "ZMTP_AUTH_PASSWORD";

/// The longest password in bytes, as HELLO can carry it (RFC 24).
const MAX_LEN: usize = 255;

/// Where a password came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    File,
    Environment,
    Prompt,
}

impl Source {
    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Environment => "environment",
            Self::Prompt => "prompt",
        }
    }
}

/// The password from `file` if it is given, otherwise from the environment, otherwise from a prompt
/// without echo.
pub(crate) fn password(file: Option<&Path>, prompt: &str) -> Result<Password, Failure> {
    match without_asking(file)? {
        Some((given, _)) => Ok(given),
        None => prompted(prompt),
    }
}

/// As [`password`], but the prompt asks twice and compares.
pub(crate) fn new_password(
    file: Option<&Path>,
    prompt: &str,
) -> Result<(Password, Source), Failure> {
    if let Some(given) = without_asking(file)? {
        return Ok(given);
    }
    let first = prompted(prompt)?;
    let again = prompted("Again: ")?;
    if bool::from(first.ct_eq(&again)) {
        Ok((first, Source::Prompt))
    } else {
        Err(Failure::new("the two passwords differ"))
    }
}

fn without_asking(file: Option<&Path>) -> Result<Option<(Password, Source)>, Failure> {
    if let Some(path) = file {
        return Ok(Some((from_file(path)?, Source::File)));
    }
    let Some(value) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let value = Zeroizing::new(value.into_encoded_bytes());
    Ok(Some((checked(&value)?, Source::Environment)))
}

fn prompted(prompt: &str) -> Result<Password, Failure> {
    let typed = rpassword::prompt_password(prompt).map_err(|error| {
        let others = format_args!("use --password-file or {VARIABLE}");
        Failure::usage(format_args!(
            "cannot ask for a password ({error}): {others}"
        ))
    })?;
    checked(Zeroizing::new(typed).as_bytes())
}

/// The content of the file without a line end.
fn from_file(path: &Path) -> Result<Password, Failure> {
    // The two bytes more are the line end.
    let content = argument_source::read(path, MAX_LEN + 2)?.content;
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    checked(line.strip_suffix(b"\r").unwrap_or(line))
}

fn checked(password: &[u8]) -> Result<Password, Failure> {
    if password.len() > MAX_LEN {
        return Err(Failure::usage(format_args!(
            "the password is longer than {MAX_LEN} bytes"
        )));
    }
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok(Password::new(password))
}
