//! A ZAP handler in another process, in any language: asked over a connection of its own (RFC 27,
//! whose inproc endpoint cannot leave a process).
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::config::builder::ConfigError;
use crate::config::settings::{Config, NoPolicy};
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::limits::Limits;
use crate::lock::lock;
use crate::net::client::connector::Connector;
use crate::net::connection::halves::{RecvHalf, SendHalf};
use crate::net::connection::handle::Connection;
use crate::net::endpoint::{Endpoint, EndpointError, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::options::{AfterRefusal, Options};
use crate::status::DenialStatus;
use crate::traffic::heartbeat::HeartbeatSettings;
use crate::traffic::message::Message;
use crate::wire::socket_type::SocketType;
use crate::zap::hold_back::first_delay;
use crate::zap::reply::{InvalidReply, ZapReply};
use crate::zap::request::{RequestId, ZapRequest};
use crate::zap::router::ZapHandler;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long a silent link may last: half of a verdict's 10 s.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Asks a ZAP handler that is another process, and is a [`ZapHandler`] itself: bind it to a
/// [`ZapRouter`](crate::zap::ZapRouter).
///
/// Its peer is a REP or ROUTER socket that answers the requests of RFC 27, such as
/// `zmtp-auth zap --listen`. Requests carry passwords and replies admit peers, so a link is ipc, to
/// a process of our own user, or CURVE, to a server whose key we know; there is a call with an
/// honest name for anything else. The process that binds an ipc socket keeps others out by its mode.
///
/// While there is no link a peer is refused with 300, and so are all whose question was under way
/// when a link was lost; both are told half a second later, or a second at most, since a libzmq
/// peer is back at once. Every request has an id that no other has ever had, whichever link it
/// took, so that no late answer is taken for another's. A reply that cannot be believed refuses
/// its peer with 500. How long an answer may take is the router's to say. No grant comes from
/// another process: what it has admitted it cannot take back.
///
/// Passwords are copied into messages on their way and not wiped there.
pub struct RemoteZapHandler {
    shared: Arc<Shared>,
    linked: watch::Receiver<bool>,
    linking: JoinHandle<()>,
}

/// Why there is no such handler.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum RemoteZapHandlerError {
    /// The text is no endpoint, or it cannot be connected to.
    #[error("bad endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// Without CURVE only ipc is private.
    #[error("ZAP without encryption stays inside the machine: an ipc endpoint, or CURVE")]
    NotIpc,
    /// The configuration cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The connection cannot be.
    #[error(transparent)]
    Net(#[from] NetError),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts all requests of all links.
    last_id: u64,
    /// To the link that there is now.
    link: Option<mpsc::Sender<Message>>,
    /// The requests that wait for an answer, by id.
    waiting: HashMap<u64, oneshot::Sender<Result<ZapReply, InvalidReply>>>,
}

impl RemoteZapHandler {
    /// A handler behind an ipc endpoint, which must be a process of the user that we are.
    ///
    /// Must be called on tokio's runtime, on which the link is kept from then on.
    ///
    /// # Errors
    /// Returns [`RemoteZapHandlerError::NotIpc`] if the endpoint is not ipc, and
    /// [`RemoteZapHandlerError::Endpoint`] if the text is no endpoint.
    pub fn ipc(endpoint: impl IntoEndpoint) -> Result<Self, RemoteZapHandlerError> {
        let endpoint = endpoint.into_endpoint()?;
        if matches!(endpoint, Endpoint::Tcp { .. }) {
            return Err(RemoteZapHandlerError::NotIpc);
        }
        let config = Config::builder(SocketType::Dealer).null();
        Self::start(endpoint, config.accept_any_peer().finish()?, is_our_user)
    }

    /// A handler that is known by `server`, its CURVE key; it knows us by `keys`. On tokio's
    /// runtime, as [`RemoteZapHandler::ipc`].
    ///
    /// # Errors
    /// Returns [`RemoteZapHandlerError::Endpoint`] if the text is no endpoint, and
    /// [`RemoteZapHandlerError::Net`] if it cannot be connected to.
    pub fn curve(
        endpoint: impl IntoEndpoint,
        keys: KeyPair,
        server: PublicKey,
    ) -> Result<Self, RemoteZapHandlerError> {
        let config = Config::builder(SocketType::Dealer).curve_client(keys, server);
        Self::start(endpoint.into_endpoint()?, config.finish()?, |_| true)
    }

    /// A handler anywhere, without encryption: every machine on the way can read passwords and
    /// admit any peer. On tokio's runtime, as [`RemoteZapHandler::ipc`].
    ///
    /// # Errors
    /// Returns [`RemoteZapHandlerError::Endpoint`] if the text is no endpoint, and
    /// [`RemoteZapHandlerError::Net`] if it cannot be connected to.
    pub fn insecure_clear(endpoint: impl IntoEndpoint) -> Result<Self, RemoteZapHandlerError> {
        let config = Config::builder(SocketType::Dealer).null();
        let config = config.accept_any_peer().finish()?;
        Self::start(endpoint.into_endpoint()?, config, |_| true)
    }

    fn start(
        endpoint: Endpoint,
        config: Config<NoPolicy>,
        is_trusted: fn(&PeerAddress) -> bool,
    ) -> Result<Self, RemoteZapHandlerError> {
        let mut options = Options {
            heartbeat: Some(HeartbeatSettings::every(HEARTBEAT)),
            ..Options::default()
        };
        // A handler that is being set up may refuse us for a while.
        options.reconnect.after_refusal = AfterRefusal::Retry;
        options.reconnect.max_delay = Duration::from_secs(5);
        let connector = Connector::with_options(endpoint, config, options)?;
        let shared = Arc::new(Shared::default());
        let (tell, linked) = watch::channel(false);
        let linking = tokio::spawn(keep_linked(
            connector,
            is_trusted,
            Arc::clone(&shared),
            tell,
        ));
        Ok(Self {
            shared,
            linked,
            linking,
        })
    }

    /// Waits until there is a link. Cancel-safe.
    ///
    /// # Errors
    /// [`NetError::Aborted`] if there will be none, since the runtime is gone or no attempt is of
    /// use; the log says why.
    pub async fn connected(&self) -> Result<(), NetError> {
        let mut linked = self.linked.clone();
        match linked.wait_for(|linked| *linked).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NetError::Aborted),
        }
    }
}

