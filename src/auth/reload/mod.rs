//! Password files and certificate directories that are loaded again when they change.

pub(crate) mod event;
pub(crate) mod settings;
pub(crate) mod settling;
pub(crate) mod source;
pub(crate) mod thread;
pub(crate) mod turns;
pub(crate) mod watcher;
