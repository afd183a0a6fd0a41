//! Adds and removes single keys that CURVE admits.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::authenticator::configured::Configured;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::comparison::ruled::Made;
use crate::auth::policy::curve::row::{CurveKey, CurveKeyError, check_rows};
use crate::auth::policy::curve::rule::CurveRule;
use crate::crypto::keys::PublicKey;

impl Authenticator {
    /// Admits the holders of these keys to `domain` by CURVE, in addition to the keys that the domain
    /// has. A key that it has already gets the user id, the metadata and the addresses of its new row.
    /// Its admissions end if the user id or the metadata is another.
    ///
    /// The cost follows the number of keys given, and not the number of keys or of connected peers
    /// that there are. [`configure_curve_users`](Authenticator::configure_curve_users) and
    /// [`configure_curve_keys`](Authenticator::configure_curve_keys) replace all keys.
    ///
    /// A domain that was not configured is claimed, and admits these keys alone. So does a domain that
    /// has admitted any key or has asked a provider. A watch of the domain's certificates ends.
    ///
    /// ```
    /// use zmtp_auth::KeyPair;
    /// use zmtp_auth::auth::{Authenticator, CurveKey};
    ///
    /// let auth = Authenticator::new();
    /// let (old, new) = (KeyPair::generate()?.public_key(), KeyPair::generate()?.public_key());
    /// auth.configure_curve_keys("billing", [old]);
    /// auth.add_curve_users("billing", [CurveKey::new(new).with_user("alice")])?;
    /// assert_eq!(auth.remove_curve_keys("billing", [old]).removed_keys, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`CurveKeyError`] if a row is not valid, or if two rows say different things about one
    /// key. The domain then keeps its configuration; without one it admits no peer.
    pub fn add_curve_users(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = impl Into<CurveKey>>,
    ) -> Result<Configured, CurveKeyError> {
        let domain = domain.into();
        let curve = MechanismKind::Curve;
        let claimed = self.claim(curve, &domain);
        let rows: Vec<CurveKey> = keys.into_iter().map(Into::into).collect();
        check_rows(&rows)?;
        let configured = self.rule_by_call(curve, domain, None, |policy, domain, _| {
            let rule = policy.curve.entry(domain.clone());
            let rule = rule.or_insert_with(CurveRule::no_keys);
            rule.add(&rows, policy.version);
            Made::Ruled(curve, domain)
        });
        Ok(configured.plus(claimed))
    }

    /// Removes keys from the keys of `domain`. The admissions of these keys end at once. Keys that the
    /// domain does not have are passed over: [`Configured::removed_keys`] says how many were there.
    ///
    /// The cost follows the number of keys given, as in
    /// [`add_curve_users`](Authenticator::add_curve_users). A domain without keys left admits no peer.
    /// A domain that was not configured, that admits any key, or that asks a provider has no keys, and
    /// stays as it is. A watch of the domain's certificates ends.
    pub fn remove_curve_keys(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = PublicKey>,
    ) -> Configured {
        let keys: Vec<PublicKey> = keys.into_iter().collect();
        let curve = MechanismKind::Curve;
        self.rule_by_call(curve, domain.into(), None, |policy, domain, configured| {
            if let Some(rule) = policy.curve.get_mut(&domain) {
                configured.removed_keys = rule.remove(&keys);
            }
            Made::Ruled(curve, domain)
        })
    }
}
