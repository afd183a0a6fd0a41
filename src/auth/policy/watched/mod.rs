//! The watched directories and files of a policy.

pub(crate) mod issue;
pub(crate) mod reading;
pub(crate) mod source;
pub(crate) mod watches;
