//! Door 3: listeners and connections over tcp and ipc, on tokio.
//!
//! [`Listener`] binds and hands out authenticated peers; [`Connection`] connects once;
//! [`Connector`] and [`Reconnecting`] connect again and again; a [`Tunnel`] stands between the
//! network and a program that knows no security. Protocol knowledge stays below: here are sockets,
//! tasks, queues and clocks.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use zmtp_auth::net::{Connection, Listener};
//! use zmtp_auth::{Config, Domain, KeyPair, SocketType, Verdict};
//! use zmtp_auth::zap::{ZapReply, ZapRequest, ZapRouter};
//!
//! let router = ZapRouter::new();
//! router.bind("billing", |request: ZapRequest| async move { request.allow("alice") })?;
//!
//! let keys = KeyPair::generate()?;
//! let server_key = keys.public();
//! let server = Config::builder(SocketType::Pull)
//!     .curve_server(keys)
//!     .authorize(Domain::from("billing"))
//!     .finish()?;
//! let listener = Listener::bind("tcp://127.0.0.1:*", server, router).await?;
//!
//! let client = Config::builder(SocketType::Push)
//!     .curve_client(KeyPair::generate()?, server_key)
//!     .finish()?;
//! let mut push = Connection::connect(listener.local_endpoint(), client, ()).await?;
//! push.send("hello").await?;
//!
//! let mut pull = listener.accept().await?;
//! assert_eq!(pull.peer().user_id().unwrap(), "alice");
//! assert_eq!(pull.recv_message().await?.frames(), ["hello"]);
//! push.close().await?;
//! # Ok(()) }
//! ```

mod asks;
mod bind;
mod clock;
mod connection;
mod connection_limit;
mod connector;
mod descriptors;
mod dial;
mod door;
mod driver;
mod ending;
mod endpoint;
mod error;
mod events;
mod guest;
mod halves;
mod handshake_bytes;
mod inbox;
mod listener;
mod message;
mod negotiate;
mod options;
mod outgoing;
mod pace;
mod pending;
mod places;
mod queue;
mod reconnect;
mod reconnecting;
mod remote_handler;
#[cfg(unix)]
mod socket_file;
mod transport;
mod tunnel;
mod wake;

pub use asks::Access;
pub use connection::Connection;
pub use connector::{Attempt, Connector};
pub use endpoint::{Endpoint, EndpointError, Host, MAX_IPC_PATH};
pub use error::NetError;
pub use events::{Event, Refusal};
pub use halves::{RecvHalf, SendHalf};
pub use inbox::Incoming;
pub use listener::Listener;
pub use message::Message;
pub use options::{Options, TcpKeepalive};
pub use reconnect::{AfterRefusal, ReconnectPolicy};
pub use reconnecting::Reconnecting;
pub use remote_handler::{RemoteHandler, RemoteHandlerError};
pub use tunnel::{Tunnel, TunnelError, TunnelOptions};
