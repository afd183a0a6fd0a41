//! PLAIN rules: which users a domain admits, and their passwords.

pub(crate) mod rule;
pub(crate) mod table;
