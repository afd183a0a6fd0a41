//! Allocations are bounded by the bytes received, never by the lengths that a peer claims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[cfg(feature = "tokio")]
mod net_peers;
mod pair;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use pair::endpoints;
use proptest::prelude::*;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::wire::command::{Command, TrafficCommand};
use zmtp_auth::wire::frame::FrameHeader;
use zmtp_auth::wire::greeting::Greeting;
use zmtp_auth::wire::metadata::Metadata;
use zmtp_auth::wire::z85;
use zmtp_auth::{Config, KeyPair, PeerAddress, PeerContext, SocketType};

/// What a parser may allocate in addition to its input: bookkeeping and error texts.
const CONSTANT: u64 = 4096;
/// Factor for metadata: a property of 6 bytes becomes a name and a value, each with its own
/// bookkeeping.
const PER_BYTE: u64 = 16;

fn peak(run: impl FnOnce()) -> u64 {
    measure(run).bytes_max
}

fn assert_bounded(what: &str, given: usize, run: impl FnOnce()) {
    let peak = peak(run);
    assert!(
        peak <= CONSTANT + PER_BYTE * given as u64,
        "{what}: {peak} bytes for {given}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_allocate_in_proportion_to_their_number(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000)
    ) {
        let given = bytes.len();
        assert_bounded("greeting", given, || drop(Greeting::parse(&bytes)));
        assert_bounded("frame", given, || drop(FrameHeader::parse(&bytes)));
        assert_bounded("command", given, || drop(Command::parse(&bytes)));
        assert_bounded("metadata", given, || drop(Metadata::parse(&bytes, "test", 64)));
        assert_bounded("z85", given, || drop(z85::decode(&bytes)));
        assert_bounded("address", given, || drop(PeerAddress::from_zap(&bytes)));
        let shared = Bytes::from(bytes);
        assert_bounded("traffic", given, || drop(TrafficCommand::parse(&shared)));
    }
}

#[test]
fn a_claimed_value_of_four_gigabytes_is_not_allocated() {
    let bytes = b"\x01a\xFF\xFF\xFF\xFFx";
    assert_bounded("metadata", bytes.len(), || {
        drop(Metadata::parse(bytes, "test", 64))
    });
}

#[test]
fn a_handshake_with_arbitrary_commands_is_bounded_by_what_arrived() {
    for kind in pair::KINDS {
        for size in [0_u64, 255, 8192, 1 << 20, 1 << 40, u64::MAX] {
            let (_, mut server) = endpoints(kind, 1);
            server.feed(&pair::greeting(kind));
            let header = [&[0x06][..], &size.to_be_bytes()].concat();
            assert_bounded(kind, header.len(), || server.feed(&header));
        }
    }
}

/// The machines of both ends, from greeting to READY. The buffers belong to the caller.
#[test]
fn a_curve_handshake_costs_few_allocations_on_either_end() {
    let keys = KeyPair::generate().unwrap();
    let client = Config::builder(SocketType::Push)
        .curve_client(KeyPair::generate().unwrap(), keys.public_key())
        .finish()
        .unwrap();
    let server = Config::builder(SocketType::Pull)
        .curve_server(keys)
        .accept_any_peer()
        .finish()
        .unwrap();
    let context = || PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    let mut buffers = [2048, 2048].map(BytesMut::with_capacity);
    let mut allocations = [0; 2];
    let mut counted = |end: usize, step: &mut dyn FnMut() -> Handshake| {
        let mut next = None;
        allocations[end] += measure(|| next = Some(step())).count_total;
        next
    };
    let [to_client, to_server] = &mut buffers;
    let mut ends = [
        counted(0, &mut || Handshake::start(&client, context(), to_server)),
        counted(1, &mut || Handshake::start(&server, context(), to_client)),
    ];
    let mut at = 0;
    while !ends
        .iter()
        .all(|end| matches!(end, Some(Handshake::Complete(_))))
    {
        let (input, out) = match at {
            0 => (&mut *to_client, &mut *to_server),
            _ => (&mut *to_server, &mut *to_client),
        };
        ends[at] = match ends[at].take().unwrap() {
            Handshake::NeedsInput(waiting) => {
                let mut waiting = Some(waiting);
                let mut process = || waiting.take().unwrap().process(input, out).unwrap();
                counted(at, &mut process)
            }
            other => Some(other),
        };
        at = 1 - at;
    }
    println!("client and server: {allocations:?} allocations");
    // Without optimisation the key agreement checks itself, with 20 allocations for a multiplication.
    let most = if cfg!(debug_assertions) { 108 } else { 28 };
    assert!(allocations.iter().all(|it| *it <= most));
}

