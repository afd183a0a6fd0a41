//! `passwd`: a user's password in a password file, as an argon2id hash.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::console::Console;
use crate::output::stderr;
use crate::security::argument_source;
use crate::security::new_file::open_new;
use crate::security::password_input::{Source, VARIABLE, new_password};
use clap::Args;
use serde::Serialize;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;
use zmtp_auth::auth::Authenticator;

/// Most bytes reserved for a file because of its size: as many as a server reads of one.
const MAX_RESERVE: usize = 4 * 1024 * 1024;

/// Set a user's password in a password file
///
/// Asks for the password twice and writes its argon2id hash. A password in $ZMTP_AUTH_PASSWORD is
/// taken without asking, and the output says so. A user who is not there yet is added, and so is
/// the file. All other lines stay as they are, and so do owner, group and mode of the file: if
/// this user cannot keep them, nothing is changed. A user who is removed during the prompt is not
/// added again: the command fails.
///
/// The file is replaced whole: a reader sees it as it was or as it is. Several of these commands
/// wait for each other, up to 30 seconds; all who can read the file can make them wait.
#[derive(Debug, Args)]
pub(crate) struct PasswdArguments {
    /// The password file
    file: PathBuf,
    /// The user's name
    user: String,
    /// Take the password from this file, - for standard input, or env:NAME, instead of asking for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(crate) fn run(arguments: &PasswdArguments, console: Console) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Set<'a> {
        user: &'a str,
        added: bool,
        password_from: &'static str,
    }
    if argument_source::is_stdin(&arguments.file) {
        return Err(Failure::usage(
            "the password file is replaced, and standard input cannot be: name a file",
        ));
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
    let (password, source) = new_password(
        arguments.password_file.as_deref(),
        &format!("Password of {}: ", user.escape_debug()),
    )?;
    let hash = password.to_phc().map_err(Failure::new)?;
    let known = entry_of(&before, user).is_some();
    let added = loop {
        if let Some(added) = set_locked(&path, user, &hash, known)? {
            break added;
        }
    };
    let text = if added { "added" } else { "changed" };
    let told = Set {
        user,
        added,
        password_from: source.name(),
    };
    match source {
        Source::Environment => console.result(
            &told,
            &format!("{text}, with the password of ${VARIABLE}\n"),
        ),
        Source::File | Source::Prompt => console.result(&told, &format!("{text}\n")),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot use {path:?}: {error}"))
}

/// How long a lock is waited for. 30 s: others hold it for the time of one write to the disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it is waited for without a word.
const UNTOLD: Duration = Duration::from_secs(1);
/// Between two tries. 20 ms, which no person notices.
const PAUSE: Duration = Duration::from_millis(20);

/// Sets the password while no other `passwd` writes the file, and says whether the user is new.
/// `None` if the file was replaced meanwhile: the caller tries again.
///
/// The lock belongs to the file that has the name, so it counts only if the name still leads to
/// that file once the lock is held.
fn set_locked(path: &Path, user: &str, hash: &str, known: bool) -> Result<Option<bool>, Failure> {
    let failed = |error| unusable(path, &error);
    let (mut file, is_new) = open_or_create(path).map_err(failed)?;
    lock(&file, path, PATIENCE)?;
    if !is_at(&file, path).map_err(failed)? {
        return Ok(None);
    }
    let outcome = write_entry(&mut file, path, user, hash, known);
    if is_new && outcome.is_err() {
        // The first failure is the one to tell.
        let _ = fs::remove_file(path);
    }
    outcome
}

/// Locks the file. A lock needs no more than the right to read, so the wait has an end.
///
/// # Errors
/// Returns a failure if another process holds a lock for as long as `patience`.
fn lock(file: &File, path: &Path, patience: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(unusable(path, &error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = start.elapsed();
        if waited >= patience {
            return Err(Failure::new(format_args!(
                "other processes held locks on {path:?} for {} seconds: nothing was changed",
                patience.as_secs()
            )));
        }
        if !told && waited >= UNTOLD {
            told = true;
            stderr::line(&format!(
                "zmtp-auth: waiting for another process that holds a lock on {path:?}"
            ));
        }
        thread::sleep(PAUSE);
    }
}

fn write_entry(
    file: &mut File,
    path: &Path,
    user: &str,
    hash: &str,
    known: bool,
) -> Result<Option<bool>, Failure> {
    let failed = |error| unusable(path, &error);
    let before = read(file).map_err(failed)?;
    let added = entry_of(&before, user).is_none();
    if added && known {
        return Err(Failure::new(format_args!(
            "user {user:?} was removed from {path:?} meanwhile: nothing was changed"
        )));
    }
    let content = with_entry(&before, user, hash);
    let temporary = write_temporary(path, file, &content)?;
    // An editor takes no lock.
    let same = fs::read(path).map(Zeroizing::new).map_err(failed);
    let placed = match same {
        Ok(now) if *now == *before => fs::rename(&temporary, path).map_err(failed).map(|()| true),
        Ok(_) => Ok(false),
        Err(failure) => Err(failure),
    };
    if !matches!(placed, Ok(true)) {
        // The first failure is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    Ok(placed?.then_some(added))
}

/// The file, and whether it is one that this call has made, empty and readable by its owner alone.
fn open_or_create(path: &Path) -> io::Result<(File, bool)> {
    loop {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((opened?, false)),
        }
        match open_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((created?, true)),
        }
    }
}

/// Whether the name still leads to this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file that is open cannot be replaced here.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// The content, in a buffer allocated at once: one that grew would leave copies of passwords
/// behind.
fn read(file: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(len.min(MAX_RESERVE)));
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Whether a server would load the file.
fn check(path: &Path) -> Result<(), Failure> {
    let loaded = Authenticator::new().configure_plain_file("*", path);
    loaded.map(drop).map_err(Failure::new)
}

/// Where the line of `user` stands.
fn entry_of(content: &[u8], user: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let end = start + line.len();
        let rest = line.strip_prefix(user.as_bytes());
        if rest.is_some_and(|rest| rest.starts_with(b"=")) {
            return Some(start..end);
        }
        start = end;
    }
    None
}

