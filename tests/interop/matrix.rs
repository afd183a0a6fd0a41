//! Every mechanism, role, pair of socket types, transport and payload crosses between this crate
//! and live libzmq. Prints the number of messages of each cell; an empty cell fails.

use crate::peer;

use bytes::Bytes;
use peer::{CLIENT_PUBLIC, CLIENT_SECRET, Context, Options, Payload, Policy, Security, Socket};
use peer::{SERVER_PUBLIC, SERVER_SECRET, ZapAnswer};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::config::{Ready, WantsMechanism};
use zmtp_auth::net::{Connection, Incoming, Listener, Message};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    Authorizing, Builder, Config, Domain, KeyPair, Limits, NoPolicy, PublicKey, SecretKey,
    SocketType,
};

const MECHANISMS: [&str; 3] = ["NULL", "PLAIN", "CURVE"];
/// Our type and libzmq's.
const PAIRS: [(SocketType, &str); 9] = [
    (SocketType::Push, "PULL"),
    (SocketType::Pull, "PUSH"),
    (SocketType::Req, "REP"),
    (SocketType::Rep, "REQ"),
    (SocketType::Dealer, "ROUTER"),
    (SocketType::Router, "DEALER"),
    (SocketType::Pub, "SUB"),
    (SocketType::Sub, "PUB"),
    (SocketType::Pair, "PAIR"),
];
const DOMAIN: &str = "matrix";

/// One cell of the matrix.
#[derive(Debug, Clone, Copy)]
struct Cell {
    mechanism: &'static str,
    /// True if we are the mechanism's server.
    we_serve: bool,
    /// True if we bind, which is independent of the mechanism's role.
    we_bind: bool,
    ours: SocketType,
    theirs: &'static str,
    transport: &'static str,
}

impl Cell {
    /// The user id that libzmq's application sees when libzmq is the server, as pyzmq's
    /// `ThreadAuthenticator` sets it. The handler of a REQ sets none.
    fn user_id_at_libzmq(&self) -> Option<&'static str> {
        match (self.mechanism, self.we_serve) {
            _ if self.theirs == "REQ" => None,
            ("PLAIN", false) => Some("admin"),
            ("CURVE", false) => Some(CLIENT_PUBLIC),
            _ => None,
        }
    }
}

/// What is sent in a cell.
#[derive(Debug, Clone, Copy)]
struct Load {
    most_frames: usize,
    lengths: &'static [usize],
    identity: usize,
}

const SMALL: Load = Load {
    most_frames: 3,
    lengths: &[0, 1, 255, 256],
    identity: 1,
};
const MEDIUM: Load = Load {
    most_frames: 20,
    lengths: &[0, 1, 255, 256, 65536],
    identity: 255,
};
const HUGE: Load = Load {
    most_frames: 1,
    lengths: &[0, 65536, 16 << 20],
    identity: 0,
};

fn full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

#[tokio::test]
async fn the_matrix() {
    let context = Context::new().await;
    let policy = Policy::default()
        .plain(DOMAIN, &[("admin", "secret")])
        .curve(DOMAIN, "*");
    context.authenticate(policy).await;
    let nameless = Context::new().await;
    nameless.script_zap(ZapAnswer::status("200")).await;
    let mut counts = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    for (cell, load) in plan() {
        let context = if cell.user_id_at_libzmq().is_some() {
            &context
        } else {
            &nameless
        };
        let crossed = tokio::time::timeout(Duration::from_secs(60), run(context, cell, load))
            .await
            .unwrap_or_else(|_| panic!("{cell:?} {load:?} takes too long"));
        assert!(crossed > 0, "{cell:?} is empty");
        let role = if cell.we_serve { "server" } else { "client" };
        let pair = format!("{}-{}", cell.ours, cell.theirs);
        *counts.entry((cell.mechanism, role, pair)).or_insert(0) += crossed;
        let binds = if cell.we_bind {
            "we bind"
        } else {
            "libzmq binds"
        };
        *kinds
            .entry((cell.mechanism, cell.transport, binds))
            .or_insert(0) += crossed;
    }
    println!("{}", table(&counts));
    for ((mechanism, transport, binds), crossed) in &kinds {
        println!("{mechanism:6} {transport:4} {binds:13} {crossed:6} messages");
    }
    for mechanism in MECHANISMS {
        for role in ["client", "server"] {
            for (ours, theirs) in PAIRS {
                let key = (mechanism, role, format!("{ours}-{theirs}"));
                assert!(counts.contains_key(&key), "{key:?} was not tried");
            }
        }
        for transport in ["tcp4", "tcp6", "ipc"] {
            for binds in ["we bind", "libzmq binds"] {
                let key = (mechanism, transport, binds);
                assert!(kinds.contains_key(&key), "{key:?} was not tried");
            }
        }
    }
}

