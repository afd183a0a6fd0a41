//! How a fair queue tells what happens to peers and their messages.
#![forbid(unsafe_code)]

use crate::event::{SocketEvent, TOPIC_SHOWN};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::broadcast;
use zmtp_auth::Peer;

/// Who is told, and of what.
pub(crate) struct Told<D> {
    events: broadcast::Sender<SocketEvent>,
    peer_of: fn(&D) -> &Arc<Peer>,
    tells_ends: bool,
}

impl<D> Told<D> {
    /// Tells [`SocketEvent::AllReceived`] and [`SocketEvent::MessageNotPermitted`].
    pub(crate) const fn new(
        events: broadcast::Sender<SocketEvent>,
        peer_of: fn(&D) -> &Arc<Peer>,
    ) -> Self {
        Self {
            events,
            peer_of,
            tells_ends: true,
        }
    }

    /// Tells [`SocketEvent::MessageNotPermitted`] alone.
    pub(crate) fn without_ends(mut self) -> Self {
        self.tells_ends = false;
        self
    }

    /// Everything of a peer was received.
    pub(super) fn all_received(&self, data: &D) {
        if self.tells_ends {
            self.tell(SocketEvent::AllReceived {
                peer: Arc::clone((self.peer_of)(data)),
            });
        }
    }

    /// A message was dropped for its topic, as the `count`th of its connection. A peer decides how many
    /// there are, so not all of them are told.
    pub(super) fn not_permitted(&self, data: &D, topic: &[u8], count: u64) {
        if is_power_of_ten(count) {
            self.tell(SocketEvent::MessageNotPermitted {
                peer: Arc::clone((self.peer_of)(data)),
                topic: Bytes::copy_from_slice(&topic[..topic.len().min(TOPIC_SHOWN)]),
                count,
            });
        }
    }

    fn tell(&self, event: SocketEvent) {
        // It fails without a reader, which is fine.
        let _ = self.events.send(event);
    }
}

const fn is_power_of_ten(count: u64) -> bool {
    match count.checked_ilog10() {
        Some(digits) => count == 10u64.pow(digits),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_times_as_many_is_told() {
        let told: Vec<u64> = (0..=10_000)
            .filter(|count| is_power_of_ten(*count))
            .collect();
        assert_eq!(told, [1, 10, 100, 1_000, 10_000]);
        assert!(!is_power_of_ten(u64::MAX));
    }
}
