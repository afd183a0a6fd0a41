//! `passwd`: a user's password in a password file, as an argon2id hash.
#![forbid(unsafe_code)]

use crate::cli::console::Console;
use crate::cli::exit::Failure;
use crate::cli::new_file::create_secret;
use crate::cli::password_input::new_password;
use clap::Args;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;
use zmtp_auth::auth::Authenticator;

/// Set a user's password in a password file
///
/// Asks for the password twice and writes its argon2id hash; a user who is not there yet is added,
/// and so is the file. All other lines stay as they are. The file is replaced whole: whoever reads
/// it meanwhile sees it as it was or as it is.
#[derive(Debug, Args)]
pub(crate) struct PasswdArguments {
    /// The password file
    file: PathBuf,
    /// The user's name
    user: String,
    /// Take the password from this file instead of asking for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(crate) fn run(arguments: &PasswdArguments, console: Console) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Set<'a> {
        user: &'a str,
        added: bool,
    }
    let user = arguments.user.as_str();
    // Each of these would make the line one of another user, or of none.
    if user.is_empty() || user.starts_with('#') || user.contains(['=', '\n', '\r']) {
        return Err(Failure::usage(
            "a name is not empty, has no '=', and starts with no '#'",
        ));
    }
    // What a link points to is replaced, not the link.
    let path = match arguments.file.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => arguments.file.clone(),
        Err(error) => return Err(unusable(&arguments.file, &error)),
    };
    let before = match fs::read(&path) {
        Ok(content) => Zeroizing::new(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Zeroizing::default(),
        Err(error) => return Err(unusable(&path, &error)),
    };
    if !before.is_empty() {
        // A file that is wrong already is mended by hand.
        check(&path)?;
    }
    let password = new_password(
        arguments.password_file.as_deref(),
        &format!("Password of {}: ", user.escape_debug()),
    )?;
    let hash = password.to_phc().map_err(Failure::new)?;
    let (content, added) = with_entry(&before, user, &hash);
    replace(&path, &content)?;
    let text = if added { "added\n" } else { "changed\n" };
    console.result(&Set { user, added }, text)
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot use {path:?}: {error}"))
}

/// Whether a server would load the file.
fn check(path: &Path) -> Result<(), Failure> {
    let loaded = Authenticator::new().configure_plain_file("*", path);
    loaded.map_err(Failure::new)
}

/// The file with the entry of `user` in place of the one that was there, or at its end; and
/// whether it is new.
fn with_entry(before: &[u8], user: &str, hash: &str) -> (Zeroizing<Vec<u8>>, bool) {
    let entry = format!("{user}={hash}\n");
    // Allocated at once: a buffer that grew would leave copies of others' passwords behind.
    let mut content = Zeroizing::new(Vec::with_capacity(before.len() + entry.len() + 1));
    let mut added = true;
    for line in before.split_inclusive(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b'=').next();
        if name == Some(user.as_bytes()) && line.len() > user.len() {
            content.extend_from_slice(entry.as_bytes());
            added = false;
        } else {
            content.extend_from_slice(line);
        }
    }
    if added {
        if content.last().is_some_and(|&last| last != b'\n') {
            content.push(b'\n');
        }
        content.extend_from_slice(entry.as_bytes());
    }
    (content, added)
}

/// Puts `content` in place of the file, after a server would have loaded it.
fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    create_secret(&temporary, content).map_err(|error| unusable(&temporary, &error))?;
    let placed = check(&temporary)
        .and_then(|()| keep_mode(path, &temporary).map_err(|error| unusable(path, &error)))
        .and_then(|()| fs::rename(&temporary, path).map_err(|error| unusable(path, &error)));
    if placed.is_err() {
        // The first failure is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    placed
}

/// A server that runs as another user must still be able to read it.
fn keep_mode(path: &Path, temporary: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) => fs::set_permissions(temporary, metadata.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_replaced_or_added_and_all_else_stays() {
        for (before, after, is_new) in [
            ("", "a=H\n", true),
            ("# a=1\nb=2", "# a=1\nb=2\na=H\n", true),
            ("b=2\na=1=1\nc=3\n", "b=2\na=H\nc=3\n", false),
            ("aa=1\n", "aa=1\na=H\n", true),
        ] {
            let (content, added) = with_entry(before.as_bytes(), "a", "H");
            assert_eq!(std::str::from_utf8(&content), Ok(after));
            assert_eq!(added, is_new);
        }
    }
}
