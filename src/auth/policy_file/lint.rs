//! What works in a policy and should be looked at.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::password_file::given;
use crate::auth::policy::plain::PasswordInput;
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::problem::PolicyFileError;
use crate::auth::policy_file::settings::{
    CurveSettings, DomainSettings, GssapiSettings, PlainSettings,
};
use crate::cert::problem::{CertificateError, CertificateWarning};
use crate::cert::validity::Validity;
use std::fs;
use std::path::{Path, PathBuf};
use thiserror::Error as ThisError;

/// Something about a policy that works and should not stay so.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PolicyWarning {
    /// A certificate of a domain does not count.
    #[error("domain \"{0}\": left out: {1}")]
    LeftOut(Domain, CertificateError),
    /// A certificate of a domain counts, with something to be looked at.
    #[error("domain \"{0}\": {1}")]
    Certificate(Domain, CertificateWarning),
    /// Files in a domain's directory of certificates are not loaded, since the layout does not
    /// name certificates so. Hidden files, backups and secret certificates are not told.
    #[error("domain \"{0}\": {1:?} holds what is not named as its layout names certificates, \
        and is not loaded: {files}", files = names(.2))]
    PassedOver(Domain, PathBuf, Vec<PathBuf>),
    /// A domain's password file or table is empty.
    #[error("domain \"{0}\" has no users: PLAIN admits nobody")]
    NoUsers(Domain),
    /// A domain has no keys, or its directory no good certificate.
    #[error("domain \"{0}\" has no keys: CURVE admits nobody")]
    NoKeys(Domain),
    /// A domain has keys, and each of them is over or still to come, by its certificate or by the
    /// domain's `validity`.
    #[error("domain \"{0}\" has no key that counts now: all are over or still to come")]
    NoKeyCounts(Domain),
    /// A domain's `validity` has neither an end nor a beginning.
    #[error("domain \"{0}\": an empty validity limits nothing")]
    EmptyValidity(Domain),
    /// A user of a domain, and so many in all, have the empty password.
    #[error("domain \"{0}\": an empty password lets in \"{1}\"{more}", more = more(.2))]
    EmptyPassword(Domain, String, usize),
    /// A domain inherits, and there is no `*` to inherit from.
    #[error("domain \"{0}\" inherits from \"*\", which has no section")]
    NothingInherited(Domain),
    /// The address list for all domains and that of a domain leave no address.
    #[error("domain \"{0}\": its address list and the one for all leave no address")]
    NoAddress(Domain),
    /// An address list, that of a domain or the one for all, has rules about groups.
    #[error("{list}: gid sees the effective group of a process alone, which it may choose among \
        the groups of its user; uid has no such gap", list = list(.0))]
    GroupRule(Option<Domain>),
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
    /// Files of this domain were loaded again by themselves for this mechanism, before a policy
    /// took their place that does not say so. They no longer are.
    #[error("domain \"{0}\": what {1} admits is no longer loaded again by itself")]
    WatchEnded(Domain, MechanismKind),
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

/// How many besides the first.
fn more(count: &usize) -> String {
    match count {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    }
}

/// File names, the first few of them.
fn names(files: &[PathBuf]) -> String {
    const MAX_NAMED: usize = 8;
    let named = files.iter().take(MAX_NAMED);
    let named: Vec<_> = named
        .map(|file| format!("{:?}", file.file_name().unwrap_or_default()))
        .collect();
    let more = more(&(files.len().saturating_sub(named.len()) + 1));
    named.join(", ") + &more
}

fn list(domain: &Option<Domain>) -> String {
    match domain {
        Some(domain) => format!("the address list of domain \"{domain}\""),
        None => "the address list for all domains".to_owned(),
    }
}

