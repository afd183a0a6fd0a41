//! A watched directory or file, and the domain that it rules.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::cert::directory::CertificateDirectory;
use crate::cert::validity::Validity;
use std::path::{Path, PathBuf};

/// A domain, for one mechanism.
pub(crate) type Ruled = (MechanismKind, Domain);

/// A directory of certificates, or a password file, and the domain that it rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its keys are limited to this validity in addition to that of their certificates.
    Directory(Domain, CertificateDirectory, Validity),
    PasswordFile(Domain, PathBuf),
}

impl Source {
    /// The domain that it rules.
    pub(crate) fn domain(&self) -> &Domain {
        let (Self::Directory(domain, ..) | Self::PasswordFile(domain, _)) = self;
        domain
    }

    /// The path of the directory or file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Directory(_, directory, _) => directory.path(),
            Self::PasswordFile(_, path) => path,
        }
    }

    /// The mechanism and domain that it rules.
    pub(crate) fn rules(&self) -> Ruled {
        let mechanism = match self {
            Self::Directory(..) => MechanismKind::Curve,
            Self::PasswordFile(..) => MechanismKind::Plain,
        };
        (mechanism, self.domain().clone())
    }
}
