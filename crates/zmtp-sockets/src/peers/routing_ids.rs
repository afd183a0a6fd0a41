//! Which peer has which routing id (RFC 28, "The ROUTER Socket Type").
//!
//! A peer claims its routing id, so another peer could claim the same one and get its messages. An
//! id is therefore bound to the authenticated user that holds it: while the holder is connected, only
//! a connection of the same user takes the id over. Or the user id itself is the routing id.
#![forbid(unsafe_code)]

use crate::event::TurnedAway;
use crate::options::RouteBy;
use crate::peers::news::PipeId;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use zmtp_auth::{Domain, MechanismKind, Peer, PeerAddress};

/// The routing ids of the peers of one socket.
pub(crate) struct RoutingIds {
    route_by: RouteBy,
    holders: HashMap<Bytes, Holder>,
    ids: HashMap<PipeId, Bytes>,
    /// The number of the next id that we make up.
    next: u32,
}

struct Holder {
    pipe: PipeId,
    peer: Arc<Peer>,
}

/// Who a peer is, if it has authenticated itself. A user id alone is unique only within a mechanism and
/// a domain. Under NULL a peer has proven nothing, and an empty user id stands for no user.
fn user(peer: &Peer) -> Option<(MechanismKind, &Domain, &Bytes)> {
    let authenticated = peer.authenticated.as_ref()?;
    let mechanism = authenticated.mechanism();
    let is_user = mechanism != MechanismKind::Null && !authenticated.user_id.is_empty();
    is_user.then_some((mechanism, &authenticated.domain, &authenticated.user_id))
}

/// Whether two peers are the same user, or neither is one. A peer of this process is not the same as one
/// without a user from elsewhere.
pub(crate) fn is_same_user(one: &Peer, other: &Peer) -> bool {
    let is_here = |peer: &Peer| peer.address == PeerAddress::InProcess;
    user(one) == user(other) && is_here(one) == is_here(other)
}

/// A routing id that was assigned.
pub(crate) struct Assigned {
    pub(crate) routing_id: Bytes,
    /// The pipe that has lost the id to this peer.
    pub(crate) displaced: Option<PipeId>,
}

impl RoutingIds {
    pub(crate) fn new(route_by: RouteBy) -> Self {
        Self {
            route_by,
            holders: HashMap::new(),
            ids: HashMap::new(),
            next: 0,
        }
    }

    /// Assigns a routing id: the one that the peer claims, else one that we make up. Or the user id
    /// of the peer.
    ///
    /// # Errors
    /// Returns [`TurnedAway::RoutingIdInUse`] if another user holds the id, or a peer without a user
    /// id on either side, and [`TurnedAway::UserIdUnroutable`] if the user id cannot be a routing id.
    pub(crate) fn assign(
        &mut self,
        pipe: PipeId,
        peer: &Arc<Peer>,
    ) -> Result<Assigned, TurnedAway> {
        let routing_id = match self.route_by {
            RouteBy::Claim => match peer.claims.identity.as_ref().filter(|id| is_routable(id)) {
                Some(id) => id.clone(),
                None => self.make_up(),
            },
            RouteBy::UserId => {
                let user_id = peer.user_id().cloned().unwrap_or_default();
                if !is_routable(&user_id) {
                    return Err(TurnedAway::UserIdUnroutable(user_id));
                }
                user_id
            }
        };
        let mut displaced = None;
        if let Some(holder) = self.holders.get(&routing_id)
            && holder.pipe != pipe
        {
            if user(peer).is_none() || !is_same_user(&holder.peer, peer) {
                return Err(TurnedAway::RoutingIdInUse(routing_id));
            }
            displaced = Some(holder.pipe);
            self.ids.remove(&holder.pipe);
        }
        let peer = Arc::clone(peer);
        let holder = Holder { pipe, peer };
        self.holders.insert(routing_id.clone(), holder);
        self.ids.insert(pipe, routing_id.clone());
        Ok(Assigned {
            routing_id,
            displaced,
        })
    }

    /// The id of a peer.
    pub(crate) fn of(&self, pipe: PipeId) -> Option<Bytes> {
        self.ids.get(&pipe).cloned()
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

/// Whether an id can be a routing id. RFC 37: ids that begin with 0 are made up by the one who assigns
/// them. Longer ids than 255 bytes do not come here: ZAP and the handshake refuse them.
fn is_routable(id: &[u8]) -> bool {
    id.first().is_some_and(|first| *first != 0)
}
