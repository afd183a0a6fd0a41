//! What `net` shows of its connections, and what it tells while it makes and loses them.

use crate::traces::{CLIENT, PASSWORD, SERVER};
use crate::{Shown, curve, keys, plain};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{
    Access, Attempt, Connection, Connector, Event, Listener, Reconnecting, RemoteHandler,
};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Open};

pub fn show(shown: &mut Shown) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let auth = Authenticator::new();
        auth.configure_plain("test", [("alice", PASSWORD)]).unwrap();
        auth.configure_curve_any("test");
        let router = ZapRouter::new();
        router.bind("test", auth).unwrap();
        for (client, server) in [plain(), curve()] {
            meet(shown, client, server, router.clone()).await;
        }
        refuse(shown).await;
        // Nobody listens there: port 1 is for nobody.
        let (ours, theirs) = (keys(CLIENT), keys(SERVER).public());
        shown.debug(&RemoteHandler::curve("tcp://127.0.0.1:1", ours, theirs).unwrap());
    });
}

async fn meet<A: Access>(
    shown: &mut Shown,
    client: Config<Open>,
    server: Config<A>,
    router: A::Router,
) {
    let listener = Listener::bind("tcp://127.0.0.1:*", server, router);
    let listener = listener.await.unwrap();
    shown.debug(&listener);
    let endpoint = listener.local_endpoint().clone();
    let mut connector = Connector::new(endpoint, client, ()).unwrap();
    shown.debug(&connector);
    let (attempt, event) = tokio::join!(connector.next_attempt(), listener.next_event());
    let event = event.unwrap();
    shown.debug(&attempt);
    shown.debug(&event);
    shown.debug(&connector);
    let (Attempt::Connected(ours), Event::Accepted(theirs)) = (attempt, event) else {
        panic!("not connected")
    };
    for connection in [*ours, *theirs] {
        shown.debug(&connection);
        let (sender, receiver) = connection.split();
        shown.debug(&sender);
        shown.debug(&receiver);
    }
    let mut reconnecting = Reconnecting::new(connector);
    shown.debug(&reconnecting);
    reconnecting.connected().await.unwrap();
    shown.debug(&reconnecting);
    listener.close().await;
}

/// A server without a handler refuses everybody.
async fn refuse(shown: &mut Shown) {
    let (client, server) = plain();
    let listener = Listener::bind("tcp://127.0.0.1:*", server, ZapRouter::new());
    let listener = listener.await.unwrap();
    let endpoint = listener.local_endpoint().clone();
    let dialling = Connection::connect(endpoint.clone(), client.clone(), ());
    let (dialled, event) = tokio::join!(dialling, listener.next_event());
    shown.error(&dialled.unwrap_err());
    shown.debug(&event.unwrap());
    let mut connector = Connector::new(endpoint, client, ()).unwrap();
    let (attempt, event) = tokio::join!(connector.next_attempt(), listener.next_event());
    shown.debug(&attempt);
    shown.debug(&event.unwrap());
    shown.debug(&connector);
}
