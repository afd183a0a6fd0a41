//! Errors and warnings about certificates, one variant for each check, with file and line.
#![forbid(unsafe_code)]

use crate::access::user_name::UserNameError;
use crate::crypto::keys::KeyError;
use crate::secret_file::{FileErrorKind, OsError};
use crate::with_causes::WithCauses;
use std::fmt;
use std::path::PathBuf;
use thiserror::Error as ThisError;

/// Most bytes in a certificate file. 64 KiB: two keys take 200, the rest is metadata.
pub(crate) const MAX_FILE_LEN: usize = 64 * 1024;
/// Most bytes in a line that we write, without its end. 1024, because some readers have a line
/// buffer of that size.
pub(crate) const MAX_WRITTEN_LINE: usize = 1024;
/// Most bytes in a metadata name. 255, because it becomes a ZAP metadata name (RFC 37, "Metadata").
pub(crate) const MAX_NAME_LEN: usize = 255;

/// Why a certificate cannot be read or written, with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateError {
    /// The file, or the directory if the directory itself cannot be read.
    pub file: PathBuf,
    /// The line, counted from 1, if the problem is in one.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: CertificateErrorKind,
}

impl fmt::Display for CertificateError {
    /// The path is shown escaped, so that a file name cannot forge a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            CertificateErrorKind::Directory(_) => "directory of certificates",
            _ => "certificate",
        };
        write!(f, "{what} {:?}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for CertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// What is wrong with a certificate. No variant holds or shows any part of a file's content,
/// because a misplaced secret could be in it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum CertificateErrorKind {
    /// The file cannot be read, or the file to be written would be too large to be read.
    #[error(transparent)]
    File(#[from] FileErrorKind),
    /// The directory cannot be read.
    #[error("cannot be read")]
    Directory(#[source] OsError),
    /// The file cannot be written.
    #[error("cannot be written")]
    Unwritable(#[source] OsError),
    /// A file of that name exists already. Certificates are never overwritten.
    #[error("exists already, and is never overwritten")]
    Exists,
    /// The certificate's name cannot be a file name that a directory load finds.
    #[error(
        "the name is empty, starts with a dot, or holds a path separator or a control character"
    )]
    FileName,
    /// The random source failed while a key or a temporary name was drawn.
    #[error("the random source failed")]
    Random,
    /// A secret file was asked for, but the certificate has no secret key.
    #[error("the certificate has no secret key to write")]
    NoSecret,
    /// A key pair was to be loaded, and the file is a public certificate.
    #[error("holds no secret key: give the secret certificate, NAME.key_secret")]
    PublicOnly,

    /// A carriage return is not part of a CRLF. Some readers take the rest for a line of its own.
    #[error("a carriage return inside the line")]
    CarriageReturn,
    /// A control character other than a tab.
    #[error("byte {column} is a control character")]
    ControlCharacter {
        /// Its place in the line, in bytes counted from 1.
        column: usize,
    },
    /// A property's name contains a character that no name may contain, or such a character stands
    /// in place of a name.
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

    /// A file in `czmq`'s layout holds a secret key, although its name says that it is public.
    #[error("holds a secret key, and is not loaded: {NEW_KEYS}")]
    HoldsSecret,

    /// A section, `metadata` or `curve`, has a value of its own.
    #[error("a section name with a value")]
    SectionWithValue,
    /// A section other than `metadata` and `curve`.
    #[error("a section other than 'metadata' and 'curve'")]
    UnknownSection,
    /// A third level of indentation, or a section inside a section.
    #[error("properties nest deeper than a section")]
    TooDeep,
    /// A property that is not a key stands outside `metadata`, where no reader looks for it.
    #[error("a property other than the keys outside 'metadata'")]
    MisplacedProperty,
    /// A name starts like the name of a key, so a lenient reader may take it for the key.
    #[error("the property name starts with 'public-key' or 'secret-key', but is neither")]
    KeyLikeName,
    /// A key, section or metadata name occurs a second time, perhaps in another case.
    #[error("given already in line {first}")]
    Duplicate {
        /// The line of the first occurrence, counted from 1.
        first: usize,
    },
    /// The metadata name to be added exists already, perhaps in another case.
    #[error("the metadata name is there already")]
    NameTaken,

    /// A metadata property without `=`.
    #[error("a metadata name without a value")]
    ValueMissing,
    /// A metadata name is empty, or longer than ZAP metadata can carry.
    #[error("a metadata name must have 1 to {MAX_NAME_LEN} bytes")]
    NameLength,
    /// A metadata name is `Identity`, `Socket-Type` or `User-Id`, which are reserved by ZAP.
    #[error("Identity, Socket-Type and User-Id cannot be metadata names")]
    ReservedName,
    /// A metadata value that is not UTF-8.
    #[error("the value is not UTF-8")]
    NotUtf8,
    /// A metadata value with a control character or line break beyond ASCII.
    #[error("the value holds a control character or a line break")]
    ValueCharacter,
    /// An unquoted value is followed in its line by `not-before` or `not-after` with a value.
    #[error("a property inside the value: give each a line of its own, or quote the value")]
    TwoProperties,
    /// A value to be written contains `"`, which ZPL cannot escape.
    #[error("the value holds a double quote, which cannot be written")]
    ValueQuote,
    /// Name and value to be written make a line that is too long for some readers.
    #[error("name and value make a line longer than {MAX_WRITTEN_LINE} bytes")]
    LineTooLong,

    /// `not-before` or `not-after` is not an RFC 3339 date.
    #[error("not-before and not-after must be dates of RFC 3339, such as 2027-01-31T12:00:00Z")]
    Date,
    /// `not-after` is not later than `not-before`.
    #[error("not-after does not lie behind not-before: the certificate never counts")]
    NeverValid,
    /// A metadata name is probably meant to be `not-before` or `not-after`: without case and
    /// punctuation it contains one of them or is at most two letters away, or it speaks of validity
    /// or expiry, such as `valid-until` or `expires`.
    #[error("a metadata name seems to limit the key in time: {WRITE_IT}")]
    ValidityLikeName,

    /// A line that was probably meant to be `not-before` or `not-after` cannot be used. A
    /// restriction of a key is never ignored.
    #[error("it may be meant to limit the key in time, and cannot be used; {WRITE_IT}")]
    Restriction(#[source] Box<CertificateErrorKind>),

    /// The metadata `name`, which becomes the user id, cannot be one.
    #[error("its name cannot be a user id")]
    UserName(#[source] UserNameError),
    /// Another file of the directory gives the same key another name, or none. Neither is loaded.
    #[error("{0:?} gives the same key another name, and neither is loaded")]
    TwoNames(PathBuf),

    /// A key property without `=`.
    #[error("{0} without a value")]
    KeyMissing(KeyField),
    /// A key is not 40 characters of Z85 (RFC 32), or no peer can prove it.
    #[error("bad {field}")]
    Key {
        /// Which key.
        field: KeyField,
        /// What is wrong with it.
        #[source]
        problem: KeyError,
    },
    /// Something other than a comment after an unquoted key.
    #[error("text follows the {0}")]
    TextAfterKey(KeyField),
    /// A key is all zeros, which stands for "no key".
    #[error("the {0} is all zeros: there is no key")]
    NullKey(KeyField),
    /// The file has no public key.
    #[error("no public-key found")]
    NoPublicKey,
    /// The public key does not belong to the secret key.
    #[error("the public-key does not belong to the secret-key")]
    KeysDiffer,
}

/// One of the two keys of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a certificate has two keys")]
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

/// A problem with a certificate that did not keep it from loading. It is not an error: `Display`
/// shows it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateWarning {
    /// Users other than the owner have access to a file with a secret key.
    LoosePermissions {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Two files of a directory hold the same public key. `file` counts.
    SameKey {
        /// The file that counts: the last by name.
        file: PathBuf,
        /// The other file, whose metadata is not used.
        replaced: PathBuf,
    },
    /// Users other than the owner can write to a file with a public key, and so replace the key.
    WritableByOthers {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds a secret key where a public key is expected.
    SecretInPublic {
        /// The file.
        file: PathBuf,
    },
    /// A certificate has no metadata `name`, although names become user ids in its directory. The
    /// user id of its holder is the key.
    NoName {
        /// The file.
        file: PathBuf,
    },
    /// Some metadata cannot be used. The key counts without it.
    Dropped {
        /// The file.
        file: PathBuf,
        /// The first dropped lines, counted from 1, each with its reason.
        lines: Vec<(usize, CertificateErrorKind)>,
        /// How many more there are.
        more: usize,
    },
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoosePermissions { file, mode } => write!(
                f,
                "secret key file {file:?} is open to others than its owner (mode {mode:03o})"
            ),
            Self::SameKey { file, replaced } => write!(
                f,
                "certificate {file:?} replaces {replaced:?}, which has the same public key"
            ),
            Self::WritableByOthers { file, mode } => write!(
                f,
                "certificate {file:?} can be changed by others than its owner (mode {mode:03o})"
            ),
            Self::SecretInPublic { file } => write!(
                f,
                "certificate {file:?} holds a secret key in the place of a public one: {NEW_KEYS}"
            ),
            Self::NoName { file } => write!(
                f,
                "certificate {file:?} has no name, so the user id of its holder is the key: write a line such as name = \"alice\" in 'metadata'"
            ),
            Self::Dropped { file, lines, more } => {
                write!(f, "certificate {file:?}: not used: {}", told(lines, *more))
            }
        }
    }
}

/// The advice about a secret key that others may have seen.
const NEW_KEYS: &str = "everyone who could read it can pass for its owner, so make new keys and give away NAME.key alone";

/// The advice about limiting a key in time.
const WRITE_IT: &str = "write a line of its own in 'metadata' such as not-after = \"2027-01-31T12:00:00Z\", or not-before, or else another name";

/// Lines with their reasons, and how many more there are.
fn told(lines: &[(usize, CertificateErrorKind)], more: usize) -> String {
    let lines = lines.iter();
    let mut told: Vec<_> = lines
        .map(|(line, reason)| format!("line {line} ({})", WithCauses(reason)))
        .collect();
    if more > 0 {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}

/// A reason and its line, before the file name is known.
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
