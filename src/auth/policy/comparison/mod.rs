//! What differs between two policies.

pub(crate) mod affected;
pub(crate) mod policies;
pub(crate) mod ruled;
