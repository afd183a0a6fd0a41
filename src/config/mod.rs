//! How a socket proves itself and which peers it admits.

pub mod builder;
pub mod settings;
