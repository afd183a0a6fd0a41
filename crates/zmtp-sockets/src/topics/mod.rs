//! Topics: who subscribes to what (RFC 29).

pub(crate) mod audience;
pub(crate) mod feed;
pub(crate) mod judging;
pub(crate) mod pending;
pub(crate) mod permits;
pub(crate) mod places;
pub(crate) mod runs;
pub(crate) mod subscriber;
pub(crate) mod trie;
