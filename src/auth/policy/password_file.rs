//! Password files: one `name=password` in each line. They are parsed strictly, and errors give the
//! line and the reason.
#![forbid(unsafe_code)]

use crate::access::credentials::MAX_PLAIN_LEN;
use crate::auth::policy::plain::table::PasswordInput;
use crate::crypto::password_hash::{PasswordHash, PasswordHashError};
use crate::secret_file::{self, FileErrorKind};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

/// Maximum length of a password file in bytes. 4 MiB: more than 20,000 users.
const MAX_FILE_LEN: usize = 4 * 1024 * 1024;

/// Why a password file cannot be used, and where the fault is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PasswordFileError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; `None` if the fault is not in one line.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: PasswordFileErrorKind,
}

impl fmt::Display for PasswordFileError {
    /// The path is shown escaped, so that a file name cannot forge a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "password file {:?}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for PasswordFileError {
    /// The cause of [`PasswordFileError::reason`], whose own text `Display` shows.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

impl PasswordFileError {
    /// Whether the file cannot be read. False if it was read and its contents are not valid.
    #[cfg(feature = "reload")]
    pub(crate) const fn is_gone(&self) -> bool {
        match self.reason {
            PasswordFileErrorKind::File(error) => !matches!(error, FileErrorKind::Growing),
            _ => false,
        }
    }
}

/// What is wrong with a password file. No variant holds or shows any of its contents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum PasswordFileErrorKind {
    /// The file cannot be read, or is larger than 4 MiB.
    #[error(transparent)]
    File(#[from] FileErrorKind),
    /// The operating system gave no random bytes for the key of the keyed hashes.
    #[error("the system's random source failed, which keyed hashes of passwords need")]
    Random,
    /// The file starts with a byte order mark, which would become part of the first name.
    #[error("starts with a byte order mark; save it as UTF-8 without one")]
    ByteOrderMark,
    /// A zero byte, as in UTF-16. Other programs would end the line there.
    #[error("a zero byte; save the file as UTF-8")]
    ZeroByte,
    /// A carriage return that is not part of a CRLF.
    #[error("a carriage return inside the line; end lines with LF or CRLF")]
    CarriageReturn,
    /// A line without `=` that is neither blank nor a comment.
    #[error("no '=' between name and password; a line is NAME=PASSWORD")]
    EqualsMissing,
    /// A line that starts with `=`.
    #[error("no name before the '='; a line is NAME=PASSWORD")]
    NameMissing,
    /// Blanks around a name, which would become part of it.
    #[error("a blank before or after the name, which would become part of it; remove it")]
    BlankAroundName,
    /// A control character in a name.
    #[error("a control character in the name; remove it")]
    ControlCharacter,
    /// A name of more than 255 bytes.
    #[error("the name is longer than {MAX_PLAIN_LEN} bytes")]
    NameLength,
    /// A password of more than 255 bytes.
    #[error("the password is longer than {MAX_PLAIN_LEN} bytes")]
    PasswordLength,
    /// A name that an earlier line has as well.
    #[error("the name is given already in line {first}; remove one of the lines")]
    Duplicate {
        /// The line, counted from 1, of the first one.
        first: usize,
    },
    /// A password in the form of a hash that this crate does not verify.
    #[error(transparent)]
    Hash(#[from] PasswordHashError),
}

/// The entries of a password file.
pub(crate) struct Passwords {
    file: PathBuf,
    entries: Vec<Entry>,
    /// The permission bits of the file, if users other than its owner have any.
    pub(crate) loose_mode: Option<u32>,
}

struct Entry {
    name: Bytes,
    password: Stored,
}

enum Stored {
    InTheClear(Zeroizing<Vec<u8>>),
    Hashed(Box<PasswordHash>),
}

impl Passwords {
    /// Reads and parses a file, without log events.
    pub(crate) fn load(file: &Path) -> Result<Self, PasswordFileError> {
        let read = secret_file::read(file, MAX_FILE_LEN).map_err(|error| PasswordFileError {
            file: file.to_owned(),
            line: None,
            reason: error.into(),
        })?;
        Ok(Self {
            loose_mode: read.loose_mode,
            ..Self::parse(file, &read.content)?
        })
    }

    /// Parses the content of `file`.
    pub(crate) fn parse(file: &Path, content: &[u8]) -> Result<Self, PasswordFileError> {
        let mut entries = Vec::new();
        let mut lines: HashMap<Bytes, usize> = HashMap::new();
        for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            let bad = |reason| PasswordFileError {
                file: file.to_owned(),
                line: Some(number),
                reason,
            };
            if index == 0 && line.starts_with(b"\xEF\xBB\xBF") {
                return Err(bad(PasswordFileErrorKind::ByteOrderMark));
            }
            if let Some(entry) = entry(line).map_err(bad)? {
                if let Some(first) = lines.insert(entry.name.clone(), number) {
                    return Err(bad(PasswordFileErrorKind::Duplicate { first }));
                }
                entries.push(entry);
            }
        }
        Ok(Self {
            file: file.to_owned(),
            entries,
            loose_mode: None,
        })
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = (&Bytes, PasswordInput<'_>)> {
        self.entries.iter().map(|entry| {
            let given = match &entry.password {
                Stored::InTheClear(password) => PasswordInput::InTheClear(password),
                Stored::Hashed(hash) => PasswordInput::Hashed(hash.clone()),
            };
            (&entry.name, given)
        })
    }

    /// The error for a failure of the random source.
    pub(crate) fn without_randomness(&self) -> PasswordFileError {
        PasswordFileError {
            file: self.file.clone(),
            line: None,
            reason: PasswordFileErrorKind::Random,
        }
    }
}

/// Parses a line; `None` for a blank line or a comment.
fn entry(line: &[u8]) -> Result<Option<Entry>, PasswordFileErrorKind> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&0) {
        return Err(PasswordFileErrorKind::ZeroByte);
    }
    if line.contains(&b'\r') {
        return Err(PasswordFileErrorKind::CarriageReturn);
    }
    if line.starts_with(b"#") || line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let equals = line
        .iter()
        .position(|&byte| byte == b'=')
        .ok_or(PasswordFileErrorKind::EqualsMissing)?;
    let (name, password) = (&line[..equals], &line[equals + 1..]);
    if name.is_empty() {
        return Err(PasswordFileErrorKind::NameMissing);
    }
    if name.trim_ascii().len() != name.len() {
        return Err(PasswordFileErrorKind::BlankAroundName);
    }
    if name.iter().any(u8::is_ascii_control) {
        return Err(PasswordFileErrorKind::ControlCharacter);
    }
    if name.len() > MAX_PLAIN_LEN {
        return Err(PasswordFileErrorKind::NameLength);
    }
    let password = match password_input(password)? {
        PasswordInput::Hashed(hash) => Stored::Hashed(hash),
        PasswordInput::InTheClear(password) => {
            Stored::InTheClear(Zeroizing::new(password.to_vec()))
        }
    };
    Ok(Some(Entry {
        name: Bytes::copy_from_slice(name),
        password,
    }))
}

/// Checks a password as an operator writes it: in the clear, or as a hash.
pub(crate) fn password_input(password: &[u8]) -> Result<PasswordInput<'_>, PasswordFileErrorKind> {
    match PasswordInput::written(password)? {
        PasswordInput::InTheClear(password) if password.len() > MAX_PLAIN_LEN => {
            Err(PasswordFileErrorKind::PasswordLength)
        }
        given => Ok(given),
    }
}
