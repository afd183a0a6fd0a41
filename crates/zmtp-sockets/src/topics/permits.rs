//! What the policy lets one subscriber subscribe to.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::collections::HashSet;
use zmtp_auth::{Peer, TopicPermissions, Topics};

/// The topic permissions of one subscriber, and what it was refused by them.
pub(crate) struct Permits {
    topics: Topics,
    /// The version that `permissions` has, or a later one.
    version: u64,
    permissions: TopicPermissions,
    /// Refused topics, to be judged again.
    refused: HashSet<Bytes>,
    /// The length of all of them.
    bytes: usize,
}

impl Permits {
    pub(crate) fn of(peer: &Peer) -> Self {
        let topics = peer.topics();
        Self {
            version: topics.version(),
            permissions: topics.permissions(),
            topics,
            refused: HashSet::new(),
            bytes: 0,
        }
    }

    /// Whether the policy has changed since [`Permits::renew`].
    pub(crate) fn is_stale(&self) -> bool {
        self.topics.version() != self.version
    }

    /// Takes the permissions of now. Everything is then to be judged again.
    pub(crate) fn renew(&mut self) {
        self.version = self.topics.version();
        self.permissions = self.topics.permissions();
    }

    /// Whether the peer may subscribe to what begins with `topic`.
    pub(crate) fn permits(&self, topic: &[u8]) -> bool {
        self.permissions.may_subscribe(topic)
    }

    /// Remembers a refused topic. Returns whether it is new.
    pub(crate) fn remember(&mut self, topic: &Bytes) -> bool {
        let is_new = self.refused.insert(topic.clone());
        if is_new {
            self.bytes = self.bytes.saturating_add(topic.len());
        }
        is_new
    }

    /// Forgets a refused topic. Returns whether it was remembered.
    pub(crate) fn forget(&mut self, topic: &Bytes) -> bool {
        let was_there = self.refused.remove(topic);
        if was_there {
            self.bytes = self.bytes.saturating_sub(topic.len());
        }
        was_there
    }

    /// Takes out the refused topics that are allowed now.
    pub(crate) fn take_permitted(&mut self) -> Vec<Bytes> {
        let permissions = &self.permissions;
        let refused = self.refused.iter();
        let permitted = refused.filter(|topic| permissions.may_subscribe(topic));
        let permitted: Vec<_> = permitted.cloned().collect();
        for topic in &permitted {
            self.forget(topic);
        }
        permitted
    }

    /// How many topics are remembered, and their length.
    pub(crate) fn remembered(&self) -> (usize, usize) {
        (self.refused.len(), self.bytes)
    }
}
