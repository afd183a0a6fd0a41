//! What a policy admits a peer as, and by which of its entries.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credential;
use crate::access::domain::Domain;
use crate::auth::policy::rule::Rule;
use crate::wire::metadata::Metadata;
use crate::zap::request::ZapRequest;
use bytes::Bytes;
use std::time::SystemTime;

/// What an admitted peer is to us, and what has admitted it.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) user_id: Bytes,
    pub(crate) metadata: Metadata,
    pub(crate) credential: Credential,
    pub(crate) rule: Rule,
    pub(crate) entry_version: u64,
    pub(crate) valid_until: Option<SystemTime>,
}

/// A peer that was admitted, and the entry that has admitted it.
pub(crate) struct AdmittedPeer<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) user_id: &'a Bytes,
    pub(crate) address: &'a PeerAddress,
    pub(crate) credential: &'a Credential,
    pub(crate) entry_version: u64,
}

impl Admission {
    /// The peer of `request`, which is admitted so.
    pub(crate) const fn of<'a>(&'a self, request: &'a ZapRequest) -> AdmittedPeer<'a> {
        AdmittedPeer {
            domain: &request.domain,
            user_id: &self.user_id,
            address: &request.address,
            credential: &self.credential,
            entry_version: self.entry_version,
        }
    }
}
