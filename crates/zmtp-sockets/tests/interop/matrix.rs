//! Every pair of socket types, mechanism and side that binds, with live libzmq. Prints what crossed.

mod many_peers;
mod pyomq;

use crate::both_sides::{DOMAIN, MECHANISMS, our_client, our_server, their_client, their_server};
use crate::peer::{Context, Options, Payload, Policy, Socket, ZapAnswer};
use crate::securities::{ANY_PORT, soon};
use std::time::Duration;
use zmtp_sockets::{Dealer, Message, Pair, Pub, Pull, Push, Rep, Req, Router, Sub, Xpub, Xsub};

/// Messages in each direction of a cell.
const MESSAGES: u8 = 5;

/// Where the sockets of a cell meet.
#[derive(Clone, Copy)]
struct Cell<'a> {
    context: &'a Context,
    mechanism: &'a str,
    we_bind: bool,
}

impl Cell<'_> {
    /// libzmq's socket, and the endpoint if it binds.
    async fn theirs(&self, kind: &str) -> (Socket<'_>, Option<String>) {
        if self.we_bind {
            let options = self.options(kind, their_client(self.mechanism));
            (self.context.socket(kind, options).await, None)
        } else {
            let options = self.options(kind, their_server(self.mechanism));
            let (socket, endpoint) = self.context.bound(kind, options, ANY_PORT).await;
            (socket, Some(endpoint))
        }
    }

    fn options(&self, kind: &str, options: Options) -> Options {
        match kind {
            "DEALER" | "ROUTER" => options.bytes("ROUTING_ID", b"theirs"),
            _ => options,
        }
    }
}

/// Binds or connects `$ours`, so that it meets `$theirs`.
macro_rules! meet {
    ($cell:expr, $ours:ident, $theirs:expr) => {{
        let (theirs, endpoint) = $theirs;
        match endpoint {
            None => {
                let security = our_server($cell.mechanism);
                let endpoint = $ours.bind(ANY_PORT, security).await.unwrap();
                theirs.connect(&endpoint.to_string()).await;
            }
            Some(endpoint) => {
                let security = our_client($cell.mechanism);
                $ours.connect(endpoint.as_str(), security).unwrap();
            }
        }
        theirs
    }};
}

fn frames(number: u8) -> Vec<Vec<u8>> {
    vec![vec![number], vec![number; 300]]
}

fn ours(number: u8) -> Message {
    let frames = frames(number).into_iter().map(bytes::Bytes::from);
    Message::from(frames.collect::<Vec<_>>())
}

fn theirs(number: u8) -> Vec<Payload> {
    frames(number)
        .into_iter()
        .map(|frame| Payload::from(frame.as_slice()))
        .collect()
}

async fn push_to_pull(cell: Cell<'_>) {
    let mut push = Push::new();
    let pull = meet!(cell, push, cell.theirs("PULL").await);
    for number in 0..MESSAGES {
        soon(push.send(ours(number))).await;
        assert_eq!(pull.receive().await.frames, theirs(number));
    }
    soon(push.close()).await.unwrap();
}

async fn pull_from_push(cell: Cell<'_>) {
    let mut pull = Pull::new();
    let push = meet!(cell, pull, cell.theirs("PUSH").await);
    for number in 0..MESSAGES {
        push.send(&theirs(number)).await;
        let received = soon(pull.recv()).await;
        assert_eq!(*received.message(), ours(number));
        if cell.we_bind && cell.mechanism == "PLAIN" {
            assert_eq!(received.peer().user_id().unwrap(), "admin");
        }
    }
    soon(pull.close()).await;
}

async fn req_to_rep(cell: Cell<'_>) {
    for correlate in [false, true] {
        let options = crate::securities::fast().with_correlate(correlate);
        let mut req = Req::with_options(options);
        let rep = meet!(cell, req, cell.theirs("REP").await);
        for number in 0..MESSAGES {
            let answering = async {
                assert_eq!(rep.receive().await.frames, theirs(number));
                rep.send(&theirs(number + 100)).await;
            };
            let (reply, ()) = tokio::join!(soon(req.request(ours(number))), answering);
            assert_eq!(*reply.unwrap().message(), ours(number + 100));
        }
        soon(req.close()).await.unwrap();
    }
}

async fn rep_to_req(cell: Cell<'_>) {
    let mut rep = Rep::new();
    let req = meet!(cell, rep, cell.theirs("REQ").await);
    for number in 0..MESSAGES {
        req.send(&theirs(number)).await;
        let request = soon(rep.recv()).await;
        assert_eq!(*request.message(), ours(number));
        rep.send(request.reply(ours(number + 100)));
        assert_eq!(req.receive().await.frames, theirs(number + 100));
    }
    soon(rep.close()).await.unwrap();
}

async fn dealer_to_router(cell: Cell<'_>) {
    let options = crate::securities::fast().with_routing_id("ours");
    let mut dealer = Dealer::with_options(options);
    let router = meet!(cell, dealer, cell.theirs("ROUTER").await);
    for number in 0..MESSAGES {
        soon(dealer.send(ours(number))).await;
        let mut addressed = theirs(number);
        addressed.insert(0, Payload::from("ours"));
        assert_eq!(router.receive().await.frames, addressed);
        router.send(&addressed).await;
        assert_eq!(*soon(dealer.recv()).await.message(), ours(number));
    }
    soon(dealer.close()).await.unwrap();
}

