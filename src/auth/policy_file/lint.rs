//! Looks for settings of a valid policy that are probably not meant.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::curve::row::CurveKey;
use crate::auth::policy::password_file::password_input;
use crate::auth::policy::plain::table::PasswordInput;
use crate::auth::policy_file::error::PolicyFileError;
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::settings::{
    CurveSettings, DomainSettings, GssapiSettings, PlainSettings,
};
use crate::auth::policy_file::warning::PolicyWarning;
use crate::cert::validity::Validity;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

impl PolicyFile {
    /// Reads all files that the policy names, and returns warnings.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] if the policy cannot be put in force.
    pub fn lint(&self) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        Ok(self.compile(&Authenticator::new())?.warnings)
    }

    /// As [`PolicyFile::lint`], but goes on after an error, such as a file that is missing.
    ///
    /// # Errors
    /// Returns the first error of each value of each section, and of each entry of topics, if the policy
    /// cannot be put in force. There is at least one.
    pub fn lint_all(&self) -> Result<Vec<PolicyWarning>, Vec<PolicyFileError>> {
        let (rules, errors) = self.compile_all(&Authenticator::new());
        if errors.is_empty() {
            Ok(rules.warnings)
        } else {
            Err(errors)
        }
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
            Some(CurveSettings::Keys(rows)) => self.add_row_warnings(domain, settings, rows, found),
            None => {}
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

    /// Adds the warnings about the keys of a domain.
    fn add_row_warnings(
        &self,
        domain: &Domain,
        settings: &DomainSettings,
        rows: &[CurveKey],
        found: &mut Vec<PolicyWarning>,
    ) {
        let everywhere = lists(&self.settings.allow, &self.settings.deny);
        let mut known = HashSet::new();
        for row in rows {
            if !known.insert(row.key) {
                found.push(PolicyWarning::SameKey(domain.clone(), row.key));
                continue;
            }
            let from = (row.from.as_deref(), None);
            if leave_nothing(everywhere, from) || leave_nothing(self.lists_of(settings), from) {
                let user = row.user.clone();
                found.push(PolicyWarning::NoAddressForKey(
                    domain.clone(),
                    row.key,
                    user,
                ));
            }
        }
        let groups = PolicyWarning::GroupRule(Some(domain.clone()));
        if rows.iter().any(|row| has_group_rules(&row.from, &None)) && !found.contains(&groups) {
            found.push(groups);
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