#[test]
fn a_frame_that_claims_much_reserves_little() {
    use zmtp_auth::Limits;
    use zmtp_auth::traffic::frames::FrameReader;
    let (mut client, mut server) = endpoints("null", 1);
    pair::drive(&mut client, &mut server);
    let mut reader = FrameReader::new(server.into_established().opener, &Limits::default());
    let mut input = BytesMut::from(&b"\x02\x00\x00\x00\x00\x03\xFF\xFF\xFF"[..]);
    assert_bounded("frame", input.len(), || {
        assert!(reader.read(&mut input).unwrap().is_none());
    });
    assert!(reader.wanted(&input) <= Limits::MAX_INITIAL_RESERVE);
}

/// Decisions of an Authenticator without an event reader.
mod decisions {
    use super::*;
    use allocation_counter::measure;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use zmtp_auth::auth::Authenticator;
    use zmtp_auth::zap::{RequestId, ZapHandler, ZapRequest, ZapRouter};
    use zmtp_auth::{AccessRequest, Credentials, Domain, PublicKey, Verdict};

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32]).unwrap()
    }

    fn authenticator() -> Authenticator {
        let auth = Authenticator::new();
        auth.allow(["192.0.2.1", "10.0.0.0/8"]).unwrap();
        auth.configure_curve_keys("a", [key(7)]);
        auth
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("not decided"),
        }
    }

    /// Allocations of `work` in its second run, after buffers that are reused exist.
    fn count(work: impl FnMut()) -> u64 {
        allocated(work).0
    }

    /// As [`count`], with the bytes that are allocated.
    fn allocated(mut work: impl FnMut()) -> (u64, u64) {
        work();
        let measured = measure(work);
        (measured.count_total, measured.bytes_total)
    }

    #[test]
    fn a_reply_in_frames_costs_one_allocation_for_the_user_id() {
        let auth = authenticator();
        let ask = |address: &'static str, key: PublicKey, status: &str| {
            let request = || -> Vec<Bytes> {
                let fixed = ["1.0", "1", "a", address, "", "CURVE"].map(Bytes::from);
                let key = Bytes::copy_from_slice(key.as_bytes());
                fixed.into_iter().chain([key]).collect()
            };
            let mut ready = [request(), request()].into_iter();
            count(|| {
                let reply = now(auth.handle_zap_message(ready.next().unwrap())).unwrap();
                assert_eq!(reply[2], status);
            })
        };
        assert_eq!(ask("192.0.2.1", key(7), "200"), 1);
        assert_eq!(ask("10.1.2.3", key(7), "200"), 1);
        assert_eq!(ask("192.0.2.1", key(8), "400"), 0);
        assert_eq!(ask("192.0.2.2", key(7), "400"), 0);
    }

    #[test]
    fn a_verdict_costs_an_allocation_each_for_user_id_grant_and_question() {
        let auth = authenticator();
        let router = ZapRouter::new();
        router.bind(Domain::ALL, auth).unwrap();
        let address = PeerAddress::from_zap(b"192.0.2.1");
        let request = AccessRequest::new("a", address, Credentials::Curve { key: key(7) });
        let (asked, bytes) = allocated(|| match now(router.authorize(&request)) {
            Verdict::Allow(approval) => assert!(approval.grant.is_some()),
            Verdict::Deny(denied) => panic!("{denied}"),
        });
        assert_eq!(asked, 3);
        assert!(bytes <= 1200, "{bytes}");
    }

    /// A future is moved when it is awaited or boxed, however far it then comes.
    #[test]
    fn the_future_of_a_decision_holds_little_beside_the_request() {
        let auth = authenticator();
        assert!(size_of_val(&auth.handle_zap_message(Vec::new())) <= 64);
        let address = PeerAddress::from_zap(b"192.0.2.1");
        let request = AccessRequest::new("a", address, Credentials::Null);
        let request = ZapRequest::new(RequestId::from(1), &request);
        assert!(size_of_val(&auth.handle_explained(&request)) <= 96);
        assert!(size_of_val(&auth.handle(request)) <= size_of::<ZapRequest>() + 96);
    }
}

