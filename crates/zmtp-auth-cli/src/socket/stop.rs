//! Why an exchange of messages ends.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::time::SystemTime;
use zmtp_auth::net::NetError;

/// Why an exchange of messages ends. A socket that listens ends by a failure alone.
pub(crate) enum Stop {
    /// Stdout or standard input is broken.
    Failed(Failure),
    /// Everything was sent and received.
    Done,
    /// The only connection is lost.
    Lost(Lost),
}

/// The end of the only connection.
pub(crate) struct Lost {
    pub(crate) error: NetError,
    /// Whether the system had taken everything that was sent.
    pub(crate) all_sent: bool,
    pub(crate) at: SystemTime,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(failure) => failure,
            Stop::Done => Self::new("the exchange has ended"),
            Stop::Lost(lost) => lost.error.into(),
        }
    }
}
