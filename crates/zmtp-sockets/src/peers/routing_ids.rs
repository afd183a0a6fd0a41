//! Which peer has which routing id (RFC 28, "The ROUTER Socket Type").
//!
//! A peer claims its routing id, so another peer could claim the same one and get its messages. An
//! id is therefore bound to the authenticated user that holds it: while the holder is connected, only
//! a connection of the same user takes the id over.
#![forbid(unsafe_code)]

use crate::event::TurnedAway;
use crate::peers::news::PipeId;
use bytes::Bytes;
use std::collections::HashMap;
use zmtp_auth::{Domain, MechanismKind, Peer};

/// The routing ids of the peers of one socket.
pub(crate) struct RoutingIds {
    holders: HashMap<Bytes, Holder>,
    ids: HashMap<PipeId, Bytes>,
    /// The number of the next id that we make up.
    next: u32,
}

struct Holder {
    pipe: PipeId,
    user: Option<User>,
}

/// Who an authenticated peer is. A user id alone is unique only within a mechanism and a domain.
#[derive(PartialEq, Eq)]
struct User {
    mechanism: MechanismKind,
    domain: Domain,
    user_id: Bytes,
}

impl User {
    fn of(peer: &Peer) -> Option<Self> {
        peer.authenticated.as_ref().map(|authenticated| Self {
            mechanism: authenticated.mechanism(),
            domain: authenticated.domain.clone(),
            user_id: authenticated.user_id.clone(),
        })
    }
}

/// A routing id that was assigned.
pub(crate) struct Assigned {
    pub(crate) routing_id: Bytes,
    /// The pipe that has lost the id to this peer.
    pub(crate) displaced: Option<PipeId>,
}

impl RoutingIds {
    pub(crate) fn new() -> Self {
        Self {
            holders: HashMap::new(),
            ids: HashMap::new(),
            next: 0,
        }
    }

    /// Assigns a routing id: the one that the peer claims, else one that we make up.
    ///
    /// # Errors
    /// Returns [`TurnedAway::RoutingIdInUse`] if another user holds the id, or a peer without a user
    /// id on either side.
    pub(crate) fn assign(&mut self, pipe: PipeId, peer: &Peer) -> Result<Assigned, TurnedAway> {
        let claimed = peer.claims.identity.as_ref();
        // RFC 37: ids that begin with 0 are made up by the one who assigns them.
        let claimed = claimed.filter(|id| !id.is_empty() && id.first() != Some(&0));
        let routing_id = match claimed {
            Some(id) => id.clone(),
            None => self.make_up(),
        };
        let user = User::of(peer);
        let mut displaced = None;
        if let Some(holder) = self.holders.get(&routing_id)
            && holder.pipe != pipe
        {
            if user.is_none() || holder.user != user {
                return Err(TurnedAway::RoutingIdInUse(routing_id));
            }
            displaced = Some(holder.pipe);
            self.ids.remove(&holder.pipe);
        }
        let holder = Holder { pipe, user };
        self.holders.insert(routing_id.clone(), holder);
        self.ids.insert(pipe, routing_id.clone());
        Ok(Assigned {
            routing_id,
            displaced,
        })
    }

    /// Frees the id of a peer that is gone.
    pub(crate) fn release(&mut self, pipe: PipeId) {
        if let Some(routing_id) = self.ids.remove(&pipe) {
            self.holders.remove(&routing_id);
        }
    }

    /// Five bytes that begin with 0, which no peer can claim.
    fn make_up(&mut self) -> Bytes {
        loop {
            let [a, b, c, d] = self.next.to_be_bytes();
            self.next = self.next.wrapping_add(1);
            let id = Bytes::copy_from_slice(&[0, a, b, c, d]);
            if !self.holders.contains_key(&id) {
                return id;
            }
        }
    }
}
