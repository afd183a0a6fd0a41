//! The rules of a policy, and how a request is decided by them. Pure data.

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod call;
pub(crate) mod comparison;
pub(crate) mod curve;
pub(crate) mod decide;
pub(crate) mod endings;
pub(crate) mod outcome;
pub(crate) mod password_file;
pub(crate) mod plain;
pub(crate) mod principals;
pub(crate) mod provider;
pub(crate) mod refusal;
pub(crate) mod rule;
pub(crate) mod topics;
pub(crate) mod unclaimed;
#[cfg(feature = "reload")]
pub(crate) mod watched;
