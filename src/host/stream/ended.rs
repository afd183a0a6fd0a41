//! How a connection through an `AuthStream` ends before its time, and how the host learns of it.
#![forbid(unsafe_code)]

use crate::error::{Error, Stage};
use crate::host::failed::io_kind;
use crate::host::stream::pause::failed;
use crate::host::subject::Subject;
use crate::traffic::heartbeat::HeartbeatExpired;
use std::io;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why a read or write of an [`AuthStream`](crate::host::AuthStream) failed after the handshakes, as
/// the [`io::Error`]'s [`get_ref`](io::Error::get_ref). A handshake that failed is a
/// [`Failed`](crate::host::Failed) there.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum StreamError {
    /// The network's peer has broken the protocol, or exceeded a limit.
    #[error("connection failed")]
    Peer(#[source] Error),
    /// The host has, in its handshake or after it.
    #[error("the host has broken the protocol")]
    Host(#[source] Error),
    /// The network's peer was silent for longer than the heartbeat allows.
    #[error("heartbeat time-out: {}", match .0 {
        HeartbeatExpired::NoAnswer => "the peer did not answer a PING",
        HeartbeatExpired::TtlExpired => "the peer was silent for longer than it had announced",
    })]
    Heartbeat(HeartbeatExpired),
    /// Policy has revoked the peer's admission, so the connection is closed.
    #[error("the peer's admission was revoked")]
    Revoked,
}

/// Why nothing more comes from the network, or goes to it.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// The network's handshake failed.
    Handshake(Stage, Error),
    /// One side has failed later.
    Stream(StreamError),
    /// The stream to the network has failed.
    Io(Arc<io::Error>),
}

impl Ended {
    /// The error of the host's read or write. `subject` is the network's peer.
    pub(crate) fn to_error(&self, subject: &Subject) -> io::Error {
        match self {
            Self::Handshake(stage, error) => failed(*stage, error.clone(), subject.clone()).into(),
            Self::Stream(error) => error.clone().into(),
            Self::Io(error) => io::Error::new(error.kind(), Arc::clone(error)),
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Peer(error) => io_kind(error),
            StreamError::Host(_) => io::ErrorKind::InvalidInput,
            StreamError::Heartbeat(_) => io::ErrorKind::TimedOut,
            StreamError::Revoked => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, error)
    }
}
