//! Admissions: the identity that a policy gives a peer, and the entry that admits it.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credential;
use crate::access::domain::Domain;
use crate::auth::policy::rule::Rule;
use crate::wire::metadata::Metadata;
use crate::zap::request::ZapRequest;
use bytes::Bytes;
use std::time::SystemTime;

/// The identity of an admitted peer, and the rule and entry that admit it.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) user_id: Bytes,
    /// Whether the user id is known to be the Z85 text of the credential, which is a key.
    pub(crate) is_named_by_key: bool,
    pub(crate) metadata: Metadata,
    pub(crate) credential: Credential,
    pub(crate) rule: Rule,
    pub(crate) entry_version: u64,
    pub(crate) valid_until: Option<SystemTime>,
}

/// An admitted peer, and the rule and the version of the entry that admitted it. The entries of several
/// domains may have one version, so both together name an entry.
pub(crate) struct AdmittedPeer<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) user_id: &'a Bytes,
    pub(crate) address: &'a PeerAddress,
    pub(crate) credential: &'a Credential,
    pub(crate) rule: &'a Rule,
    pub(crate) entry_version: u64,
}

impl Admission {
    /// An admission whose validity has no end.
    pub(crate) const fn new(
        user_id: Bytes,
        metadata: Metadata,
        credential: Credential,
        rule: Rule,
        entry_version: u64,
    ) -> Self {
        Self {
            user_id,
            is_named_by_key: false,
            metadata,
            credential,
            rule,
            entry_version,
            valid_until: None,
        }
    }

    /// The peer of `request`, as this admission admits it.
    pub(crate) const fn of<'a>(&'a self, request: &'a ZapRequest) -> AdmittedPeer<'a> {
        AdmittedPeer {
            domain: &request.domain,
            user_id: &self.user_id,
            address: &request.address,
            credential: &self.credential,
            rule: &self.rule,
            entry_version: self.entry_version,
        }
    }
}
