//! Configures which keys CURVE admits, and removes the configuration of a domain.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::configured::Configured;
#[cfg(not(feature = "reload"))]
use crate::auth::authenticator::configured::Loaded;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::call::Call;
use crate::auth::policy::comparison::ruled::Made;
use crate::auth::policy::curve::row::{CurveKey, CurveKeyError};
use crate::auth::policy::curve::rule::CurveRule;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::plain::rule::PlainRule;
use crate::auth::policy::provider::{Async, Blocking, CurveQuestion, IntoProviderResult, Provider};
#[cfg(feature = "reload")]
use crate::auth::policy::watched::{reading::Reading, source::Source, watches::Loaded};
use crate::cert::directory::CertificateDirectory;
use crate::cert::load::{DirectoryReport, load_certificates};
use crate::cert::problem::CertificateError;
#[cfg(feature = "reload")]
use crate::cert::validity::Validity;
use crate::crypto::keys::PublicKey;
use std::sync::Arc;

impl Authenticator {
    /// Admits the holders of the certificates in `directory` to `domain` by CURVE, and no others.
    /// By default all `*.key` files are loaded: see [`load_certificates`]. It reads files, so it
    /// blocks. The directory is not watched: call again after a change, or use feature `reload`.
    ///
    /// A file that is not a valid certificate is left out and reported. A certificate's metadata
    /// becomes the peer's ZAP metadata, and may limit its validity: see
    /// [`Certificate::validity`](crate::cert::Certificate::validity). Its metadata `name` becomes
    /// the user id if the directory says so: see [`CertificateDirectory::with_names`]. A key that is not valid yet is
    /// refused with 300, so that the peer retries, and an expired key with 400.
    ///
    /// # Errors
    /// Returns [`CertificateError`] if the directory cannot be listed. The domain then keeps its
    /// configuration; without one it admits no peer.
    pub fn configure_curve(
        &self,
        domain: impl Into<Domain>,
        directory: impl Into<CertificateDirectory>,
    ) -> Result<DirectoryReport, CertificateError> {
        let domain = domain.into();
        self.claim(MechanismKind::Curve, &domain);
        let directory = directory.into();
        let mut report = load_certificates(directory.clone())?;
        let rule = CurveRule::certificates(&report.certificates, directory.names());
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

    /// Admits the holders of these keys to `domain` by CURVE, and no others. Call it again to change
    /// them: the admissions of keys that are gone end at once.
    pub fn configure_curve_keys(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = PublicKey>,
    ) -> Configured {
        self.rule_curve(domain.into(), CurveRule::keys(keys), None)
    }

    /// Admits the holders of these keys to `domain` by CURVE, and no others, each under the user id,
    /// with the metadata and from the addresses of its [`CurveKey`]. Call it again to change them: the
    /// admissions of keys that are gone, or have another user id, end at once.
    ///
    /// A user id that a row names takes precedence over
    /// [`set_curve_user_id`](Authenticator::set_curve_user_id).
    ///
    /// # Errors
    /// Returns [`CurveKeyError`] if a row is not valid, or if two rows say different things about one
    /// key. The domain then keeps its configuration; without one it admits no peer.
    pub fn configure_curve_users(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = impl Into<CurveKey>>,
    ) -> Result<Configured, CurveKeyError> {
        let domain = domain.into();
        let claimed = self.claim(MechanismKind::Curve, &domain);
        let rows: Vec<CurveKey> = keys.into_iter().map(Into::into).collect();
        let configured = self.rule_curve(domain, CurveRule::rows(&rows)?, None);
        Ok(configured.plus(claimed))
    }

    /// Admits every CURVE peer to `domain` (pyzmq's `CURVE_ALLOW_ANY`). Connections are encrypted,
    /// and peers have proven that they hold the key they show. Nothing else is checked.
    pub fn configure_curve_any(&self, domain: impl Into<Domain>) -> Configured {
        self.rule_curve(domain.into(), CurveRule::any_key(), None)
    }

    /// Lets `provider` decide about the CURVE peers of `domain`.
    pub fn configure_curve_callback(
        &self,
        domain: impl Into<Domain>,
        provider: impl Provider<CurveQuestion>,
    ) -> Configured {
        let rule = CurveRule::provider(Arc::new(Async::new(provider)));
        self.rule_curve(domain.into(), rule, None)
    }

    /// Lets a function that may block decide about the CURVE peers of `domain`. It is called on its
    /// own threads, at most 16, which belong to no async runtime.
    ///
    /// A running call cannot be stopped. If it does not return in time, its peer is refused, the
    /// call keeps its thread, and a spare thread takes over. All blocking functions of this
    /// Authenticator share 64 spare threads. When none is left, the function's peers are refused
    /// with 300 until a call returns, and there is an
    /// [`Audited::ProviderStuck`](crate::auth::Audited::ProviderStuck) event.
    pub fn configure_curve_callback_blocking<R: IntoProviderResult>(
        &self,
        domain: impl Into<Domain>,
        provider: impl Fn(CurveQuestion) -> R + Send + Sync + 'static,
    ) -> Configured {
        let provider = Blocking::new(provider, self.blocking_threads());
        let rule = CurveRule::provider(Arc::new(provider));
        self.rule_curve(domain.into(), rule, None)
    }

    /// Claims `domain`, so that it does not fall back to `*` even if loading its users or keys
    /// fails. Returns how many admissions that has changed.
    pub(crate) fn claim(&self, mechanism: MechanismKind, domain: &Domain) -> usize {
        if self.policy().claims(mechanism, domain) {
            return 0;
        }
        self.change(|policy| {
            policy.claim(mechanism, domain);
            Change::Claimed(mechanism, domain.clone())
        })
    }

    /// Puts `rule` in force for an explicit call, which may have `loaded` it from files.
    fn rule_curve(&self, domain: Domain, rule: CurveRule, loaded: Option<Loaded>) -> Configured {
        let curve = MechanismKind::Curve;
        self.rule_by_call(curve, domain, loaded, |policy, domain, _| {
            policy.rule_curve(domain, rule)
        })
    }

    /// Does nothing; it exists for parity with pyzmq. The socket has authenticated a GSSAPI peer
    /// already, and every principal is admitted unless a policy file says otherwise. Address lists
    /// apply.
    pub fn configure_gssapi(&self, _domain: impl Into<Domain>) {}

    /// Removes the configuration of `domain` for all mechanisms, so that `*` rules it again. Files
    /// of the domain are no longer watched. Its address list remains until
    /// [`AddressList::clear`](crate::auth::AddressList::clear).
    pub fn unconfigure(&self, domain: impl Into<Domain>) -> Configured {
        let domain = domain.into();
        let mut configured = Configured::default();
        let changed_admissions = self.change(|policy| {
            policy.plain.remove(&domain);
            policy.curve.remove(&domain);
            for mechanism in [MechanismKind::Plain, MechanismKind::Curve] {
                let ruled = (mechanism, domain.clone());
                configured.ended_watch |= policy.rule_explicitly(&ruled, None);
            }
            for rules in [&mut policy.null, &mut policy.gssapi] {
                rules.as_mut().map(|rules| rules.remove(&domain));
            }
            Change::Unconfigured(domain)
        });
        Configured {
            changed_admissions,
            ..configured
        }
    }
}

impl Policy {
    /// Puts `rule` in force.
    pub(crate) fn rule_curve(&mut self, domain: Domain, mut rule: CurveRule) -> Made {
        rule.inherit(self.curve.get(&domain), self.version);
        self.curve.insert(domain.clone(), rule);
        Made::Ruled(MechanismKind::Curve, domain)
    }

    /// Whether `domain` has a rule of its own.
    fn claims(&self, mechanism: MechanismKind, domain: &Domain) -> bool {
        match mechanism {
            MechanismKind::Plain => self.plain.contains_key(domain),
            _ => self.curve.contains_key(domain),
        }
    }

    /// Gives `domain` a rule that admits no peer, unless it has a rule.
    pub(crate) fn claim(&mut self, mechanism: MechanismKind, domain: &Domain) {
        self.ruling_call = Call::next();
        match mechanism {
            MechanismKind::Plain => {
                let claimed = self.plain.entry(domain.clone());
                claimed.or_insert(PlainRule::NoUsers);
            }
            _ => {
                let claimed = self.curve.entry(domain.clone());
                claimed.or_insert_with(CurveRule::no_keys);
            }
        }
    }
}
