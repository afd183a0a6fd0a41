//! Passes messages between two sockets, in both directions.
#![forbid(unsafe_code)]

use crate::sockets::dealer::Dealer;
use crate::sockets::pair::Pair;
use crate::sockets::pull::Pull;
use crate::sockets::push::Push;
use crate::sockets::router::Router;
use crate::sockets::xpub::Xpub;
use crate::sockets::xsub::Xsub;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Context, Poll};
use tokio::task::coop;
use zmtp_auth::net::Message;

/// Messages that a proxy passes on before it lets other tasks run.
const TURN: usize = 64;

/// A socket that a [`proxy`] can stand on: ROUTER, DEALER, PULL, PUSH, PAIR, XPUB and XSUB. Sealed.
pub trait ProxySocket: sealed::Forward {}

impl<T: sealed::Forward> ProxySocket for T {}

mod sealed {
    use std::task::{Context, Poll};
    use zmtp_auth::net::Message;

    /// What a proxy needs of a socket.
    #[expect(unnameable_types, reason = "the trait is sealed")]
    pub trait Forward: Send {
        /// Prepares the socket, before the first message is taken.
        fn begin(&mut self) {}

        /// Takes a message, with what the other socket needs to answer it.
        fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message>;

        /// Sends the message in `message` and leaves `None`. Waits for room if the pattern does.
        fn poll_give(
            &mut self,
            message: &mut Option<Message>,
            context: &mut Context<'_>,
        ) -> Poll<()>;
    }
}

use sealed::Forward;

/// Passes messages between `frontend` and `backend` in both directions, for ever. Dropping the future
/// ends it; at most one message in each direction is lost then. A message that was taken and waits for
/// room, one in each direction, is passed on also if its sender is revoked meanwhile.
///
/// A ROUTER passes the routing id of the peer on as the first frame, and an answer leads back by it
/// (RFC 28). So a ROUTER and a DEALER make a queue between REQ and REP sockets, and an XSUB and an XPUB
/// one publisher out of many, with subscriptions passed on (RFC 29). While one socket has no
/// room, nothing more is taken from the other.
///
/// Topic permissions hold for what each socket receives, also for a ROUTER, which is told as
/// [`SocketEvent::MessageNotPermitted`](crate::SocketEvent::MessageNotPermitted). A peer needs
/// permission for the first frame unless it is empty, and for the frame behind the first empty one, which a
/// REP takes for the topic. An answer that leads back through a DEALER begins with a routing id, so a
/// worker needs `publish = [""]` where its domain has a topic table.
///
/// `capture` sees each message before it is passed on.
///
/// ```no_run
/// # async fn example(frontend: zmtp_auth::Security, backend: zmtp_auth::Security)
/// #     -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_sockets::{Dealer, Router, proxy};
///
/// let mut clients = Router::new();
/// clients.bind("tcp://*:5559", frontend).await?;
/// let mut workers = Dealer::new();
/// workers.bind("tcp://*:5560", backend).await?;
/// proxy(clients, workers, |_| {}).await;
/// # Ok(()) }
/// ```
pub async fn proxy(
    mut frontend: impl ProxySocket,
    mut backend: impl ProxySocket,
    mut capture: impl FnMut(&Message) + Send,
) -> Infallible {
    frontend.begin();
    backend.begin();
    let (mut forth, mut back) = (None, None);
    loop {
        poll_fn(|context| {
            let mut has_passed = false;
            for _ in 0..TURN {
                let forth = pass(
                    &mut frontend,
                    &mut backend,
                    &mut forth,
                    &mut capture,
                    context,
                );
                let back = pass(
                    &mut backend,
                    &mut frontend,
                    &mut back,
                    &mut capture,
                    context,
                );
                if !(forth || back) {
                    break;
                }
                has_passed = true;
            }
            if has_passed {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        coop::consume_budget().await;
    }
}

/// Passes one message on, if there is one and there is room. `held` is a message that was taken and
/// has not been given.
fn pass(
    from: &mut impl Forward,
    to: &mut impl Forward,
    held: &mut Option<Message>,
    capture: &mut impl FnMut(&Message),
    context: &mut Context<'_>,
) -> bool {
    if held.is_none()
        && let Poll::Ready(message) = from.poll_take(context)
    {
        capture(&message);
        *held = Some(message);
    }
    held.is_some() && to.poll_give(held, context).is_ready()
}

impl Forward for Router {
    /// No program is there to ask.
    fn begin(&mut self) {
        self.apply_topic_permissions();
    }

    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message> {
        self.poll_recv(context).map(|request| {
            let routing_id = request.routing_id().clone();
            let mut frames = request.into_message().into_frames();
            frames.insert(0, routing_id);
            Message::from(frames)
        })
    }

    fn poll_give(&mut self, message: &mut Option<Message>, _: &mut Context<'_>) -> Poll<()> {
        if let Some(message) = message.take() {
            // As a ROUTER of libzmq: what has no route, or no room, is dropped.
            self.send_routed(message);
        }
        Poll::Ready(())
    }
}

impl Forward for Dealer {
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message> {
        self.poll_recv(context)
            .map(crate::received::Received::into_message)
    }

    fn poll_give(&mut self, message: &mut Option<Message>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_send(message, context)
    }
}

impl Forward for Pair {
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message> {
        self.poll_recv(context)
            .map(crate::received::Received::into_message)
    }

    fn poll_give(&mut self, message: &mut Option<Message>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_send(message, context)
    }
}

/// It only receives: what is passed to it is dropped.
impl Forward for Pull {
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message> {
        self.poll_recv(context)
            .map(crate::received::Received::into_message)
    }

    fn poll_give(&mut self, message: &mut Option<Message>, _: &mut Context<'_>) -> Poll<()> {
        *message = None;
        Poll::Ready(())
    }
}

/// It only sends: nothing is taken from it.
impl Forward for Push {
    fn poll_take(&mut self, _: &mut Context<'_>) -> Poll<Message> {
        Poll::Pending
    }

    fn poll_give(&mut self, message: &mut Option<Message>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_send(message, context)
    }
}

/// It passes subscriptions on as messages (RFC 23). What subscribers have no room for is dropped.
impl Forward for Xpub {
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message> {
        self.poll_recv(context).map(Message::from)
    }

    fn poll_give(&mut self, message: &mut Option<Message>, _: &mut Context<'_>) -> Poll<()> {
        if let Some(message) = message.take() {
            self.send(message);
        }
        Poll::Ready(())
    }
}

/// It takes subscriptions as messages (RFC 23). What publishers have no room for is dropped.
impl Forward for Xsub {
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Message> {
        self.poll_recv(context)
            .map(crate::received::Received::into_message)
    }

    fn poll_give(&mut self, message: &mut Option<Message>, _: &mut Context<'_>) -> Poll<()> {
        if let Some(message) = message.take() {
            self.send(message);
        }
        Poll::Ready(())
    }
}
