//! The contents of a policy file. Every single value is checked where it is parsed, so that the
//! error has a line and a column.
#![forbid(unsafe_code)]

use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::curve::row::CurveKey;
use crate::auth::policy_file::values;
use crate::cert::directory::Layout;
use crate::cert::validity::Validity;
use crate::crypto::password::Password;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A policy: which peers are admitted, by address, domain, mechanism and credentials.
///
/// ```toml
/// allow = ["127.0.0.1", "10.0.0.0/8", "::1"]   # or: deny = [..]
///
/// [domain."*"]                                 # every domain that has no section of its own
/// plain = { users = { admin = "secret" } }     # or { file = "passwords" }
/// curve = { certificates = "public_keys" }     # or { keys = ["Z85", ..] }, or { any = true }
/// layout = "czmq"                              # of certificates: NAME, not NAME.key
/// names = true                                 # of certificates: their `name` is the user id
/// gssapi = { any = true }                      # or { principals = [..] }
///
/// [domain.billing]
/// curve = { keys = [
///     "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
///     { key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", user = "alice",
///       metadata = { role = "ops" }, from = ["10.0.0.0/8"] },
/// ] }
/// [domain.billing.topics]                      # without it, every topic is allowed
/// alice = { subscribe = ["invoices."], publish = [] }
/// "*" = { subscribe = ["public."] }            # all others
/// ```
///
/// Everything that is not admitted is refused. In a domain with a section of its own, a mechanism
/// that the section does not name is refused. With `inherit = true`, `*` rules the mechanisms that
/// the section does not name. NULL peers are admitted only by `null = { any = true }`.
///
/// Settings can also be created in Rust, from `PolicySettings::default()`, which admits no peer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct PolicySettings {
    /// Addresses that may authenticate, in the forms of [`AddressRule`]. All others are refused.
    /// Without `allow` and `deny`, all addresses may authenticate.
    pub allow: Option<Vec<AddressRule>>,
    /// Addresses that are refused. It excludes `allow`.
    pub deny: Option<Vec<AddressRule>>,
    /// The sections of the domains. `*` applies to every domain without a section of its own, and
    /// the empty name is the empty domain.
    #[serde(default)]
    pub domain: BTreeMap<String, DomainSettings>,
}

impl PolicySettings {
    /// Sets [`PolicySettings::allow`].
    #[must_use]
    pub fn with_allow(mut self, rules: impl IntoIterator<Item = AddressRule>) -> Self {
        self.allow = Some(rules.into_iter().collect());
        self
    }

    /// Sets [`PolicySettings::deny`].
    #[must_use]
    pub fn with_deny(mut self, rules: impl IntoIterator<Item = AddressRule>) -> Self {
        self.deny = Some(rules.into_iter().collect());
        self
    }

    /// Adds a section to [`PolicySettings::domain`], in place of one with the same name.
    #[must_use]
    pub fn with_domain(mut self, name: impl Into<String>, settings: DomainSettings) -> Self {
        self.domain.insert(name.into(), settings);
        self
    }
}

/// The settings of one domain.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct DomainSettings {
    /// Whether `*` rules the mechanisms that this section does not name.
    #[serde(default)]
    pub inherit: bool,
    /// As [`PolicySettings::allow`], for this domain. An address must pass both lists. A domain with
    /// neither `allow` nor `deny` uses the list of `*`.
    pub allow: Option<Vec<AddressRule>>,
    /// As [`PolicySettings::deny`], for this domain.
    pub deny: Option<Vec<AddressRule>>,
    /// Whether the password file and the directory of certificates are reloaded when they change.
    /// Needs feature `reload`.
    #[serde(default)]
    pub reload: bool,
    /// The names of files in the directory of certificates: `"pyzmq"` for `NAME.key`, which is the
    /// default, or `"czmq"` for `NAME`. See [`Layout`].
    pub layout: Option<Layout>,
    /// Whether the metadata `name` of a certificate becomes the user id of its holder: see
    /// [`CertificateDirectory::with_names`](crate::cert::CertificateDirectory::with_names).
    #[serde(default)]
    pub names: bool,
    /// The validity of all keys of this domain: `{ not-before = .., not-after = .. }` with unquoted
    /// dates such as `2027-01-31T12:00:00Z`. The validity of a certificate applies as well.
    #[serde(default, deserialize_with = "values::validity")]
    pub validity: Option<Validity>,
    /// The topics of each user. `"*"` stands for all others. Without it, the topics of `*` apply, and
    /// without those every topic is allowed.
    ///
    /// An entry names a user id of this domain. Where the domain has several mechanisms, the name of
    /// the mechanism stands before it: `"curve:alice"`. A name that begins with a mechanism and a
    /// colon is always read that way.
    pub topics: Option<BTreeMap<String, TopicSettings>>,
    /// The NULL peers that are admitted.
    pub null: Option<NullSettings>,
    /// The PLAIN users that are admitted.
    pub plain: Option<PlainSettings>,
    /// The CURVE keys that are admitted.
    pub curve: Option<CurveSettings>,
    /// The GSSAPI principals that are admitted, for requests from sockets of other programs.
    pub gssapi: Option<GssapiSettings>,
}

