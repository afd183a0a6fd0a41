//! Every pair of socket types with several peers of libzmq at one socket of ours: two under CURVE, or
//! sixteen in every mechanism with `--full`. Prints what crossed.

use crate::both_sides::{DOMAIN, MECHANISMS, our_client, our_server, their_client, their_server};
use crate::peer::{Context, Options, Payload, Policy, Socket, ZapAnswer};
use crate::securities::{ANY_PORT, eventually, fast, soon};
use std::collections::HashMap;
use std::time::Duration;
use zmtp_sockets::{
    Addressed, Dealer, Events, Pub, Pull, Push, Rep, Req, Router, SocketEvent, Sub, Xpub, Xsub,
};

/// Messages from or to each peer.
const MESSAGES: u8 = 5;

fn is_full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

fn peers() -> usize {
    if is_full() { 16 } else { 2 }
}

#[derive(Clone, Copy)]
struct Cell<'a> {
    context: &'a Context,
    mechanism: &'a str,
    we_bind: bool,
}

/// Makes all peers of `$ours`, and waits until they are there.
macro_rules! meet {
    ($cell:expr, $ours:ident, $kind:expr, $options:expr) => {{
        let mut events = $ours.events();
        let mut theirs = Vec::new();
        let options: fn(Options, usize) -> Options = $options;
        if $cell.we_bind {
            let security = our_server($cell.mechanism);
            let endpoint = $ours.bind(ANY_PORT, security).await.unwrap().to_string();
            for number in 0..peers() {
                let options = options(their_client($cell.mechanism), number);
                theirs.push($cell.context.connected($kind, options, &endpoint).await);
            }
        } else {
            for number in 0..peers() {
                let options = options(their_server($cell.mechanism), number);
                let (peer, endpoint) = $cell.context.bound($kind, options, ANY_PORT).await;
                let security = our_client($cell.mechanism);
                $ours.connect(endpoint.as_str(), security).unwrap();
                theirs.push(peer);
            }
        }
        all_there(&mut events).await;
        theirs
    }};
}

async fn all_there(events: &mut Events) {
    let mut there = 0;
    while there < peers() {
        use SocketEvent::{Accepted, Connected};
        let event = soon(events.next()).await.unwrap();
        there += usize::from(matches!(event, Accepted { .. } | Connected { .. }));
    }
}

fn as_it_is(options: Options, _: usize) -> Options {
    options
}

fn text(number: u8) -> Vec<u8> {
    vec![number; 300]
}

fn payload(number: u8) -> [Payload; 1] {
    [Payload::from(text(number).as_slice())]
}

/// Counts messages from several peers, each of which sends all of them in order.
#[derive(Default)]
struct Counts(HashMap<Vec<u8>, u8>);

impl Counts {
    fn count(&mut self, from: &[u8], body: &[u8]) {
        let next = self.0.entry(from.to_vec()).or_default();
        assert_eq!(body, text(*next), "from {from:?}");
        *next += 1;
    }

    fn check(&self) {
        assert_eq!(self.0.len(), peers());
        assert!(self.0.values().all(|count| *count == MESSAGES));
    }
}

