//! Why an established connection ends.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::host::failed::io_kind;
use std::io;
use thiserror::Error as ThisError;

/// Why a connection carries no more messages. Close it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TrafficError {
    /// Policy has revoked the admission of the peer.
    #[error("the peer's admission was revoked")]
    Revoked,
    /// The peer broke the protocol or exceeded a limit, or our own side failed.
    #[error("connection failed")]
    Failed(#[source] Error),
}

impl From<TrafficError> for io::Error {
    fn from(error: TrafficError) -> Self {
        let kind = match &error {
            TrafficError::Revoked => io::ErrorKind::PermissionDenied,
            TrafficError::Failed(error) => io_kind(error),
        };
        Self::new(kind, error)
    }
}
