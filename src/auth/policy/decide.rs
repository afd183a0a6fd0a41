//! The decision about one request by one immutable policy.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, Credentials, MechanismKind};
use crate::access::domain::Domain;
use crate::access::topics::TopicPermissions;
use crate::auth::policy::address::list::AddressLists;
use crate::auth::policy::admission::{Admission, AdmittedPeer};
use crate::auth::policy::call::Call;
use crate::auth::policy::curve::rule::CurveRule;
use crate::auth::policy::endings::Endings;
use crate::auth::policy::plain::rule::PlainRule;
use crate::auth::policy::principals::PrincipalRule;
use crate::auth::policy::provider::{Asking, CurveQuestion, PlainQuestion, ProviderAnswer};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use crate::auth::policy::topics::TopicTables;
#[cfg(feature = "reload")]
use crate::auth::policy::watched::watches::Watches;
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::wire::metadata::Metadata;
use crate::zap::contain::{Panicked, contain};
use crate::zap::hold_back::Outage;
use crate::zap::request::{CredentialsError, ZapRequest};
use bytes::Bytes;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Everything that a decision depends on. A policy in force is replaced and never modified, so every
/// decision sees a change either as a whole or not at all.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    /// The number of changes so far. Entries that are new in this policy have this version.
    pub(crate) version: u64,
    /// The last explicit call. A policy file that began to load before it does not come into force.
    pub(crate) ruling_call: Call,
    /// While true, every request is refused.
    pub(crate) stopped: bool,
    /// Peers whose decisions in progress are repeated, even if this policy still admits them.
    pub(crate) endings: Endings,
    /// The address lists, which are checked before any credentials.
    pub(crate) addresses: Arc<AddressLists>,
    /// The PLAIN rules by domain. An entry claims its domain, even if it admits no peer.
    pub(crate) plain: BTreeMap<Domain, PlainRule>,
    /// The CURVE rules by domain. An entry claims its domain, even if it admits no peer.
    pub(crate) curve: BTreeMap<Domain, CurveRule>,
    /// The NULL rules by domain, from a policy file. Without one every NULL peer is admitted.
    pub(crate) null: Option<BTreeMap<Domain, PrincipalRule>>,
    /// The GSSAPI rules by domain, from a policy file. Without one every principal is admitted.
    pub(crate) gssapi: Option<BTreeMap<Domain, PrincipalRule>>,
    pub(crate) user_ids: Option<UserIds>,
    /// The topics that users may use. They admit and refuse no peer.
    pub(crate) topics: Arc<TopicTables>,
    /// The rules that are reloaded when their files change.
    #[cfg(feature = "reload")]
    pub(crate) watches: Watches,
}

/// A mapping of keys to user ids.
pub(crate) type UserIds = Arc<dyn Fn(&PublicKey) -> Bytes + Send + Sync>;

/// The user id of every NULL peer.
pub(crate) const ANONYMOUS: &[u8] = b"anonymous";

/// The entry version of built-in rules, which no configuration contains.
const BUILT_IN: u64 = 0;

/// The decision about a request, as far as tables decide it.
pub(crate) enum Ruling {
    /// The peer is admitted.
    Admit(Admission),
    /// A provider or the verification of a hashed password has to decide.
    Ask(Ask),
}

/// A question to a provider, or to the verification of a hashed password.
pub(crate) struct Ask {
    pub(crate) asking: Asking,
    /// Whether a thread of ours answers it, so that it is never ready at the first poll.
    pub(crate) is_on_thread: bool,
    /// The record of the provider's outages, if there is a provider.
    pub(crate) outage: Option<Arc<Outage>>,
    pub(crate) credential: Credential,
    /// [`Rule::Provider`], or [`Rule::Passwords`] if a hash is verified.
    pub(crate) rule: Rule,
    pub(crate) entry_version: u64,
}

/// The entry that rules `domain`, and the domain it belongs to: `domain` itself or `*`.
pub(crate) fn ruling<'a, T, Name: Ord + ?Sized>(
    entries: &'a BTreeMap<Domain, T>,
    domain: &Name,
) -> Option<(&'a Domain, &'a T)>
where
    Domain: Borrow<Name>,
{
    entries
        .get_key_value(domain)
        .or_else(|| entries.get_key_value::<Domain>(&Domain::ALL))
}

impl Policy {
    /// Decides in pyzmq's order: first the address, then the form of the credentials, then the
    /// rule of the mechanism.
    pub(crate) fn judge(
        &self,
        request: &ZapRequest,
        now: impl Fn() -> Option<SystemTime>,
    ) -> Result<Ruling, Refused> {
        if self.stopped {
            return Err(Refusal::Stopped.by(Rule::Stopped));
        }
        self.addresses.check(&request.domain, &request.address)?;
        let credentials = request.credentials().map_err(|error| {
            let refusal = match error {
                CredentialsError::UnknownMechanism => Refusal::NoAccess,
                CredentialsError::Invalid => Refusal::InvalidCredentials,
            };
            refusal.by(Rule::Request)
        })?;
        match credentials {
            Credentials::Null => {
                let user_id = Bytes::from_static(ANONYMOUS);
                self.judge_name(request, Credential::Null, user_id)
            }
            Credentials::Plain { username, password } => {
                self.judge_plain(request, username, password)
            }
            Credentials::Curve { key } => self.judge_curve(request, key, now),
            // The socket has already authenticated the principal.
            Credentials::Gssapi { principal } => {
                self.judge_name(request, Credential::Principal(principal.clone()), principal)
            }
        }
    }

