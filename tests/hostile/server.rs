//! The server under attack: a listener with an application that echoes to honest peers and notes
//! what all others do.

use super::load_attack::{eventually, soon};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zmtp_auth::net::{
    Connection, Endpoint, Event, Host, Incoming, Listener, Message, NetError, Options, Refusal,
};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    Authorizing, Config, Domain, Error, KeyPair, Limits, NoPolicy, PublicKey, SecretKey, SocketType,
};

pub const DOMAIN: &str = "attacked";
/// A property of honest peers, which the application serves. With this value it does not note them.
const SERVED: &str = "X-Served";
pub const UNNOTED: &str = "unnoted";

/// A listener's mechanism, and which handler it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    NullAsks,
    Plain,
    Curve,
}

pub const KINDS: [Kind; 4] = [Kind::Null, Kind::NullAsks, Kind::Plain, Kind::Curve];
pub const ASKING: [Kind; 3] = [Kind::NullAsks, Kind::Plain, Kind::Curve];

impl Kind {
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Null | Self::NullAsks => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
        }
    }
}

pub fn server_keys() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[22; 32]).unwrap())
}

pub fn honest_keys() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[11; 32]).unwrap())
}

/// An honest client's configuration.
pub fn client(
    kind: Kind,
    socket: SocketType,
    served: &'static str,
    limits: Limits,
) -> Config<NoPolicy> {
    let builder = Config::builder(socket)
        .property(SERVED, served)
        .limits(limits);
    match kind {
        Kind::Null | Kind::NullAsks => builder.null().accept_any_peer().finish(),
        Kind::Plain => builder.plain_client("honest", "secret").finish(),
        Kind::Curve => builder
            .curve_client(honest_keys(), server_keys().public_key())
            .finish(),
    }
    .unwrap()
}

/// Dials `endpoint` as a client that under NULL asks a policy of its own. `asked` counts the
/// questions.
pub async fn dial(
    kind: Kind,
    endpoint: Endpoint,
    asked: &Arc<AtomicUsize>,
) -> Result<Connection, NetError> {
    let (socket, limits) = (SocketType::Dealer, Limits::default());
    if kind != Kind::NullAsks {
        let config = client(kind, socket, UNNOTED, limits);
        return soon(Connection::connect(endpoint, config)).await;
    }
    let config = Config::builder(socket).null().authorize(DOMAIN);
    let dialling = Connection::connect(endpoint, (config.finish().unwrap(), welcoming(asked)));
    soon(dialling).await
}

/// How to open a [`Server`].
pub struct Setup {
    pub kind: Kind,
    pub socket: SocketType,
    pub limits: Limits,
    pub options: Options,
    pub endpoint: String,
    /// The handler. Without one, a handler that admits every peer.
    pub router: Option<ZapRouter>,
}

impl Setup {
    /// A DEALER on tcp.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            socket: SocketType::Dealer,
            limits: Limits::default(),
            options: Options::default(),
            endpoint: "tcp://127.0.0.1:*".to_owned(),
            router: None,
        }
    }

    pub fn socket(self, socket: SocketType) -> Self {
        Self { socket, ..self }
    }

    pub fn endpoint(self, endpoint: String) -> Self {
        Self { endpoint, ..self }
    }

    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub fn router(self, router: ZapRouter) -> Self {
        Self {
            router: Some(router),
            ..self
        }
    }

    pub async fn open(self) -> Server {
        let asked = Arc::new(AtomicUsize::new(0));
        let router = self.router.clone().unwrap_or_else(|| welcoming(&asked));
        let builder = Config::builder(self.socket).limits(self.limits.clone());
        let domain = Domain::from(DOMAIN);
        let asking: Config<Authorizing> = match self.kind {
            Kind::Null => {
                let open = builder.null().accept_any_peer().finish().unwrap();
                let endpoint = self.endpoint.as_str();
                let bound = Listener::bind_with(endpoint, open, self.options.clone()).await;
                return Server::start(self, bound.unwrap(), asked);
            }
            Kind::NullAsks => builder.null().authorize(domain).finish(),
            Kind::Plain => builder.plain_server().authorize(domain).finish(),
            Kind::Curve => builder
                .curve_server(server_keys())
                .authorize(domain)
                .finish(),
        }
        .unwrap();
        let endpoint = self.endpoint.as_str();
        let bound = Listener::bind_with(endpoint, (asking, router), self.options.clone()).await;
        Server::start(self, bound.unwrap(), asked)
    }
}

