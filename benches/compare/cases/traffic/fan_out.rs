//! A publisher and its subscribers, which have a process together. The publisher sends a few windows of
//! messages ahead of what all have received, so that no queue is ever full and each gets everything.
//! Both libraries are told in the same way what was received: by a byte over TCP for each window.

use crate::child::handle::tell;
use crate::child::job::{Job, Task};
use crate::child::under_load::{BOTH_ENDS, Ends, at_best};
use crate::measuring::pairing::Side;
use crate::measuring::stopwatch::{Counter, open_many_files};
use crate::ours::over_tcp::{client, connect, server};
use crate::output::report::Report;
use crate::peers::zmq::Socket;
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use zmtp_auth::SocketType;
use zmtp_auth::net::{Listener, Message, MessageRun, TrySendReason};
use zmtp_sockets::{Pub, Sub};

/// Connections that one sender sends each message to.
const CONNECTIONS: [usize; 2] = [50, 500];
const ROUNDS: usize = 5;

/// Messages of a window, and windows that are under way. Together they are less than the queues of
/// either library hold by default.
const WINDOW: usize = 100;
const AHEAD: usize = 2;

/// Plain connections, against libzmq's PUB and SUB.
pub fn run(report: &mut Report, libzmq: &str) {
    for subscribers in CONNECTIONS {
        let case = format!("one sender to {subscribers} connections, CURVE 64");
        report.compare(&case, libzmq, BOTH_ENDS, ROUNDS, |side| {
            at_best(side, |threads| {
                let job = |task| Job {
                    side,
                    task,
                    curve: true,
                    size: 64,
                    threads,
                };
                let (sends, receives): (_, fn(String, usize) -> Task) = match side {
                    Side::Ours => (Task::ConnectionsOut { subscribers }, |to, subscribers| {
                        Task::ConnectionsIn { to, subscribers }
                    }),
                    Side::Libzmq => (Task::FanOut { subscribers }, |to, subscribers| {
                        Task::FanIn { to, subscribers }
                    }),
                };
                Ends::start_sender_first(job, sends, |to| receives(to, subscribers)).figures()
            })
        });
    }
}

