//! Files: read whole and bounded, created whole and never over another.
#![forbid(unsafe_code)]

use crate::cert::problem::{
    CertificateError, CertificateErrorKind, FileFailure, Flaw, MAX_FILE_LEN,
};
use crate::cert::regular_file::{self, NotOpened, RegularFile};
use crate::crypto::random::{self, OsRandom};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A file's bytes, wiped on drop.
pub(crate) struct Contents {
    buffer: Zeroizing<Vec<u8>>,
    len: usize,
    /// Permission bits, if others than the owner have any; `None` where there are no such bits.
    pub(crate) loose_mode: Option<u32>,
}

impl Contents {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// Reads a regular file of at most 64 KiB; symbolic links are followed.
///
/// # Errors
/// [`CertificateErrorKind::Unreadable`], [`CertificateErrorKind::NotAFile`] or [`CertificateErrorKind::TooLarge`].
pub(crate) fn read(path: &Path) -> Result<Contents, CertificateErrorKind> {
    let unreadable = |error: io::Error| CertificateErrorKind::Unreadable((&error).into());
    let RegularFile {
        mut file,
        loose_mode,
        ..
    } = regular_file::open(path)?;

    // One byte more than allowed shows that the file is too large, whatever its metadata says.
    // Allocated at once: a buffer that grew would leave copies of the secret behind.
    let mut buffer = Zeroizing::new(vec![0; MAX_FILE_LEN + 1]);
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    if len > MAX_FILE_LEN {
        return Err(CertificateErrorKind::TooLarge);
    }
    Ok(Contents {
        buffer,
        len,
        loose_mode,
    })
}

impl From<NotOpened> for CertificateErrorKind {
    fn from(not_opened: NotOpened) -> Self {
        match not_opened {
            NotOpened::Unreadable(failure) => Self::Unreadable(failure),
            NotOpened::NotAFile => Self::NotAFile,
        }
    }
}

/// A file to be created.
pub(crate) struct NewFile<'a> {
    pub(crate) name: String,
    pub(crate) text: &'a str,
    /// Only the owner may read it.
    pub(crate) secret: bool,
}

/// Creates all files in `dir`, each whole, or none of them; returns their paths.
///
/// Each is written and synced under a temporary name that starts with a dot, then linked to its
/// own name: unlike a rename, a link fails if the name is taken. A file system without hard links
/// is therefore an error. After a crash a temporary file may be left; directory loads ignore it.
///
/// # Errors
/// [`CertificateErrorKind::Exists`], [`CertificateErrorKind::Unwritable`] or [`CertificateErrorKind::Random`].
pub(crate) fn create_all(
    dir: &Path,
    files: &[NewFile<'_>],
) -> Result<Vec<PathBuf>, CertificateError> {
    let mut temporary = Vec::with_capacity(files.len());
    for file in files {
        let written = write_temporary(dir, file);
        temporary.push(written.map_err(|reason| Flaw::from(reason).in_file(dir.join(&file.name)))?);
    }
    let mut placed = Vec::with_capacity(files.len());
    for (file, temporary) in files.iter().zip(&temporary) {
        let path = dir.join(&file.name);
        match fs::hard_link(&temporary.path, &path) {
            Ok(()) => placed.push(Removed::on_drop(path)),
            Err(error) => return Err(Flaw::from(unwritable(&error)).in_file(path)),
        }
    }
    sync_dir(dir);
    Ok(placed.into_iter().map(Removed::keep).collect())
}

fn write_temporary(dir: &Path, file: &NewFile<'_>) -> Result<Removed, CertificateErrorKind> {
    let number: [u8; 8] = random::array(&OsRandom).map_err(|_| CertificateErrorKind::Random)?;
    let mut name = String::from(".");
    for byte in number {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(".tmp");
    let path = dir.join(name);
    let failed = |error: io::Error| unwritable(&error);
    let mut open = open_new(file.secret).open(&path).map_err(failed)?;
    let temporary = Removed::on_drop(path);
    open.write_all(file.text.as_bytes()).map_err(failed)?;
    open.sync_all().map_err(failed)?;
    Ok(temporary)
}

/// Options that create a file and open none that exists, not even through a symbolic link. The
/// mode holds from the first moment, and the umask can only narrow it.
fn open_new(secret: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = secret;
    options
}

fn unwritable(error: &io::Error) -> CertificateErrorKind {
    match error.kind() {
        io::ErrorKind::AlreadyExists => CertificateErrorKind::Exists,
        _ => CertificateErrorKind::Unwritable(FileFailure::from(error)),
    }
}

/// Makes the new names durable. The content is durable already and the names are in place, so
/// that a file system which cannot sync directories is no failure.
fn sync_dir(dir: &Path) {
    #[cfg(unix)]
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
    #[cfg(not(unix))]
    let _ = dir;
}

/// A file that we created, removed on drop unless kept.
struct Removed {
    path: PathBuf,
    kept: bool,
}

impl Removed {
    fn on_drop(path: PathBuf) -> Self {
        Self { path, kept: false }
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        std::mem::take(&mut self.path)
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to hear of a failure here, and the file is harmless.
            let _ = fs::remove_file(&self.path);
        }
    }
}
