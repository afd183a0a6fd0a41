//! Peers that die in the middle of a message: nothing of it is delivered, and others are served.

use crate::net_peers::{RawPeer, port};
use crate::securities::{ANY_PORT, fast, null, soon};
use tokio::net::{TcpListener, TcpStream};
use zmtp_auth::SocketType;
use zmtp_auth::net::Endpoint;
use zmtp_auth::wire::frame::Flags;
use zmtp_sockets::{Dealer, Pub, Pull, Push, Rep, Req, RequestError, Router, Sub, Xsub};

/// A frame that says that it has 100 bytes, and the first ten of them: last, and with more to come.
const HALF_LAST: [u8; 12] = *b"\x00\x640123456789";
const HALF_MORE: [u8; 12] = *b"\x01\x640123456789";
/// The header of a long frame alone.
const LONG_HEADER: [u8; 9] = *b"\x02\0\0\0\0\0\x01\0\0";

/// Sends a whole message and a part of another one, and is gone.
async fn die(endpoint: &Endpoint, kind: SocketType, whole: &[&'static [u8]], way: usize) {
    let stream = TcpStream::connect(("127.0.0.1", port(endpoint)));
    let mut raw = soon(RawPeer::shake_hands(stream.await.unwrap(), kind, 1)).await;
    let (last, before) = whole.split_last().unwrap();
    for frame in before {
        raw.send(Flags::More, frame).await;
    }
    raw.send(Flags::Last, last).await;
    match way {
        0 => raw.bytes(&HALF_LAST).await,
        1 => raw.bytes(&HALF_MORE).await,
        2 => raw.bytes(&LONG_HEADER).await,
        3 => {
            raw.send(Flags::More, b"").await;
            raw.send(Flags::More, b"first of two").await;
        }
        _ => {
            raw.send(Flags::More, b"").await;
            raw.bytes(&HALF_LAST).await;
        }
    }
}

const WAYS: usize = 5;

/// Peers die in every way, and after each one a peer comes that does not.
macro_rules! next_is_served {
    ($socket:expr, $raw:expr, $whole:expr, $received:expr, $next:expr) => {{
        let mut socket = $socket;
        let endpoint = socket.bind(ANY_PORT, null()).await.unwrap();
        let next = $next;
        for way in 0..WAYS {
            die(&endpoint, $raw, &$whole, way).await;
            assert_eq!(soon(socket.recv()).await.frames(), $received);
            let _next = next(&endpoint).await;
            assert_eq!(soon(socket.recv()).await.frames(), ["next"]);
        }
        assert!(socket.try_recv().is_none());
    }};
}

#[tokio::test]
async fn a_part_of_a_message_is_not_delivered_and_the_next_peer_is_served() {
    let push = async |endpoint: &Endpoint| {
        let mut push = Push::new();
        push.connect(endpoint, null()).unwrap();
        push.try_send("next").unwrap();
        push
    };
    let whole: [&[u8]; 1] = [b"whole"];
    next_is_served!(Pull::new(), SocketType::Push, whole, ["whole"], push);

    let dealer = async |endpoint: &Endpoint| {
        let mut dealer = Dealer::new();
        dealer.connect(endpoint, null()).unwrap();
        dealer.try_send("next").unwrap();
        dealer
    };
    let dealers = SocketType::Dealer;
    next_is_served!(Router::new(), dealers, whole, ["whole"], dealer);
    next_is_served!(Dealer::new(), dealers, whole, ["whole"], dealer);

    let asking = async |endpoint: &Endpoint| {
        let mut dealer = Dealer::new();
        dealer.connect(endpoint, null()).unwrap();
        dealer.try_send(["", "next"]).unwrap();
        dealer
    };
    let request: [&[u8]; 2] = [b"", b"whole"];
    next_is_served!(Rep::new(), SocketType::Req, request, ["whole"], asking);

    let publisher = async |endpoint: &Endpoint| {
        let mut publisher = Pub::new();
        publisher.connect(endpoint, null()).unwrap();
        crate::securities::eventually(|| publisher.subscribers().any(|it| it.subscriptions == 1))
            .await;
        publisher.send("next");
        publisher
    };
    let (mut sub, mut xsub) = (Sub::new(), Xsub::new());
    sub.subscribe("");
    xsub.subscribe("");
    next_is_served!(sub, SocketType::Pub, whole, ["whole"], publisher);
    next_is_served!(xsub, SocketType::Pub, whole, ["whole"], publisher);
}

/// A REP that dies in the middle of its reply has not replied.
#[tokio::test]
async fn half_a_reply_is_the_loss_of_the_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let mut req = Req::with_options(fast());
    req.connect(endpoint.as_str(), null()).unwrap();
    for way in [&HALF_LAST[..], &HALF_MORE, &LONG_HEADER] {
        let dying = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut raw = RawPeer::shake_hands(stream, SocketType::Rep, 1).await;
            while raw.frame().await.unwrap().flags.is_more() {}
            raw.send(Flags::More, b"").await;
            raw.bytes(way).await;
        };
        let (reply, ()) = soon(async { tokio::join!(req.request("question"), dying) }).await;
        assert!(matches!(reply, Err(RequestError::PeerLost(_))));
    }
    let answering = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = RawPeer::shake_hands(stream, SocketType::Rep, 1).await;
        while raw.frame().await.unwrap().flags.is_more() {}
        raw.send(Flags::More, b"").await;
        raw.send(Flags::Last, b"answer").await;
        raw
    };
    let (reply, _raw) = soon(async { tokio::join!(req.request("again"), answering) }).await;
    assert_eq!(reply.unwrap().frames(), ["answer"]);
}
