//! The configuration of a socket: how it proves itself and which peers it admits.

pub mod builder;
pub mod settings;