/// Admits every peer and counts the questions.
fn welcoming(asked: &Arc<AtomicUsize>) -> ZapRouter {
    let router = ZapRouter::new();
    let asked = Arc::clone(asked);
    let admit = move |request: ZapRequest| {
        asked.fetch_add(1, Ordering::SeqCst);
        async move { request.allow("somebody") }
    };
    router.bind(DOMAIN, admit).unwrap();
    router
}

/// What the application notes about peers that are not honest.
#[derive(Debug)]
pub enum Noted {
    Refused(Refusal),
    Accepted,
    Delivered(Incoming),
    Ended(NetError),
}

/// What an attacker needs to know: the server's address, mechanism and key.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub kind: Kind,
    pub key: PublicKey,
    /// Raw peers' connections that were reset before the peers knew them. The server may have seen and
    /// refused them.
    pub resets: Arc<AtomicUsize>,
}

pub struct Server {
    pub target: Target,
    pub endpoint: Endpoint,
    socket: SocketType,
    listener: Arc<Listener>,
    /// The task that notes what the listener reports. It holds the listener, too.
    presiding: JoinHandle<()>,
    asked: Arc<AtomicUsize>,
    noted: mpsc::UnboundedReceiver<Noted>,
    /// Refusals that the listener has dropped and the test has already counted.
    dropped: u64,
}

/// The listener ends with its server, and no longer shares the descriptors of the process.
impl Drop for Server {
    fn drop(&mut self) {
        self.presiding.abort();
    }
}

