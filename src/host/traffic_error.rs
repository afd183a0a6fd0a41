//! Why an established connection ends.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::host::failed::io_kind;
use crate::traffic::heartbeat::HeartbeatExpired;
use std::io;
use thiserror::Error as ThisError;

/// Why a connection carries no more messages. Close it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TrafficError {
    /// Policy has revoked the admission of the peer.
    #[error("the peer's admission was revoked")]
    Revoked,
    /// The peer was silent for longer than the heartbeat allows
    /// ([`Secured::into_messages_on`](crate::host::Secured::into_messages_on)).
    #[error("heartbeat time-out")]
    Silent(#[source] HeartbeatExpired),
    /// The answers to 1,000 of the peer's PINGs wait to be written: the peer does not read them, or the
    /// host does not write them ([`MessageWriter::write_replies`](crate::host::MessageWriter::write_replies)).
    #[error("the peer does not read the answers to its PINGs")]
    UnreadAnswers,
    /// The peer broke the protocol or exceeded a limit, or our own side failed.
    #[error("connection failed")]
    Failed(#[source] Error),
}

impl From<TrafficError> for io::Error {
    fn from(error: TrafficError) -> Self {
        let kind = match &error {
            TrafficError::Revoked => io::ErrorKind::PermissionDenied,
            TrafficError::Silent(_) | TrafficError::UnreadAnswers => io::ErrorKind::TimedOut,
            TrafficError::Failed(error) => io_kind(error),
        };
        Self::new(kind, error)
    }
}
