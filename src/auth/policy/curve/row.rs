//! Rows: a key with the user, metadata and addresses of its holder.
#![forbid(unsafe_code)]

use crate::access::user_name::{UserNameError, check_user_name};
use crate::auth::policy::address::rule::AddressRule;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::{Metadata, PropertyError};
use crate::zap::reply::reserved_property;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use thiserror::Error;

/// A CURVE key that is admitted, and the identity that the policy gives its holder.
///
/// ```
/// use zmtp_auth::KeyPair;
/// use zmtp_auth::auth::{Authenticator, CurveKey};
///
/// let key = KeyPair::generate()?.public_key();
/// let alice = CurveKey::new(key)
///     .with_user("alice")
///     .with_metadata("role", "ops")?
///     .with_from(["10.0.0.0/8".parse()?]);
/// let auth = Authenticator::new();
/// auth.configure_curve_users("billing", [alice])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A peer that a row has admitted loses its admission when the row's user or metadata change, or
/// when `from` no longer matches the peer's address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurveKey {
    /// The key.
    pub key: PublicKey,
    /// The user id of its holder: 1 to 255 bytes, see [`UserNameError`]. A user may have several
    /// keys. Without it, the user id is that of
    /// [`Authenticator::curve_user_id`](crate::auth::Authenticator::curve_user_id).
    pub user: Option<Bytes>,
    /// Properties for the application. They become the peer's ZAP metadata.
    pub metadata: Metadata,
    /// The addresses that the key may be used from. The address lists of the policy apply as well.
    /// Without it, the key may be used from all addresses that these lists let pass.
    pub from: Option<Vec<AddressRule>>,
}

impl CurveKey {
    /// A key that is admitted from all addresses, under its default user id.
    #[must_use]
    pub const fn new(key: PublicKey) -> Self {
        Self {
            key,
            user: None,
            metadata: Metadata::new(),
            from: None,
        }
    }

    /// Sets [`CurveKey::user`].
    #[must_use]
    pub fn with_user(mut self, user: impl Into<Bytes>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Adds a property to [`CurveKey::metadata`].
    ///
    /// # Errors
    /// Returns [`PropertyError`] if the name is not valid or exists already, or if the value is too
    /// long.
    pub fn with_metadata(
        mut self,
        name: &str,
        value: impl Into<Bytes>,
    ) -> Result<Self, PropertyError> {
        self.metadata.push(name, value)?;
        Ok(self)
    }

    /// Sets [`CurveKey::from`].
    #[must_use]
    pub fn with_from(mut self, rules: impl IntoIterator<Item = AddressRule>) -> Self {
        self.from = Some(rules.into_iter().collect());
        self
    }

    /// Checks the row by itself.
    pub(crate) fn check(&self) -> Result<(), CurveKeyErrorKind> {
        if let Some(user) = &self.user {
            check_user_name(user, &self.key)?;
        }
        if self.from.as_ref().is_some_and(Vec::is_empty) {
            return Err(CurveKeyErrorKind::EmptyFrom);
        }
        match reserved_property(&self.metadata) {
            Some(name) => Err(CurveKeyErrorKind::ReservedProperty(name)),
            None => Ok(()),
        }
    }
}

impl From<PublicKey> for CurveKey {
    fn from(key: PublicKey) -> Self {
        Self::new(key)
    }
}

/// Why a list of [`CurveKey`]s cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CurveKeyError {
    /// The place of the key in the list, counted from 1.
    pub row: usize,
    /// The key.
    pub key: PublicKey,
    /// What is wrong.
    pub reason: CurveKeyErrorKind,
}

impl fmt::Display for CurveKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, key, reason } = self;
        write!(f, "row {row} of the keys ({}): {reason}", key.to_z85())
    }
}

impl std::error::Error for CurveKeyError {
    /// The cause of [`CurveKeyError::reason`], whose own text `Display` shows.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// What is wrong with a [`CurveKey`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum CurveKeyErrorKind {
    /// The user cannot be a user id.
    #[error(transparent)]
    User(#[from] UserNameError),
    /// A property has a name that ZAP reserves.
    #[error("the property {0} is reserved by ZAP")]
    ReservedProperty(&'static str),
    /// The list of addresses is empty.
    #[error("an empty from admits no peer: leave from out to admit all addresses")]
    EmptyFrom,
    /// An earlier row gives the key another user. A row without a user gives the key its default
    /// user id.
    #[error("row {0} gives the same key another user")]
    TwoUsers(usize),
    /// An earlier row gives the key other metadata or other addresses.
    #[error("row {0} has the same key with other metadata or addresses")]
    Differs(usize),
}

/// Checks each row by itself, and that no two rows say different things about one key. A row that
/// repeats an earlier one is no error.
pub(crate) fn check_rows(rows: &[CurveKey]) -> Result<(), CurveKeyError> {
    let mut known: HashMap<PublicKey, (usize, &CurveKey)> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        let number = place + 1;
        let failed = |reason| CurveKeyError {
            row: number,
            key: row.key,
            reason,
        };
        row.check().map_err(failed)?;
        let (first, earlier) = *known.entry(row.key).or_insert((number, row));
        if earlier.user != row.user {
            return Err(failed(CurveKeyErrorKind::TwoUsers(first)));
        }
        if earlier != row {
            return Err(failed(CurveKeyErrorKind::Differs(first)));
        }
    }
    Ok(())
}
