//! ZeroMQ security for sockets that someone else has written, over any byte stream and on any
//! runtime.

mod byte_stream;
mod clock;

pub use byte_stream::ByteStream;
#[cfg(feature = "futures-io")]
pub use byte_stream::FuturesStream;
#[cfg(feature = "tokio")]
pub use byte_stream::TokioStream;
pub use clock::Clock;
#[cfg(feature = "tokio")]
pub use clock::TokioClock;
