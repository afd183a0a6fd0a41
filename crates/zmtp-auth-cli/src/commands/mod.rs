//! The commands, each in the file of its name.
#![forbid(unsafe_code)]

pub(crate) mod cert;
pub(crate) mod connect;
pub(crate) mod generate;
pub(crate) mod keygen;
pub(crate) mod listen;
pub(crate) mod passwd;
pub(crate) mod policy;
pub(crate) mod probe;
pub(crate) mod probe_link;
pub(crate) mod tunnel;
pub(crate) mod zap;
pub(crate) mod zap_service;
