//! The events about the peers of a socket and their messages.
#![forbid(unsafe_code)]

use crate::socket::frames::Shown;
use crate::socket::peers::who::Who;
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use zmtp_auth::Peer;

/// Which peer, if the socket has several.
#[derive(Serialize)]
pub(crate) struct Which<'a> {
    pub(crate) peer: u64,
    #[serde(flatten)]
    pub(crate) who: &'a Who,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Told<'a> {
    Connected {
        endpoint: String,
        socket_type: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
    },
    Accepted {
        #[serde(flatten)]
        which: Which<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
        address: String,
        socket_type: Option<&'static str>,
        claims: BTreeMap<String, Shown>,
    },
    TurnedAway {
        #[serde(flatten)]
        who: &'a Who,
        address: String,
        reason: String,
    },
    Message {
        #[serde(flatten)]
        which: Option<Which<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
        frames: Vec<Shown>,
    },
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<u64>,
        topic: Shown,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<u64>,
        topic: Shown,
    },
    SubscriptionRefused {
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<u64>,
        topic: Shown,
        reason: String,
    },
    Undelivered {
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        routing_id: Option<Shown>,
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<Shown>,
        reason: String,
        /// How many messages of this connection were dropped for this reason by now.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    Closed {
        #[serde(flatten)]
        which: Option<Which<'a>>,
        reason: String,
    },
}

/// What a peer claims of itself.
pub(crate) fn claims_of(peer: &Peer) -> BTreeMap<String, Shown> {
    let claims = peer.claims.properties.iter();
    claims
        .map(|(name, value)| (name.to_owned(), Shown::of(value)))
        .collect()
}

/// A routing id, if there is one.
pub(crate) fn shown_id(routing_id: Option<&Bytes>) -> Option<Shown> {
    routing_id.map(|id| Shown::of(id))
}
