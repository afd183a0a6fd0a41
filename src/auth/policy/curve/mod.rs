//! CURVE rules: which keys a domain admits, and under which names.

pub(crate) mod entry;
pub(crate) mod key_hash;
pub(crate) mod node;
pub(crate) mod row;
pub(crate) mod rule;
pub(crate) mod table;