/// Where the publisher is told about windows.
fn told() -> TcpListener {
    open_many_files();
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Tells the publisher about windows that all have received, and counts them.
struct Windows {
    publisher: TcpStream,
    counter: Counter,
    subscribers: usize,
    /// How many subscribers have received each of the windows under way.
    received: [usize; AHEAD + 1],
}

impl Windows {
    /// Returns where to subscribe, too.
    fn new(to: &str, size: usize, subscribers: usize) -> (&str, Self) {
        open_many_files();
        let (endpoint, told) = to.split_once(',').unwrap();
        let publisher = TcpStream::connect(told).unwrap();
        publisher.set_nodelay(true).unwrap();
        let windows = Self {
            publisher,
            counter: Counter::new(size),
            subscribers,
            received: [0; AHEAD + 1],
        };
        (endpoint, windows)
    }

    /// A subscriber has received this window.
    fn received(&mut self, window: usize) {
        let received = &mut self.received[window % (AHEAD + 1)];
        *received += 1;
        if *received < self.subscribers {
            return;
        }
        *received = 0;
        // Until the publisher is gone.
        let _ = self.publisher.write_all(b".");
        let messages = WINDOW * self.subscribers;
        if let Some(rate) = self.counter.count_many(messages as u64) {
            tell(rate);
        }
    }
}

pub async fn publish(job: &Job, subscribers: usize, payload: &[u8]) {
    let told = told();
    let mut publisher = Pub::new();
    let security = server(SocketType::Pub, job.curve);
    let endpoint = publisher.bind("tcp://127.0.0.1:*", security).await.unwrap();
    tell(format!("{endpoint},{}", told.local_addr().unwrap()));
    told.set_nonblocking(true).unwrap();
    let told = tokio::net::TcpListener::from_std(told).unwrap();
    let mut received = told.accept().await.unwrap().0;
    let count = |publisher: &mut Pub| {
        let subscribers = publisher.subscribers();
        subscribers.filter(|one| one.subscriptions > 0).count()
    };
    while count(&mut publisher) < subscribers {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for window in 0.. {
        if window >= AHEAD && received.read_u8().await.is_err() {
            return;
        }
        for _ in 0..WINDOW {
            publisher.send(payload);
        }
    }
}

pub async fn subscribe(job: &Job, to: &str, subscribers: usize) {
    let (endpoint, windows) = Windows::new(to, job.size, subscribers);
    let windows = Arc::new(Mutex::new(windows));
    for _ in 0..subscribers {
        let mut subscriber = Sub::new();
        subscriber.subscribe("");
        let security = client(SocketType::Sub, job.curve);
        subscriber.connect(endpoint, security).unwrap();
        let (windows, size) = (Arc::clone(&windows), job.size);
        tokio::spawn(async move {
            for window in 0.. {
                for _ in 0..WINDOW {
                    assert_eq!(subscriber.recv().await.frames()[0].len(), size);
                }
                windows.lock().unwrap().received(window);
            }
        });
    }
    // Until the parent ends this process.
    std::future::pending().await
}

/// Sends each message by a loop over connections, which share its bytes.
pub async fn publish_by_connections(job: &Job, subscribers: usize, payload: &[u8]) {
    let told = told();
    let security = server(SocketType::Push, job.curve);
    let listener = Listener::bind("tcp://127.0.0.1:*", security).await.unwrap();
    let endpoint = listener.local_endpoint();
    tell(format!("{endpoint},{}", told.local_addr().unwrap()));
    let mut connections = Vec::with_capacity(subscribers);
    while connections.len() < subscribers {
        connections.push(listener.accept().await.unwrap().split());
    }
    told.set_nonblocking(true).unwrap();
    let told = tokio::net::TcpListener::from_std(told).unwrap();
    let mut received = told.accept().await.unwrap().0;
    let mut run: Option<MessageRun> = None;
    for window in 0.. {
        if window >= AHEAD && received.read_u8().await.is_err() {
            return;
        }
        for _ in 0..WINDOW {
            let mut message = Message::from(Bytes::copy_from_slice(payload));
            if let Some(run) = &run {
                match run.push(message) {
                    Ok(()) => continue,
                    Err(refused) => message = refused,
                }
            }
            let next = run.insert(MessageRun::new(message));
            for (sender, _) in &mut connections {
                match sender.try_send_run(next) {
                    Ok(()) => {}
                    Err(TrySendReason::Full) => {
                        panic!("a queue has room for all windows under way")
                    }
                    // The subscribers are gone.
                    Err(_) => return,
                }
            }
        }
    }
}

pub async fn subscribe_by_connections(job: &Job, to: &str, subscribers: usize) {
    let (endpoint, windows) = Windows::new(to, job.size, subscribers);
    let windows = Arc::new(Mutex::new(windows));
    for _ in 0..subscribers {
        let mut connection = connect(job, SocketType::Pull, endpoint).await;
        let (windows, size) = (Arc::clone(&windows), job.size);
        tokio::spawn(async move {
            for window in 0.. {
                for _ in 0..WINDOW {
                    // Until the publisher is gone.
                    let Ok(message) = connection.recv_message().await else {
                        return;
                    };
                    assert_eq!(message.single().map(|frame| frame.len()), Some(size));
                }
                windows.lock().unwrap().received(window);
            }
        });
    }
    // Until the parent ends this process.
    std::future::pending().await
}

/// Binds the socket by `bind`.
pub fn publish_by_libzmq<'a>(
    bind: impl FnOnce() -> (Socket<'a>, String),
    subscribers: usize,
    payload: &[u8],
) {
    let told = told();
    let (socket, endpoint) = bind();
    socket.show_all_subscriptions();
    tell(format!("{endpoint},{}", told.local_addr().unwrap()));
    let mut received = told.accept().unwrap().0;
    for _ in 0..subscribers {
        socket.receive();
    }
    for window in 0.. {
        if window >= AHEAD && received.read_exact(&mut [0]).is_err() {
            return;
        }
        for _ in 0..WINDOW {
            socket.send(payload);
        }
    }
}

/// One thread receives a window of each subscriber in turn, which is the least work: it asks no socket
/// in vain.
pub fn subscribe_by_libzmq<'a>(
    connect: impl Fn(&str) -> Socket<'a>,
    to: &str,
    size: usize,
    subscribers: usize,
) -> ! {
    let (endpoint, mut windows) = Windows::new(to, size, subscribers);
    let sockets: Vec<Socket<'_>> = (0..subscribers)
        .map(|_| {
            let socket = connect(endpoint);
            socket.subscribe_to_all();
            socket
        })
        .collect();
    let mut window = 0;
    loop {
        for socket in &sockets {
            for _ in 0..WINDOW {
                assert_eq!(socket.receive(), size);
            }
            windows.received(window);
        }
        window += 1;
    }
}
