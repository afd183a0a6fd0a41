//! The topics of a domain: entries by name become a table of users.
#![forbid(unsafe_code)]

use crate::access::credentials::{MAX_PLAIN_LEN, MechanismKind};
use crate::access::domain::Domain;
use crate::access::topics::{TopicPermissionError, TopicPermissions};
use crate::auth::policy::topics::{TopicTable, TopicUser};
use crate::auth::policy_file::error::PolicyFileErrorKind;
use crate::auth::policy_file::settings::{DomainSettings, PolicySettings, TopicSettings};
use crate::auth::policy_file::warning::PolicyWarning;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the entry for all users without an entry.
const OTHERS: &str = "*";

impl TopicSettings {
    /// The permissions that they describe.
    pub(super) fn permissions(&self) -> Result<TopicPermissions, TopicPermissionError> {
        TopicPermissions::none()
            .with_subscribe(&self.subscribe)?
            .with_publish(&self.publish)
    }

    /// Prefixes that a shorter or equal one of the same list covers.
    fn covered(&self) -> impl Iterator<Item = &String> {
        [&self.subscribe, &self.publish]
            .into_iter()
            .flat_map(|list| {
                let mut sorted: Vec<_> = list.iter().collect();
                sorted.sort_unstable();
                let mut shortest: Option<&String> = None;
                sorted.retain(|prefix| match shortest {
                    Some(shorter) if prefix.starts_with(shorter.as_str()) => true,
                    _ => {
                        shortest = Some(prefix);
                        false
                    }
                });
                sorted
            })
    }
}

/// The mechanisms that the section of a domain, or the section that it inherits from, configures.
fn mechanisms(settings: &PolicySettings, domain: &DomainSettings) -> Vec<MechanismKind> {
    let inherited = settings.domain.get("*").filter(|_| domain.inherit);
    let sections = [Some(domain), inherited];
    let any = |has: fn(&DomainSettings) -> bool| sections.into_iter().flatten().any(has);
    let configured = [
        (MechanismKind::Null, any(|domain| domain.null.is_some())),
        (MechanismKind::Plain, any(|domain| domain.plain.is_some())),
        (MechanismKind::Curve, any(|domain| domain.curve.is_some())),
        (MechanismKind::Gssapi, any(|domain| domain.gssapi.is_some())),
    ];
    let configured = configured.into_iter().filter(|(_, is)| *is);
    configured.map(|(mechanism, _)| mechanism).collect()
}

/// The mechanism before the first colon of a name, and the rest.
fn qualified(name: &str) -> Option<(MechanismKind, &str)> {
    let (mechanism, user) = name.split_once(':')?;
    let mechanism = mechanism.to_ascii_uppercase().parse().ok()?;
    Some((mechanism, user))
}

/// Creates the table of a domain, and adds warnings about its entries. `may_know` says whether a rule
/// of the domain may admit a user.
///
/// # Errors
/// Returns what is wrong with its entries, the first error of each.
pub(super) fn compile(
    policy: &PolicySettings,
    domain: &Domain,
    settings: &DomainSettings,
    topics: &BTreeMap<String, TopicSettings>,
    may_know: impl Fn(&TopicUser) -> bool,
    warnings: &mut Vec<PolicyWarning>,
) -> Result<TopicTable, Vec<PolicyFileErrorKind>> {
    let mechanisms = mechanisms(policy, settings);
    let mut named: BTreeSet<TopicUser> = BTreeSet::new();
    let mut table = TopicTable::new();
    let mut errors = Vec::new();
    for (name, settings) in topics {
        let permissions = match settings.permissions() {
            Ok(permissions) => permissions,
            Err(reason) => {
                errors.push(PolicyFileErrorKind::TopicPermissions(name.clone(), reason));
                continue;
            }
        };
        for covered in settings.covered() {
            let (name, covered) = (name.clone(), covered.clone());
            let warning = PolicyWarning::CoveredPrefix(domain.clone(), name, covered);
            warnings.push(warning);
        }
        if name == OTHERS {
            table = table.with_others(permissions);
            continue;
        }
        match user(name, &mechanisms) {
            Err(error) => errors.push(error),
            Ok(None) => warnings.push(unknown(domain, name)),
            Ok(Some(user)) => {
                if !mechanisms.contains(&user.0) || !may_know(&user) {
                    warnings.push(unknown(domain, name));
                }
                table = table.with_user(user.0, user.1.clone(), permissions);
                if !named.insert(user) {
                    errors.push(PolicyFileErrorKind::SameTopicUser(name.clone()));
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(table)
    } else {
        Err(errors)
    }
}

/// The user that an entry of that name is about, in a domain with these mechanisms. `None` if it has none.
fn user(
    name: &str,
    mechanisms: &[MechanismKind],
) -> Result<Option<TopicUser>, PolicyFileErrorKind> {
    let (mechanism, user) = match (qualified(name), mechanisms) {
        // It would read as all users of the mechanism.
        (Some((_, OTHERS)), _) => return Err(PolicyFileErrorKind::TopicUser(name.to_owned())),
        (Some(user), _) => user,
        (None, [only]) => (*only, name),
        (None, []) => return Ok(None),
        (None, _) => return Err(PolicyFileErrorKind::TopicMechanism(name.to_owned())),
    };
    if user.is_empty() || user.len() > MAX_PLAIN_LEN {
        return Err(PolicyFileErrorKind::TopicUser(name.to_owned()));
    }
    Ok(Some((mechanism, Bytes::copy_from_slice(user.as_bytes()))))
}

fn unknown(domain: &Domain, name: &str) -> PolicyWarning {
    PolicyWarning::UnknownTopicUser(domain.clone(), name.to_owned())
}