    /// The rule for a peer by NULL or GSSAPI, and the version of the entry that admits it.
    fn name_ruling(&self, domain: &Domain, credential: &Credential) -> (Rule, Option<u64>) {
        let mechanism = credential.mechanism();
        let rules = match mechanism {
            MechanismKind::Null => &self.null,
            _ => &self.gssapi,
        };
        match rules {
            // There is no policy file.
            None => (Rule::AddressAlone(mechanism), Some(BUILT_IN)),
            Some(rules) => match ruling(rules, domain) {
                None => (self.unclaimed(mechanism, domain), None),
                Some((scope, entries)) => {
                    let rule = PrincipalRule::name(mechanism, scope.clone());
                    (rule, entries.version_of(credential))
                }
            },
        }
    }

    fn judge_name(
        &self,
        request: &ZapRequest,
        credential: Credential,
        user_id: Bytes,
    ) -> Result<Ruling, Refused> {
        let (rule, version) = self.name_ruling(&request.domain, &credential);
        let Some(entry_version) = version else {
            let refusal = match credential.mechanism() {
                MechanismKind::Null => Refusal::NullNotAllowed,
                _ => Refusal::UnknownPrincipal,
            };
            return Err(refusal.by(rule));
        };
        let metadata = Metadata::new();
        let admission = Admission::new(user_id, metadata, credential, rule, entry_version);
        Ok(Ruling::Admit(admission))
    }

    fn judge_plain(
        &self,
        request: &ZapRequest,
        name: Bytes,
        password: Password,
    ) -> Result<Ruling, Refused> {
        let Some((scope, entries)) = ruling(&self.plain, &request.domain) else {
            let refusal = if self.plain.is_empty() {
                Refusal::NoPasswords
            } else {
                Refusal::InvalidDomain
            };
            return Err(refusal.by(self.unclaimed(MechanismKind::Plain, &request.domain)));
        };
        let rule = entries.name(scope.clone());
        let mut outage = None;
        let mut is_on_thread = true;
        let asking: Asking = match entries {
            PlainRule::NoUsers => return Err(Refusal::InvalidUsername.by(rule)),
            PlainRule::Table(table) if !table.is_costly() => {
                let checked = table.check(&name, password.expose());
                return match checked {
                    Err(refusal) => Err(refusal.by(rule)),
                    Ok(entry_version) => Ok(Ruling::Admit(Admission::new(
                        name.clone(),
                        Metadata::new(),
                        Credential::UserName(name),
                        rule,
                        entry_version,
                    ))),
                };
            }
            PlainRule::Table(table) => Arc::clone(table).asking(name.clone(), password),
            PlainRule::Provider { provider, .. } => {
                let provider = Arc::clone(provider);
                let question = PlainQuestion {
                    domain: request.domain.clone(),
                    address: request.address.clone(),
                    identity: request.identity.clone(),
                    username: name.clone(),
                    password,
                };
                is_on_thread = provider.is_blocking();
                outage = Some(Arc::clone(provider.outage()));
                Box::new(move |time, priority| provider.ask(question, time, priority))
            }
        };
        Ok(Ruling::Ask(Ask {
            asking,
            is_on_thread,
            outage,
            rule,
            // A user who is not in the table is refused by the check, whatever the version.
            entry_version: entries.version_of(&name).unwrap_or(BUILT_IN),
            credential: Credential::UserName(name),
        }))
    }

    fn judge_curve(
        &self,
        request: &ZapRequest,
        key: PublicKey,
        now: impl Fn() -> Option<SystemTime>,
    ) -> Result<Ruling, Refused> {
        let Some((scope, entries)) = ruling(&self.curve, &request.domain) else {
            return Err(
                Refusal::UnknownDomain.by(self.unclaimed(MechanismKind::Curve, &request.domain))
            );
        };
        let rule = entries.name(scope.clone());
        let (user, metadata, entry_version, valid_until) = match entries {
            CurveRule::AnyKey { version } => (None, Metadata::new(), *version, None),
            CurveRule::Keys(keys) => {
                let Some(entry) = keys.get(&key) else {
                    return Err(Refusal::UnknownKey.by(rule));
                };
                if let Err(refusal) = entry.check_address(&request.address) {
                    let rule = Rule::KeyAddresses(scope.clone());
                    return Err(refusal.by(rule).about(entry.user()));
                }
                if let Err(refusal) = entry.check(now) {
                    return Err(refusal.by(rule).about(entry.user()));
                }
                let valid_until = entry.validity().not_after;
                let user = entry.user().cloned();
                (user, entry.metadata(), entry.version, valid_until)
            }
            CurveRule::Provider { provider, version } => {
                let provider = Arc::clone(provider);
                let question = CurveQuestion {
                    domain: request.domain.clone(),
                    address: request.address.clone(),
                    identity: request.identity.clone(),
                    key,
                    claims: request.claims().cloned(),
                };
                return Ok(Ruling::Ask(Ask {
                    is_on_thread: provider.is_blocking(),
                    outage: Some(Arc::clone(provider.outage())),
                    asking: Box::new(move |time, priority| provider.ask(question, time, priority)),
                    credential: Credential::Key(key),
                    rule,
                    entry_version: *version,
                }));
            }
        };
        let is_named_by_key = user.is_none() && self.user_ids.is_none();
        match user.map_or_else(|| self.curve_user_id(&key), Ok) {
            Err(refusal) => Err(refusal.by(rule)),
            Ok(user_id) => Ok(Ruling::Admit(Admission {
                user_id,
                is_named_by_key,
                metadata,
                credential: Credential::Key(key),
                rule,
                entry_version,
                valid_until,
            })),
        }
    }

