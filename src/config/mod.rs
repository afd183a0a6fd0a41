//! The configuration of a socket: how it proves itself and which peers it admits.
//!
//! A program names these types only where it passes a half-built configuration around. The
//! configuration itself, its builder and its error are at the crate's root.

pub(crate) mod builder;
pub(crate) mod config_error;
pub(crate) mod own_metadata;
pub(crate) mod settings;

pub use builder::{
    CanAcceptAny, CanAuthorize, Complete, CurveServer, Null, PlainServer, Ready, WantsAccess,
    WantsMechanism,
};
