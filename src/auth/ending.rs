//! Ends admissions of one user or key, whatever has admitted them.
#![forbid(unsafe_code)]

use crate::access::peer::Credential;
use crate::access::request::{Domain, MechanismKind};
use crate::auth::audit::Change;
use crate::auth::authenticator::Authenticator;
use crate::auth::grant::AdmissionTerms;
use crate::crypto::keys::PublicKey;
use bytes::Bytes;

impl Authenticator {
    /// Ends the admissions of a user, which is mechanism, domain and user id together; `domain` is
    /// the one that its peers asked for. Returns how many have ended.
    ///
    /// It is for what no table holds: a user that a provider has admitted. Let the provider say no
    /// first, since the policy stays as it is and a peer that comes back is judged by it. Decisions
    /// in progress are made again, so that none escapes that was begun before the call.
    pub fn end_admissions(
        &self,
        mechanism: MechanismKind,
        domain: impl Into<Domain>,
        user_id: impl Into<Bytes>,
    ) -> usize {
        let (domain, user_id) = (domain.into(), user_id.into());
        let change = Change::EndedUser {
            mechanism,
            domain: domain.clone(),
            user_id: user_id.clone(),
        };
        self.end(change, |terms| {
            terms.mechanism() == mechanism
                && *terms.domain() == domain
                && *terms.user_id() == user_id
        })
    }

    /// Ends the admissions of a CURVE key in every domain, as [`Authenticator::end_admissions`]
    /// does those of a user. Returns how many have ended.
    pub fn end_admissions_of_key(&self, key: &PublicKey) -> usize {
        let meant = Credential::Key(*key);
        self.end(Change::EndedKey(*key), |terms| *terms.credential() == meant)
    }

    fn end(&self, change: Change, is_meant: impl Fn(&AdmissionTerms) -> bool) -> usize {
        // In this order: a decision in progress either has its grant by now, and it is found, or
        // it meets a policy under which it does not count.
        self.change(|policy| {
            policy.decided_since = policy.version;
            change
        });
        let ended = self.live().end(is_meant);
        let count = ended.len();
        ended.tell();
        count
    }
}
