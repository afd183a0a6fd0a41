//! How a socket proves itself and whom it admits.

pub mod builder;
pub mod settings;
