//! Ends the admissions of one user or key.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::grants::AdmissionTerms;
use crate::auth::policy::endings::Ended;
use crate::crypto::keys::PublicKey;
use bytes::Bytes;

impl Authenticator {
    /// Ends the admissions of a user, which mechanism, domain and user id identify together.
    /// `domain` is the domain of the peers' requests. Returns how many admissions have ended.
    ///
    /// Use it for users of a provider. (A user of a table loses its admissions when it is removed
    /// from the table.) Let the provider refuse the user first: the policy does not change, so a
    /// peer that reconnects is decided about again. Decisions about the user that are in progress
    /// are repeated, so none that began before the call admits the user.
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

    /// Ends the admissions of a CURVE key in all domains, as [`Authenticator::end_admissions`] does
    /// for a user. Returns how many admissions have ended.
    pub fn end_admissions_of_key(&self, key: &PublicKey) -> usize {
        self.end(Change::EndedKey(*key), Ended::Key(*key))
    }

    fn end(&self, change: Change, meant: Ended) -> usize {
        // The order matters. First the policy records the call, then the registered grants are
        // ended. A decision in progress has registered its grant before the second step, and the
        // grant is found there; or it registers later, and then checks its grant against a policy
        // that records the call (`Ledger::issue`).
        self.change(|policy| {
            policy.endings.end(policy.version, meant.clone());
            change
        });
        let is_meant = |terms: &AdmissionTerms| meant.applies_to(&terms.peer());
        let ended = self.ledger().end(meant.affected(), is_meant);
        let count = ended.len();
        ended.notify();
        count
    }
}
