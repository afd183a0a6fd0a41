//! How the two halves of a connection are made.
#![forbid(unsafe_code)]

use crate::handshake::Established;
use crate::host::alarm::AnyClock;
use crate::host::messages::reader::MessageReader;
use crate::host::messages::shared::Shared;
use crate::host::messages::writer::MessageWriter;
use crate::limits::Limits;
use crate::traffic::heartbeat::{Heartbeat, HeartbeatSettings};
use std::sync::Arc;

/// The clock of a connection, and the PINGs that it sends.
pub(crate) type Pulse = (Arc<dyn AnyClock>, Option<HeartbeatSettings>);

/// Makes both halves of a connection. `as_messages` says that subscriptions are messages to the host.
pub(crate) fn halves(
    established: Established,
    limits: &Limits,
    as_messages: bool,
    pulse: Option<Pulse>,
) -> (MessageReader, MessageWriter) {
    let Established {
        sealer,
        opener,
        peer,
        socket_type,
        zmtp_3_0,
    } = established;
    let (clock, heartbeat) = match pulse {
        Some((clock, settings)) => {
            let heartbeat = Heartbeat::new(settings, zmtp_3_0, clock.now());
            (Some(clock), Some(heartbeat))
        }
        None => (None, None),
    };
    let shared = Arc::new(Shared::new(peer, clock, heartbeat));
    let writes_subscriptions = as_messages && socket_type.subscribes();
    (
        MessageReader::new(
            opener,
            socket_type,
            limits,
            as_messages,
            Arc::clone(&shared),
        ),
        MessageWriter::new(sealer, zmtp_3_0, writes_subscriptions, shared),
    )
}
