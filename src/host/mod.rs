//! ZeroMQ security for sockets that someone else has written, over any byte stream and on any
//! runtime.

pub(crate) mod alarm;
pub(crate) mod byte_stream;
pub(crate) mod clock;
pub(crate) mod conduct;
pub(crate) mod failed;
pub(crate) mod known_peer;
pub(crate) mod linger;
mod messages;
mod secured;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod stream;
pub(crate) mod subject;
pub(crate) mod traffic_error;
pub(crate) mod wiped_buffer;

pub use byte_stream::ByteStream;
#[cfg(feature = "futures-io")]
pub use byte_stream::FuturesStream;
#[cfg(feature = "tokio")]
pub use byte_stream::TokioStream;
pub use clock::Clock;
#[cfg(feature = "tokio")]
pub use clock::TokioClock;
pub use failed::{Failed, FailureKind};
pub use known_peer::KnownPeer;
pub use messages::{MessageReader, MessageWriter, RepliesReady};
pub use secured::Secured;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use stream::{AuthStream, AuthStreamOptions, StreamError};
pub use traffic_error::TrafficError;
