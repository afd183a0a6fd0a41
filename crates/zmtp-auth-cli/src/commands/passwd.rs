//! `passwd`: sets a user's password in a password file, as an argon2id hash.
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

/// The most bytes of memory reserved for a file because of its size. 4 MiB, the longest password
/// file that a server reads.
const MAX_RESERVE: usize = 4 * 1024 * 1024;

/// Set a user's password in a password file
///
/// Asks for the password twice and writes its argon2id hash. If $ZMTP_AUTH_PASSWORD is set, its
/// value is used without asking, and the output says so. The user is added if the file does not name
/// them yet, and the file is created if it does not exist.
///
/// All other lines stay as they are, and so do the file's owner, group and mode. If the caller may
/// not keep owner and group, nothing is changed. If the user's line is removed during the prompt, it
/// is not added again, and the command fails.
///
/// The file is replaced as a whole, so readers see the old file or the new one. Commands that change
/// the same file wait for each other, up to 30 seconds. A process that may read the file can lock it
/// and so make them wait.
#[derive(Debug, Args)]
pub(crate) struct PasswdArguments {
    /// The password file
    file: PathBuf,
    /// The name of the user
    user: String,
    /// Read the password from this file, standard input (-) or a variable (env:NAME) instead of asking
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
            "the password file is rewritten: name a file, not -",
        ));
    }
    let user = arguments.user.as_str();
    // Each of these would turn the line into a comment or into another user's line.
    if user.is_empty() || user.starts_with('#') || user.contains(['=', '\n', '\r']) {
        return Err(Failure::usage(
            "a user name must not be empty, contain '=' or a line end, or start with '#'",
        ));
    }
    // A link stays, and the file that it points to is replaced.
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
        // A file with errors is left for its owner to correct.
        check(&path)?;
    }
    let (password, source) = new_password(
        arguments.password_file.as_deref(),
        &format!("Password of {}: ", user.escape_debug()),
    )?;
    let hash = password.to_phc().map_err(Failure::of)?;
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
            &format!("{text}, with the password from ${VARIABLE}\n"),
        ),
        Source::File | Source::Prompt => console.result(&told, &format!("{text}\n")),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot use {path:?}: {error}"))
}

/// How long to wait for the lock. 30 s, since others hold it only while they write the file.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for the lock before a line says so.
const UNTOLD: Duration = Duration::from_secs(1);
/// The time between two attempts to take the lock. 20 ms, which no person notices.
const PAUSE: Duration = Duration::from_millis(20);

/// Sets the password under a lock and returns whether the user is new, or `None` if the file was
/// replaced meanwhile, so that the caller tries again.
///
/// The lock is on the open file and not on its name. Another `passwd` may rename a new file to the
/// name while this one waits. The lock therefore counts only if the name still leads to the locked
/// file.
fn set_locked(path: &Path, user: &str, hash: &str, known: bool) -> Result<Option<bool>, Failure> {
    let failed = |error| unusable(path, &error);
    let (mut file, is_new) = open_or_create(path).map_err(failed)?;
    lock(&file, path, PATIENCE)?;
    if !is_at(&file, path).map_err(failed)? {
        return Ok(None);
    }
    let outcome = write_entry(&mut file, path, user, hash, known);
    if is_new && outcome.is_err() {
        // The outcome is reported, not a failure to clean up.
        let _ = fs::remove_file(path);
    }
    outcome
}

/// Locks the file. Everyone who may read the file can lock it, so the wait is bounded.
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
                "another process held a lock on {path:?} for {} seconds: nothing was changed",
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
            "another process removed user {user:?} from {path:?}: nothing was changed"
        )));
    }
    let content = with_entry(&before, user, hash);
    let temporary = write_temporary(path, file, &content)?;
    // Editors do not take the lock: compare the content once more before it is replaced.
    let same = fs::read(path).map(Zeroizing::new).map_err(failed);
    let placed = match same {
        Ok(now) if *now == *before => fs::rename(&temporary, path).map_err(failed).map(|()| true),
        Ok(_) => Ok(false),
        Err(failure) => Err(failure),
    };
    if !matches!(placed, Ok(true)) {
        // The outcome is reported, not a failure to clean up.
        let _ = fs::remove_file(&temporary);
    }
    Ok(placed?.then_some(added))
}

/// Opens the file, or creates it empty and readable by its owner only. The flag says which.
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

/// Whether the path still leads to this file.
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

/// On these systems an open file cannot be replaced.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Reads the content into a buffer that is allocated once, since a buffer that grows leaves copies
/// of passwords in freed memory.
fn read(file: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(len.min(MAX_RESERVE)));
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Whether a server would load the file.
fn check(path: &Path) -> Result<(), Failure> {
    let loaded = Authenticator::new().configure_plain_file("*", path);
    loaded.map(drop).map_err(Failure::of)
}

/// The range of the line of `user`.
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

/// The content with the line of `user` replaced, or added at the end.
fn with_entry(before: &[u8], user: &str, hash: &str) -> Zeroizing<Vec<u8>> {
    let entry = format!("{user}={hash}\n");
    let (head, tail) = match entry_of(before, user) {
        Some(line) => (&before[..line.start], &before[line.end..]),
        None => (before, &[][..]),
    };
    // Allocated once, since a buffer that grows leaves copies of passwords in freed memory.
    let mut content = Zeroizing::new(Vec::with_capacity(before.len() + entry.len() + 1));
    content.extend_from_slice(head);
    if content.last().is_some_and(|&last| last != b'\n') {
        content.push(b'\n');
    }
    content.extend_from_slice(entry.as_bytes());
    content.extend_from_slice(tail);
    content
}

/// Writes the content to a new file in the same directory, with the same owner, group and mode, and
/// checks that a server would load it.
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
            // The outcome is reported, not a failure to clean up.
            let _ = fs::remove_file(&temporary);
            Err(failure)
        }
    }
}

/// Gives the temporary file the owner, group and mode of the original, so that a server that runs
/// as another user can still read it. The mode comes last: until then only this user can read the
/// file. Both are set through the descriptor, since the owner of the directory could replace the
/// name by a link to any other file.
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
                    "cannot keep owner and group {}:{} of {path:?} ({error}): run this as its \
                     owner or as root; nothing was changed",
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
        assert!(failure.message.contains("held a lock on"), "{failure:?}");
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