/// Whole connections. They run on one thread, since the counter counts by thread.
#[cfg(feature = "tokio")]
mod connections {
    use super::net_peers::*;
    use allocation_counter::measure;
    use bytes::Bytes;
    use std::future::Future;
    use std::time::{Duration, Instant};
    use tokio::net::TcpStream;
    use tokio::runtime::{Builder, Runtime};
    use zmtp_auth::net::{Connection, Listener, Message, Tunnel, TunnelOptions};
    use zmtp_auth::wire::frame::Flags;
    use zmtp_auth::{Config, SocketType};

    const MESSAGES: usize = 20_000;

    /// Time-out for results that arrive at once or never.
    const LONG: Duration = Duration::from_secs(60);

    async fn curve_pair(bound: SocketType, connecting: SocketType) -> (Connection, Connection) {
        let (ours, theirs) = (keys(), keys());
        let server = Config::builder(bound)
            .curve_server(ours.clone())
            .accept_any_peer()
            .finish()
            .unwrap();
        let client = curve_client(connecting, &theirs, &ours);
        connected_with(server, client).await
    }

    /// Sends messages that share one payload, so that the sender itself allocates nothing.
    async fn carry(sender: &mut Connection, receiver: &mut Connection) {
        let payload = Bytes::from_static(&[7; 64]);
        let sending = async {
            for _ in 0..MESSAGES {
                sender.send(payload.clone()).await.unwrap();
            }
        };
        let receiving = async {
            for _ in 0..MESSAGES {
                let message = receiver.recv_message().await.unwrap();
                assert_eq!(message.single(), Some(&payload));
            }
        };
        soon(async { tokio::join!(sending, receiving) }).await;
    }