fn table(counts: &BTreeMap<(&str, &str, String), usize>) -> String {
    let mut text = String::from("messages, ours-libzmq   ");
    let columns: Vec<_> = MECHANISMS
        .iter()
        .flat_map(|mechanism| ["client", "server"].map(|role| (*mechanism, role)))
        .collect();
    for (mechanism, role) in &columns {
        let _ = write!(text, "{:>14}", format!("{mechanism} {role}"));
    }
    for (ours, theirs) in PAIRS {
        let pair = format!("{ours}-{theirs}");
        let _ = write!(text, "\n{pair:24}");
        for (mechanism, role) in &columns {
            let crossed = counts.get(&(*mechanism, *role, pair.clone())).unwrap_or(&0);
            let _ = write!(text, "{crossed:>14}");
        }
    }
    text
}

/// The quick run covers every mechanism, role and pair with small payloads, and each transport,
/// each way of binding, 20 frames and 16 MiB once for each mechanism. The full run covers all
/// combinations.
fn plan() -> Vec<(Cell, Load)> {
    let mut plan = Vec::new();
    for mechanism in MECHANISMS {
        for we_serve in [false, true] {
            for (ours, theirs) in PAIRS {
                let tcp = Cell {
                    mechanism,
                    we_serve,
                    we_bind: we_serve,
                    ours,
                    theirs,
                    transport: "tcp4",
                };
                if full() {
                    for we_bind in [false, true] {
                        for transport in ["tcp4", "tcp6", "ipc"] {
                            let cell = Cell {
                                we_bind,
                                transport,
                                ..tcp
                            };
                            plan.extend([SMALL, MEDIUM, HUGE].map(|load| (cell, load)));
                        }
                    }
                } else {
                    plan.push((tcp, SMALL));
                }
            }
            if !full() {
                let cell = Cell {
                    mechanism,
                    we_serve,
                    we_bind: !we_serve,
                    ours: SocketType::Dealer,
                    theirs: "ROUTER",
                    transport: "tcp4",
                };
                for transport in ["tcp6", "ipc"] {
                    for we_bind in [false, true] {
                        plan.push((
                            Cell {
                                we_bind,
                                transport,
                                ..cell
                            },
                            SMALL,
                        ));
                    }
                }
                plan.push((cell, MEDIUM));
                plan.push((
                    Cell {
                        ours: SocketType::Router,
                        theirs: "DEALER",
                        ..cell
                    },
                    MEDIUM,
                ));
            }
        }
        if !full() {
            let cell = Cell {
                mechanism,
                we_serve: true,
                we_bind: true,
                ours: SocketType::Pair,
                theirs: "PAIR",
                transport: "tcp4",
            };
            plan.push((cell, HUGE));
        }
    }
    plan
}

