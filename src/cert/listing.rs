//! The names in a directory of certificates, by one listing.
#![forbid(unsafe_code)]

use crate::cert::directory::{CertificateDirectory, Layout};
#[cfg(feature = "reload")]
use std::collections::BTreeMap;
use std::ffi::OsStr;
#[cfg(feature = "reload")]
use std::ffi::OsString;
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::PathBuf;

/// What a directory holds.
#[derive(Default)]
pub(crate) struct Listing {
    /// The files that are certificates by name, in no order, without those that were passed over.
    pub(crate) files: Vec<Listed>,
    /// Everything that is no certificate by name, in order.
    pub(crate) others: Vec<PathBuf>,
    /// The links in it, and where they lead; `None` if one of them cannot be read.
    #[cfg(feature = "reload")]
    pub(crate) links: Option<BTreeMap<OsString, PathBuf>>,
}

/// A file that is a certificate by name.
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// Whether the listing says that it is a regular file, and not what a link leads to.
    pub(crate) is_regular: bool,
}

#[cfg(feature = "reload")]
impl Listed {
    pub(crate) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

impl Listing {
    /// Lists a directory. Regular files for which `is_known` returns true are left out.
    ///
    /// # Errors
    /// Returns the error of the system if the directory cannot be listed completely.
    pub(crate) fn of(
        directory: &CertificateDirectory,
        mut is_known: impl FnMut(&OsStr, &DirEntry) -> bool,
    ) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut links = Vec::new();
        for entry in fs::read_dir(directory.path())? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type();
            let is_regular = kind.as_ref().is_ok_and(FileType::is_file);
            // A file that has gone since may have been a link.
            if kind.map_or(true, |kind| kind.is_symlink()) {
                links.push((name, entry.path()));
            } else if !directory.takes(&name) {
                listing.others.push(entry.path());
            } else if !(is_regular && is_known(&name, &entry)) {
                listing.push(directory, entry.path(), is_regular);
            }
        }
        // All links are read before anything that they lead to is looked at.
        #[cfg(feature = "reload")]
        {
            let targets = links.iter();
            let targets =
                targets.map(|(name, path)| Some((name.clone(), fs::read_link(path).ok()?)));
            listing.links = targets.collect();
        }
        for (name, path) in links {
            match directory.takes(&name) {
                true => listing.push(directory, path, false),
                false => listing.others.push(path),
            }
        }
        listing
            .others
            .sort_unstable_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
        Ok(listing)
    }

    fn push(&mut self, directory: &CertificateDirectory, path: PathBuf, is_regular: bool) {
        let is_other = || fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        // In a layout where any name can be a certificate's, a subdirectory must not count as one.
        if directory.layout() == Layout::Czmq && !is_regular && is_other() {
            self.others.push(path);
        } else {
            self.files.push(Listed { path, is_regular });
        }
    }
}
