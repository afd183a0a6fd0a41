//! The ZeroMQ Authentication Protocol (RFC 27) as values, as frames, and as a router
//! inside the process.
//!
//! A [`ZapHandler`] decides; [`ZapRouter`] brings it the questions of any number of sockets and
//! turns whatever goes wrong into a refusal. [`ZapRequest`] and [`ZapReply`] also have the
//! frames of RFC 27, for handlers and proxies beyond the process.

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
pub use reply::{InvalidReply, ZapReply};
pub use request::{CredentialsError, RequestId, ZapRequest, ZapRequestError};
pub use router::{AlreadyBound, ZapHandler, ZapRouter};