/// Connects both ends and exchanges the load. Returns the number of messages that crossed.
async fn run(context: &Context, cell: Cell, load: Load) -> usize {
    let identity = vec![b'i'; load.identity];
    let theirs = their_options(&cell, &identity);
    let directory = tempfile::tempdir().unwrap();
    let wildcard = match cell.transport {
        "tcp4" => "tcp://127.0.0.1:*".to_owned(),
        "tcp6" => "tcp://[::1]:*".to_owned(),
        _ => format!("ipc://{}/socket", directory.path().display()),
    };
    let builder = Config::builder(cell.ours);
    let builder = if cell.ours.sends_identity() {
        builder.identity(identity.clone())
    } else {
        builder
    };
    let asks = cell.we_serve && cell.mechanism != "NULL";
    let (listener, socket, connection);
    if cell.we_bind {
        listener = if asks {
            Listener::bind(
                &wildcard,
                (server_config(builder, cell.mechanism), router()),
            )
            .await
        } else {
            Listener::bind(&wildcard, client_config(builder, cell.mechanism)).await
        }
        .unwrap();
        let endpoint = listener.local_endpoint().to_string();
        socket = context.connected(cell.theirs, theirs, &endpoint).await;
        connection = listener.accept().await.unwrap();
    } else {
        let (bound, endpoint) = context.bound(cell.theirs, theirs, &wildcard).await;
        socket = bound;
        connection = if asks {
            let config = server_config(builder, cell.mechanism);
            Connection::connect(&endpoint, (config, router())).await
        } else {
            Connection::connect(&endpoint, client_config(builder, cell.mechanism)).await
        }
        .unwrap();
    }
    check_peer(&connection, &cell, &identity);
    let mut meeting = Meeting {
        connection,
        socket: &socket,
        cell,
        identity,
    };
    let crossed = meeting.exchange(load).await;
    meeting.connection.close().await.ok();
    socket.close().await;
    crossed
}

fn their_options(cell: &Cell, identity: &[u8]) -> Options {
    let security = match (cell.mechanism, cell.we_serve) {
        ("NULL", _) => Security::Null,
        ("PLAIN", true) => Security::PlainClient {
            username: "admin",
            password: "secret",
        },
        ("PLAIN", false) => Security::PlainServer,
        (_, true) => Security::CURVE_CLIENT,
        (_, false) => Security::CURVE_SERVER,
    };
    let options = Options::new(security).set("IPV6", 1).set("LINGER", 0);
    let options = if cell.mechanism == "NULL" {
        options
    } else {
        options.domain(DOMAIN)
    };
    let sends_identity = SocketType::from_name(cell.theirs.as_bytes())
        .unwrap()
        .sends_identity();
    // libzmq cannot set an empty identity. It is the default.
    if sends_identity && !identity.is_empty() {
        options.bytes("ROUTING_ID", identity)
    } else {
        options
    }
}

fn keys(secret: &str) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_z85(secret).unwrap())
}

fn client_config(builder: Builder<WantsMechanism>, mechanism: &str) -> Config<NoPolicy> {
    let ready: Builder<Ready<NoPolicy>> = match mechanism {
        "NULL" => builder.null().accept_any_peer(),
        "PLAIN" => builder.plain_client("admin", "secret"),
        _ => {
            let server = PublicKey::from_z85(SERVER_PUBLIC).unwrap();
            builder.curve_client(keys(CLIENT_SECRET), server)
        }
    };
    ready.finish().unwrap()
}

fn server_config(builder: Builder<WantsMechanism>, mechanism: &str) -> Config<Authorizing> {
    let ready: Builder<Ready<Authorizing>> = match mechanism {
        "PLAIN" => builder.plain_server().authorize(Domain::from(DOMAIN)),
        _ => builder
            .curve_server(keys(SERVER_SECRET))
            .authorize(Domain::from(DOMAIN)),
    };
    ready.finish().unwrap()
}

fn router() -> ZapRouter {
    let authenticator = Authenticator::new();
    authenticator
        .configure_plain(DOMAIN, [("admin", "secret")])
        .unwrap();
    authenticator.configure_curve_keys(DOMAIN, [PublicKey::from_z85(CLIENT_PUBLIC).unwrap()]);
    let router = ZapRouter::with_limits(&Limits::default());
    router.bind(DOMAIN, authenticator).unwrap();
    router
}

/// Checks the user id that our policy has set, and the peer's claims.
fn check_peer(connection: &Connection, cell: &Cell, identity: &[u8]) {
    let peer = connection.peer();
    assert_eq!(peer.claims.socket_type.unwrap().name(), cell.theirs);
    if peer.claims.socket_type.unwrap().sends_identity() {
        assert_eq!(peer.claims.identity.as_ref().unwrap(), identity);
    }
    let user = match (cell.mechanism, cell.we_serve) {
        ("PLAIN", true) => Some("admin"),
        ("CURVE", true) => Some(CLIENT_PUBLIC),
        _ => None,
    };
    assert_eq!(
        peer.user_id().map(|id| &id[..]),
        user.map(str::as_bytes),
        "{cell:?}"
    );
    let proven = match (cell.mechanism, cell.we_serve) {
        ("CURVE", true) => Some(CLIENT_PUBLIC),
        ("CURVE", false) => Some(SERVER_PUBLIC),
        _ => None,
    };
    assert_eq!(peer.proven_key.map(|key| key.to_z85()).as_deref(), proven);
}

