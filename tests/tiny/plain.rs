//! The host as it was, without security.

use super::codec::{self, COMMAND, Frame, MORE, Properties, bad};
use super::types::{Event, Message, Options};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A socket with any number of peers. It closes their connections when it is dropped.
pub struct Socket {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    events: mpsc::UnboundedReceiver<Event>,
    tasks: JoinSet<()>,
}

struct Shared {
    options: Options,
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
    Pong(Bytes),
}

impl Socket {
    pub fn new(options: Options) -> Self {
        let (to_messages, messages) = mpsc::channel(64);
        let (to_events, events) = mpsc::unbounded_channel();
        let shared = Shared {
            options,
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
    let handshake = shake_hands(&mut stream, &shared.options, &mut input);
    let (minor, properties) = timeout(Duration::from_secs(30), handshake).await??;
    let (read, write) = stream.into_split();
    let (queue, items) = mpsc::channel(64);
    let id = shared.add(queue.clone());
    let _ = shared.events.send(Event::Joined(properties));
    let ended = tokio::select! {
        ended = read_all(shared, id, read, input, queue) => ended,
        ended = write_all(&shared.options, minor, write, items) => ended,
    };
    shared.peers.lock().unwrap().remove(&id);
    ended
}

/// Exchanges greetings and READYs: the version that both know, and the peer's properties.
async fn shake_hands(
    stream: &mut TcpStream,
    options: &Options,
    input: &mut BytesMut,
) -> io::Result<(u8, Properties)> {
    stream.write_all(&codec::greeting(options.minor)).await?;
    let theirs = loop {
        if let Some(minor) = codec::take_greeting(input)? {
            break minor;
        }
        read_some(stream.read_buf(input).await)?;
    };
    let mut ready = BytesMut::new();
    codec::ready(options.socket_type, options.identity.as_bytes()).encode(&mut ready);
    stream.write_all(&ready).await?;
    let frame = loop {
        if let Some(frame) = Frame::take(input)? {
            break frame;
        }
        read_some(stream.read_buf(input).await)?;
    };
    Ok((theirs.min(options.minor), codec::properties(&frame)?))
}

fn read_some(read: io::Result<usize>) -> io::Result<()> {
    match read? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn read_all(
    shared: &Shared,
    id: u64,
    mut stream: OwnedReadHalf,
    mut input: BytesMut,
    queue: mpsc::Sender<Item>,
) -> io::Result<()> {
    let patience = shared.options.ping_every.unwrap_or(Duration::MAX / 4) * 4;
    let mut message = Vec::new();
    loop {
        while let Some(frame) = Frame::take(&mut input)? {
            if frame.flags & COMMAND != 0 {
                match frame.split_command()? {
                    (b"SUBSCRIBE", topic) => shared.change_topics(id, topic, true),
                    (b"CANCEL", topic) => shared.change_topics(id, topic, false),
                    // The data of a PING begins with a time of two bytes.
                    (b"PING", data) if data.len() >= 2 => {
                        let _ = queue.send(Item::Pong(data.slice(2..))).await;
                    }
                    (b"PONG", _) => {}
                    _ => return Err(bad("unknown command")),
                }
                continue;
            }
            let more = frame.flags & MORE != 0;
            message.push(frame.body);
            if more {
                continue;
            }
            let message = std::mem::take(&mut message);
            if shared.options.socket_type == "PUB" {
                // A subscription of ZMTP 3.0.
                if let [subscribe @ (0 | 1), topic @ ..] = &*message[0] {
                    let topic = message[0].slice_ref(topic);
                    shared.change_topics(id, topic, *subscribe == 1);
                }
            } else if shared.messages.send(message).await.is_err() {
                return Ok(());
            }
        }
        if timeout(patience, stream.read_buf(&mut input)).await?? == 0 {
            return Ok(());
        }
    }
}

async fn write_all(
    options: &Options,
    minor: u8,
    mut stream: OwnedWriteHalf,
    mut items: mpsc::Receiver<Item>,
) -> io::Result<()> {
    // ZMTP 3.0 has no PING.
    let ping_every = options.ping_every.filter(|_| minor > 0);
    let mut out = BytesMut::new();
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = sleep(ping_every.unwrap_or(Duration::MAX)) => {
                Frame::command("PING", &[0, 0]).encode(&mut out);
                stream.write_all_buf(&mut out).await?;
                continue;
            }
        };
        let Some(item) = item else { return Ok(()) };
        encode(item, minor, &mut out);
        stream.write_all_buf(&mut out).await?;
    }
}

fn encode(item: Item, minor: u8, out: &mut BytesMut) {
    let subscription = |name, mark, topic: Bytes| match minor {
        0 => Frame {
            flags: 0,
            body: [&[mark], &*topic].concat().into(),
        },
        _ => Frame::command(name, &topic),
    };
    match item {
        Item::Message(message) => {
            let last = message.len() - 1;
            for (at, body) in message.into_iter().enumerate() {
                let flags = if at < last { MORE } else { 0 };
                Frame { flags, body }.encode(out);
            }
        }
        Item::Subscribe(topic) => subscription("SUBSCRIBE", 1, topic).encode(out),
        Item::Unsubscribe(topic) => subscription("CANCEL", 0, topic).encode(out),
        Item::Pong(context) => Frame::command("PONG", &context).encode(out),
    }
}
