//! A ZAP handler in another process, written in any language. It is asked over a connection of its
//! own, because the inproc endpoint of RFC 27 cannot leave a process.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::config::config_error::ConfigError;
use crate::config::settings::{Config, NoPolicy};
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::limits::Limits;
use crate::lock::lock;
use crate::net::client::connector::Connector;
use crate::net::connection::halves::{RecvHalf, SendHalf};
use crate::net::connection::handle::Connection;
use crate::net::endpoint::{Endpoint, EndpointError, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::options::{AfterRefusal, Options, ReconnectPolicy};
use crate::net::socket::stream::own_uid;
use crate::status::DenialStatus;
use crate::traffic::heartbeat::HeartbeatSettings;
use crate::traffic::message::Message;
use crate::wire::socket_type::SocketType;
use crate::with_causes::WithCauses;
use crate::zap::hold_back::first_delay;
use crate::zap::reply::{ZapReply, ZapReplyError};
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

/// How long a silent link may last. 5 s, half of the default time for a verdict.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A [`ZapHandler`] that asks a ZAP handler in another process. Bind it to a
/// [`ZapRouter`](crate::zap::ZapRouter).
///
/// Its peer is a REP or ROUTER socket that answers the requests of RFC 27, such as
/// `zmtp-auth zap --listen`. Requests carry passwords and replies admit peers. So the link is ipc,
/// to a process of our own user, or CURVE, to a server whose key we know.
/// [`insecure_clear`](Self::insecure_clear) allows anything else. The process that binds an ipc
/// socket keeps other users out by the mode of the file.
///
/// While there is no link, a peer is refused with 300, and so is each peer whose question was
/// pending when the link was lost. These refusals are held back for half a second to a second,
/// because a libzmq peer comes back at once. Request ids are never reused, on any link, so a late
/// reply is never taken for the reply to another request. An invalid reply refuses its peer with
/// 500. The router bounds the time of a reply. Another process issues no grants: it cannot revoke
/// what it has admitted.
///
/// The queue of a link and the size of a reply have the bounds of [`Limits::default`]: at most
/// [`max_pending_verdicts`](Limits::max_pending_verdicts) requests wait to be sent, and a peer whose
/// request finds no room is refused with 300.
///
/// Passwords are copied into messages on their way and are not wiped there.
#[must_use = "the link is closed when the handler is dropped"]
pub struct RemoteZapHandler {
    shared: Arc<Shared>,
    linked: watch::Receiver<bool>,
    linking: JoinHandle<()>,
}

/// Why a remote ZAP handler cannot be made.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum RemoteZapHandlerError {
    /// The text is not an endpoint, or the endpoint cannot be connected to.
    #[error("bad endpoint")]
    Endpoint(#[from] EndpointError),
    /// The endpoint is not ipc, which alone is private without CURVE.
    #[error("ZAP without encryption stays inside the machine: an ipc endpoint, or CURVE")]
    NotIpc,
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The connection is not possible.
    #[error(transparent)]
    Net(#[from] NetError),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The id of the latest request of all links.
    last_id: u64,
    /// The queue of the current link.
    link: Option<mpsc::Sender<Message>>,
    /// The requests that wait for a reply, by id.
    waiting: HashMap<u64, oneshot::Sender<Result<ZapReply, ZapReplyError>>>,
}

impl RemoteZapHandler {
    /// Asks the handler at an ipc endpoint, which must be a process of our own user.
    ///
    /// # Errors
    /// Returns [`RemoteZapHandlerError::NotIpc`] if the endpoint is not ipc, and
    /// [`RemoteZapHandlerError::Endpoint`] if the text is not an endpoint.
    ///
    /// # Panics
    /// Panics outside of tokio's runtime, which keeps the link.
    pub fn ipc(endpoint: impl IntoEndpoint) -> Result<Self, RemoteZapHandlerError> {
        let endpoint = endpoint.into_endpoint()?;
        if matches!(endpoint, Endpoint::Tcp { .. }) {
            return Err(RemoteZapHandlerError::NotIpc);
        }
        let config = Config::builder(SocketType::Dealer).null();
        Self::start(endpoint, config.accept_any_peer().finish()?, is_our_user)
    }

    /// Asks a handler that holds the CURVE key `server`, and proves `keys` to it.
    ///
    /// # Errors
    /// Returns [`RemoteZapHandlerError::Endpoint`] if the text is not an endpoint, or names a
    /// wildcard, which cannot be connected to.
    ///
    /// # Panics
    /// Panics outside of tokio's runtime, which keeps the link.
    pub fn curve(
        endpoint: impl IntoEndpoint,
        keys: KeyPair,
        server: PublicKey,
    ) -> Result<Self, RemoteZapHandlerError> {
        let config = Config::builder(SocketType::Dealer).curve_client(keys, server);
        Self::start(endpoint.into_endpoint()?, config.finish()?, |_| true)
    }

    /// Asks a handler anywhere, without encryption. Every machine on the way can read passwords and
    /// admit any peer.
    ///
    /// # Errors
    /// Returns [`RemoteZapHandlerError::Endpoint`] if the text is not an endpoint, or names a
    /// wildcard, which cannot be connected to.
    ///
    /// # Panics
    /// Panics outside of tokio's runtime, which keeps the link.
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
        endpoint.require_connectable()?;
        // A handler that is being set up may refuse us for some time.
        let reconnect = ReconnectPolicy::default()
            .with_after_refusal(AfterRefusal::Retry)
            .with_max_delay(Duration::from_secs(5));
        let options = Options::default()
            .with_heartbeat(HeartbeatSettings::every(HEARTBEAT))
            .with_reconnect(reconnect);
        let connector = Connector::with_options(endpoint, config, options)?;
        let shared = Arc::new(Shared::default());
        let (linked_sender, linked) = watch::channel(false);
        let linking = tokio::spawn(keep_linked(
            connector,
            is_trusted,
            Arc::clone(&shared),
            linked_sender,
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
    /// Returns [`NetError::Aborted`] if there will be no link, because the runtime is gone or no
    /// attempt can succeed. The log says why.
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
        let Some((pending, reply)) = self.shared.ask(&request) else {
            return later("no link to the ZAP handler");
        };
        let reply = reply.await;
        drop(pending);
        match reply {
            Ok(Ok(reply)) => ZapReply {
                id: request.id,
                ..reply
            },
            Ok(Err(invalid)) => {
                tracing::error!(id = %request.id, "{}", WithCauses(&invalid));
                deny(DenialStatus::Internal, "the ZAP handler's reply is invalid")
            }
            Err(_) => later("the ZAP handler is lost"),
        }
    }
}

/// A pending request. Dropping it discards the reply.
struct PendingRequest<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.shared.state().waiting.remove(&self.id);
    }
}

type ReplyReceiver = oneshot::Receiver<Result<ZapReply, ZapReplyError>>;

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Queues a request on the link, if there is a link with room.
    fn ask(&self, request: &ZapRequest) -> Option<(PendingRequest<'_>, ReplyReceiver)> {
        let mut state = self.state();
        let link = state.link.clone()?;
        let id = state.last_id + 1;
        state.last_id = id;
        let mut frames = vec![Bytes::new()];
        let mut renumbered = request.clone();
        renumbered.id = RequestId::from(id);
        frames.extend(renumbered.to_frames());
        link.try_send(frames.into()).ok()?;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(id, sender);
        drop(state);
        Some((PendingRequest { shared: self, id }, receiver))
    }

    /// Passes a reply to the request that waits for it.
    fn answer(&self, frames: &[Bytes]) {
        // RFC 27: the version follows the delimiter, and then the id. A reply whose id is not ours,
        // or whose request is over, is dropped.
        let Some(id) = frames.get(2).and_then(|id| own_id(id)) else {
            tracing::warn!("a ZAP reply without an id of ours was dropped");
            return;
        };
        let Some(waiting) = self.state().waiting.remove(&id) else {
            tracing::debug!(id, "a ZAP reply to no pending request was dropped");
            return;
        };
        let own = RequestId::from(id);
        let reply = ZapReply::from_delimited(frames, &own, &Limits::default());
        // Fails if the request has just ended.
        let _unheard = waiting.send(reply);
    }

    /// Notes that the link is gone, and with it every pending reply.
    fn unlink(&self) {
        let mut state = self.state();
        state.link = None;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }
}