struct Meeting<'a> {
    connection: Connection,
    socket: &'a Socket<'a>,
    cell: Cell,
    identity: Vec<u8>,
}

impl Meeting<'_> {
    async fn exchange(&mut self, load: Load) -> usize {
        let mut crossed = 0;
        if self.cell.ours.subscribes() || self.cell.ours.publishes() {
            crossed += self.subscriptions(load).await;
        }
        for (index, length) in load.lengths.iter().enumerate() {
            let counts: Vec<usize> = if index == 0 {
                (1..=load.most_frames).collect()
            } else {
                vec![1, load.most_frames]
            };
            for frames in counts {
                let fill = |at: usize| Payload::Fill {
                    seed: at as u8,
                    length: *length,
                };
                crossed += self.message((0..frames).map(fill).collect()).await;
            }
        }
        crossed
    }

    /// Exchanges one message in each direction of the pattern.
    async fn message(&mut self, frames: Vec<Payload>) -> usize {
        match self.cell.ours {
            SocketType::Push => self.tell_them(&frames, &[]).await,
            SocketType::Pull => self.tell_us(&frames, &[]).await,
            SocketType::Pub => self.tell_them(&prefixed(b"topic", &frames), &[]).await,
            SocketType::Sub => self.tell_us(&prefixed(b"topic", &frames), &[]).await,
            SocketType::Pair => {
                self.tell_them(&frames, &[]).await + self.tell_us(&frames, &[]).await
            }
            // libzmq's REQ and REP write and strip the delimiter. Here the application does.
            SocketType::Req => {
                self.tell_them_delimited(&frames).await + self.tell_us_delimited(&frames).await
            }
            SocketType::Rep => {
                self.tell_us_delimited(&frames).await + self.tell_them_delimited(&frames).await
            }
            SocketType::Dealer => {
                // libzmq's ROUTER prepends the sender's name, which is our identity if we have one.
                let name = if self.identity.is_empty() {
                    self.send(&frames).await;
                    let received = self.socket.receive().await.frames;
                    assert_eq!(received[1..], frames);
                    received[0].bytes().unwrap()
                } else {
                    let name = self.identity.clone();
                    self.tell_them(&frames, &name).await;
                    name
                };
                1 + self.tell_us(&frames, &name).await
            }
            SocketType::Router => {
                self.tell_us(&frames, &[]).await + self.tell_them(&frames, &[]).await
            }
            other => panic!("{other} is not in the matrix"),
        }
    }

    async fn send(&mut self, frames: &[Payload]) {
        let message: Message = frames
            .iter()
            .map(|frame| Bytes::from(frame.bytes().unwrap()))
            .collect();
        self.connection.send(message).await.unwrap();
    }

    /// Sends from us to libzmq. libzmq receives the same message, after `name` if there is one.
    async fn tell_them(&mut self, frames: &[Payload], name: &[u8]) -> usize {
        self.send(frames).await;
        let user = self.cell.user_id_at_libzmq();
        let message = self.socket.receive_with(&["User-Id"]).await;
        let expected = if name.is_empty() {
            frames.to_vec()
        } else {
            prefixed(name, frames)
        };
        assert!(
            message.frames == expected,
            "{:?}: libzmq received other frames",
            self.cell
        );
        assert_eq!(message.property("User-Id"), user, "{:?}", self.cell);
        1
    }

    /// Sends from libzmq, to `name` if there is one. We receive the same message.
    async fn tell_us(&mut self, frames: &[Payload], name: &[u8]) -> usize {
        let sent = if name.is_empty() {
            frames.to_vec()
        } else {
            prefixed(name, frames)
        };
        self.socket.send(&sent).await;
        let message = self.connection.recv_message().await.unwrap();
        let expected: Vec<_> = frames.iter().map(|frame| frame.bytes().unwrap()).collect();
        assert!(
            message.frames() == expected,
            "{:?}: we received other frames",
            self.cell
        );
        1
    }

    async fn tell_them_delimited(&mut self, frames: &[Payload]) -> usize {
        self.send(&prefixed(b"", frames)).await;
        assert!(
            self.socket.receive().await.frames == frames,
            "{:?}",
            self.cell
        );
        1
    }

    async fn tell_us_delimited(&mut self, frames: &[Payload]) -> usize {
        self.socket.send(frames).await;
        let message = self.connection.recv_message().await.unwrap();
        let expected: Vec<_> = prefixed(b"", frames)
            .iter()
            .map(|frame| frame.bytes().unwrap())
            .collect();
        assert!(message.frames() == expected, "{:?}", self.cell);
        1
    }

    /// Subscribes to topics of lengths around each change of the length's encoding, and
    /// unsubscribes from all but one. Returns the number of messages that showed the effect.
    async fn subscriptions(&mut self, load: Load) -> usize {
        let lengths = if load.lengths == SMALL.lengths {
            240..=260
        } else {
            5..=5
        };
        let mut seen = 0;
        for length in lengths {
            let topic = vec![b't'; length];
            seen += self.subscription(&topic).await;
        }
        self.subscribe(b"topic").await;
        seen
    }

    async fn subscription(&mut self, topic: &[u8]) -> usize {
        self.subscribe(topic).await;
        let message = [Payload::from(topic), Payload::from("body")];
        let crossed = if self.cell.ours.publishes() {
            self.tell_them(&message, &[]).await
        } else {
            self.tell_us(&message, &[]).await
        };
        self.unsubscribe(topic).await;
        crossed
    }

    /// Subscribes and waits until the publisher knows.
    async fn subscribe(&mut self, topic: &[u8]) {
        if self.cell.ours.publishes() {
            self.socket.set_bytes("SUBSCRIBE", topic).await;
            let incoming = self.next_from_subscriber().await;
            assert!(
                matches!(&incoming, Incoming::Subscribe(got) if got == topic),
                "{incoming:?}"
            );
        } else {
            self.connection.subscribe(topic.to_vec()).await.unwrap();
            self.until_published(topic).await;
        }
    }

    async fn unsubscribe(&mut self, topic: &[u8]) {
        if self.cell.ours.publishes() {
            self.socket.set_bytes("UNSUBSCRIBE", topic).await;
            let incoming = self.next_from_subscriber().await;
            assert!(
                matches!(&incoming, Incoming::Unsubscribe(got) if got == topic),
                "{incoming:?}"
            );
        } else {
            self.connection.unsubscribe(topic.to_vec()).await.unwrap();
        }
    }

    /// libzmq attaches a new connection to its socket only when the socket is used.
    async fn next_from_subscriber(&mut self) -> Incoming {
        loop {
            let wait = Duration::from_millis(100);
            if let Ok(incoming) = tokio::time::timeout(wait, self.connection.recv()).await {
                return incoming.unwrap();
            }
            let none = self.socket.try_receive(&[], Duration::from_millis(1)).await;
            assert!(none.is_none());
        }
    }

    /// libzmq's PUB does not report when a subscription takes effect, so publish until one message
    /// arrives, then receive those in flight.
    async fn until_published(&mut self, topic: &[u8]) {
        let probe = [Payload::from(topic), Payload::from("probe")];
        loop {
            self.socket.send(&probe).await;
            let wait = Duration::from_millis(100);
            if tokio::time::timeout(wait, self.connection.recv_message())
                .await
                .is_ok()
            {
                break;
            }
        }
        let end = [Payload::from(topic), Payload::from("end")];
        self.socket.send(&end).await;
        loop {
            let message = self.connection.recv_message().await.unwrap();
            if message.frames()[1] == "end" {
                return;
            }
        }
    }
}

fn prefixed(first: &[u8], frames: &[Payload]) -> Vec<Payload> {
    [&[Payload::from(first)], frames].concat()
}
