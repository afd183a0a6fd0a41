//! Requests and verdicts: the types in which a mechanism asks for access and a ZAP handler answers.
//! Neither side depends on the other.

pub(crate) mod address;
pub(crate) mod credentials;
pub(crate) mod domain;
pub(crate) mod grant;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod request;
pub(crate) mod revoked;
pub(crate) mod topics;
pub(crate) mod user_name;
pub(crate) mod verdict;
