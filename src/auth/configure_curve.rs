//! Which keys an Authenticator admits by CURVE, and how a domain is given back.
#![forbid(unsafe_code)]

use crate::access::request::{Domain, MechanismKind};
use crate::auth::audit::Change;
use crate::auth::authenticator::Authenticator;
use crate::auth::curve::CurveRule;
use crate::auth::provider::{Async, Blocking, CurveProvider, CurveQuestion, IntoProviderResult};
use crate::cert::directory::{CertificateDirectory, DirectoryReport, load_certificates};
use crate::cert::problem::CertificateError;
use crate::crypto::keys::PublicKey;
use std::sync::Arc;

impl Authenticator {
    /// Lets the holders of the certificates in `directory` into `domain` by CURVE, and no
    /// others: by default every `*.key` file, as
    /// [`load_certificates`](crate::cert::load_certificates) takes it. Reads files, so it blocks. A bad file is left out and reported. Certificate metadata
    /// becomes the peer's ZAP metadata, and says when the certificate counts: see
    /// [`Certificate::validity`](crate::cert::Certificate::validity). Too early a peer is refused
    /// with 300, so that it comes back, too late with 400. The directory is not watched: call again after a change.
    ///
    /// # Errors
    /// [`CertificateError`] if the directory cannot be listed: the domain keeps what it had, which
    /// at first is nobody.
    pub fn configure_curve(
        &self,
        domain: impl Into<Domain>,
        directory: impl Into<CertificateDirectory>,
    ) -> Result<DirectoryReport, CertificateError> {
        let domain = domain.into();
        self.claim_curve(&domain);
        let report = load_certificates(directory)?;
        self.rule_curve(domain, CurveRule::certificates(&report.certificates));
        Ok(report)
    }

    /// Lets the holders of these keys into `domain` by CURVE, and no others.
    pub fn configure_curve_keys(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = PublicKey>,
    ) {
        self.rule_curve(domain.into(), CurveRule::keys(keys));
    }

    /// Lets every CURVE peer into `domain`: `CURVE_ALLOW_ANY`. Peers are encrypted and hold the
    /// key they show, no more.
    pub fn configure_curve_any(&self, domain: impl Into<Domain>) {
        self.rule_curve(domain.into(), CurveRule::any_key());
    }

    /// Lets `provider` decide over the CURVE peers of `domain`.
    pub fn configure_curve_callback(
        &self,
        domain: impl Into<Domain>,
        provider: impl CurveProvider,
    ) {
        self.rule_curve(
            domain.into(),
            CurveRule::provider(Arc::new(Async::new(provider))),
        );
    }

    /// Lets a function that may block decide over the CURVE peers of `domain`: it is called on one
    /// of at most 16 threads, which belong to it alone and to no runtime. A call that has begun
    /// cannot be stopped: one that never returns keeps its thread, and its peer is refused when the
    /// time is up. Another thread stands in for it, of 64 that all such functions of this
    /// Authenticator share. When no thread is left the function's peers are refused with 300 and
    /// [`Audited::ProviderStuck`](crate::auth::Audited::ProviderStuck) tells so, until a call
    /// returns.
    pub fn configure_curve_callback_blocking<R: IntoProviderResult>(
        &self,
        domain: impl Into<Domain>,
        provider: impl Fn(CurveQuestion) -> R + Send + Sync + 'static,
    ) {
        let provider = Blocking::new(provider, self.blocking_workers());
        self.rule_curve(domain.into(), CurveRule::provider(Arc::new(provider)));
    }

    /// Keeps `domain` from falling to `*`, whatever comes of what is to be loaded for it.
    pub(crate) fn claim_curve(&self, domain: &Domain) {
        if !self.policy().curve.contains_key(domain) {
            self.change(|policy| {
                let claimed = policy.curve.entry(domain.clone());
                claimed.or_insert_with(CurveRule::nobody);
                Change::Claimed(MechanismKind::Curve, domain.clone())
            });
        }
    }

    /// Puts `rule` in force.
    pub(crate) fn rule_curve(&self, domain: Domain, mut rule: CurveRule) {
        self.change(|policy| {
            let (before, fresh) = (policy.curve.get(&domain), policy.version);
            rule.inherit(before, fresh);
            let keys = before.map(CurveRule::key_versions).unwrap_or_default();
            let name = rule.name(domain.clone());
            let change = Change::ruled(name, &keys, &rule.key_versions(), fresh);
            policy.curve.insert(domain, rule);
            change
        });
    }

    /// Does nothing: a GSSAPI peer has been authenticated by its socket, and every principal is
    /// admitted, as in `pyzmq`, unless a policy file says otherwise. Address lists apply.
    pub fn configure_gssapi(&self, _domain: impl Into<Domain>) {}

    /// Forgets what was configured for `domain`, all mechanisms: `*` rules it again. Its address
    /// list stays; [`AddressList::clear`](crate::auth::AddressList::clear) lifts that.
    pub fn unconfigure(&self, domain: &Domain) {
        self.change(|policy| {
            policy.plain.remove(domain);
            policy.curve.remove(domain);
            for rules in [&mut policy.null, &mut policy.gssapi] {
                rules.as_mut().map(|rules| rules.remove(domain));
            }
            Change::Unconfigured(domain.clone())
        });
    }
}
