//! Turns settings into rules: checks combinations of values, and reads the files that they name.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::list::{AddressLists, ListError};
use crate::auth::policy::curve::rule::CurveRule;
use crate::auth::policy::decide::ruling;
use crate::auth::policy::password_file::{Passwords, password_input};
use crate::auth::policy::plain::rule::PlainRule;
use crate::auth::policy::plain::table::PasswordTable;
use crate::auth::policy::principals::PrincipalRule;
use crate::auth::policy::topics::{TopicTables, TopicUser};
#[cfg(feature = "reload")]
use crate::auth::policy::watched::{reading::Reading, source::Source};
use crate::auth::policy_file::error::{PolicyFileError, PolicyFileErrorKind};
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::settings::{
    CurveSettings, DomainSettings, GssapiSettings, NullSettings, PlainSettings,
};
use crate::auth::policy_file::topics;
use crate::auth::policy_file::warning::PolicyWarning;
use crate::cert::directory::CertificateDirectory;
use crate::cert::load::{self, DirectoryReport};
use crate::cert::validity::Validity;
use crate::printable::printable;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// All rules of a policy file.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) addresses: AddressLists,
    pub(super) plain: BTreeMap<Domain, PlainRule>,
    pub(super) curve: BTreeMap<Domain, CurveRule>,
    pub(super) null: BTreeMap<Domain, PrincipalRule>,
    pub(super) gssapi: BTreeMap<Domain, PrincipalRule>,
    pub(super) topics: TopicTables,
    /// The files and directories that the policy names, as they were read.
    #[cfg(feature = "reload")]
    pub(super) sources: Vec<NamedSource>,
    pub(super) warnings: Vec<PolicyWarning>,
}

/// A file or directory that a policy names.
#[cfg(feature = "reload")]
pub(super) struct NamedSource {
    pub(super) source: Source,
    pub(super) reading: Reading,
    /// Whether it is reloaded when it changes.
    pub(super) is_watched: bool,
}

impl From<ListError> for PolicyFileErrorKind {
    fn from(error: ListError) -> Self {
        match error {
            ListError::BothLists => Self::BothLists,
            ListError::EmptyAllowList => Self::EmptyAllowList,
        }
    }
}

impl Rules {
    /// Whether a peer with this user id can be admitted to `domain`, as far as tables say it.
    fn may_know(&self, domain: &Domain, (mechanism, user_id): &TopicUser) -> bool {
        match *mechanism {
            MechanismKind::Null => user_id == "anonymous",
            MechanismKind::Plain => ruling(&self.plain, domain)
                .is_some_and(|(_, rule)| rule.version_of(user_id).is_some()),
            MechanismKind::Curve => {
                ruling(&self.curve, domain).is_some_and(|(_, rule)| rule.may_name(user_id))
            }
            MechanismKind::Gssapi => ruling(&self.gssapi, domain).is_some_and(|(_, rule)| {
                let principal = Credential::Principal(user_id.clone());
                rule.version_of(&principal).is_some()
            }),
        }
    }
}

impl PolicyFile {
    /// Creates the rules that `auth` can put in force. `auth` is not changed.
    pub(super) fn compile(&self, auth: &Authenticator) -> Result<Rules, PolicyFileError> {
        let (rules, errors) = self.compile_all(auth);
        errors.into_iter().next().map_or(Ok(rules), Err)
    }

    /// As [`PolicyFile::compile`], and goes on after an error. If there is one, the rules are not complete.
    pub(super) fn compile_all(&self, auth: &Authenticator) -> (Rules, Vec<PolicyFileError>) {
        let mut rules = Rules::default();
        let mut errors = Vec::new();
        let settings = &self.settings;
        let everywhere = (settings.allow.as_deref(), settings.deny.as_deref());
        if let Err(reason) = rules.addresses.set(None, everywhere) {
            errors.push(self.error(String::new(), reason.into()));
        }
        for (name, settings) in &settings.domain {
            let place = format!("domain.{}", key(name));
            let domain = DomainRules {
                policy: self,
                auth,
                domain: Domain::from(name.clone()),
                settings,
            };
            errors.extend(domain.compile(&mut rules).map(|(part, reason)| {
                let dot = if part.is_empty() { "" } else { "." };
                self.error(format!("{place}{dot}{part}"), reason)
            }));
        }
        // Their entries name the users of all rules.
        for (name, domain) in &settings.domain {
            let Some(entries) = &domain.topics else {
                continue;
            };
            let scope = Domain::from(name.clone());
            let mut warnings = Vec::new();
            let may_know = |user: &TopicUser| rules.may_know(&scope, user);
            let table = topics::compile(settings, &scope, domain, entries, may_know, &mut warnings);
            rules.warnings.append(&mut warnings);
            match table {
                Ok(table) => {
                    rules.topics.0.insert(scope, Arc::new(table));
                }
                Err(reasons) => {
                    let place = format!("domain.{}.topics", key(name));
                    let reasons = reasons.into_iter();
                    errors.extend(reasons.map(|reason| self.error(place.clone(), reason)));
                }
            }
        }
        self.add_warnings(&mut rules.warnings);
        (rules, errors)
    }
}

