//! A policy file, read: its settings, and where relative paths start.
#![forbid(unsafe_code)]

use crate::auth::policy_file::hint::hinted;
use crate::auth::policy_file::problem::{MAX_FILE_LEN, PolicyFileError, PolicyFileErrorKind};
use crate::auth::policy_file::settings::PolicySettings;
use crate::secret_file;
use std::path::{Path, PathBuf};
use std::str;
use zeroize::Zeroizing;

/// A policy as it was read from a file, or made in Rust. The files and directories that it names
/// are read when it is put in force, by
/// [`Authenticator::load_policy`](crate::auth::Authenticator::load_policy).
///
/// ```
/// use zmtp_auth::auth::{Authenticator, PolicyFile};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("policy.toml");
/// std::fs::write(&path, r#"
///     allow = ["127.0.0.1"]
///     [domain.billing]
///     plain = { users = { admin = "secret" } }
/// "#)?;
/// let auth = Authenticator::from_policy_file(&path)?;
///
/// // Or in two steps, and again after a change:
/// let policy = PolicyFile::load(&path)?;
/// for warning in auth.load_policy(&policy)? {
///     eprintln!("{warning}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PolicyFile {
    pub(super) settings: PolicySettings,
    /// Where relative paths start.
    pub(super) base: PathBuf,
    pub(super) file: Option<PathBuf>,
    /// The file's permission bits, if others than its owner have any.
    pub(super) loose_mode: Option<u32>,
}

impl PolicyFile {
    /// Reads a TOML file of at most 1 MiB; [`PolicySettings`] says what it may hold. Relative
    /// paths in it start at the directory that it is named by: of a symbolic link, where the link
    /// lies.
    ///
    /// # Errors
    /// [`PolicyFileError`] with file, line, column and reason.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PolicyFileError> {
        Self::load_with_content(path.as_ref()).map(|(policy, _)| policy)
    }

    /// As [`PolicyFile::load`], with the text of the file.
    pub(super) fn load_with_content(
        path: &Path,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), PolicyFileError> {
        let failed = |at, reason| PolicyFileError {
            file: Some(path.to_owned()),
            at,
            place: String::new(),
            reason,
        };
        let file = secret_file::read(path, MAX_FILE_LEN).map_err(|why| failed(None, why.into()))?;
        let policy = Self {
            settings: parse(&file.content).map_err(|(at, reason)| failed(at, reason))?,
            base: path.parent().unwrap_or(Path::new("")).to_owned(),
            file: Some(path.to_owned()),
            loose_mode: file.loose_mode,
        };
        Ok((policy, file.content))
    }

    /// Reads TOML that does not come from a file. Relative paths in it start at `base`.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] with line, column and reason.
    pub fn parse(toml: &[u8], base: impl Into<PathBuf>) -> Result<Self, PolicyFileError> {
        let settings = parse(toml).map_err(|(at, reason)| PolicyFileError {
            file: None,
            at,
            place: String::new(),
            reason,
        })?;
        Ok(Self::from_settings(settings, base))
    }

    /// A policy that was made in Rust. Relative paths in it start at `base`.
    #[must_use]
    pub fn from_settings(settings: PolicySettings, base: impl Into<PathBuf>) -> Self {
        Self {
            settings,
            base: base.into(),
            file: None,
            loose_mode: None,
        }
    }

    /// What it says.
    #[must_use]
    pub const fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    pub(super) fn error(&self, place: String, reason: PolicyFileErrorKind) -> PolicyFileError {
        PolicyFileError {
            file: self.file.clone(),
            at: None,
            place,
            reason,
        }
    }
}

/// What a policy says, or where it is wrong.
fn parse(toml: &[u8]) -> Result<PolicySettings, (Option<(usize, usize)>, PolicyFileErrorKind)> {
    let text = str::from_utf8(toml).map_err(|error| {
        let at = position(toml, error.valid_up_to());
        (Some(at), PolicyFileErrorKind::NotUtf8)
    })?;
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().map(|span| position(toml, span.start));
        let line = at.and_then(|(line, _)| text.lines().nth(line - 1));
        // Its own rendering shows the line, and with it perhaps a password.
        let message = hinted(without_values(error.message()), line.unwrap_or_default());
        (at, PolicyFileErrorKind::Toml(message))
    })
}

/// Line and column of a byte, counted from 1.
fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count();
    let start = before.iter().rposition(|&byte| byte == b'\n');
    let column = String::from_utf8_lossy(&before[start.map_or(0, |end| end + 1)..]);
    (line + 1, column.chars().count() + 1)
}

/// An error's message without the value that it complains of, which may be a password in the wrong
/// place. What it expected instead, and names of keys, stay.
fn without_values(message: &str) -> String {
    // The form of serde's messages: what is wrong, what was found, what was expected.
    for head in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = message.strip_prefix(head)
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            let kind = found.split([' ', '"', '`']).next().unwrap_or_default();
            return format!("{head}{kind}, expected {expected}");
        }
    }
    // What is taken for the name of a variant may be a value: `plain = "secret"`.
    if let Some(rest) = message.strip_prefix("unknown variant ")
        && let Some((_, expected)) = rest.rsplit_once(", expected ")
    {
        return format!("neither of what can stand here: {expected}");
    }
    message.lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_people_do() {
        let text = "a\nbäc\n".as_bytes();
        for (offset, place) in [(0, (1, 1)), (2, (2, 1)), (5, (2, 3)), (99, (3, 1))] {
            assert_eq!(position(text, offset), place);
        }
    }

    #[test]
    fn no_value_stays_in_a_message() {
        for (message, harmless) in [
            (
                "invalid type: string \"a, expected b\", expected a map",
                "invalid type: string, expected a map",
            ),
            (
                "invalid type: integer `1234`, expected a string",
                "invalid type: integer, expected a string",
            ),
            (
                "unknown variant `secret`, expected `users` or `file`",
                "neither of what can stand here: `users` or `file`",
            ),
            ("unknown field `x`", "unknown field `x`"),
        ] {
            assert_eq!(without_values(message), harmless);
        }
    }
}