impl Drop for RemoteZapHandler {
    fn drop(&mut self) {
        self.linking.abort();
    }
}

impl fmt::Debug for RemoteZapHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteZapHandler")
            .field("linked", &*self.linked.borrow())
            .field("waiting", &self.shared.state().waiting.len())
            .finish_non_exhaustive()
    }
}

impl ZapHandler for RemoteZapHandler {
    async fn handle(&self, request: ZapRequest) -> ZapReply {
        let deny = |status, reason| request.deny(status, reason);
        let later = |reason| ZapReply {
            hold_back: Some(first_delay()),
            ..deny(DenialStatus::Temporary, reason)
        };
        let Some((asked, told)) = self.shared.ask(&request) else {
            return later("no link to the ZAP handler");
        };
        let told = told.await;
        drop(asked);
        match told {
            Ok(Ok(reply)) => ZapReply {
                id: request.id,
                ..reply
            },
            Ok(Err(invalid)) => {
                tracing::error!(id = %request.id, "{invalid}");
                deny(DenialStatus::Internal, "the ZAP handler's reply is invalid")
            }
            Err(_) => later("the ZAP handler is lost"),
        }
    }
}

/// A question under way. Dropped, its answer is no longer waited for.
struct Asked<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shared.state().waiting.remove(&self.id);
    }
}

type Told = oneshot::Receiver<Result<ZapReply, InvalidReply>>;

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Puts a question on the link, if there is one with room.
    fn ask(&self, request: &ZapRequest) -> Option<(Asked<'_>, Told)> {
        let mut state = self.state();
        let link = state.link.clone()?;
        let id = state.last_id + 1;
        state.last_id = id;
        let mut frames = vec![Bytes::new()];
        let mut asked = request.clone();
        asked.id = RequestId::from(id);
        frames.extend(asked.to_frames());
        link.try_send(frames.into()).ok()?;
        let (tell, told) = oneshot::channel();
        state.waiting.insert(id, tell);
        drop(state);
        Some((Asked { shared: self, id }, told))
    }

    /// Gives an answer to the request that waits for it.
    fn answer(&self, frames: &[Bytes]) {
        // RFC 27: behind the delimiter the version, then the id. One that is not ours, or whose
        // question is over, is dropped.
        let Some(id) = frames.get(2).and_then(|id| own_id(id)) else {
            tracing::warn!("a ZAP reply without an id of ours was dropped");
            return;
        };
        let Some(waiting) = self.state().waiting.remove(&id) else {
            tracing::debug!(id, "a ZAP reply to no pending request was dropped");
            return;
        };
        let asked = RequestId::from(id);
        let reply = ZapReply::from_delimited(frames, &asked, &Limits::default());
        // Fails if the question is over just now.
        let _unheard = waiting.send(reply);
    }

    /// The link is gone, and with it every answer that is waited for.
    fn unlink(&self) {
        let mut state = self.state();
        state.link = None;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }
}

