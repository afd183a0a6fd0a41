//! Messages that were dropped: which are, and the events about them.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::socket::frames::Shown;
use crate::socket::peers::known::place_of;
use crate::socket::peers::table::Peers;
use crate::socket::peers::told::{Told, shown_id};
use crate::socket::stop::Stop;
use bytes::Bytes;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_sockets::Request;

/// The most bytes of a topic that an event shows, as in the events of the sockets.
const TOPIC_SHOWN: usize = 1024;

impl Peers {
    /// Prints that a message was dropped.
    pub(crate) async fn undelivered(
        &self,
        peer: Option<&Arc<Peer>>,
        routing_id: Option<&Bytes>,
        reason: String,
    ) -> Result<(), Stop> {
        let told = Told::Undelivered {
            peer: peer.and_then(|peer| self.number_of(peer)),
            routing_id: shown_id(routing_id),
            topic: None,
            reason,
            count: None,
        };
        Ok(self.events.tell(&told).await?)
    }

    /// Whether the policy lets its sender publish what a rep or router has received. These sockets leave
    /// that to the program. If not, it is counted, and printed as the other sockets tell it.
    pub(crate) async fn permits(
        &mut self,
        request: &Request,
        routing_id: Option<&Bytes>,
    ) -> Result<bool, Stop> {
        let Some(topic) = request.refused_topic() else {
            return Ok(true);
        };
        self.introduce(request.peer(), routing_id).await?;
        let count = match self.known.get_mut(&place_of(request.peer())) {
            Some(known) => {
                known.not_permitted = known.not_permitted.saturating_add(1);
                known.not_permitted
            }
            None => 1,
        };
        if is_told(count) {
            let shown = &topic[..topic.len().min(TOPIC_SHOWN)];
            self.not_permitted(request.peer(), shown, count)?;
        }
        Ok(false)
    }

    /// Prints that messages of a peer were dropped for their topic, `count` by now.
    pub(super) fn not_permitted(
        &self,
        peer: &Arc<Peer>,
        topic: &[u8],
        count: u64,
    ) -> Result<(), Failure> {
        let told = Told::Undelivered {
            peer: self.number_of(peer),
            routing_id: None,
            topic: Some(Shown::of(topic)),
            reason: "the policy does not permit the topic".to_owned(),
            count: Some(count),
        };
        // A peer can cause these without end.
        self.events.offer(&told)
    }
}

/// Whether a drop is told: the first, the tenth, the hundredth and so on, because a peer decides how many
/// there are.
const fn is_told(count: u64) -> bool {
    match count.checked_ilog10() {
        Some(digits) => count == 10u64.pow(digits),
        None => false,
    }
}