    /// The decision about the peer with that credential, by the answer to its question.
    pub(crate) fn judge_answer(
        &self,
        answer: ProviderAnswer,
        credential: Credential,
        rule: Rule,
        entry_version: u64,
    ) -> Result<Admission, Refused> {
        let decided = match (answer, &credential) {
            (ProviderAnswer::No, Credential::Key(_)) => Err(Refusal::UnknownKey),
            (ProviderAnswer::No, _) => Err(Refusal::RefusedByProvider),
            (ProviderAnswer::TemporaryFailure, _) => Err(Refusal::TemporaryFailure),
            (ProviderAnswer::Yes, Credential::Key(key)) => {
                self.curve_user_id(key).map(|id| (id, Metadata::new()))
            }
            (ProviderAnswer::Yes, Credential::UserName(id) | Credential::Principal(id)) => {
                Ok((id.clone(), Metadata::new()))
            }
            (ProviderAnswer::Yes, Credential::Null) => Ok((Bytes::new(), Metadata::new())),
            (ProviderAnswer::YesAs { user_id, metadata }, _) => Ok((user_id, metadata)),
        };
        match decided {
            Err(refusal) => Err(refusal.by(rule)),
            Ok((user_id, metadata)) => {
                let admission = Admission::new(user_id, metadata, credential, rule, entry_version);
                Ok(admission)
            }
        }
    }

    /// The user id of a key: by the application's mapping, or its Z85 text.
    pub(crate) fn curve_user_id(&self, key: &PublicKey) -> Result<Bytes, Refusal> {
        match &self.user_ids {
            // Shared by the reply and the grant.
            None => Ok(Bytes::from_owner(key.z85_bytes())),
            Some(user_ids) => contain(|| user_ids(key)).map_err(|Panicked| Refusal::Failed),
        }
    }

    /// The topics that an admitted peer may use under this policy.
    pub(crate) fn topics_of(&self, peer: &AdmittedPeer<'_>) -> TopicPermissions {
        let mechanism = peer.credential.mechanism();
        self.topics.of(peer.domain, mechanism, peer.user_id)
    }

    /// Whether a decision under the policy `version` to admit `peer` still stands under this
    /// policy. Calls no foreign code.
    pub(crate) fn confirms(
        &self,
        version: u64,
        peer: &AdmittedPeer<'_>,
        now: impl Fn() -> Option<SystemTime>,
    ) -> bool {
        version == self.version
            || (self.endings.allow(version, peer) && self.still_admits(peer, now).is_some())
    }

    /// The end of an admission's validity under this policy. The outer `None` means that the
    /// admission no longer stands, the inner `None` that its validity has no end. Calls no foreign
    /// code.
    pub(crate) fn still_admits(
        &self,
        peer: &AdmittedPeer<'_>,
        now: impl Fn() -> Option<SystemTime>,
    ) -> Option<Option<SystemTime>> {
        let (domain, credential) = (peer.domain, peer.credential);
        self.addresses.check(domain, peer.address).ok()?;
        let (rule, version, valid_until) = match credential {
            Credential::Null | Credential::Principal(_) => {
                let (rule, version) = self.name_ruling(domain, credential);
                (rule, version?, None)
            }
            Credential::UserName(name) => {
                let (scope, entries) = ruling(&self.plain, domain)?;
                (entries.name(scope.clone()), entries.version_of(name)?, None)
            }
            Credential::Key(key) => {
                let (scope, entries) = ruling(&self.curve, domain)?;
                let (version, end) = entries.still_admits(key, peer.address, now)?;
                (entries.name(scope.clone()), version, end)
            }
        };
        (version == peer.entry_version && rule == *peer.rule).then_some(valid_until)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("version", &self.version)
            .field("stopped", &self.stopped)
            .field("addresses", &self.addresses)
            .field("plain", &self.plain)
            .field("curve", &self.curve)
            .field("null", &self.null)
            .field("gssapi", &self.gssapi)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
