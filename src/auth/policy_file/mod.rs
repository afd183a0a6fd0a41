//! Policies as TOML files. [`PolicySettings`] describes what a file may contain.

pub(crate) mod compile;
pub(crate) mod error;
pub(crate) mod file;
mod hint;
pub(crate) mod install;
pub(crate) mod lint;
mod overlap;
#[cfg(feature = "reload")]
pub(crate) mod reload;
pub(crate) mod settings;
mod topics;
pub(crate) mod values;
pub(crate) mod warning;

pub use error::{PolicyFileError, PolicyFileErrorKind};
pub use file::PolicyFile;
pub use settings::{
    CurveSettings, DomainSettings, GssapiSettings, NullSettings, PlainSettings, PolicySettings,
    TopicSettings,
};
pub use warning::PolicyWarning;
