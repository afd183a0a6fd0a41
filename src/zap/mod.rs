//! The ZeroMQ Authentication Protocol (RFC 27) as values, as frames, and as a router
//! inside the process.
//!
//! A [`ZapHandler`] decides which peers are admitted. [`ZapRouter`] passes it the requests of any
//! number of sockets, and turns every failure into a refusal. [`ZapRequest`] and [`ZapReply`] also
//! convert to and from the frames of RFC 27, for handlers and proxies in other processes.

pub(crate) mod bounds;
pub(crate) mod contain;
pub(crate) mod envelope;
pub(crate) mod failures;
pub(crate) mod fair_permits;
pub(crate) mod fair_queue;
pub(crate) mod hold_back;
pub(crate) mod oneshot;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod router;

pub use envelope::split_envelope;
pub use reply::{ZapReply, ZapReplyError};
pub use request::{CredentialsError, RequestId, ZapRequest, ZapRequestError};
pub use router::{AlreadyBound, ZapHandler, ZapRouter};
