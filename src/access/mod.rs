//! Requests and verdicts: the types in which a mechanism asks for access and a ZAP handler answers.
//! Neither side depends on the other.

pub mod address;
pub mod credentials;
pub mod domain;
pub mod grant;
pub(crate) mod origin;
pub mod peer;
pub mod request;
pub mod revoked;
pub mod verdict;
