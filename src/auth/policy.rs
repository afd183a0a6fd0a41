//! The decision: one immutable policy, one request.
#![forbid(unsafe_code)]

use crate::access::request::{Credentials, Domain};
use crate::auth::address::AddressPolicy;
use crate::auth::curve::CurveRule;
use crate::auth::plain::PlainRule;
use crate::auth::provider::{AnyCurveProvider, CurveQuestion, ProviderAnswer};
use crate::auth::refusal::Refusal;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::Metadata;
use crate::zap::contain::{Panicked, contain};
use crate::zap::request::{CredentialsError, ZapRequest};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Everything a decision depends on. It is never changed, only replaced by a changed copy, so a
/// decision sees all of a change or nothing of it.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    /// While set, every request is refused.
    pub(crate) stopped: bool,
    /// Checked before any credential.
    pub(crate) addresses: Arc<AddressPolicy>,
    /// By domain; an entry claims its domain, however empty it is.
    pub(crate) plain: HashMap<Domain, PlainRule>,
    /// By domain; an entry claims its domain, however empty it is.
    pub(crate) curve: HashMap<Domain, CurveRule>,
    /// The application's mapping of keys to user ids.
    pub(crate) user_ids: Option<UserIds>,
}

/// A mapping of keys to user ids.
pub(crate) type UserIds = Arc<dyn Fn(&PublicKey) -> Bytes + Send + Sync>;

/// What an admitted peer is to us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admission {
    pub(crate) user_id: Bytes,
    pub(crate) metadata: Metadata,
}

impl Admission {
    fn of(user_id: impl Into<Bytes>) -> Self {
        Self {
            user_id: user_id.into(),
            metadata: Metadata::new(),
        }
    }
}

/// What comes of a request as far as tables can tell.
pub(crate) enum Ruling {
    /// The peer comes in.
    Admit(Admission),
    /// The provider of its domain decides.
    Ask(Arc<dyn AnyCurveProvider>, CurveQuestion),
}

/// The entry that rules `domain`: its own, or that of `*`.
fn ruling<'a, T>(entries: &'a HashMap<Domain, T>, domain: &Domain) -> Option<&'a T> {
    entries.get(domain).or_else(|| entries.get(&Domain::ALL))
}

impl Policy {
    /// Decides by `pyzmq`'s table, first match first: address, shape of the credentials, policy
    /// of the mechanism.
    pub(crate) fn judge(&self, request: &ZapRequest) -> Result<Ruling, Refusal> {
        if self.stopped {
            return Err(Refusal::Stopped);
        }
        self.addresses.check(&request.address)?;
        let credentials = request.credentials().map_err(|error| match error {
            CredentialsError::UnknownMechanism => Refusal::NoAccess,
            CredentialsError::Invalid => Refusal::InvalidCredentials,
        })?;
        let admission = match credentials {
            Credentials::Null => Admission::of("anonymous"),
            Credentials::Plain { username, password } => {
                self.judge_plain(&request.domain, &username, password.expose())?;
                Admission::of(username)
            }
            Credentials::Curve { key } => return self.judge_curve(request, key),
            // The socket has authenticated the principal already; there is nothing to look up.
            Credentials::Gssapi { principal } => Admission::of(principal),
        };
        Ok(Ruling::Admit(admission))
    }

    fn judge_plain(&self, domain: &Domain, name: &[u8], password: &[u8]) -> Result<(), Refusal> {
        match ruling(&self.plain, domain) {
            Some(rule) => rule.check(name, password),
            None if self.plain.is_empty() => Err(Refusal::NoPasswords),
            None => Err(Refusal::InvalidDomain),
        }
    }

    fn judge_curve(&self, request: &ZapRequest, key: PublicKey) -> Result<Ruling, Refusal> {
        let metadata = match ruling(&self.curve, &request.domain) {
            None => return Err(Refusal::UnknownDomain),
            Some(CurveRule::AnyKey) => Metadata::new(),
            Some(CurveRule::Keys(keys)) => keys.get(&key).ok_or(Refusal::UnknownKey)?.clone(),
            Some(CurveRule::Provider(provider)) => {
                let question = CurveQuestion {
                    domain: request.domain.clone(),
                    address: request.address.clone(),
                    identity: request.identity.clone(),
                    key,
                };
                return Ok(Ruling::Ask(Arc::clone(provider), question));
            }
        };
        let user_id = self.curve_user_id(&key)?;
        Ok(Ruling::Admit(Admission { user_id, metadata }))
    }

    /// What a provider's answer means for the holder of `key`.
    pub(crate) fn judge_answer(
        &self,
        answer: ProviderAnswer,
        key: &PublicKey,
    ) -> Result<Admission, Refusal> {
        match answer {
            ProviderAnswer::No => Err(Refusal::UnknownKey),
            ProviderAnswer::Yes => self.curve_user_id(key).map(Admission::of),
            ProviderAnswer::YesAs { user_id, metadata } => Ok(Admission { user_id, metadata }),
        }
    }

    /// The user id of a key: the application's mapping, or its Z85 text.
    pub(crate) fn curve_user_id(&self, key: &PublicKey) -> Result<Bytes, Refusal> {
        match &self.user_ids {
            None => Ok(key.to_z85().into()),
            Some(user_ids) => contain(|| user_ids(key)).map_err(|Panicked| Refusal::Failed),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("stopped", &self.stopped)
            .field("addresses", &self.addresses)
            .field("plain", &self.plain)
            .field("curve", &self.curve)
            .finish_non_exhaustive()
    }
}
