//! A byte stream with security inside.

mod auth_stream;
mod driver;
mod ended;
mod engine;
#[cfg(feature = "futures-io")]
mod futures;
mod link;
mod machine;
mod meeting;
mod pause;
#[cfg(feature = "tokio")]
mod tokio;

pub use auth_stream::{AuthStream, AuthStreamOptions};
pub use ended::StreamError;
