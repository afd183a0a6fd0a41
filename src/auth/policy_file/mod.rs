//! Policies as TOML files: [`PolicyFile`] and [`PolicySettings`] say what a file may hold.

#[cfg(feature = "reload")]
pub(crate) mod again;
pub(crate) mod compile;
pub(crate) mod file;
mod hint;
pub(crate) mod install;
pub(crate) mod lint;
mod overlap;
pub(crate) mod problem;
pub(crate) mod settings;
pub(crate) mod values;

pub use file::PolicyFile;
pub use lint::PolicyWarning;
pub use problem::{PolicyFileError, PolicyFileErrorKind};
pub use settings::{
    CurveSettings, DomainSettings, GssapiSettings, NullSettings, PlainSettings, PolicySettings,
};
