//! A policy file: its settings, and the directory of its relative paths.
#![forbid(unsafe_code)]

use crate::auth::policy_file::error::{MAX_FILE_LEN, PolicyFileError, PolicyFileErrorKind};
use crate::auth::policy_file::hint::with_hint;
use crate::auth::policy_file::settings::PolicySettings;
use crate::secret_file;
use std::path::{Path, PathBuf};
use std::str;
use zeroize::Zeroizing;

/// A policy that was read from a file, or created in Rust.
/// [`Authenticator::load_policy`](crate::auth::Authenticator::load_policy) reads the files and
/// directories that it names and puts it in force.
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
    /// The directory of relative paths.
    pub(super) base: PathBuf,
    pub(super) file: Option<PathBuf>,
    /// The file's permission bits, if users other than its owner have any permissions.
    pub(super) loose_mode: Option<u32>,
}

impl PolicyFile {
    /// Reads a TOML file of at most 1 MiB. [`PolicySettings`] describes what it may contain.
    /// Relative paths start at the directory of `path`. If `path` is a symbolic link, that is the
    /// directory of the link.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`], with file, line, column and reason, if the file cannot be read
    /// or is not a valid policy.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PolicyFileError> {
        Self::load_with_content(path.as_ref()).map(|(policy, _)| policy)
    }

    /// As [`PolicyFile::load`], and also returns the text of the file.
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

    /// Parses a policy that does not come from a file. Relative paths start at `base`.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`], with line, column and reason, if it is not a valid policy.
    pub fn parse(toml: &[u8], base: impl Into<PathBuf>) -> Result<Self, PolicyFileError> {
        let settings = parse(toml).map_err(|(at, reason)| PolicyFileError {
            file: None,
            at,
            place: String::new(),
            reason,
        })?;
        Ok(Self::from_settings(settings, base))
    }

    /// A policy from settings that were created in Rust. Relative paths start at `base`.
    #[must_use]
    pub fn from_settings(settings: PolicySettings, base: impl Into<PathBuf>) -> Self {
        Self {
            settings,
            base: base.into(),
            file: None,
            loose_mode: None,
        }
    }

    /// The settings of the policy.
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

/// Parses TOML. The error has a line and a column, if they are known.
fn parse(toml: &[u8]) -> Result<PolicySettings, (Option<(usize, usize)>, PolicyFileErrorKind)> {
    let text = str::from_utf8(toml).map_err(|error| {
        let at = position(toml, error.valid_up_to());
        (Some(at), PolicyFileErrorKind::NotUtf8)
    })?;
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().map(|span| position(toml, span.start));
        let line = at.and_then(|(line, _)| text.lines().nth(line - 1));
        // The parser's own rendering would show the line, which may contain a password.
        let message = with_hint(without_values(error.message()), line.unwrap_or_default());
        (at, PolicyFileErrorKind::Toml(message))
    })
}

/// The line and column of a byte, counted from 1, the column in characters.
fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count();
    let start = before.iter().rposition(|&byte| byte == b'\n');
    let column = String::from_utf8_lossy(&before[start.map_or(0, |end| end + 1)..]);
    (line + 1, column.chars().count() + 1)
}

/// The message of a parser without the value it was found for, which may be a password in the wrong
/// place. The expected values and the names of keys remain.
fn without_values(message: &str) -> String {
    // serde's messages have the form "what is wrong: what was found, expected what".
    for head in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = message.strip_prefix(head)
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            let kind = found.split([' ', '"', '`']).next().unwrap_or_default();
            return format!("{head}{kind}, expected {expected}");
        }
    }
    // The name of an unknown variant may be a value: `plain = "secret"`.
    if let Some(rest) = message.strip_prefix("unknown variant ")
        && let Some((_, expected)) = rest.rsplit_once(", expected ")
    {
        return format!("not one of the settings that are possible here: {expected}");
    }
    message.lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_from_1() {
        let text = "a\nbäc\n".as_bytes();
        for (offset, place) in [(0, (1, 1)), (2, (2, 1)), (5, (2, 3)), (99, (3, 1))] {
            assert_eq!(position(text, offset), place);
        }
    }

    #[test]
    fn a_message_contains_no_value() {
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
                "not one of the settings that are possible here: `users` or `file`",
            ),
            ("unknown field `x`", "unknown field `x`"),
        ] {
            assert_eq!(without_values(message), harmless);
        }
    }
}
