//! What can be wrong with a certificate, one variant per check, with file and line.
#![forbid(unsafe_code)]

use crate::crypto::keys::KeyError;
use crate::secret_file::{FileError, FileFailure};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error as ThisError;

/// Most bytes in a certificate file. 64 KiB: two keys take 200, the rest is metadata.
pub(crate) const MAX_FILE_LEN: usize = 64 * 1024;
/// Most bytes in a line that we write, without its end: readers with a fixed line buffer exist.
pub(crate) const MAX_WRITTEN_LINE: usize = 1024;
/// Most bytes in a metadata name, since it becomes a ZAP metadata name (RFC 37, "Metadata").
pub(crate) const MAX_NAME_LEN: usize = 255;

/// Why a certificate cannot be read or written: where, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateError {
    /// The file, or for failures of a whole directory the directory.
    pub file: PathBuf,
    /// The line, counted from 1, if the reason lies in one.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: CertificateErrorKind,
}

impl fmt::Display for CertificateError {
    /// The path is shown escaped, so that a file name cannot forge a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {:?}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for CertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            CertificateErrorKind::Key { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

/// What is wrong with a certificate. No variant holds or shows any of a file's content, since a
/// misplaced secret could be part of it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum CertificateErrorKind {
    /// The file or directory is not read, or the file to be written is too large to be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file cannot be written.
    #[error("cannot be written: {0}")]
    Unwritable(FileFailure),
    /// A file of that name is there already; certificates are never overwritten.
    #[error("exists already, and is never overwritten")]
    Exists,
    /// The certificate's name cannot be a file name of its own that a directory load finds.
    #[error(
        "the name is empty, starts with a dot, or holds a path separator or a control character"
    )]
    FileName,
    /// The system has no randomness for a key or a temporary name.
    #[error("the random source failed")]
    Random,
    /// A secret file was asked for, and the certificate is public only.
    #[error("the certificate has no secret key to write")]
    NoSecret,

    /// A carriage return that is not part of a CRLF: what follows could be read as a line of its own.
    #[error("a carriage return inside the line")]
    CarriageReturn,
    /// A control character other than a tab.
    #[error("byte {column} is a control character")]
    ControlCharacter {
        /// Its place in the line, in bytes counted from 1.
        column: usize,
    },
    /// Where a property's name is due, or inside it, stands a character that no name has.
    #[error("byte {column} cannot be in a property name (RFC 4: letters, digits, $-_@.&+/)")]
    NameCharacter {
        /// Its place in the line, in bytes counted from 1.
        column: usize,
    },
    /// A name that starts or ends with a slash.
    #[error("a property name starts or ends with '/'")]
    NameSlash,
    /// Something other than `=` or a comment after a name.
    #[error("'=' expected after the property name")]
    EqualsExpected,
    /// A value starts with a quote that is not closed in its line.
    #[error("the quoted value does not end")]
    UnclosedQuote,
    /// Something other than a comment after a quoted value.
    #[error("text follows the quoted value")]
    TextAfterQuote,

    /// A secret key in a file of `czmq`'s layout that is public by its name.
    #[error("holds a secret key, and is not loaded: {NEW_KEYS}")]
    HoldsSecret,

    /// `metadata` or `curve`, which hold other properties, with a value of its own.
    #[error("a section name with a value")]
    SectionWithValue,
    /// A section other than `metadata` and `curve`.
    #[error("a section other than 'metadata' and 'curve'")]
    UnknownSection,
    /// A third level of indentation, or a section inside a section.
    #[error("properties nest deeper than a section")]
    TooDeep,
    /// A property that is no key and stands outside `metadata`, where no reader would look for it.
    #[error("a property other than the keys outside 'metadata'")]
    MisplacedProperty,
    /// A name that merely starts like a key's, so that a lenient reader may take it for the key.
    #[error("the property name starts with 'public-key' or 'secret-key', but is neither")]
    KeyLikeName,
    /// A key, section or metadata name (without regard to case) for the second time.
    #[error("given already in line {first}")]
    Duplicate {
        /// The line, counted from 1, of the first.
        first: usize,
    },
    /// A metadata name to be added that is there already, perhaps in another case.
    #[error("the metadata name is there already")]
    NameTaken,

    /// A metadata property without `=`.
    #[error("a metadata name without a value")]
    ValueMissing,
    /// A metadata name that is empty or longer than ZAP metadata can carry.
    #[error("a metadata name must have 1 to {MAX_NAME_LEN} bytes")]
    NameLength,
    /// `Identity`, `Socket-Type` or `User-Id`: ZAP gives these names a meaning of their own.
    #[error("Identity, Socket-Type and User-Id cannot be metadata names")]
    ReservedName,
    /// A metadata value that is not UTF-8.
    #[error("the value is not UTF-8")]
    NotUtf8,
    /// A metadata value with a control character or line break beyond ASCII.
    #[error("the value holds a control character or a line break")]
    ValueCharacter,
    /// An unquoted value with `not-before` or `not-after` and its value behind it.
    #[error("a property inside the value: give each a line of its own, or quote the value")]
    TwoProperties,
    /// A value to be written that holds `"`, which ZPL cannot escape.
    #[error("the value holds a double quote, which cannot be written")]
    ValueQuote,
    /// Name and value to be written make a line that not every reader takes.
    #[error("name and value make a line longer than {MAX_WRITTEN_LINE} bytes")]
    LineTooLong,

    /// `not-before` or `not-after` is no date that RFC 3339 knows.
    #[error("not-before and not-after must be dates of RFC 3339, such as 2027-01-31T12:00:00Z")]
    Date,
    /// `not-after` does not lie behind `not-before`.
    #[error("not-after does not lie behind not-before: the certificate never counts")]
    NeverValid,
    /// A metadata name that is so near to `not-before` or `not-after` that it was probably meant
    /// for it: without case and punctuation it contains one of them, or is two letters away. Or it
    /// speaks of validity or expiry, such as `valid-until` or `expires`.
    #[error("a metadata name seems to limit the key in time: {WRITE_IT}")]
    ValidityLikeName,

    /// A line that was probably meant for `not-before` or `not-after` cannot be used. What
    /// restricts a key is never passed over.
    #[error("it may be meant to limit the key in time, and cannot be used ({0}): {WRITE_IT}")]
    Restriction(Box<CertificateErrorKind>),

    /// A key property without `=`.
    #[error("{0} without a value")]
    KeyMissing(KeyField),
    /// A key that is not 40 characters of Z85 (RFC 32), or that no peer can prove.
    #[error("{field}: {problem}")]
    Key {
        /// Which key.
        field: KeyField,
        /// What is wrong with it.
        problem: KeyError,
    },
    /// Something other than a comment after an unquoted key.
    #[error("text follows the {0}")]
    TextAfterKey(KeyField),
    /// A key of zero bytes only, which stands for "no key".
    #[error("the {0} is all zeros: there is no key")]
    NullKey(KeyField),
    /// No public key in the whole file.
    #[error("no public-key found")]
    NoPublicKey,
    /// The public key is not the secret key's.
    #[error("the public-key does not belong to the secret-key")]
    KeysDiffer,
}