/// The number of a request id as we write them. `u64::from_str` would also take a sign and zeros
/// in front, which are another id (RFC 27: the reply repeats it).
fn own_id(id: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(id).ok()?.parse().ok()?;
    (RequestId::from(number).as_bytes() == id).then_some(number)
}

/// Refuses the requests that still wait when the task ends, however it does.
struct Unlink<'a>(&'a Shared);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        self.0.unlink();
    }
}

/// Connects again and again, until the handler is dropped or no attempt is of use.
async fn keep_linked(
    mut connector: Connector,
    is_trusted: fn(&PeerAddress) -> bool,
    shared: Arc<Shared>,
    linked: watch::Sender<bool>,
) {
    loop {
        let connection = match connector.next().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(%error, "no link to the ZAP handler, and none will be tried");
                return;
            }
        };
        let address = connection.peer().address.clone();
        if !is_trusted(&address) {
            tracing::error!(%address, "the ZAP handler belongs to another user: not asked");
            continue;
        }
        tracing::info!(%address, "linked to the ZAP handler");
        let lost = {
            let _unlink = Unlink(&shared);
            exchange(connection, &shared, &linked).await
        };
        linked.send_replace(false);
        tracing::warn!(%address, %lost, "the link to the ZAP handler is lost");
    }
}

/// Carries questions and answers until the connection ends; says why it did.
async fn exchange(
    connection: Connection,
    shared: &Shared,
    linked: &watch::Sender<bool>,
) -> NetError {
    let (sender, mut receiver) = connection.split();
    // A queue of this link alone: what it has not sent goes with it.
    let (link, questions) = mpsc::channel(Limits::default().max_pending_verdicts);
    shared.state().link = Some(link);
    linked.send_replace(true);
    tokio::select! {
        lost = send(sender, questions) => lost,
        lost = receive(&mut receiver, shared) => lost,
    }
}

async fn send(mut sender: SendHalf, mut questions: mpsc::Receiver<Message>) -> NetError {
    while let Some(question) = questions.recv().await {
        if let Err(error) = sender.send(question).await {
            return error;
        }
    }
    NetError::Aborted
}

async fn receive(receiver: &mut RecvHalf, shared: &Shared) -> NetError {
    loop {
        match receiver.recv_message().await {
            Ok(message) => shared.answer(message.frames()),
            Err(error) => return error,
        }
    }
}

/// Whether the process at the other end runs as the user that we run as, by the word of the
/// kernel.
fn is_our_user(address: &PeerAddress) -> bool {
    #[cfg(unix)]
    if let PeerAddress::Ipc(peer) = address {
        // The kernel says who we are by saying who is at the other end of our own socket.
        let pair = tokio::net::UnixStream::pair();
        let ours = pair.and_then(|(one, _other)| one.peer_cred());
        return ours.is_ok_and(|ours| ours.uid() == peer.uid);
    }
    let _ = address;
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_digits_that_we_wrote_are_an_id_of_ours() {
        assert_eq!(own_id(b"7"), Some(7));
        assert_eq!(own_id(b"18446744073709551615"), Some(u64::MAX));
        for other in [
            &b"+7"[..],
            b"07",
            b"-7",
            b" 7",
            b"7 ",
            b"",
            b"18446744073709551616",
            b"\xFF",
        ] {
            assert_eq!(own_id(other), None, "{other:?}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_taken_as_text_and_as_such() {
        let text = "tcp://127.0.0.1:1";
        let endpoint: Endpoint = text.parse().unwrap();
        assert!(RemoteZapHandler::insecure_clear(text).is_ok());
        assert!(RemoteZapHandler::insecure_clear(text.to_owned()).is_ok());
        assert!(RemoteZapHandler::insecure_clear(&endpoint).is_ok());
        assert!(RemoteZapHandler::insecure_clear(endpoint).is_ok());
    }
}
