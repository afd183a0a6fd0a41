//! The words of policy, in which the mechanisms ask and ZAP answers. Neither side knows
//! the other.

pub mod address;
pub mod credentials;
pub mod domain;
pub mod grant;
pub(crate) mod origin;
pub mod peer;
pub mod request;
pub mod revoked;
pub mod verdict;
