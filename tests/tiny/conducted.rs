//! The host, secured by `Security::conduct`.

use super::types::{Event, Message, Options};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zmtp_auth::Security;
use zmtp_auth::host::{KnownPeer, MessageReader, MessageWriter};
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::traffic::{Incoming, Message as Frames, Outgoing};

/// A socket with any number of peers. It closes their connections when it is dropped.
pub struct Socket {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    events: mpsc::UnboundedReceiver<Event>,
    tasks: JoinSet<()>,
}

struct Shared {
    options: Options,
    security: Security,
    peers: Mutex<BTreeMap<u64, Peer>>,
    /// What we subscribe to.
    topics: Mutex<Vec<Bytes>>,
    messages: mpsc::Sender<Message>,
    events: mpsc::UnboundedSender<Event>,
}

struct Peer {
    queue: mpsc::Sender<Item>,
    /// What the peer subscribes to.
    topics: Vec<Bytes>,
}

/// What waits to be sent to a peer.
enum Item {
    Message(Message),
    Subscribe(Bytes),
    Unsubscribe(Bytes),
}

impl Socket {
    pub fn new(options: Options, security: Security) -> Self {
        let (to_messages, messages) = mpsc::channel(64);
        let (to_events, events) = mpsc::unbounded_channel();
        let shared = Shared {
            options,
            security,
            peers: Mutex::default(),
            topics: Mutex::default(),
            messages: to_messages,
            events: to_events,
        };
        Self {
            shared: Arc::new(shared),
            messages,
            events,
            tasks: JoinSet::new(),
        }
    }

    pub async fn bind(&mut self, to: &str) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(to).await?;
        let bound = listener.local_addr()?;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let mut peers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                peers.spawn(run(Arc::clone(&shared), stream));
            }
        });
        Ok(bound)
    }

    pub async fn connect(&mut self, to: &str) -> io::Result<()> {
        let stream = TcpStream::connect(to).await?;
        self.tasks.spawn(run(Arc::clone(&self.shared), stream));
        Ok(())
    }

    pub async fn subscribe(&self, topic: Bytes) {
        self.shared.topics.lock().unwrap().push(topic.clone());
        for queue in self.queues(|_| true) {
            let _ = queue.send(Item::Subscribe(topic.clone())).await;
        }
    }

    pub async fn unsubscribe(&self, topic: Bytes) {
        self.shared.topics.lock().unwrap().retain(|t| *t != topic);
        for queue in self.queues(|_| true) {
            let _ = queue.send(Item::Unsubscribe(topic.clone())).await;
        }
    }

    /// Sends to all subscribers, or to one peer.
    pub async fn send(&self, message: Message) -> io::Result<()> {
        if self.shared.options.socket_type == "PUB" {
            let fits = |topic: &Bytes| message[0].starts_with(topic);
            for queue in self.queues(|peer| peer.topics.iter().any(fits)) {
                let _ = queue.send(Item::Message(message.clone())).await;
            }
            return Ok(());
        }
        let queue = self.queues(|_| true).into_iter().next();
        let queue = queue.ok_or(io::ErrorKind::NotConnected)?;
        let sent = queue.send(Item::Message(message)).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    pub async fn recv(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    fn queues(&self, wanted: impl Fn(&Peer) -> bool) -> Vec<mpsc::Sender<Item>> {
        let peers = self.shared.peers.lock().unwrap();
        let wanted = peers.values().filter(|peer| wanted(peer));
        wanted.map(|peer| peer.queue.clone()).collect()
    }
}

impl Shared {
    fn add(&self, queue: mpsc::Sender<Item>) -> u64 {
        let mut peers = self.peers.lock().unwrap();
        let id = peers.last_key_value().map_or(0, |(last, _)| last + 1);
        for topic in self.topics.lock().unwrap().iter() {
            let _ = queue.try_send(Item::Subscribe(topic.clone()));
        }
        let topics = Vec::new();
        peers.insert(id, Peer { queue, topics });
        id
    }

    fn change_topics(&self, id: u64, topic: Bytes, subscribe: bool) {
        if let Some(peer) = self.peers.lock().unwrap().get_mut(&id) {
            if subscribe {
                peer.topics.push(topic.clone());
                let _ = self.events.send(Event::Subscribed(topic));
            } else if let Some(at) = peer.topics.iter().position(|t| *t == topic) {
                peer.topics.swap_remove(at);
            }
        }
    }
}

/// A connection, from the handshake to the end.
async fn run(shared: Arc<Shared>, stream: TcpStream) {
    let ended = converse(&shared, stream).await;
    let _ = shared.events.send(Event::Left(ended));
}

async fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::new();
    let Options {
        socket_type,
        identity,
        ping_every,
        ..
    } = shared.options;
    let context = stream.peer_context()?;
    let context = context.for_socket(socket_type.parse()?, identity)?;
    let secured = shared
        .security
        .conduct(context, &mut stream, &mut input)
        .await?;
    let peer = secured.peer();
    let claims = peer.claims.properties.iter();
    let mut properties: Vec<_> = claims
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    if let Some(user_id) = peer.user_id() {
        properties.push(("User-Id".to_owned(), user_id.clone()));
    }
    let ping = |every| HeartbeatSettings::every(every).with_timeout(every * 3);
    let (reader, writer) = secured.into_messages_with(ping_every.map(ping));
    let ended = writer.replies_ready_owned().ended();
    let (read, write) = stream.into_split();
    let (queue, items) = mpsc::channel(64);
    let id = shared.add(queue);
    let _ = shared.events.send(Event::Joined(properties));
    let ended = tokio::select! {
        ended = read_all(shared, id, read, input, reader) => ended,
        ended = write_all(write, items, writer) => ended,
        ended = ended => Err(ended.into()),
    };
    shared.peers.lock().unwrap().remove(&id);
    ended
}

async fn read_all(
    shared: &Shared,
    id: u64,
    mut stream: OwnedReadHalf,
    mut input: BytesMut,
    mut reader: MessageReader,
) -> io::Result<()> {
    loop {
        while let Some(incoming) = reader.read(&mut input)? {
            match incoming {
                Incoming::Subscribe(topic) => shared.change_topics(id, topic, true),
                Incoming::Unsubscribe(topic) => shared.change_topics(id, topic, false),
                Incoming::Message(message) => {
                    let message = message.into_frames();
                    if shared.messages.send(message).await.is_err() {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

async fn write_all(
    mut stream: OwnedWriteHalf,
    mut items: mpsc::Receiver<Item>,
    mut writer: MessageWriter,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = writer.replies_ready() => {
                writer.write_replies(&mut out)?;
                stream.write_all_buf(&mut out).await?;
                continue;
            }
        };
        let Some(item) = item else { return Ok(()) };
        writer.write(item, &mut out)?;
        stream.write_all_buf(&mut out).await?;
    }
}

impl From<Item> for Outgoing {
    fn from(item: Item) -> Self {
        match item {
            Item::Message(message) => Frames::from(message).into(),
            Item::Subscribe(topic) => Self::Subscribe(topic),
            Item::Unsubscribe(topic) => Self::Unsubscribe(topic),
        }
    }
}