async fn router_to_dealer(cell: Cell<'_>) {
    let mut router = Router::new();
    let dealer = meet!(cell, router, cell.theirs("DEALER").await);
    for number in 0..MESSAGES {
        dealer.send(&theirs(number)).await;
        let request = soon(router.recv()).await;
        assert_eq!(request.routing_id(), "theirs");
        assert_eq!(*request.message(), ours(number));
        router.send(request.reply(ours(number))).unwrap();
        assert_eq!(dealer.receive().await.frames, theirs(number));
    }
    soon(router.close()).await.unwrap();
}

async fn pair_to_pair(cell: Cell<'_>) {
    let mut pair = Pair::new();
    let other = meet!(cell, pair, cell.theirs("PAIR").await);
    for number in 0..MESSAGES {
        soon(pair.send(ours(number))).await;
        assert_eq!(other.receive().await.frames, theirs(number));
        other.send(&theirs(number)).await;
        assert_eq!(*soon(pair.recv()).await.message(), ours(number));
    }
    soon(pair.close()).await.unwrap();
}

async fn pub_to_sub(cell: Cell<'_>) {
    let mut publisher = Pub::with_options(crate::securities::fast());
    let sub = meet!(cell, publisher, cell.theirs("SUB").await);
    sub.set_bytes("SUBSCRIBE", &[]).await;
    while !publisher.subscribers().any(|it| it.subscriptions == 1) {
        // libzmq's socket looks at new peers when it is called.
        let received = sub.try_receive(&[], Duration::from_millis(10)).await;
        assert!(received.is_none());
    }
    for number in 0..MESSAGES {
        publisher.send(ours(number));
        assert_eq!(sub.receive().await.frames, theirs(number));
    }
    soon(publisher.close()).await.unwrap();
}

async fn sub_to_pub(cell: Cell<'_>) {
    let mut sub = Sub::new();
    for number in 0..MESSAGES {
        sub.subscribe([number].to_vec());
    }
    let publisher = meet!(cell, sub, cell.theirs("PUB").await);
    // What a PUB sends before the subscriptions have arrived is lost.
    let mut number = 0;
    while number < MESSAGES {
        publisher.send(&theirs(number)).await;
        let received = tokio::time::timeout(Duration::from_millis(50), sub.recv()).await;
        if let Ok(received) = received
            && *received.message() == ours(number)
        {
            number += 1;
        }
    }
    soon(sub.close()).await;
}

async fn xpub_to_xsub(cell: Cell<'_>) {
    let mut xpub = Xpub::with_options(crate::securities::fast());
    let xsub = meet!(cell, xpub, cell.theirs("XSUB").await);
    xsub.send(&[Payload::from([1, b't'].as_slice())]).await;
    let received = Message::from(soon(xpub.recv()).await);
    assert_eq!(received.frames(), ["\u{1}t"]);
    for number in 0..MESSAGES {
        xpub.send(["t".into(), vec![number]]);
        let frames = ["t".into(), [number].as_slice().into()];
        assert_eq!(xsub.receive().await.frames, frames);
        xsub.send(&theirs(number + 100)).await;
        let received = Message::from(soon(xpub.recv()).await);
        assert_eq!(received, ours(number + 100));
    }
    soon(xpub.close()).await.unwrap();
}

async fn xsub_to_xpub(cell: Cell<'_>) {
    let mut xsub = Xsub::new();
    xsub.subscribe("");
    let xpub = meet!(cell, xsub, cell.theirs("XPUB").await);
    assert_eq!(xpub.receive().await.frames, [Payload::from("\u{1}")]);
    for number in 0..MESSAGES {
        xpub.send(&theirs(number)).await;
        assert_eq!(*soon(xsub.recv()).await.message(), ours(number));
        xsub.send(ours(number + 100));
        assert_eq!(xpub.receive().await.frames, theirs(number + 100));
    }
    soon(xsub.close()).await.unwrap();
}

#[tokio::test]
async fn the_matrix_of_sockets() {
    let context = Context::new().await;
    let policy = Policy::default()
        .plain(DOMAIN, &[("admin", "secret")])
        .curve(DOMAIN, "*");
    context.authenticate(policy).await;
    // The handler of a REQ gives no user id, as in the matrix of connections.
    let nameless = Context::new().await;
    nameless.script_zap(ZapAnswer::status("200")).await;
    let mut cells = 0;
    for mechanism in MECHANISMS {
        for we_bind in [true, false] {
            let cell = Cell {
                context: &context,
                mechanism,
                we_bind,
            };
            push_to_pull(cell).await;
            pull_from_push(cell).await;
            req_to_rep(cell).await;
            let nameless = Cell {
                context: &nameless,
                ..cell
            };
            rep_to_req(nameless).await;
            dealer_to_router(cell).await;
            router_to_dealer(cell).await;
            pair_to_pair(cell).await;
            pub_to_sub(cell).await;
            sub_to_pub(cell).await;
            xpub_to_xsub(cell).await;
            xsub_to_xpub(cell).await;
            cells += 11;
            let side = if we_bind { "we bind" } else { "libzmq binds" };
            println!("{mechanism:>5}, {side:<12}: 11 pairs of types, {MESSAGES} messages each way");
        }
    }
    println!("{cells} cells of the matrix of sockets");
}
