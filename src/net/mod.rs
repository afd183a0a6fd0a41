//! Listeners and connections over tcp and ipc, on tokio.
//!
//! [`Listener`] binds and hands out authenticated peers. [`Connection`] connects once;
//! [`Connector`] and [`Reconnecting`] connect again after a loss. A [`Tunnel`] secures a program
//! that has no security of its own. This layer has sockets, tasks, queues and clocks; the protocol
//! itself is in the layers below.
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
//! let server_key = keys.public_key();
//! let server = Config::builder(SocketType::Pull)
//!     .curve_server(keys)
//!     .authorize(Domain::from("billing"))
//!     .finish()?;
//! let listener = Listener::bind("tcp://127.0.0.1:*", (server, router)).await?;
//!
//! let client = Config::builder(SocketType::Push)
//!     .curve_client(KeyPair::generate()?, server_key)
//!     .finish()?;
//! let mut push = Connection::connect(listener.local_endpoint(), client).await?;
//! push.send("hello").await?;
//!
//! let mut pull = listener.accept().await?;
//! assert_eq!(pull.peer().user_id().unwrap(), "alice");
//! assert_eq!(pull.recv_message().await?.frames(), ["hello"]);
//! push.close().await?;
//! # Ok(()) }
//! ```

pub(crate) mod accept;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod in_process;
pub(crate) mod listener;
pub(crate) mod negotiate;
pub(crate) mod options;
pub(crate) mod remote_zap_handler;
pub(crate) mod socket;
pub(crate) mod span;
pub(crate) mod tunnel;

pub use crate::traffic::inbox::Incoming;
pub use crate::traffic::message::Message;
pub use client::connector::{Attempt, Connector};
pub use client::reconnecting::Reconnecting;
pub use connection::driver::Loss;
pub use connection::halves::{RecvHalf, SendHalf};
pub use connection::handle::Connection;
pub use connection::link::Ends;
pub use connection::queue::run::MessageRun;
pub use connection::send_queue::SendQueue;
pub use connection::try_error::{TryRecvError, TrySendError, TrySendReason};
pub use endpoint::{Endpoint, EndpointError, Host, IntoEndpoint, MAX_IPC_PATH};
pub use error::{NetError, TunnelError};
pub use in_process::side::InProcess;
pub use listener::events::{Event, Refusal};
pub use listener::handle::Listener;
pub use options::{AfterRefusal, Options, ReconnectPolicy, TcpKeepalive};
pub use remote_zap_handler::{RemoteZapHandler, RemoteZapHandlerError};
pub use socket::open_stream::OpenStream;
pub use tunnel::{Tunnel, TunnelOptions};
