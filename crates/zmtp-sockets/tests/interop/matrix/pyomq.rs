//! Every pair of socket types, mechanism and side that binds, with pyomq, which shares no code with libzmq.
//! Prints what crossed.

use crate::both_sides::{our_client, our_server};
use crate::omq::{OmqPeer, Stands, printed, to_hex};
use crate::peer::{CLIENT_SECRET, SERVER_SECRET};
use crate::securities::{ANY_PORT, eventually, fast, soon};
use std::collections::BTreeSet;
use zmtp_auth::KeyPair;
use zmtp_sockets::{Dealer, Message, Pub, Pull, Push, Rep, Req, Router, Sub};

/// How many peers of each kind one socket of ours has at once: one, or sixteen with `--full`.
fn peers() -> usize {
    match std::env::var_os("ZMTP_AUTH_FULL") {
        Some(_) => 16,
        None => 1,
    }
}

/// Messages of one frame and of several, and some that need long frames, also when sealed.
fn messages() -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![b"one".to_vec()],
        vec![b"three".to_vec(), b"whole".to_vec(), b"frames".to_vec()],
        vec![vec![7; 250], vec![8; 70_000]],
    ]
}

fn ours(frames: &[Vec<u8>]) -> Message {
    frames.iter().cloned().collect()
}

fn hex(frames: &[Vec<u8>]) -> Vec<String> {
    frames.iter().map(|frame| to_hex(frame)).collect()
}

#[derive(Clone, Copy)]
struct Cell {
    mechanism: &'static str,
    we_bind: bool,
}

impl Cell {
    /// A socket of pyomq that is bound, or connects to `endpoint`.
    async fn peer(self, kind: &str, stands: Stands<'_>) -> OmqPeer {
        let pair = |secret: &str| KeyPair::from_secret(secret.parse().unwrap());
        let server = pair(SERVER_SECRET);
        let keys = match stands {
            Stands::Bound => server.clone(),
            Stands::ConnectedTo(_) => pair(CLIENT_SECRET),
        };
        let keys = (&keys, server.public_key());
        OmqPeer::start(kind, self.mechanism, stands, keys, &messages()).await
    }
}

/// Binds or connects `$ours`, so that it meets all its peers.
macro_rules! meet {
    ($cell:expr, $ours:ident, $kind:expr) => {{
        let mut theirs = Vec::new();
        if $cell.we_bind {
            let security = our_server($cell.mechanism);
            let endpoint = $ours.bind(ANY_PORT, security).await.unwrap().to_string();
            for _ in 0..peers() {
                theirs.push($cell.peer($kind, Stands::ConnectedTo(&endpoint)).await);
            }
        } else {
            for _ in 0..peers() {
                let peer = $cell.peer($kind, Stands::Bound).await;
                let security = our_client($cell.mechanism);
                $ours.connect(peer.endpoint.as_str(), security).unwrap();
                theirs.push(peer);
            }
        }
        theirs
    }};
}

/// Waits until all peers are there: what is sent in turn goes to each of them.
macro_rules! all_there {
    ($events:ident) => {
        let mut there = 0;
        while there < peers() {
            use zmtp_sockets::SocketEvent::{Accepted, Connected};
            let event = soon($events.next()).await.unwrap();
            there += usize::from(matches!(event, Accepted { .. } | Connected { .. }));
        }
    };
}

async fn push_to_pull(cell: Cell) {
    let mut push = Push::with_options(fast());
    let mut events = push.events();
    let mut theirs = meet!(cell, push, "PULL");
    all_there!(events);
    for frames in messages() {
        for _ in 0..peers() {
            soon(push.send(ours(&frames))).await;
        }
        for pull in &mut theirs {
            assert_eq!(soon(pull.received()).await, hex(&frames));
        }
    }
}

async fn pull_from_push(cell: Cell) {
    let mut pull = Pull::with_options(fast());
    let _theirs = meet!(cell, pull, "PUSH");
    let mut counts = vec![0; messages().len()];
    for _ in 0..messages().len() * peers() {
        let received = soon(pull.recv()).await;
        let is_it = |frames: &Vec<Vec<u8>>| ours(frames) == *received.message();
        counts[messages().iter().position(is_it).unwrap()] += 1;
    }
    assert_eq!(counts, vec![peers(); messages().len()]);
}

