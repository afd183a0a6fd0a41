//! What works in a policy and should be looked at.
#![forbid(unsafe_code)]

use crate::access::request::{Domain, MechanismKind};
use crate::auth::authenticator::Authenticator;
use crate::auth::password_file::given;
use crate::auth::plain::Given;
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::problem::PolicyFileError;
use crate::auth::policy_file::settings::{
    CurveSettings, DomainSettings, GssapiSettings, PlainSettings,
};
use crate::cert::problem::{CertificateError, CertificateWarning};
use std::fs;
use std::path::{Path, PathBuf};
use thiserror::Error as ThisError;

/// Something about a policy that works and should not stay so.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PolicyWarning {
    /// A certificate does not count.
    #[error("left out: {0}")]
    LeftOut(CertificateError),
    /// A certificate counts, with something to be looked at.
    #[error("{0}")]
    Certificate(CertificateWarning),
    /// A domain's password file or table is empty.
    #[error("domain \"{0}\" has no users: PLAIN admits nobody")]
    NoUsers(Domain),
    /// A domain has no keys, or its directory no good certificate.
    #[error("domain \"{0}\" has no keys: CURVE admits nobody")]
    NoKeys(Domain),
    /// A domain has a section that admits nobody by any mechanism.
    #[error("domain \"{0}\" admits nobody")]
    AdmitsNobody(Domain),
    /// No domain has a section.
    #[error("the policy admits nobody")]
    NoDomain,
    /// A domain admits whoever comes, by this mechanism.
    #[error("domain \"{0}\" admits anyone by {1}{hint}", hint = hint_of(.1))]
    AdmitsAnyone(Domain, MechanismKind),
    /// A file with passwords can be used by others than its owner.
    #[error("{0:?} holds passwords and is open to others than its owner (mode {1:03o})")]
    OpenToOthers(PathBuf, u32),
    /// Others than its owner may write to a file or directory that decides who comes in.
    #[error("others than its owner may write to {0:?}, and so let themselves in (mode {1:03o})")]
    WritableByOthers(PathBuf, u32),
    /// A policy file holds passwords in the clear.
    #[error("domain \"{0}\" has passwords in the clear: zmtp-auth passwd writes hashes")]
    PasswordsInTheClear(Domain),
}

const fn hint_of(mechanism: &MechanismKind) -> &'static str {
    match mechanism {
        MechanismKind::Curve => ": peers are encrypted, and hold whatever key they show",
        _ => "",
    }
}

impl PolicyFile {
    /// Reads everything that the policy names, and says what should be looked at.
    ///
    /// # Errors
    /// [`PolicyFileError`] if it could not be put in force.
    pub fn lint(&self) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        let mut found = self.compile(&Authenticator::new())?.warnings;
        if self.settings.domain.is_empty() {
            found.push(PolicyWarning::NoDomain);
        }
        let mut in_the_clear = false;
        for (name, settings) in &self.settings.domain {
            let domain = Domain::from(name.clone());
            in_the_clear |= has_clear_passwords(settings);
            self.lint_domain(&domain, settings, &mut found);
        }
        if let Some(file) = &self.file {
            match self.loose_mode {
                Some(mode) if in_the_clear => {
                    found.push(PolicyWarning::OpenToOthers(file.clone(), mode));
                }
                _ => found.extend(writable(file)),
            }
        }
        Ok(found)
    }

    fn lint_domain(
        &self,
        domain: &Domain,
        settings: &DomainSettings,
        found: &mut Vec<PolicyWarning>,
    ) {
        let anyone = |mechanism| PolicyWarning::AdmitsAnyone(domain.clone(), mechanism);
        if settings.null.is_some() {
            found.push(anyone(MechanismKind::Null));
        }
        match &settings.curve {
            Some(CurveSettings::Any(_)) => found.push(anyone(MechanismKind::Curve)),
            Some(CurveSettings::Certificates(path)) => {
                found.extend(writable(&self.base.join(path)))
            }
            Some(CurveSettings::Keys(_)) | None => {}
        }
        if let Some(GssapiSettings::Any(_)) = settings.gssapi {
            found.push(anyone(MechanismKind::Gssapi));
        }
        match &settings.plain {
            Some(PlainSettings::File(path)) => {
                let path = self.base.join(path);
                let mode = mode_of(&path).filter(|mode| mode & 0o077 != 0);
                found.extend(mode.map(|mode| PolicyWarning::OpenToOthers(path, mode)));
            }
            Some(PlainSettings::Users(_)) if has_clear_passwords(settings) => {
                found.push(PolicyWarning::PasswordsInTheClear(domain.clone()));
            }
            Some(PlainSettings::Users(_)) | None => {}
        }
        let mechanisms = [
            settings.null.is_some(),
            settings.plain.is_some(),
            settings.curve.is_some(),
            settings.gssapi.is_some(),
        ];
        if !mechanisms.contains(&true) && !settings.inherit {
            found.push(PolicyWarning::AdmitsNobody(domain.clone()));
        }
    }
}

fn has_clear_passwords(settings: &DomainSettings) -> bool {
    let Some(PlainSettings::Users(users)) = &settings.plain else {
        return false;
    };
    let mut passwords = users.values();
    passwords.any(|password| matches!(given(password.expose()), Ok(Given::InTheClear(_))))
}

fn writable(path: &Path) -> Option<PolicyWarning> {
    let mode = mode_of(path).filter(|mode| mode & 0o022 != 0)?;
    Some(PolicyWarning::WritableByOthers(path.to_owned(), mode))
}

#[cfg(unix)]
fn mode_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(path).ok()?;
    Some(metadata.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn mode_of(path: &Path) -> Option<u32> {
    // There are no such bits; that the path is there was seen before.
    let _ = fs::metadata(path);
    None
}
