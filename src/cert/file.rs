//! Creates files completely or not at all, and never overwrites one.
#![forbid(unsafe_code)]

use crate::cert::problem::{CertificateError, CertificateErrorKind, Flaw};
use crate::crypto::random::{self, OsRandom};
use crate::secret_file::OsError;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file to be created.
pub(crate) struct NewFile<'a> {
    pub(crate) name: String,
    pub(crate) text: &'a str,
    /// Whether only the owner may read it.
    pub(crate) secret: bool,
}

/// Creates all files in `dir` completely, or none of them. Returns their paths.
///
/// Each file is written and synced under a temporary name that starts with a dot, and then linked
/// to its own name. Unlike a rename, a link fails if the name exists. A file system without hard
/// links is therefore an error. A crash may leave a temporary file, which directory loads ignore.
///
/// # Errors
/// Returns [`CertificateErrorKind::Exists`] if a file exists, [`CertificateErrorKind::Unwritable`]
/// if the file system fails, and [`CertificateErrorKind::Random`] if the random source fails.
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

/// Options that create a file and never open an existing one, not even through a symbolic link. The
/// mode holds from the moment of creation, and the umask can only narrow it.
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
        _ => CertificateErrorKind::Unwritable(OsError::from(error)),
    }
}

/// Makes the new names durable. The content is durable already and the names are in place, so a
/// file system that cannot sync directories does not count as a failure.
fn sync_dir(dir: &Path) {
    #[cfg(unix)]
    if let Ok(dir) = fs::File::open(dir) {
        let _ = dir.sync_all();
    }
    #[cfg(not(unix))]
    let _ = dir;
}

/// A file that was created here, and is removed on drop unless it is kept.
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
            // A failure cannot be reported from here, and the file is harmless.
            let _ = fs::remove_file(&self.path);
        }
    }
}
