//! Who has to act on an error, and what has probably caused it.
#![forbid(unsafe_code)]

/// Who must act to make an [`Error`](crate::Error) go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The peer: it is incompatible, or its data is malformed, forged, too late or too large.
    Peer,
    /// Our credentials: the peer did not accept them, or we have the wrong key for it.
    OurCredentials,
    /// Our policy, which refused as configured.
    Policy,
    /// Neither side: the peer, or our handler, asks to try again later.
    Temporary,
    /// Our own program or machine.
    Local,
}

/// The probable cause of an [`Error`](crate::Error), where the protocol does not tell the true one.
///
/// ZMTP has no message for some refusals: the side that refuses closes the connection. The cause
/// then follows from the command that was due, and from how libzmq and this crate behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LikelyCause {
    /// The client was given a key that is not the server's. The server cannot open HELLO and closes.
    /// A server that has no room for the client may close at the same moment, and then looks the same.
    WrongServerKey,
    /// The server has no room for the client now, or has crashed. It reset the connection before it
    /// had read HELLO.
    NoRoom,
    /// The server's policy refuses the client for now, with ZAP status 300. RFC 37 gives this status
    /// no ERROR: the server closes where its answer is due. Some servers send it nevertheless.
    TemporaryRefusal,
    /// A socket of this type may not talk to a socket of the peer's type (RFC 37).
    SocketTypeMismatch,
}

impl LikelyCause {
    /// What to append to the text of an early close.
    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::WrongServerKey => {
                " (the server key we were given is wrong, or the server has no room for us now)"
            }
            Self::NoRoom => " (a server that has no room for us now looks like this)",
            Self::TemporaryRefusal => " (a temporary refusal, ZAP status 300, looks like this)",
            Self::SocketTypeMismatch => " (the socket types probably do not match)",
        }
    }
}