/// The content with the entry of `user` in place of the one that was there, or at its end.
fn with_entry(before: &[u8], user: &str, hash: &str) -> Zeroizing<Vec<u8>> {
    let entry = format!("{user}={hash}\n");
    let (head, tail) = match entry_of(before, user) {
        Some(line) => (&before[..line.start], &before[line.end..]),
        None => (before, &[][..]),
    };
    // Allocated at once: a buffer that grew would leave copies of others' passwords behind.
    let mut content = Zeroizing::new(Vec::with_capacity(before.len() + entry.len() + 1));
    content.extend_from_slice(head);
    if content.last().is_some_and(|&last| last != b'\n') {
        content.push(b'\n');
    }
    content.extend_from_slice(entry.as_bytes());
    content.extend_from_slice(tail);
    content
}

/// A file in the same directory, of the same owner, group and mode, which a server would load.
fn write_temporary(path: &Path, original: &File, content: &[u8]) -> Result<PathBuf, Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let failed = |error| unusable(&temporary, &error);
    let mut file = open_new(&temporary).map_err(failed)?;
    let ready = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed)
        .and_then(|()| check(&temporary))
        .and_then(|()| keep_access(path, original, &file));
    match ready {
        Ok(()) => Ok(temporary),
        Err(failure) => {
            // The first failure is the one to tell.
            let _ = fs::remove_file(&temporary);
            Err(failure)
        }
    }
}

/// A server that runs as another user must still be able to read it. The mode comes last, since
/// until then only we can read it. By its descriptor: the directory may be another user's, who
/// could put a link to any file in the place of the name.
fn keep_access(path: &Path, original: &File, temporary: &File) -> Result<(), Failure> {
    let failed = |error| unusable(path, &error);
    let kept = original.metadata().map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let ours = temporary.metadata().map_err(failed)?;
        if (ours.uid(), ours.gid()) != (kept.uid(), kept.gid()) {
            fchown(temporary, Some(kept.uid()), Some(kept.gid())).map_err(|error| {
                Failure::new(format_args!(
                    "cannot leave {path:?} to its owner and group, {}:{} ({error}): run this as \
                     its owner or as root; nothing was changed",
                    kept.uid(),
                    kept.gid()
                ))
            })?;
        }
    }
    temporary
        .set_permissions(kept.permissions())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_cannot_hold_up_a_writer_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        fs::write(&path, "").unwrap();
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        let file = File::open(&path).unwrap();
        let failure = lock(&file, &path, Duration::ZERO).unwrap_err();
        assert!(failure.message.contains("locks on"), "{failure:?}");
        let failure = lock(&file, &path, Duration::from_millis(50)).unwrap_err();
        assert!(
            failure.message.contains("nothing was changed"),
            "{failure:?}"
        );
        reader.unlock().unwrap();
        assert!(lock(&file, &path, Duration::ZERO).is_ok());
    }

    #[test]
    fn an_entry_is_replaced_or_added_and_all_else_stays() {
        for (before, after, is_new) in [
            ("", "a=H\n", true),
            ("# a=1\nb=2", "# a=1\nb=2\na=H\n", true),
            ("b=2\na=1=1\nc=3\n", "b=2\na=H\nc=3\n", false),
            ("aa=1\n", "aa=1\na=H\n", true),
        ] {
            let content = with_entry(before.as_bytes(), "a", "H");
            assert_eq!(std::str::from_utf8(&content), Ok(after));
            assert_eq!(entry_of(before.as_bytes(), "a").is_none(), is_new);
        }
    }
}