impl PolicyFile {
    /// Reads everything that the policy names, and says what should be looked at.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] if it could not be put in force.
    pub fn lint(&self) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        Ok(self.compile(&Authenticator::new())?.warnings)
    }

    /// What the settings themselves show, and the permissions of files.
    pub(super) fn add_warnings(&self, found: &mut Vec<PolicyWarning>) {
        if self.settings.domain.is_empty() {
            found.push(PolicyWarning::NoDomain);
        }
        if has_group_rules(&self.settings.allow, &self.settings.deny) {
            found.push(PolicyWarning::GroupRule(None));
        }
        let mut in_the_clear = false;
        for (name, settings) in &self.settings.domain {
            let domain = Domain::from(name.clone());
            in_the_clear |= has_clear_passwords(settings);
            self.look_at_domain(&domain, settings, found);
        }
        if let Some(file) = &self.file {
            match self.loose_mode {
                Some(mode) if in_the_clear => {
                    found.push(PolicyWarning::OpenToOthers(file.clone(), mode));
                }
                _ => found.extend(writable(file)),
            }
        }
    }

    /// The lists that rule a domain: its own, or those of `*`.
    fn lists_of<'a>(&'a self, settings: &'a DomainSettings) -> Lists<'a> {
        let star = || self.settings.domain.get("*");
        match (&settings.allow, &settings.deny) {
            (None, None) => star().map_or((None, None), |star| lists(&star.allow, &star.deny)),
            (allow, deny) => lists(allow, deny),
        }
    }

    fn look_at_domain(
        &self,
        domain: &Domain,
        settings: &DomainSettings,
        found: &mut Vec<PolicyWarning>,
    ) {
        if settings.validity == Some(Validity::default()) {
            found.push(PolicyWarning::EmptyValidity(domain.clone()));
        }
        if settings.inherit && !self.settings.domain.contains_key("*") {
            found.push(PolicyWarning::NothingInherited(domain.clone()));
        }
        if has_group_rules(&settings.allow, &settings.deny) {
            found.push(PolicyWarning::GroupRule(Some(domain.clone())));
        }
        let everywhere = lists(&self.settings.allow, &self.settings.deny);
        if leave_nothing(everywhere, self.lists_of(settings)) {
            found.push(PolicyWarning::NoAddress(domain.clone()));
        }
        let anyone = |mechanism| PolicyWarning::AdmitsAnyone(domain.clone(), mechanism);
        if settings.null.is_some() {
            found.push(anyone(MechanismKind::Null));
        }
        match &settings.curve {
            Some(CurveSettings::Any) => found.push(anyone(MechanismKind::Curve)),
            Some(CurveSettings::Certificates(path)) => {
                found.extend(writable(&self.base.join(path)))
            }
            Some(CurveSettings::Keys(_)) | None => {}
        }
        if let Some(GssapiSettings::Any) = settings.gssapi {
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

/// What is allowed, and what is denied.
type Lists<'a> = (Option<&'a [AddressRule]>, Option<&'a [AddressRule]>);

fn lists<'a>(allow: &'a Option<Vec<AddressRule>>, deny: &'a Option<Vec<AddressRule>>) -> Lists<'a> {
    (allow.as_deref(), deny.as_deref())
}

/// Whether no address can pass both. Rules are compared one by one: what several deny together
/// does not show.
fn leave_nothing(one: Lists<'_>, other: Lists<'_>) -> bool {
    let denied = |allowed: &[AddressRule], denied: &[AddressRule]| {
        let mut allowed = allowed.iter();
        allowed.all(|rule| denied.iter().any(|denied| denied.covers(rule)))
    };
    match (one, other) {
        ((Some(one), _), (Some(other), _)) => {
            let mut one = one.iter();
            !one.any(|rule| other.iter().any(|other| other.overlaps(rule)))
        }
        ((Some(allowed), _), (_, Some(deny))) | ((_, Some(deny)), (Some(allowed), _)) => {
            denied(allowed, deny)
        }
        _ => false,
    }
}

fn has_group_rules(allow: &Option<Vec<AddressRule>>, deny: &Option<Vec<AddressRule>>) -> bool {
    let rules = allow.iter().chain(deny).flatten();
    rules.into_iter().any(AddressRule::is_about_a_group)
}

fn has_clear_passwords(settings: &DomainSettings) -> bool {
    let Some(PlainSettings::Users(users)) = &settings.plain else {
        return false;
    };
    let mut passwords = users.values();
    passwords.any(|password| matches!(given(password.expose()), Ok(PasswordInput::InTheClear(_))))
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