async fn req_to_rep(cell: Cell) {
    let mut req = Req::with_options(fast());
    let mut events = req.events();
    let _theirs = meet!(cell, req, "REP");
    all_there!(events);
    for frames in messages() {
        for _ in 0..peers() {
            let reply = soon(req.request(ours(&frames))).await.unwrap();
            assert_eq!(*reply.message(), ours(&frames));
        }
    }
}

async fn rep_to_req(cell: Cell) {
    let mut rep = Rep::with_options(fast());
    let mut theirs = meet!(cell, rep, "REQ");
    for _ in 0..messages().len() * peers() {
        let request = soon(rep.recv()).await;
        rep.send(request.reply(request.message().clone()));
    }
    for req in &mut theirs {
        for frames in messages() {
            assert_eq!(soon(req.received()).await, hex(&frames));
        }
    }
}

async fn dealer_to_router(cell: Cell) {
    let mut dealer = Dealer::with_options(fast());
    let mut events = dealer.events();
    let _theirs = meet!(cell, dealer, "ROUTER");
    all_there!(events);
    for frames in messages() {
        for _ in 0..peers() {
            soon(dealer.send(ours(&frames))).await;
        }
        for _ in 0..peers() {
            assert_eq!(*soon(dealer.recv()).await.message(), ours(&frames));
        }
    }
}

async fn router_to_dealer(cell: Cell) {
    let mut router = Router::with_options(fast());
    let mut theirs = meet!(cell, router, "DEALER");
    for _ in 0..messages().len() * peers() {
        let request = soon(router.recv()).await;
        let reply = request.reply(request.message().clone());
        router.send(reply).unwrap();
    }
    for dealer in &mut theirs {
        for frames in messages() {
            assert_eq!(soon(dealer.received()).await, hex(&frames));
        }
    }
}

async fn pub_to_sub(cell: Cell) {
    let mut publisher = Pub::with_options(fast());
    let mut theirs = meet!(cell, publisher, "SUB");
    eventually(|| {
        let subscribers = publisher.subscribers();
        subscribers.filter(|it| it.subscriptions == 1).count() == peers()
    })
    .await;
    for frames in messages() {
        let message: Message = std::iter::once(b"topic".to_vec()).chain(frames).collect();
        publisher.send("another topic");
        publisher.send(message.clone());
        for sub in &mut theirs {
            assert_eq!(soon(sub.received()).await, printed(&message));
        }
    }
}

async fn sub_to_pub(cell: Cell) {
    let mut sub = Sub::with_options(fast());
    sub.subscribe("topic");
    let _theirs = meet!(cell, sub, "PUB");
    // Their PUBs repeat all messages. The peers are told apart by their connections.
    let mut missing = BTreeSet::new();
    let mut seen = Vec::new();
    while missing.len() < messages().len() * peers() {
        let received = soon(sub.recv()).await;
        let is_it = |frames: &Vec<Vec<u8>>| ours(frames).frames() == &received.frames()[1..];
        let which = messages().iter().position(is_it).unwrap();
        let peer = std::sync::Arc::as_ptr(received.peer());
        let place = seen
            .iter()
            .position(|other| *other == peer)
            .unwrap_or(seen.len());
        if place == seen.len() {
            seen.push(peer);
        }
        missing.insert((place, which));
    }
    soon(sub.close()).await;
}

#[tokio::test]
async fn the_matrix_of_sockets_with_pyomq() {
    for mechanism in ["NULL", "CURVE"] {
        for we_bind in [true, false] {
            let cell = Cell { mechanism, we_bind };
            tokio::join!(push_to_pull(cell), pull_from_push(cell), req_to_rep(cell));
            tokio::join!(
                rep_to_req(cell),
                dealer_to_router(cell),
                router_to_dealer(cell)
            );
            tokio::join!(pub_to_sub(cell), sub_to_pub(cell));
            let side = if we_bind { "we bind" } else { "pyomq binds" };
            println!(
                "pyomq, {mechanism:>5}, {side:<12}: 8 pairs of types, {} peers each",
                peers()
            );
        }
    }
}