    #[test]
    fn a_stream_of_small_messages_costs_no_allocation_each() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for curve in [false, true] {
            let (mut receiver, mut sender) = runtime.block_on(async {
                if curve {
                    curve_pair(SocketType::Pull, SocketType::Push).await
                } else {
                    connected(SocketType::Pull, SocketType::Push).await
                }
            });
            let counted = measure(|| runtime.block_on(carry(&mut sender, &mut receiver)));
            // Each allocation serves many messages. How many depends on how much one read returns.
            let max = MESSAGES as u64 / 2;
            assert!(counted.count_total < max, "{}", counted.count_total);
        }
    }

    /// On both ends together. The sender's application owns what it sends. What is received shares the
    /// buffer that it was read into.
    #[test]
    fn a_message_of_any_size_costs_few_allocations() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for curve in [false, true] {
            let (mut sender, mut receiver) = runtime.block_on(async {
                if curve {
                    curve_pair(SocketType::Push, SocketType::Pull).await
                } else {
                    connected(SocketType::Push, SocketType::Pull).await
                }
            });
            for (messages, size, most) in [
                (2000, 200, 0.1),
                (500, 1024, 0.2),
                (50, 16 << 10, 4.0),
                (20, 64 << 10, 5.0),
            ] {
                let payload = Bytes::from(vec![7; size]);
                let counted = measure(|| {
                    runtime.block_on(soon(async {
                        let sending = async {
                            for _ in 0..messages {
                                sender.send(payload.clone()).await.unwrap();
                            }
                        };
                        let receiving = async {
                            for _ in 0..messages {
                                receiver.recv_message().await.unwrap();
                            }
                        };
                        tokio::join!(sending, receiving)
                    }));
                });
                let each = counted.count_total as f64 / f64::from(messages);
                println!("CURVE {curve}, {size} bytes: {each} allocations");
                assert!(each <= most, "{each}");
            }
        }
    }

    /// Bytes that this thread has allocated in `work` and not freed.
    fn grown(runtime: &Runtime, work: impl Future<Output = ()>) -> i64 {
        measure(|| runtime.block_on(work)).bytes_current
    }

    /// Waits a moment until all tasks are idle.
    async fn rest() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// Both ends run on this thread, so this is the memory of a client as well as of a server.
    #[test]
    fn an_idle_connection_takes_little_memory() {
        const PAIRS: usize = 8;
        const MOST: usize = 4000;
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let pair = || runtime.block_on(curve_pair(SocketType::Push, SocketType::Pull));
        // What the first one leaves in the runtime is not a connection's.
        drop(pair());
        runtime.block_on(rest());
        let mut pairs = Vec::with_capacity(PAIRS);
        let held = measure(|| {
            while pairs.len() < PAIRS {
                pairs.push(pair());
            }
            for _ in 0..10 {
                runtime.block_on(rest());
            }
        });
        let each = held.bytes_current as usize / (2 * PAIRS);
        println!("an idle end of a CURVE connection: {each} bytes");
        assert!(each <= MOST, "{each} bytes");
    }

    #[test]
    fn an_idle_connection_holds_no_memory_of_busier_times() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for curve in [false, true] {
            let mut ends = None;
            let mut held = grown(&runtime, async {
                ends = Some(if curve {
                    curve_pair(SocketType::Dealer, SocketType::Dealer).await
                } else {
                    connected(SocketType::Dealer, SocketType::Dealer).await
                });
            });
            let (mut one, mut other) = ends.unwrap();
            // The first small message of a direction makes key stream, whose memory is kept.
            held += grown(&runtime, async {
                for _ in 0..2 {
                    one.send("first").await.unwrap();
                    soon(other.recv_message()).await.unwrap();
                    std::mem::swap(&mut one, &mut other);
                }
            });
            // The minimum is what a new connection holds once its handshake buffers are freed.
            let mut new = held;
            for _ in 0..10 {
                held += grown(&runtime, rest());
                new = new.min(held);
            }
            held += grown(&runtime, async {
                for _ in 0..2 {
                    carry(&mut one, &mut other).await;
                    for size in [1, 1000, 100_000] {
                        let message = Message::from_iter([vec![1; size], vec![2; size]]);
                        one.send(message.clone()).await.unwrap();
                        let received = soon(other.recv_message()).await.unwrap();
                        assert_eq!(received, message);
                    }
                    std::mem::swap(&mut one, &mut other);
                }
            });
            let start = Instant::now();
            while held > new {
                assert!(start.elapsed() < LONG, "{held} bytes of {new}");
                held += grown(&runtime, rest());
            }
        }
    }

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    /// A peer that the test drives byte by byte, and its connection, direct or through a tunnel.
    struct Dripping {
        raw: RawPeer,
        pull: Connection,
        _tunnel: Option<Tunnel>,
    }

    impl Dripping {
        async fn new(through_tunnel: bool) -> Self {
            if !through_tunnel {
                let listener = Listener::bind(ANY_PORT, null(SocketType::Pull)).await;
                let listener = listener.unwrap();
                let raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
                let pull = soon(listener.accept()).await.unwrap();
                let _tunnel = None;
                return Self { raw, pull, _tunnel };
            }
            let config = plain_server(SocketType::Pull);
            let listener = Listener::bind(ANY_PORT, (config, welcoming()))
                .await
                .unwrap();
            let tunnel = Tunnel::client(
                ANY_PORT,
                listener.local_endpoint().clone(),
                plain_client(SocketType::Relay, "secret"),
                TunnelOptions::default(),
            );
            let tunnel = tunnel.await.unwrap();
            let at = ("127.0.0.1", port(tunnel.local_endpoint()));
            let stream = TcpStream::connect(at).await.unwrap();
            let shaking = RawPeer::shake_hands(stream, SocketType::Push, 1);
            let (raw, pull) = soon(async { tokio::join!(shaking, listener.accept()) }).await;
            Self {
                raw,
                pull: pull.unwrap(),
                _tunnel: Some(tunnel),
            }
        }

        /// Sends one byte at a time and lets each be read.
        async fn drip(&mut self, bytes: &[u8]) {
            self.raw.stream.set_nodelay(true).unwrap();
            for byte in bytes {
                self.raw.bytes(&[*byte]).await;
                rest().await;
            }
        }
    }

    /// Every new buffer is copied into, so the allocated bytes bound the bytes that are moved.
    #[test]
    fn a_large_frame_that_drips_is_not_moved_again_and_again() {
        const LEN: usize = 8 * MIB;
        const DRIPS: usize = 64;
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for through_tunnel in [false, true] {
            let mut dripping = runtime.block_on(Dripping::new(through_tunnel));
            let mut frame = [&[0x02][..], &(LEN as u64).to_be_bytes()].concat();
            frame.resize(frame.len() + LEN, 7);
            let mut sent = 0;
            let powers = [
                16 * KIB,
                64 * KIB,
                256 * KIB,
                512 * KIB,
                MIB,
                2 * MIB,
                4 * MIB,
            ];
            for at in powers.into_iter().chain([frame.len() - DRIPS / 2]) {
                runtime.block_on(async {
                    dripping.raw.bytes(&frame[sent..at - DRIPS / 2]).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                });
                sent = at + DRIPS / 2;
                let drip = &frame[at - DRIPS / 2..sent];
                let allocated = measure(|| runtime.block_on(dripping.drip(drip))).bytes_total;
                // The buffer grows at most once, to twice its size.
                let max = 4 * at + 256 * KIB;
                assert!(allocated < max as u64, "{allocated} bytes at {at}");
            }
            let message = runtime.block_on(soon(dripping.pull.recv_message()));
            assert_eq!(message.unwrap().size(), LEN);
        }
    }

    #[test]
    fn after_a_large_message_no_more_is_reserved_than_before_it() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for through_tunnel in [false, true] {
            let mut dripping = runtime.block_on(Dripping::new(through_tunnel));
            let large = Bytes::from(vec![7; 16 * MIB]);
            let reserved = |dripping: &mut Dripping, bytes: &[u8]| {
                measure(|| {
                    runtime.block_on(async {
                        dripping.raw.bytes(bytes).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    });
                })
                .bytes_max
            };
            for beginning in [
                &b"\x00\x01"[..],
                &[&[2, 0, 0, 0, 0, 1], &[0; 3][..]].concat(),
            ] {
                let before = reserved(&mut dripping, beginning);
                let rest = vec![7; if beginning.len() == 2 { 1 } else { 16 * MIB }];
                runtime.block_on(async {
                    dripping.raw.bytes(&rest).await;
                    soon(dripping.pull.recv_message()).await.unwrap();
                    let sending = dripping.raw.send(Flags::Last, &large);
                    let receiving = soon(dripping.pull.recv_message());
                    let ((), received) = tokio::join!(sending, receiving);
                    assert_eq!(received.unwrap().size(), large.len());
                });
                let after = reserved(&mut dripping, beginning);
                assert!(
                    after <= before + 256 * KIB as u64,
                    "{before} bytes before, {after} after"
                );
                runtime.block_on(async {
                    dripping.raw.bytes(&rest).await;
                    soon(dripping.pull.recv_message()).await.unwrap();
                });
            }
        }
    }

    /// An application that does not receive, and a peer that makes its buffers large.
    #[test]
    fn small_messages_and_large_ignored_commands_hold_no_more_with_more_of_them() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut ignored = b"\x07IGNORED".to_vec();
        ignored.resize(200 * KIB, 0);
        for multipart in [false, true] {
            let mut dripping = runtime.block_on(Dripping::new(false));
            let mut held = 0;
            let mut after = |rounds: usize, dripping: &mut Dripping| {
                held += grown(&runtime, async {
                    for _ in 0..rounds {
                        if multipart {
                            dripping.raw.send(Flags::More, &[1; 100]).await;
                        }
                        dripping.raw.send(Flags::Last, &[2; 10]).await;
                        dripping.raw.send(Flags::Command, &ignored).await;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                });
                held
            };
            for rounds in [20, 80] {
                let held = after(rounds, &mut dripping);
                assert!(held < MIB as i64, "{held} bytes after {rounds} rounds more");
            }
            for _ in 0..100 {
                runtime
                    .block_on(soon(dripping.pull.recv_message()))
                    .unwrap();
            }
        }
    }

    /// Empty messages count with their slots in the queues and hold little else.
    #[test]
    fn a_flood_of_empty_messages_holds_what_the_limits_say() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut dripping = runtime.block_on(Dripping::new(false));
        // More than the connection reads ahead for the application, less than the system's buffers
        // take.
        let flood = b"\0\0".repeat(20_000);
        let held = measure(|| {
            runtime.block_on(async {
                dripping.raw.bytes(&flood).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            });
        })
        .bytes_max;
        println!("{held} bytes for a flood of empty messages");
        assert!(held < 2 * MIB as u64, "{held} bytes");
        for _ in 0..20_000 {
            runtime
                .block_on(soon(dripping.pull.recv_message()))
                .unwrap();
        }
    }

    /// A received message that the application keeps holds little more memory than its own bytes.
    #[test]
    fn small_messages_that_are_kept_do_not_hold_the_large_ones_before_them() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut dripping = runtime.block_on(Dripping::new(false));
        let large = vec![1; MIB];
        let mut kept = Vec::new();
        let held = grown(&runtime, async {
            for _ in 0..50 {
                for body in [&large[..], b"small"] {
                    let sending = dripping.raw.send(Flags::Last, body);
                    let receiving = soon(dripping.pull.recv_message());
                    let ((), received) = tokio::join!(sending, receiving);
                    kept.extend(received.ok().filter(|_| body.len() == 5));
                }
            }
        });
        assert_eq!(kept.len(), 50);
        // Each may keep a quiet connection's read buffer alive.
        let max = 50 * 128 * KIB as i64;
        assert!(held < max, "{held} bytes");
    }
}