/// One of the two keys, as its property is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyField {
    /// `public-key`.
    Public,
    /// `secret-key`.
    Secret,
}

impl KeyField {
    /// The property's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public-key",
            Self::Secret => "secret-key",
        }
    }
}

impl fmt::Display for KeyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something about a certificate that works and should not stay so.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum CertificateWarning {
    /// A file that holds a secret key can be used by others than its owner.
    #[error("secret key file {file:?} is open to others than its owner (mode {mode:03o})")]
    LoosePermissions {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Two files of a directory hold the same public key; what `file` says counts.
    #[error("certificate {file:?} replaces {replaced:?}, which has the same public key")]
    SameKey {
        /// The file that counts: the last by name.
        file: PathBuf,
        /// The one whose metadata is not used.
        replaced: PathBuf,
    },
    /// A file of public keys that others than its owner may write to, and so replace the key.
    #[error("certificate {file:?} can be changed by others than its owner (mode {mode:03o})")]
    WritableByOthers {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret key where public keys are kept, or are asked for.
    #[error("certificate {file:?} holds a secret key in the place of a public one: {NEW_KEYS}")]
    SecretInPublic {
        /// The file.
        file: PathBuf,
    },
    /// Metadata that cannot be used. The key counts without it.
    #[error("certificate {file:?}: not used: {}", told(.lines, .more))]
    Dropped {
        /// The file.
        file: PathBuf,
        /// The first lines that are not used, each counted from 1, with the reason.
        lines: Vec<(usize, CertificateErrorKind)>,
        /// How many there are more.
        more: usize,
    },
}

/// What is to be done about a secret that others may have seen.
const NEW_KEYS: &str = "everyone who could read it can pass for its owner, so make new keys and give away NAME.key alone";

/// How a key is limited in time.
const WRITE_IT: &str = "write a line of its own in 'metadata' such as not-after = \"2027-01-31T12:00:00Z\", or not-before, or else another name";

/// Lines with their reasons, and how many more there are.
fn told(lines: &[(usize, CertificateErrorKind)], more: &usize) -> String {
    let lines = lines.iter();
    let mut told: Vec<_> = lines
        .map(|(line, reason)| format!("line {line} ({reason})"))
        .collect();
    if *more > 0 {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}

/// A reason and the line it lies in, before anybody has told which file this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) line: Option<usize>,
    pub(crate) reason: CertificateErrorKind,
}

impl Flaw {
    pub(crate) fn at(line: usize, reason: CertificateErrorKind) -> Self {
        Self {
            line: Some(line),
            reason,
        }
    }

    pub(crate) fn in_file(self, file: impl Into<PathBuf>) -> CertificateError {
        CertificateError {
            file: file.into(),
            line: self.line,
            reason: self.reason,
        }
    }
}

impl From<CertificateErrorKind> for Flaw {
    fn from(reason: CertificateErrorKind) -> Self {
        Self { line: None, reason }
    }
}
