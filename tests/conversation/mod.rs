//! Recorded and derived conversations: their files, how they are played against this crate, and how
//! derived ones are made.

pub mod accepted;
pub mod class;
pub mod derive;
pub mod file;
pub mod forge;
pub mod play;
pub mod refused;
pub mod side;
pub mod write;
