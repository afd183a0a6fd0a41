//! The decision: one immutable policy, one request.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, Credentials, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::address::list::AddressLists;
use crate::auth::policy::admission::{Admission, AdmittedPeer};
use crate::auth::policy::call::Call;
use crate::auth::policy::curve::CurveRule;
use crate::auth::policy::endings::Endings;
use crate::auth::policy::names::NameRule;
use crate::auth::policy::plain::PlainRule;
use crate::auth::policy::provider::{Asking, CurveQuestion, PlainQuestion, ProviderAnswer};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
#[cfg(feature = "reload")]
use crate::auth::policy::watched::watches::Watches;
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::wire::metadata::Metadata;
use crate::zap::contain::{Panicked, contain};
use crate::zap::hold_back::Outage;
use crate::zap::request::{CredentialsError, ZapRequest};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Everything a decision depends on. It is replaced and never changed, so a change is seen whole.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    /// Counts the changes. An entry that is new in this policy has this version.
    pub(crate) version: u64,
    /// The explicit call that rules: no policy file comes into force whose loading began before it.
    pub(crate) ruling_call: Call,
    /// While set, every request is refused.
    pub(crate) stopped: bool,
    /// Whose decisions are made again, even if this policy says the same.
    pub(crate) endings: Endings,
    /// Checked before any credential.
    pub(crate) addresses: Arc<AddressLists>,
    /// As `curve` by domain; an entry claims its domain, however empty it is.
    pub(crate) plain: BTreeMap<Domain, PlainRule>,
    pub(crate) curve: BTreeMap<Domain, CurveRule>,
    /// By domain, where a policy file rules; without one every NULL peer is admitted.
    pub(crate) null: Option<BTreeMap<Domain, NameRule>>,
    /// By domain, where a policy file rules; without one every principal is admitted.
    pub(crate) gssapi: Option<BTreeMap<Domain, NameRule>>,
    pub(crate) user_ids: Option<UserIds>,
    /// Which of the rules follow their files.
    #[cfg(feature = "reload")]
    pub(crate) watches: Watches,
}

/// A mapping of keys to user ids.
pub(crate) type UserIds = Arc<dyn Fn(&PublicKey) -> Bytes + Send + Sync>;

/// The version of an entry that is no part of any configuration.
const BUILT_IN: u64 = 0;

/// What comes of a request as far as tables can tell.
pub(crate) enum Ruling {
    /// The peer comes in.
    Admit(Admission),
    /// The provider of its domain decides, or the verification of a hashed password.
    Ask(Ask),
}

/// A question that takes its time.
pub(crate) struct Ask {
    pub(crate) asking: Asking,
    /// Whether it pauses in any case, since a thread of ours answers it.
    pub(crate) is_on_thread: bool,
    /// How the provider fares, if there is one.
    pub(crate) outage: Option<Arc<Outage>>,
    pub(crate) credential: Credential,
    /// [`Rule::Provider`], or [`Rule::Passwords`] where a hash is verified.
    pub(crate) rule: Rule,
    pub(crate) entry_version: u64,
}

/// The entry that rules `domain`: its own, or that of `*`; and whose it is.
fn ruling<'a, T>(entries: &'a BTreeMap<Domain, T>, domain: &Domain) -> Option<(&'a Domain, &'a T)> {
    entries
        .get_key_value(domain)
        .or_else(|| entries.get_key_value(&Domain::ALL))
}

