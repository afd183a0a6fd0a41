//! Which keys an Authenticator admits by CURVE, and how a domain is given back.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::configured::Configured;
#[cfg(not(feature = "reload"))]
use crate::auth::authenticator::configured::Loaded;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::call::Call;
use crate::auth::policy::curve::CurveRule;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::plain::PlainRule;
use crate::auth::policy::provider::{Async, Blocking, CurveQuestion, IntoProviderResult, Provider};
#[cfg(feature = "reload")]
use crate::auth::policy::watched::{reading::Reading, source::Source, watches::Loaded};
use crate::cert::directory::{CertificateDirectory, DirectoryReport, load_certificates};
use crate::cert::problem::CertificateError;
#[cfg(feature = "reload")]
use crate::cert::validity::Validity;
use crate::crypto::keys::PublicKey;
use std::sync::Arc;

impl Authenticator {
    /// Lets the holders of the certificates in `directory` into `domain` by CURVE, and no
    /// others: by default every `*.key` file, as
    /// [`load_certificates`] takes it. Reads files, so it blocks. A bad file is left out and reported. Certificate metadata
    /// becomes the peer's ZAP metadata, and says when the certificate counts: see
    /// [`Certificate::validity`](crate::cert::Certificate::validity). Too early a peer is refused
    /// with 300, so that it comes back, too late with 400. The directory is not watched: call again after a change.
    ///
    /// # Errors
    /// Returns [`CertificateError`] if the directory cannot be listed: the domain keeps what it had. At
    /// first it admits no peer.
    pub fn configure_curve(
        &self,
        domain: impl Into<Domain>,
        directory: impl Into<CertificateDirectory>,
    ) -> Result<DirectoryReport, CertificateError> {
        let domain = domain.into();
        self.claim(MechanismKind::Curve, &domain);
        let directory = directory.into();
        let mut report = load_certificates(directory.clone())?;
        let rule = CurveRule::certificates(&report.certificates);
        #[cfg(feature = "reload")]
        let loaded = Some(Loaded {
            source: Source::Directory(domain.clone(), directory, Validity::default()),
            reading: Reading::of_report(&report),
        });
        #[cfg(not(feature = "reload"))]
        let loaded: Option<Loaded> = None;
        report.ended_watch = self.rule_curve(domain, rule, loaded).ended_watch;
        Ok(report)
    }

    /// Lets the holders of these keys into `domain` by CURVE, and no others.
    pub fn configure_curve_keys(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = PublicKey>,
    ) -> Configured {
        self.rule_curve(domain.into(), CurveRule::keys(keys), None)
    }

    /// Lets every CURVE peer into `domain`: `CURVE_ALLOW_ANY`. Peers are encrypted and hold the
    /// key they show, no more.
    pub fn configure_curve_any(&self, domain: impl Into<Domain>) -> Configured {
        self.rule_curve(domain.into(), CurveRule::any_key(), None)
    }

    /// Lets `provider` decide over the CURVE peers of `domain`.
    pub fn configure_curve_callback(
        &self,
        domain: impl Into<Domain>,
        provider: impl Provider<CurveQuestion>,
    ) -> Configured {
        let rule = CurveRule::provider(Arc::new(Async::new(provider)));
        self.rule_curve(domain.into(), rule, None)
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
    ) -> Configured {
        let provider = Blocking::new(provider, self.blocking_threads());
        let rule = CurveRule::provider(Arc::new(provider));
        self.rule_curve(domain.into(), rule, None)
    }

    /// Keeps `domain` from falling to `*`, whatever comes of what is to be loaded for it.
    pub(crate) fn claim(&self, mechanism: MechanismKind, domain: &Domain) {
        if !self.policy().claims(mechanism, domain) {
            self.change(|policy| {
                policy.claim(mechanism, domain);
                Change::Claimed(mechanism, domain.clone())
            });
        }
    }

    /// Puts `rule` in force by an explicit call, which may have `loaded` it.
    fn rule_curve(&self, domain: Domain, rule: CurveRule, loaded: Option<Loaded>) -> Configured {
        let mut configured = Configured::default();
        self.change(|policy| {
            let ruled = (MechanismKind::Curve, domain.clone());
            configured.ended_watch = policy.rule_explicitly(&ruled, loaded);
            policy.rule_curve(domain, rule)
        });
        configured
    }

    /// Does nothing: a GSSAPI peer has been authenticated by its socket, and every principal is
    /// admitted, as in `pyzmq`, unless a policy file says otherwise. Address lists apply.
    pub fn configure_gssapi(&self, _domain: impl Into<Domain>) {}

    /// Forgets what was configured for `domain`, all mechanisms: `*` rules it again. Its address
    /// list stays; [`AddressList::clear`](crate::auth::AddressList::clear) lifts that. What was
    /// loaded again by itself for the domain no longer is.
    pub fn unconfigure(&self, domain: &Domain) -> Configured {
        let mut configured = Configured::default();
        self.change(|policy| {
            policy.plain.remove(domain);
            policy.curve.remove(domain);
            for mechanism in [MechanismKind::Plain, MechanismKind::Curve] {
                let ruled = (mechanism, domain.clone());
                configured.ended_watch |= policy.rule_explicitly(&ruled, None);
            }
            for rules in [&mut policy.null, &mut policy.gssapi] {
                rules.as_mut().map(|rules| rules.remove(domain));
            }
            Change::Unconfigured(domain.clone())
        });
        configured
    }
}

impl Policy {
    /// Puts `rule` in force.
    pub(crate) fn rule_curve(&mut self, domain: Domain, mut rule: CurveRule) -> Change {
        let (before, fresh) = (self.curve.get(&domain), self.version);
        rule.inherit(before, fresh);
        let keys = before.map(CurveRule::key_versions).unwrap_or_default();
        let name = rule.name(domain.clone());
        let change = Change::ruled(name, &keys, &rule.key_versions(), fresh);
        self.curve.insert(domain, rule);
        change
    }

    /// Whether `domain` has a rule of its own.
    fn claims(&self, mechanism: MechanismKind, domain: &Domain) -> bool {
        match mechanism {
            MechanismKind::Plain => self.plain.contains_key(domain),
            _ => self.curve.contains_key(domain),
        }
    }

    /// Keeps `domain` from falling to `*`.
    pub(crate) fn claim(&mut self, mechanism: MechanismKind, domain: &Domain) {
        self.ruling_call = Call::next();
        match mechanism {
            MechanismKind::Plain => {
                let claimed = self.plain.entry(domain.clone());
                claimed.or_insert(PlainRule::Nobody);
            }
            _ => {
                let claimed = self.curve.entry(domain.clone());
                claimed.or_insert_with(CurveRule::nobody);
            }
        }
    }
}