/// A name as a TOML key, quoted if necessary.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

/// One domain of a policy.
struct DomainRules<'a> {
    policy: &'a PolicyFile,
    auth: &'a Authenticator,
    domain: Domain,
    settings: &'a DomainSettings,
}

/// A value and an error, of which there is one if there is a result.
fn apart<T, E>(result: Option<Result<T, E>>) -> (Option<T>, Option<E>) {
    match result {
        Some(Ok(value)) => (Some(value), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    }
}

/// The part of a section that is wrong, and the reason.
type Wrong = (&'static str, PolicyFileErrorKind);

impl DomainRules<'_> {
    /// Adds the rules of the domain. Returns what is wrong with its section.
    fn compile(&self, rules: &mut Rules) -> impl Iterator<Item = Wrong> {
        let settings = self.settings;
        let checked = self.check();
        let lists = (settings.allow.as_deref(), settings.deny.as_deref());
        let listed = rules.addresses.set(Some(&self.domain), lists);
        let listed = listed.err().map(|reason| ("", reason.into()));

        let null = settings
            .null
            .map(|NullSettings::Any| PrincipalRule::anyone());
        self.rule(&mut rules.null, null, PrincipalRule::no_principals);
        let gssapi = settings.gssapi.as_ref().map(|gssapi| match gssapi {
            GssapiSettings::Any => PrincipalRule::anyone(),
            GssapiSettings::Principals(names) => PrincipalRule::principals(names.iter().cloned()),
        });
        self.rule(&mut rules.gssapi, gssapi, PrincipalRule::no_principals);

        let plain = settings.plain.as_ref().map(|it| self.plain(it, rules));
        let (plain, plain_error) = apart(plain);
        self.rule(&mut rules.plain, plain, || PlainRule::NoUsers);
        let curve = settings.curve.as_ref().map(|it| self.curve(it, rules));
        let (curve, curve_error) = apart(curve);
        self.rule(&mut rules.curve, curve, CurveRule::no_keys);
        let more = [
            listed,
            plain_error.map(|reason| ("plain", reason)),
            curve_error.map(|reason| ("curve", reason)),
        ];
        checked.chain(more.into_iter().flatten())
    }

    /// What is wrong with the combination of the values of a section.
    fn check(&self) -> impl Iterator<Item = Wrong> {
        let settings = self.settings;
        let is_all = self.domain == Domain::ALL;
        let directory = matches!(settings.curve, Some(CurveSettings::Certificates(_)));
        let keys = directory || matches!(settings.curve, Some(CurveSettings::Keys(_)));
        let files = directory || matches!(settings.plain, Some(PlainSettings::File(_)));
        let has_reload = cfg!(feature = "reload");
        let wrong = [
            (
                settings.inherit && is_all,
                ("inherit", PolicyFileErrorKind::NothingToInherit),
            ),
            (
                settings.validity.is_some() && !keys,
                ("validity", PolicyFileErrorKind::ValidityWithoutKeys),
            ),
            (
                settings.layout.is_some() && !directory,
                ("layout", PolicyFileErrorKind::LayoutWithoutDirectory),
            ),
            (
                settings.names && !directory,
                ("names", PolicyFileErrorKind::NamesWithoutDirectory),
            ),
            (
                settings.reload && !files,
                ("reload", PolicyFileErrorKind::ReloadWithoutFiles),
            ),
            (
                settings.reload && files && !has_reload,
                ("reload", PolicyFileErrorKind::ReloadNotBuilt),
            ),
        ];
        let wrong = wrong.into_iter().filter(|(is_wrong, _)| *is_wrong);
        wrong.map(|(_, wrong)| wrong)
    }

    /// Enters the rule for one mechanism. If the section does not name the mechanism, it gets the
    /// rule `empty`, which admits no peer, so that the domain does not fall back to `*`. A section
    /// that inherits gets no rule, and neither does `*`, which has nothing to fall back to.
    fn rule<R>(&self, rules: &mut BTreeMap<Domain, R>, rule: Option<R>, empty: fn() -> R) {
        let is_all = self.domain == Domain::ALL;
        let empty = || (!self.settings.inherit && !is_all).then(empty);
        if let Some(rule) = rule.or_else(empty) {
            rules.insert(self.domain.clone(), rule);
        }
    }

    fn plain(
        &self,
        plain: &PlainSettings,
        rules: &mut Rules,
    ) -> Result<PlainRule, PolicyFileErrorKind> {
        let table = match plain {
            PlainSettings::Users(users) => {
                let users: Result<Vec<_>, _> = users
                    .iter()
                    .map(|(name, password)| {
                        password_input(password.expose()).map(|input| (name, input))
                    })
                    .collect();
                // Passwords from a TOML file were checked when it was read. These may be from
                // settings that were created in Rust.
                let users =
                    users.map_err(|reason| PolicyFileErrorKind::Toml(reason.to_string()))?;
                let key = self
                    .auth
                    .hash_key()
                    .map_err(|_| PolicyFileErrorKind::Random)?;
                Arc::new(PasswordTable::new(key, self.auth.verifiers(), users))
            }
            PlainSettings::File(path) => {
                let path = self.policy.base.join(path);
                let passwords = Passwords::load(&path)?;
                let table = self.auth.password_table(&passwords)?;
                #[cfg(feature = "reload")]
                rules.sources.push(NamedSource {
                    source: Source::PasswordFile(self.domain.clone(), path),
                    reading: Reading::of_table(&table, passwords.loose_mode),
                    is_watched: self.settings.reload,
                });
                Arc::new(table)
            }
        };
        if table.is_empty() {
            let domain = self.domain.clone();
            rules.warnings.push(PolicyWarning::NoUsers(domain));
        }
        let mut open: Vec<_> = table.users_without_password().collect();
        open.sort_unstable();
        if let Some(first) = open.first() {
            let (domain, first) = (self.domain.clone(), printable(first));
            rules
                .warnings
                .push(PolicyWarning::EmptyPassword(domain, first, open.len()));
        }
        Ok(PlainRule::Table(table))
    }

    fn curve(
        &self,
        curve: &CurveSettings,
        rules: &mut Rules,
    ) -> Result<CurveRule, PolicyFileErrorKind> {
        let validity = self.settings.validity.unwrap_or_default();
        let rule = match curve {
            CurveSettings::Any => return Ok(CurveRule::any_key()),
            CurveSettings::Keys(keys) => CurveRule::rows(keys)?,
            CurveSettings::Certificates(path) => {
                let directory = CertificateDirectory::new(self.policy.base.join(path))
                    .with_layout(self.settings.layout.unwrap_or_default())
                    .with_names(self.settings.names);
                let report = load::read(&directory)?;
                self.add_directory_warnings(&directory, &report, &mut rules.warnings);
                let rule = CurveRule::certificates(&report.certificates, directory.names());
                #[cfg(feature = "reload")]
                rules.sources.push(NamedSource {
                    source: Source::Directory(self.domain.clone(), directory, validity),
                    reading: Reading::of_report(&report),
                    is_watched: self.settings.reload,
                });
                rule
            }
        };
        let rule = if validity == Validity::default() {
            rule
        } else {
            rule.within(&validity)
        };
        let domain = self.domain.clone();
        if rule.is_empty() {
            rules.warnings.push(PolicyWarning::NoKeys(domain));
        } else if !rule.admits_at(self.auth.now()) {
            rules.warnings.push(PolicyWarning::NoValidKey(domain));
        }
        Ok(rule)
    }

    /// Adds the warnings about a directory of certificates.
    fn add_directory_warnings(
        &self,
        directory: &CertificateDirectory,
        report: &DirectoryReport,
        warnings: &mut Vec<PolicyWarning>,
    ) {
        let domain = || self.domain.clone();
        let problems = report.problems.iter();
        warnings.extend(problems.map(|(_, error)| PolicyWarning::LeftOut(domain(), error.clone())));
        let found = report.warnings.iter().cloned();
        warnings.extend(found.map(|found| PolicyWarning::Certificate(domain(), found)));
        let overlooked: Vec<_> = report.overlooked().map(Path::to_owned).collect();
        if !overlooked.is_empty() {
            let directory = directory.path().to_owned();
            warnings.push(PolicyWarning::PassedOver(domain(), directory, overlooked));
        }
    }
}