impl Policy {
    /// Decides by `pyzmq`'s table, first match first: address, form of credentials, mechanism.
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
                let user_id = Bytes::from_static(b"anonymous");
                self.judge_name(request, Credential::Null, user_id)
            }
            Credentials::Plain { username, password } => {
                self.judge_plain(request, username, password)
            }
            Credentials::Curve { key } => self.judge_curve(request, key, now),
            // The socket has authenticated the principal already.
            Credentials::Gssapi { principal } => {
                self.judge_name(request, Credential::Principal(principal.clone()), principal)
            }
        }
    }

    /// The rules for NULL or GSSAPI, if there are any.
    fn name_rules(&self, mechanism: MechanismKind) -> Option<&BTreeMap<Domain, NameRule>> {
        match mechanism {
            MechanismKind::Null => self.null.as_ref(),
            _ => self.gssapi.as_ref(),
        }
    }

    fn judge_name(
        &self,
        request: &ZapRequest,
        credential: Credential,
        user_id: Bytes,
    ) -> Result<Ruling, Refused> {
        let mechanism = credential.mechanism();
        let (rule, version) = match self.name_rules(mechanism) {
            None => (Rule::AddressAlone(mechanism), Some(BUILT_IN)),
            Some(rules) => match ruling(rules, &request.domain) {
                None => (Rule::Unclaimed(mechanism), None),
                Some((scope, entries)) => {
                    let rule = NameRule::name(mechanism, scope.clone());
                    (rule, entries.version_of(&credential))
                }
            },
        };
        let Some(entry_version) = version else {
            let refusal = match mechanism {
                MechanismKind::Null => Refusal::NullNotAllowed,
                _ => Refusal::UnknownPrincipal,
            };
            return Err(refusal.by(rule));
        };
        Ok(Ruling::Admit(Admission {
            user_id,
            metadata: Metadata::new(),
            credential,
            rule,
            entry_version,
            valid_until: None,
        }))
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
            return Err(refusal.by(Rule::Unclaimed(MechanismKind::Plain)));
        };
        let rule = entries.name(scope.clone());
        let mut outage = None;
        let mut is_on_thread = true;
        let asking: Asking = match entries {
            PlainRule::Nobody => return Err(Refusal::InvalidUsername.by(rule)),
            PlainRule::Table(table) if !table.is_costly() => {
                let checked = table.check(&name, password.expose());
                return match checked {
                    Err(refusal) => Err(refusal.by(rule)),
                    Ok(entry_version) => Ok(Ruling::Admit(Admission {
                        user_id: name.clone(),
                        metadata: Metadata::new(),
                        credential: Credential::UserName(name),
                        rule,
                        entry_version,
                        valid_until: None,
                    })),
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
                Box::new(move |time, turn| provider.ask(question, time, turn))
            }
        };
        Ok(Ruling::Ask(Ask {
            asking,
            is_on_thread,
            outage,
            rule,
            // Who is not in the table gets no further than the question.
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
            return Err(Refusal::UnknownDomain.by(Rule::Unclaimed(MechanismKind::Curve)));
        };
        let rule = entries.name(scope.clone());
        let (metadata, entry_version, valid_until) = match entries {
            CurveRule::AnyKey { version } => (Metadata::new(), *version, None),
            CurveRule::Keys(keys) => {
                let Some(entry) = keys.get(&key) else {
                    return Err(Refusal::UnknownKey.by(rule));
                };
                if let Err(refusal) = entry.check(now) {
                    return Err(refusal.by(rule));
                }
                (entry.metadata(), entry.version, entry.validity().not_after)
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
                    asking: Box::new(move |time, turn| provider.ask(question, time, turn)),
                    credential: Credential::Key(key),
                    rule,
                    entry_version: *version,
                }));
            }
        };
        match self.curve_user_id(&key) {
            Err(refusal) => Err(refusal.by(rule)),
            Ok(user_id) => Ok(Ruling::Admit(Admission {
                user_id,
                metadata,
                credential: Credential::Key(key),
                rule,
                entry_version,
                valid_until,
            })),
        }
    }

    /// What the answer to a question means for the peer with that credential.
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
            (ProviderAnswer::Later, _) => Err(Refusal::Later),
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
            Ok((user_id, metadata)) => Ok(Admission {
                user_id,
                metadata,
                credential,
                rule,
                entry_version,
                valid_until: None,
            }),
        }
    }

    /// The user id of a key: the application's mapping, or its Z85 text.
    pub(crate) fn curve_user_id(&self, key: &PublicKey) -> Result<Bytes, Refusal> {
        match &self.user_ids {
            // Reply and grant share it.
            None => Ok(Bytes::from_owner(key.z85_bytes())),
            Some(user_ids) => contain(|| user_ids(key)).map_err(|Panicked| Refusal::Failed),
        }
    }

    /// Whether a decision of that version that admits `peer` counts now. Calls no foreign code.
    pub(crate) fn confirms(
        &self,
        version: u64,
        peer: &AdmittedPeer<'_>,
        now: impl Fn() -> Option<SystemTime>,
    ) -> bool {
        version == self.version
            || (self.endings.spare(version, peer) && self.still_admits(peer, now).is_some())
    }

    /// The end of an admission's validity, if it stands under this policy. Calls no foreign code.
    pub(crate) fn still_admits(
        &self,
        peer: &AdmittedPeer<'_>,
        now: impl Fn() -> Option<SystemTime>,
    ) -> Option<Option<SystemTime>> {
        let (domain, credential) = (peer.domain, peer.credential);
        self.addresses.check(domain, peer.address).ok()?;
        let (version, valid_until) = match credential {
            Credential::Null | Credential::Principal(_) => {
                let version = match self.name_rules(credential.mechanism()) {
                    None => BUILT_IN,
                    Some(rules) => ruling(rules, domain)?.1.version_of(credential)?,
                };
                (version, None)
            }
            Credential::UserName(name) => (ruling(&self.plain, domain)?.1.version_of(name)?, None),
            Credential::Key(key) => ruling(&self.curve, domain)?.1.still_admits(key, now)?,
        };
        (version == peer.entry_version).then_some(valid_until)
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
            .finish_non_exhaustive()
    }
}
