//! The types of sockets.

#[macro_use]
mod endpoint_methods;
#[macro_use]
pub(crate) mod shared;
pub(crate) mod dealer;
pub(crate) mod pair;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rep;
pub(crate) mod req;
pub(crate) mod router;
pub(crate) mod subscribe;
pub(crate) mod xpub;
pub(crate) mod xsub;
