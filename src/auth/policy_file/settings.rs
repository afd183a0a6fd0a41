//! What a policy file may say. Everything that can be wrong about one value by itself is found
//! where it is read, so that the error has its line and column.
#![forbid(unsafe_code)]

use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy_file::values;
use crate::cert::directory::Layout;
use crate::cert::validity::Validity;
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A policy: who may come in, by address, domain, mechanism and credential.
///
/// ```toml
/// allow = ["127.0.0.1", "10.0.0.0/8", "::1"]   # or: deny = [..]
///
/// [domain."*"]                                 # every domain that has no section of its own
/// plain = { users = { admin = "secret" } }     # or { file = "passwords" }
/// curve = { certificates = "public_keys" }     # or { keys = ["Z85", ..] }, or { any = true }
/// layout = "czmq"                              # of certificates: NAME, not NAME.key
/// gssapi = { any = true }                      # or { principals = [..] }
///
/// [domain.billing]
/// curve = { keys = ["rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"] }
/// ```
///
/// What is not admitted is refused. A domain with a section of its own rules itself: a mechanism
/// that the section does not name is refused, unless it says `inherit = true`; then `*` rules what
/// it does not name. NULL peers come in only where `null = { any = true }` stands.
///
/// It can be made in Rust, too: `PolicySettings::default()` admits nobody.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct PolicySettings {
    /// Addresses that may authenticate, in the forms of [`AddressRule`]; every other is refused.
    /// `None`, and no `deny`: all may.
    #[serde(default, deserialize_with = "values::addresses")]
    pub allow: Option<Vec<AddressRule>>,
    /// Addresses that are refused. Not beside `allow`.
    #[serde(default, deserialize_with = "values::addresses")]
    pub deny: Option<Vec<AddressRule>>,
    /// What each domain admits; `*` stands for every domain without a section of its own, and the
    /// empty name for the empty domain.
    #[serde(default)]
    pub domain: BTreeMap<String, DomainSettings>,
}

/// What one domain admits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct DomainSettings {
    /// Whether `*` rules the mechanisms that this section does not name.
    #[serde(default)]
    pub inherit: bool,
    /// As [`PolicySettings::allow`], for this domain, and beside it: an address must pass both. A
    /// domain with neither `allow` nor `deny` has the list of `*`.
    #[serde(default, deserialize_with = "values::addresses")]
    pub allow: Option<Vec<AddressRule>>,
    /// As [`PolicySettings::deny`], for this domain.
    #[serde(default, deserialize_with = "values::addresses")]
    pub deny: Option<Vec<AddressRule>>,
    /// Whether the password file and the directory of certificates are loaded again by themselves
    /// when they change. Needs feature `reload`.
    #[serde(default)]
    pub reload: bool,
    /// How the files in the directory of certificates are named: `"pyzmq"`, `NAME.key`, which is
    /// the default, or `"czmq"`, `NAME`. See [`Layout`].
    pub layout: Option<Layout>,
    /// When the keys of this domain count, `{ not-before = .., not-after = .. }` with dates such
    /// as `2027-01-31T12:00:00Z`, unquoted. What a certificate says of itself counts as well.
    #[serde(default, deserialize_with = "values::validity")]
    pub validity: Option<Validity>,
    /// NULL.
    pub null: Option<NullSettings>,
    /// PLAIN.
    pub plain: Option<PlainSettings>,
    /// CURVE.
    pub curve: Option<CurveSettings>,
    /// GSSAPI, as others ask about it.
    pub gssapi: Option<GssapiSettings>,
}

/// Who comes in by NULL: `null = { any = true }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NullSettings {
    /// Whoever comes from an address that the lists let through.
    #[serde(deserialize_with = "values::yes")]
    Any,
}

/// Who comes in by PLAIN.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PlainSettings {
    /// These users: name and password, which may be an argon2id hash as a PHC string.
    #[serde(deserialize_with = "values::users")]
    Users(BTreeMap<String, Password>),
    /// The users of a password file; see
    /// [`Authenticator::configure_plain_file`](crate::auth::Authenticator::configure_plain_file).
    File(PathBuf),
}

/// Who comes in by CURVE.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CurveSettings {
    /// The holders of the certificates in a directory; see
    /// [`Authenticator::configure_curve`](crate::auth::Authenticator::configure_curve).
    Certificates(PathBuf),
    /// The holders of these keys.
    #[serde(deserialize_with = "values::keys")]
    Keys(Vec<PublicKey>),
    /// The holder of any key.
    #[serde(deserialize_with = "values::yes")]
    Any,
}

/// Who comes in by GSSAPI.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GssapiSettings {
    /// These principals.
    Principals(Vec<String>),
    /// Every principal that the socket has authenticated.
    #[serde(deserialize_with = "values::yes")]
    Any,
}
