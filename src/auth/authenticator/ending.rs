//! Ends admissions of one user or key, whatever has admitted them.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::endings::Ended;
use crate::crypto::keys::PublicKey;
use bytes::Bytes;

impl Authenticator {
    /// Ends the admissions of a user, which is mechanism, domain and user id together; `domain` is
    /// the one that its peers asked for. Returns how many have ended.
    ///
    /// It is for what no table holds: a user that a provider has admitted. Let the provider say no
    /// first, since the policy stays as it is and a peer that comes back is judged by it. The user's
    /// decisions in progress are made again, so that none escapes that was begun before the call.
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
        let ended = Ended::User {
            mechanism,
            domain,
            user_id,
        };
        self.end(change, ended)
    }

    /// Ends the admissions of a CURVE key in every domain, as [`Authenticator::end_admissions`]
    /// does those of a user. Returns how many have ended.
    pub fn end_admissions_of_key(&self, key: &PublicKey) -> usize {
        self.end(Change::EndedKey(*key), Ended::Key(*key))
    }

    fn end(&self, change: Change, meant: Ended) -> usize {
        // In this order: a decision in progress either has its grant by now, and it is found, or
        // it meets a policy under which it does not count.
        self.change(|policy| {
            policy.endings.end(policy.version, meant.clone());
            change
        });
        let ended = self.ledger().end(|terms| meant.is(&terms.peer()));
        let count = ended.len();
        ended.notify();
        count
    }
}