impl DomainSettings {
    /// Sets [`DomainSettings::inherit`].
    #[must_use]
    pub const fn with_inherit(mut self, inherit: bool) -> Self {
        self.inherit = inherit;
        self
    }

    /// Sets [`DomainSettings::allow`].
    #[must_use]
    pub fn with_allow(mut self, rules: impl IntoIterator<Item = AddressRule>) -> Self {
        self.allow = Some(rules.into_iter().collect());
        self
    }

    /// Sets [`DomainSettings::deny`].
    #[must_use]
    pub fn with_deny(mut self, rules: impl IntoIterator<Item = AddressRule>) -> Self {
        self.deny = Some(rules.into_iter().collect());
        self
    }

    /// Sets [`DomainSettings::reload`].
    #[must_use]
    pub const fn with_reload(mut self, reload: bool) -> Self {
        self.reload = reload;
        self
    }

    /// Sets [`DomainSettings::layout`].
    #[must_use]
    pub const fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// Sets [`DomainSettings::names`].
    #[must_use]
    pub const fn with_names(mut self, names: bool) -> Self {
        self.names = names;
        self
    }

    /// Sets [`DomainSettings::validity`].
    #[must_use]
    pub const fn with_validity(mut self, validity: Validity) -> Self {
        self.validity = Some(validity);
        self
    }

    /// Adds an entry to [`DomainSettings::topics`], in place of one with the same name.
    #[must_use]
    pub fn with_topics(mut self, name: impl Into<String>, topics: TopicSettings) -> Self {
        let entries = self.topics.get_or_insert_default();
        entries.insert(name.into(), topics);
        self
    }

    /// Sets [`DomainSettings::null`].
    #[must_use]
    pub const fn with_null(mut self, null: NullSettings) -> Self {
        self.null = Some(null);
        self
    }

    /// Sets [`DomainSettings::plain`].
    #[must_use]
    pub fn with_plain(mut self, plain: PlainSettings) -> Self {
        self.plain = Some(plain);
        self
    }

    /// Sets [`DomainSettings::curve`].
    #[must_use]
    pub fn with_curve(mut self, curve: CurveSettings) -> Self {
        self.curve = Some(curve);
        self
    }

    /// Sets [`DomainSettings::gssapi`].
    #[must_use]
    pub fn with_gssapi(mut self, gssapi: GssapiSettings) -> Self {
        self.gssapi = Some(gssapi);
        self
    }
}

/// The topics of a user, as prefixes: see [`TopicPermissions`](crate::TopicPermissions). What is left
/// out is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicSettings {
    /// Prefixes that subscriptions may begin with.
    #[serde(default, deserialize_with = "values::prefixes")]
    pub subscribe: Vec<String>,
    /// Prefixes that the topics of messages may begin with.
    #[serde(default, deserialize_with = "values::prefixes")]
    pub publish: Vec<String>,
}

impl TopicSettings {
    /// Sets [`TopicSettings::subscribe`].
    #[must_use]
    pub fn with_subscribe<P: Into<String>>(
        mut self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Self {
        self.subscribe = prefixes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`TopicSettings::publish`].
    #[must_use]
    pub fn with_publish<P: Into<String>>(mut self, prefixes: impl IntoIterator<Item = P>) -> Self {
        self.publish = prefixes.into_iter().map(Into::into).collect();
        self
    }
}

/// The peers that NULL admits: `null = { any = true }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NullSettings {
    /// Every peer whose address passes the lists.
    #[serde(deserialize_with = "values::only_true")]
    Any,
}

/// The users that PLAIN admits.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PlainSettings {
    /// These users, each with a password, which may be an argon2id hash as a PHC string.
    #[serde(deserialize_with = "values::users")]
    Users(BTreeMap<String, Password>),
    /// The users of a password file; see
    /// [`Authenticator::configure_plain_file`](crate::auth::Authenticator::configure_plain_file).
    File(PathBuf),
}

/// The keys that CURVE admits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CurveSettings {
    /// The holders of the certificates in a directory; see
    /// [`Authenticator::configure_curve`](crate::auth::Authenticator::configure_curve).
    Certificates(PathBuf),
    /// The holders of these keys: each is a key in Z85, or a table with `key`, `user`, `metadata` and
    /// `from`.
    #[serde(deserialize_with = "values::keys")]
    Keys(Vec<CurveKey>),
    /// The holders of any keys.
    #[serde(deserialize_with = "values::only_true")]
    Any,
}

/// The principals that GSSAPI admits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GssapiSettings {
    /// These principals.
    Principals(Vec<String>),
    /// Every principal that the socket has authenticated.
    #[serde(deserialize_with = "values::only_true")]
    Any,
}