async fn send_all(theirs: &[Socket<'_>], before: &[&str]) {
    for number in 0..MESSAGES {
        for (place, socket) in theirs.iter().enumerate() {
            let mut frames: Vec<_> = before.iter().copied().map(Payload::from).collect();
            frames.push(Payload::from([place as u8].as_slice()));
            frames.extend(payload(number));
            socket.send(&frames).await;
        }
    }
}

async fn push_and_pull(cell: Cell<'_>) {
    let mut push = Push::with_options(fast());
    let theirs = meet!(cell, push, "PULL", as_it_is);
    for number in 0..MESSAGES {
        for _ in 0..peers() {
            soon(push.send(text(number))).await;
        }
        // One for each.
        for pull in &theirs {
            assert_eq!(pull.receive().await.frames, payload(number));
        }
    }
    let mut pull = Pull::with_options(fast());
    let theirs = meet!(cell, pull, "PUSH", as_it_is);
    send_all(&theirs, &[]).await;
    let mut counts = Counts::default();
    for _ in 0..usize::from(MESSAGES) * peers() {
        let received = soon(pull.recv()).await;
        counts.count(&received.frames()[0], &received.frames()[1]);
    }
    counts.check();
}

async fn dealer_and_router(cell: Cell<'_>) {
    let mut dealer = Dealer::with_options(fast().with_routing_id("ours"));
    let theirs = meet!(cell, dealer, "ROUTER", as_it_is);
    for number in 0..MESSAGES {
        for _ in 0..peers() {
            soon(dealer.send(text(number))).await;
        }
        for router in &theirs {
            let frames = router.receive().await.frames;
            assert_eq!(frames[1..], payload(number));
            router.send(&frames).await;
        }
        for _ in 0..peers() {
            assert_eq!(soon(dealer.recv()).await.frames(), [text(number)]);
        }
    }
    let mut router = Router::with_options(fast());
    let theirs = meet!(cell, router, "DEALER", |options, place| options
        .bytes("ROUTING_ID", &[b'A' + place as u8]));
    send_all(&theirs, &[]).await;
    let mut counts = Counts::default();
    for _ in 0..usize::from(MESSAGES) * peers() {
        let request = soon(router.recv()).await;
        assert_eq!(request.routing_id()[0] - b'A', request.frames()[0][0]);
        counts.count(request.routing_id(), &request.frames()[1]);
    }
    counts.check();
    for number in 0..MESSAGES {
        for place in 0..peers() {
            let to = vec![b'A' + place as u8];
            router.send(Addressed::new(to, text(number))).unwrap();
        }
        for dealer in &theirs {
            assert_eq!(dealer.receive().await.frames, payload(number));
        }
    }
}

async fn req_and_rep(cell: Cell<'_>, nameless: Cell<'_>) {
    let mut req = Req::with_options(fast());
    let theirs = meet!(cell, req, "REP", as_it_is);
    let mut answered = vec![0; peers()];
    for number in 0..MESSAGES {
        for _ in 0..peers() {
            // The request is at one of them.
            let asking = req.request(text(number));
            let answering = async {
                loop {
                    for (rep, answered) in theirs.iter().zip(&mut answered) {
                        let wait = Duration::from_millis(5);
                        if let Some(request) = rep.try_receive(&[], wait).await {
                            rep.send(&request.frames).await;
                            *answered += 1;
                            return;
                        }
                    }
                }
            };
            let (reply, ()) = soon(async { tokio::join!(asking, answering) }).await;
            assert_eq!(reply.unwrap().frames(), [text(number)]);
        }
    }
    assert_eq!(answered, vec![MESSAGES; peers()]);
    let mut rep = Rep::with_options(fast());
    let theirs = meet!(nameless, rep, "REQ", as_it_is);
    for number in 0..MESSAGES {
        for req in &theirs {
            req.send(&payload(number)).await;
        }
        for _ in 0..peers() {
            let request = soon(rep.recv()).await;
            assert_eq!(request.frames(), [text(number)]);
            rep.send(request.reply(request.message().clone()));
        }
        for req in &theirs {
            assert_eq!(req.receive().await.frames, payload(number));
        }
    }
}

async fn publishers(cell: Cell<'_>) {
    let all = |options: Options, _| options.bytes("SUBSCRIBE", b"");
    let mut publisher = Pub::with_options(fast());
    let theirs = meet!(cell, publisher, "SUB", all);
    // libzmq's socket looks at new peers when it is called.
    soon(async {
        while publisher
            .subscribers()
            .filter(|it| it.subscriptions == 1)
            .count()
            < peers()
        {
            for sub in &theirs {
                let wait = Duration::from_millis(2);
                assert!(sub.try_receive(&[], wait).await.is_none());
            }
        }
    })
    .await;
    let mut xpub = Xpub::with_options(fast());
    let xsubs = meet!(cell, xpub, "XSUB", as_it_is);
    for xsub in &xsubs {
        xsub.send(&[Payload::from("\u{1}")]).await;
    }
    soon(async {
        while xpub
            .subscribers()
            .filter(|it| it.subscriptions == 1)
            .count()
            < peers()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    for number in 0..MESSAGES {
        publisher.send(text(number));
        xpub.send(text(number));
        for socket in theirs.iter().chain(&xsubs) {
            assert_eq!(socket.receive().await.frames, payload(number));
        }
    }
}

async fn subscribers(cell: Cell<'_>) {
    let mut sub = Sub::with_options(fast());
    sub.subscribe("");
    let theirs = meet!(cell, sub, "XPUB", as_it_is);
    let mut xsub = Xsub::with_options(fast());
    xsub.subscribe("");
    let others = meet!(cell, xsub, "XPUB", as_it_is);
    for xpub in theirs.iter().chain(&others) {
        assert_eq!(xpub.receive().await.frames, [Payload::from("\u{1}")]);
    }
    send_all(&theirs, &[]).await;
    send_all(&others, &[]).await;
    let (mut counts, mut other) = (Counts::default(), Counts::default());
    for _ in 0..usize::from(MESSAGES) * peers() {
        let received = soon(sub.recv()).await;
        counts.count(&received.frames()[0], &received.frames()[1]);
        let received = soon(xsub.recv()).await;
        other.count(&received.frames()[0], &received.frames()[1]);
    }
    counts.check();
    other.check();
    // A frame that begins with 0 or 1 would be a subscription.
    for number in 100..100 + MESSAGES {
        xsub.send(text(number));
        for xpub in &others {
            assert_eq!(xpub.receive().await.frames, payload(number));
        }
    }
    assert_eq!(xsub.dropped(), 0);
}

#[tokio::test]
async fn several_peers_of_every_type_at_one_socket() {
    let context = Context::new().await;
    let policy = Policy::default()
        .plain(DOMAIN, &[("admin", "secret")])
        .curve(DOMAIN, "*");
    context.authenticate(policy).await;
    // The handler of a REQ gives no user id, as in the matrix.
    let other = Context::new().await;
    other.script_zap(ZapAnswer::status("200")).await;
    for mechanism in MECHANISMS {
        if !is_full() && mechanism != "CURVE" {
            continue;
        }
        for we_bind in [true, false] {
            let cell = Cell {
                context: &context,
                mechanism,
                we_bind,
            };
            let nameless = Cell {
                context: &other,
                ..cell
            };
            push_and_pull(cell).await;
            dealer_and_router(cell).await;
            req_and_rep(cell, nameless).await;
            publishers(cell).await;
            subscribers(cell).await;
            let side = if we_bind { "we bind" } else { "libzmq binds" };
            println!(
                "{mechanism:>5}, {side:<12}: 10 pairs of types, {} peers each",
                peers()
            );
        }
    }
}

/// A subscriber of libzmq that is not called misses messages, and all others get every one.
#[tokio::test]
async fn a_slow_sub_of_libzmq_beside_many_fast_ones() {
    let context = Context::new().await;
    let mut publisher = Pub::new();
    let security = our_server("CURVE");
    let endpoint = publisher.bind(ANY_PORT, security).await.unwrap();
    let options = their_client("CURVE").set("RCVHWM", 1);
    let slow = context.socket("SUB", options).await;
    slow.set_bytes("SUBSCRIBE", b"").await;
    slow.connect(&endpoint.to_string()).await;
    let mut fast_ones = Vec::new();
    for _ in 1..peers() {
        let mut sub = Sub::with_options(fast());
        sub.subscribe("");
        sub.connect(&endpoint, our_client("CURVE")).unwrap();
        fast_ones.push(sub);
    }
    eventually(|| {
        let subscribers = publisher.subscribers();
        subscribers.filter(|it| it.subscriptions == 1).count() == peers()
    })
    .await;
    let mut large = vec![1; 64 * 1024];
    for number in 0..400_u32 {
        large[..4].copy_from_slice(&number.to_be_bytes());
        publisher.send(large.clone());
        for sub in &mut fast_ones {
            assert_eq!(soon(sub.recv()).await.frames()[0], large);
        }
    }
    let mut dropped: Vec<_> = publisher.subscribers().map(|it| it.dropped).collect();
    dropped.sort_unstable();
    let most = dropped.pop().unwrap();
    assert!(most > 0, "the slow one has missed nothing");
    assert!(dropped.iter().all(|it| *it == 0), "{dropped:?}");
    println!(
        "one slow SUB and {} fast ones: it missed {most} of 400",
        dropped.len()
    );
}
