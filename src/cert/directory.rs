//! A directory of certificates, and which of its files are certificates.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Which files of a directory are public certificates. The caller says so, and nothing is guessed:
/// renaming a file so that it no longer matches withdraws its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "policy-file",
    derive(serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Layout {
    /// `NAME.key`, as `pyzmq` and this crate write them. Names that start with a dot do not count.
    #[default]
    Pyzmq,
    /// `NAME`, as `czmq` writes them: regular files whose names have no dot and do not end with
    /// `_secret` or `~`. A file that nevertheless holds a secret key is reported and not loaded.
    Czmq,
}

impl Layout {
    /// Whether a file of this name is a public certificate.
    fn takes(self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        match self {
            Self::Pyzmq => name.ends_with(b".key") && !name.starts_with(b"."),
            Self::Czmq => {
                !name.contains(&b'.') && !name.ends_with(b"_secret") && !name.ends_with(b"~")
            }
        }
    }
}

/// A directory of certificates and its layout. A plain path has [`Layout::Pyzmq`].
///
/// ```
/// use zmtp_auth::auth::Authenticator;
/// use zmtp_auth::cert::{CertificateDirectory, Layout};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// let auth = Authenticator::new();
/// auth.configure_curve("*", path)?;
/// auth.configure_curve("billing", CertificateDirectory::new(path).with_layout(Layout::Czmq))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDirectory {
    path: PathBuf,
    layout: Layout,
    names: bool,
}

impl CertificateDirectory {
    /// The directory at `path`. Brackets and stars in it have no special meaning.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            layout: Layout::default(),
            names: false,
        }
    }

    /// Whether a file of this name is a public certificate in the layout.
    pub(crate) fn takes(&self, name: &OsStr) -> bool {
        self.layout.takes(name)
    }

    /// The same directory in another layout.
    #[must_use]
    pub const fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets whether the metadata `name` of a certificate becomes the user id of its holder. By default
    /// the user id is that of
    /// [`Authenticator::curve_user_id`](crate::auth::Authenticator::curve_user_id), as in pyzmq.
    ///
    /// A certificate whose name cannot be a user id is a bad file
    /// ([`CertificateErrorKind::UserName`](crate::cert::CertificateErrorKind::UserName)), and so are all
    /// certificates of a key to which they give different names
    /// ([`CertificateErrorKind::TwoNames`](crate::cert::CertificateErrorKind::TwoNames)). A certificate without a name keeps the
    /// default user id, with a warning.
    #[must_use]
    pub const fn with_names(mut self, names: bool) -> Self {
        self.names = names;
        self
    }

    /// Whether the metadata `name` becomes the user id.
    pub(crate) const fn names(&self) -> bool {
        self.names
    }

    /// Its layout.
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<P: AsRef<Path>> From<P> for CertificateDirectory {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_says_which_names_are_certificates() {
        for (name, pyzmq, czmq) in [
            ("ada.key", true, false),
            ("[a]*.key", true, false),
            ("a.b.key", true, false),
            (" .key", true, false),
            (".key", false, false),
            (".ada.key", false, false),
            ("ada.key_secret", false, false),
            ("ada.key.revoked", false, false),
            ("ada.key~", false, false),
            ("ada.KEY", false, false),
            (".0011.tmp", false, false),
            ("ada", false, true),
            ("key", false, true),
            ("ada lovelace", false, true),
            ("ada_secret", false, false),
            ("ada~", false, false),
            ("ada.revoked", false, false),
            (".ada", false, false),
        ] {
            let name = OsStr::new(name);
            assert_eq!(Layout::Pyzmq.takes(name), pyzmq, "{name:?}");
            assert_eq!(Layout::Czmq.takes(name), czmq, "{name:?}");
        }
    }
}