impl Server {
    fn start(setup: Setup, listener: Listener, asked: Arc<AtomicUsize>) -> Self {
        let endpoint = listener.local_endpoint().clone();
        let address = match &endpoint {
            Endpoint::Tcp {
                host: Host::Ip(ip),
                port,
            } => SocketAddr::new(*ip, *port),
            // ipc: tests use the path instead.
            _ => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let (notes, noted) = mpsc::unbounded_channel();
        let listener = Arc::new(listener);
        let presiding = tokio::spawn(preside(Arc::clone(&listener), notes));
        Self {
            target: Target {
                address,
                resets: Arc::default(),
                kind: setup.kind,
                key: server_keys().public_key(),
            },
            endpoint,
            socket: setup.socket,
            listener,
            presiding,
            asked,
            noted,
            dropped: 0,
        }
    }

    /// How often the handler was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The next note.
    pub async fn note(&mut self) -> Noted {
        soon(self.noted.recv()).await.unwrap()
    }

    /// The next note, which must be a refusal of a handshake.
    pub async fn refusal(&mut self) -> Error {
        match self.note().await {
            Noted::Refused(refusal) => match refusal.error {
                NetError::Handshake(error) => error,
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The next note, which must be that a peer was accepted.
    pub async fn accepted(&mut self) {
        match self.note().await {
            Noted::Accepted => {}
            other => panic!("{other:?}"),
        }
    }

    /// The next note, which must be a delivery.
    pub async fn delivery(&mut self) -> Incoming {
        match self.note().await {
            Noted::Delivered(incoming) => incoming,
            other => panic!("{other:?}"),
        }
    }

    /// The next note, which must be the end of a connection.
    pub async fn end(&mut self) -> NetError {
        match self.note().await {
            Noted::Ended(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for `count` refusals since the last call, and at most as many more as connections were reset
    /// before their peers knew them. Refusals are noted or, if there were too many at once, only counted
    /// by the listener. The noted ones must be as `expected`, and nothing else may be noted.
    pub async fn refusals(&mut self, count: usize, expected: impl Fn(&Error) -> bool) {
        let mut refused = 0;
        eventually(|| {
            for noted in self.notes() {
                match noted {
                    Noted::Refused(refusal) => match refusal.error {
                        NetError::Handshake(error) => assert!(expected(&error), "{error}"),
                        other => panic!("{other}"),
                    },
                    other => panic!("{other:?}"),
                }
                refused += 1;
            }
            let dropped = self.listener.refusals_dropped();
            refused += (dropped - self.dropped) as usize;
            self.dropped = dropped;
            refused >= count
        })
        .await;
        let most = count + self.target.resets.swap(0, Ordering::SeqCst);
        assert!(refused <= most, "{refused} of {count} to {most}");
    }

    /// All notes so far.
    pub fn notes(&mut self) -> Vec<Noted> {
        std::iter::from_fn(|| self.noted.try_recv().ok()).collect()
    }

    /// Discards all notes so far.
    pub fn forget(&mut self) {
        drop(self.notes());
    }

    /// Connects an honest peer, which must be served at once, and disconnects it.
    pub async fn serve_honest(&self) {
        let error = self.serve(&self.endpoint, UNNOTED).await.err();
        assert!(error.is_none(), "{error:?}");
    }

    /// Connects an honest peer until it is served. Returns the number of failed attempts.
    pub async fn serve_persistent(&self) -> usize {
        let mut failures = 0;
        soon(async {
            while self.serve(&self.endpoint, UNNOTED).await.is_err() {
                failures += 1;
            }
        })
        .await;
        failures
    }

    /// Connects an honest peer through `endpoint`. It is noted like any other.
    pub async fn serve_noted(&self, endpoint: &Endpoint) -> Result<(), NetError> {
        self.serve(endpoint, "noted").await
    }

    async fn serve(&self, endpoint: &Endpoint, served: &'static str) -> Result<(), NetError> {
        let honest = Honest::connect(self, endpoint, served).await?;
        soon(honest.finish()).await
    }

    /// An honest peer that stays connected. It has exchanged a message, since under NULL a client
    /// completes before the server.
    pub async fn honest(&self) -> Honest {
        let mut honest = Honest::connect(self, &self.endpoint, UNNOTED)
            .await
            .unwrap();
        honest.exchange(b"arrived").await.unwrap();
        honest
    }
}

/// An honest peer of a [`Server`].
pub struct Honest {
    connection: Connection,
    subscribes: bool,
}

impl Honest {
    async fn connect(
        server: &Server,
        endpoint: &Endpoint,
        served: &'static str,
    ) -> Result<Self, NetError> {
        let socket = match server.socket {
            SocketType::Pub => SocketType::Sub,
            other => other,
        };
        let config = client(server.target.kind, socket, served, Limits::default());
        let connection = soon(Connection::connect(endpoint.clone(), config)).await?;
        Ok(Self {
            connection,
            subscribes: socket.subscribes(),
        })
    }

    /// Exchanges one message with the application above, which echoes messages and subscribed
    /// topics.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<(), NetError> {
        let expected = if self.subscribes {
            let topic = Bytes::copy_from_slice(message);
            self.connection.subscribe(topic.clone()).await?;
            Message::from(topic)
        } else {
            let frames = [message, b"", message].map(Bytes::copy_from_slice);
            let message = frames.into_iter().collect::<Message>();
            self.connection.send(message.clone()).await?;
            message
        };
        assert_eq!(soon(self.connection.recv_message()).await?, expected);
        Ok(())
    }

    async fn finish(mut self) -> Result<(), NetError> {
        for message in [&b"one"[..], &[2; 300]] {
            self.exchange(message).await?;
        }
        self.connection.close().await
    }
}

async fn preside(listener: Arc<Listener>, notes: mpsc::UnboundedSender<Noted>) {
    while let Ok(event) = listener.next_event().await {
        match event {
            Event::Accepted(connection) => {
                tokio::spawn(attend(*connection, notes.clone()));
            }
            Event::Refused(refusal) => {
                let _ = notes.send(Noted::Refused(refusal));
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn attend(mut connection: Connection, notes: mpsc::UnboundedSender<Noted>) {
    let served = connection.peer().claims.properties.get(SERVED).cloned();
    let is_noted = served.as_deref() != Some(UNNOTED.as_bytes());
    let note = |noted| {
        if is_noted {
            let _ = notes.send(noted);
        }
    };
    note(Noted::Accepted);
    let end = loop {
        match connection.recv().await {
            Ok(Incoming::Message(message)) if served.is_some() => {
                let _ = connection.send(message).await;
            }
            Ok(Incoming::Subscribe(topic)) if served.is_some() => {
                let _ = connection.send(topic).await;
            }
            Ok(incoming) => note(Noted::Delivered(incoming)),
            Err(error) => break error,
        }
    };
    note(Noted::Ended(end));
}
