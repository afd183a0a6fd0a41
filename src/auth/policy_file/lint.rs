//! Warnings about a policy that is valid.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::password_file::password_input;
use crate::auth::policy::plain::PasswordInput;
use crate::auth::policy_file::error::PolicyFileError;
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::settings::{
    CurveSettings, DomainSettings, GssapiSettings, PlainSettings,
};
use crate::cert::problem::{CertificateError, CertificateWarning};
use crate::cert::validity::Validity;
use crate::secret_file::open_to_others;
use crate::with_causes::WithCauses;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A warning about a policy that is valid, but should be changed. It is not an error: `Display` shows
/// it whole, with the causes of the error that it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyWarning {
    /// A certificate of a domain is not valid and is left out.
    LeftOut(Domain, CertificateError),
    /// A certificate of a domain is loaded, with a warning.
    Certificate(Domain, CertificateWarning),
    /// Files in a domain's directory of certificates are not loaded, because their names are not
    /// those of certificates in the layout. Hidden files, backups and secret certificates are not
    /// listed.
    PassedOver(Domain, PathBuf, Vec<PathBuf>),
    /// A domain's password file or table is empty.
    NoUsers(Domain),
    /// A domain has no keys, or its directory has no valid certificate.
    NoKeys(Domain),
    /// A domain has keys, but each of them has expired or is not valid yet, by its certificate or by
    /// the domain's `validity`.
    NoValidKey(Domain),
    /// A domain's `validity` has neither a beginning nor an end.
    EmptyValidity(Domain),
    /// A user of a domain has an empty password. The number counts all such users.
    EmptyPassword(Domain, String, usize),
    /// A domain inherits, but there is no section `*` to inherit from.
    NothingInherited(Domain),
    /// No address passes both the list for all domains and the list of a domain.
    NoAddress(Domain),
    /// The address list of a domain, or the list for all domains, has rules about groups.
    GroupRule(Option<Domain>),
    /// A domain has a section that admits no peer by any mechanism.
    AdmitsNoPeer(Domain),
    /// No domain has a section.
    NoDomain,
    /// A domain admits every peer by this mechanism.
    AdmitsAnyone(Domain, MechanismKind),
    /// Users other than its owner have permissions on a file with passwords.
    OpenToOthers(PathBuf, u32),
    /// Users other than its owner may write to a file or directory that decides which peers are
    /// admitted.
    WritableByOthers(PathBuf, u32),
    /// The files of this domain for this mechanism were watched before, and the new policy does not
    /// say `reload`. They are no longer watched.
    WatchEnded(Domain, MechanismKind),
    /// A policy file contains passwords in the clear.
    PasswordsInTheClear(Domain),
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut(domain, error) => {
                write!(f, "domain \"{domain}\": left out: {}", WithCauses(error))
            }
            Self::Certificate(domain, warning) => write!(f, "domain \"{domain}\": {warning}"),
            Self::PassedOver(domain, directory, files) => write!(
                f,
                "domain \"{domain}\": files in {directory:?} are not loaded, because the layout \
                 names certificates differently: {}",
                names(files)
            ),
            Self::NoUsers(domain) => {
                write!(f, "domain \"{domain}\" has no users: PLAIN admits no peer")
            }
            Self::NoKeys(domain) => {
                write!(f, "domain \"{domain}\" has no keys: CURVE admits no peer")
            }
            Self::NoValidKey(domain) => write!(
                f,
                "domain \"{domain}\" has no key that is valid now: all have expired or are not \
                 valid yet"
            ),
            Self::EmptyValidity(domain) => {
                write!(f, "domain \"{domain}\": an empty validity limits nothing")
            }
            Self::EmptyPassword(domain, user, count) => write!(
                f,
                "domain \"{domain}\": an empty password admits \"{user}\"{}",
                more(count)
            ),
            Self::NothingInherited(domain) => write!(
                f,
                "domain \"{domain}\" inherits from \"*\", which has no section"
            ),
            Self::NoAddress(domain) => write!(
                f,
                "domain \"{domain}\": no address passes both its address list and the list for \
                 all domains"
            ),
            Self::GroupRule(domain) => write!(
                f,
                "{}: gid matches only the effective group of a process, which the process may \
                 choose among the groups of its user; uid has no such gap",
                list(domain)
            ),
            Self::AdmitsNoPeer(domain) => write!(f, "domain \"{domain}\" admits no peer"),
            Self::NoDomain => f.write_str("the policy admits no peer"),
            Self::AdmitsAnyone(domain, mechanism) => write!(
                f,
                "domain \"{domain}\" admits anyone by {mechanism}{}",
                hint_of(mechanism)
            ),
            Self::OpenToOthers(file, mode) => f.write_str(&open_to_others(file, *mode)),
            Self::WritableByOthers(file, mode) => write!(
                f,
                "others than its owner may write to {file:?}, and so admit themselves \
                 (mode {mode:03o})"
            ),
            Self::WatchEnded(domain, mechanism) => write!(
                f,
                "domain \"{domain}\": the files for {mechanism} are no longer watched"
            ),
            Self::PasswordsInTheClear(domain) => write!(
                f,
                "domain \"{domain}\" has passwords in the clear: zmtp-auth passwd writes hashes"
            ),
        }
    }
}

const fn hint_of(mechanism: &MechanismKind) -> &'static str {
    match mechanism {
        MechanismKind::Curve => ": connections are encrypted, but any key is accepted",
        _ => "",
    }
}

/// " and N more", for all but the first.
fn more(count: &usize) -> String {
    match count {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    }
}

/// The first few file names, and the number of the others.
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
    /// Reads all files that the policy names, and returns warnings.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] if the policy cannot be put in force.
    pub fn lint(&self) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        Ok(self.compile(&Authenticator::new())?.warnings)
    }

    /// Adds the warnings about the settings and about permissions of files.
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
            self.add_domain_warnings(&domain, settings, found);
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

    /// The lists that apply to a domain: its own, or those of `*`.
    fn lists_of<'a>(&'a self, settings: &'a DomainSettings) -> Lists<'a> {
        let star = || self.settings.domain.get("*");
        match (&settings.allow, &settings.deny) {
            (None, None) => star().map_or((None, None), |star| lists(&star.allow, &star.deny)),
            (allow, deny) => lists(allow, deny),
        }
    }

    fn add_domain_warnings(
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
                let open = mode.map(|mode| PolicyWarning::OpenToOthers(path, mode));
                // Several domains may have the same file.
                if let Some(open) = open
                    && !found.contains(&open)
                {
                    found.push(open);
                }
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
            found.push(PolicyWarning::AdmitsNoPeer(domain.clone()));
        }
    }
}

/// The allow list and the deny list.
type Lists<'a> = (Option<&'a [AddressRule]>, Option<&'a [AddressRule]>);

fn lists<'a>(allow: &'a Option<Vec<AddressRule>>, deny: &'a Option<Vec<AddressRule>>) -> Lists<'a> {
    (allow.as_deref(), deny.as_deref())
}

/// Whether no address can pass both lists. Rules are compared one by one, so it is not noticed if
/// only several deny rules together cover an allow rule.
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
    passwords.any(|password| {
        let input = password_input(password.expose());
        matches!(input, Ok(PasswordInput::InTheClear(_)))
    })
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
    // This system has no such permission bits.
    let _ = fs::metadata(path);
    None
}
