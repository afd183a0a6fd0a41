//! Floor 9: listeners and connections over tcp and ipc, on tokio. Protocol knowledge stays
//! below; here are sockets, tasks, queues and clocks.

mod bind;
mod endpoint;
mod error;
mod message;
mod options;
mod pending;
mod queue;
mod reconnect;
mod transport;

pub use endpoint::{Endpoint, EndpointError, Host, MAX_IPC_PATH};
pub use error::NetError;
pub use message::Message;
pub use options::Options;
pub use reconnect::{AfterRefusal, ReconnectPolicy};