/// The number in a request id that we wrote. `u64::from_str` would also accept a sign and leading
/// zeros, which make another id (RFC 27: the reply repeats the id).
fn own_id(id: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(id).ok()?.parse().ok()?;
    (RequestId::from(number).as_bytes() == id).then_some(number)
}

/// Refuses the requests that still wait when the task ends, for any reason.
struct Unlink<'a>(&'a Shared);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        self.0.unlink();
    }
}

/// Keeps a link until the handler is dropped or no attempt can succeed.
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
                let error = WithCauses(&error);
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
        tracing::warn!(%address, lost = %WithCauses(&lost), "the link to the ZAP handler is lost");
    }
}

/// Carries requests and replies until the connection ends. Returns the reason.
async fn exchange(
    connection: Connection,
    shared: &Shared,
    linked: &watch::Sender<bool>,
) -> NetError {
    let (sender, mut receiver) = connection.split();
    // The queue belongs to this link: what it has not sent is dropped with it.
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

/// Whether the process at the other end runs as our own user, as the kernel reports it.
fn is_our_user(address: &PeerAddress) -> bool {
    match address {
        PeerAddress::Ipc(peer) => own_uid().is_ok_and(|ours| ours == peer.uid),
        _ => false,
    }
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

    #[tokio::test]
    async fn a_wildcard_is_an_endpoint_that_cannot_be_connected_to() {
        for text in ["tcp://*:1", "tcp://a:0"] {
            let error = RemoteZapHandler::insecure_clear(text).unwrap_err();
            assert!(
                matches!(
                    error,
                    RemoteZapHandlerError::Endpoint(EndpointError::Wildcard(_))
                ),
                "{error}"
            );
        }
    }
}
