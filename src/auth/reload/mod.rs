//! Reloading of password files and certificate directories when they change.

pub(crate) mod event;
pub(crate) mod file_watcher;
pub(crate) mod followed;
pub(crate) mod schedule;
pub(crate) mod settings;
pub(crate) mod settling;
pub(crate) mod source;
pub(crate) mod thread;
pub(crate) mod watcher;
