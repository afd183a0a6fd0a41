//! The job of a child process, as its command line describes it.

use crate::measuring::pairing::Side;
use zmtp_auth::SecretKey;

/// The kind of job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Binds, and reports how many messages per second it receives.
    Pull,
    /// Connects, and sends without end.
    Push { to: String },
    /// As `Pull`, over ipc.
    PullIpc,
    /// As `Pull`, behind an `AuthStream`.
    StreamPull,
    /// As `Push`, behind an `AuthStream`.
    StreamPush { to: String },
    /// As `Pull`, with a socket.
    SocketPull,
    /// As `Push`, with a socket.
    SocketPush { to: String },
    /// A ROUTER that sends back what it receives, and reports how many messages per second.
    SocketRouter,
    /// Dealers that ask the ROUTER without end, each with some requests under way.
    SocketDealers { to: String },
    /// A publisher for this many subscribers. It says where it binds, and where it is told what has
    /// been received, with a comma between.
    FanOut { subscribers: usize },
    /// That many subscribers. They report how many messages per second they receive together.
    FanIn { to: String, subscribers: usize },
    /// As `FanOut`, by a loop over connections.
    ConnectionsOut { subscribers: usize },
    /// As `FanIn`, by connections.
    ConnectionsIn { to: String, subscribers: usize },
    /// As `Pull`, from this many connections together.
    PullMany { peers: usize },
    /// As `Push`, by this many connections.
    PushMany { to: String, peers: usize },
    /// Binds, and sends back what it receives.
    Echo,
    /// Connects, and reports how many nanoseconds a round trip takes.
    Ping { to: String },
    /// A server's tunnel: binds with CURVE, and forwards to a program with NULL.
    Tunnel { to: String },
    /// Binds, and reports its processor time when it is asked.
    Serve,
    /// As `Serve`, and reports what each of its clients has allocated once this many are connected.
    ServeCounted { peers: usize },
    /// This many clients that connect, some at a time, and do nothing else. They report how many are
    /// connected.
    Idle { to: String, peers: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub side: Side,
    pub task: Task,
    /// Whether to use CURVE, otherwise NULL.
    pub curve: bool,
    /// Bytes of a message.
    pub size: usize,
    /// How many threads libzmq has for its connections. Its default is 1.
    pub threads: u8,
}

/// The keys do not matter: all take the same time.
pub fn server_secret() -> SecretKey {
    SecretKey::from_bytes(&[22; 32]).unwrap()
}

pub fn client_secret() -> SecretKey {
    SecretKey::from_bytes(&[11; 32]).unwrap()
}

impl Job {
    pub fn to_arguments(&self) -> Vec<String> {
        let (task, to, peers) = match &self.task {
            Task::Pull => ("pull", "-", 1),
            Task::PullIpc => ("pull-ipc", "-", 1),
            Task::StreamPull => ("stream-pull", "-", 1),
            Task::StreamPush { to } => ("stream-push", to.as_str(), 1),
            Task::Push { to } => ("push", to.as_str(), 1),
            Task::SocketPull => ("socket-pull", "-", 1),
            Task::SocketPush { to } => ("socket-push", to.as_str(), 1),
            Task::SocketRouter => ("socket-router", "-", 1),
            Task::SocketDealers { to } => ("socket-dealers", to.as_str(), 1),
            Task::FanOut { subscribers } => ("fan-out", "-", *subscribers),
            Task::FanIn { to, subscribers } => ("fan-in", to.as_str(), *subscribers),
            Task::ConnectionsOut { subscribers } => ("connections-out", "-", *subscribers),
            Task::ConnectionsIn { to, subscribers } => {
                ("connections-in", to.as_str(), *subscribers)
            }
            Task::PullMany { peers } => ("pull-many", "-", *peers),
            Task::PushMany { to, peers } => ("push-many", to.as_str(), *peers),
            Task::Echo => ("echo", "-", 1),
            Task::Ping { to } => ("ping", to.as_str(), 1),
            Task::Tunnel { to } => ("tunnel", to.as_str(), 1),
            Task::Serve => ("serve", "-", 1),
            Task::ServeCounted { peers } => ("serve-counted", "-", *peers),
            Task::Idle { to, peers } => ("idle", to.as_str(), *peers),
        };
        let mechanism = if self.curve { "curve" } else { "null" };
        vec![
            self.side.to_string(),
            task.to_owned(),
            to.to_owned(),
            mechanism.to_owned(),
            self.size.to_string(),
            peers.to_string(),
            self.threads.to_string(),
        ]
    }

    pub fn from_arguments(arguments: &[String]) -> Self {
        let [side, task, to, mechanism, size, peers, threads] = arguments else {
            panic!("a child has seven arguments: {arguments:?}");
        };
        let to = to.clone();
        let peers = peers.parse().unwrap();
        let subscribers = peers;
        Self {
            side: match side.as_str() {
                "ours" => Side::Ours,
                "libzmq" => Side::Libzmq,
                other => panic!("no such side: {other}"),
            },
            task: match task.as_str() {
                "pull" => Task::Pull,
                "pull-ipc" => Task::PullIpc,
                "stream-pull" => Task::StreamPull,
                "stream-push" => Task::StreamPush { to },
                "push" => Task::Push { to },
                "socket-pull" => Task::SocketPull,
                "socket-push" => Task::SocketPush { to },
                "socket-router" => Task::SocketRouter,
                "socket-dealers" => Task::SocketDealers { to },
                "fan-out" => Task::FanOut { subscribers },
                "fan-in" => Task::FanIn { to, subscribers },
                "connections-out" => Task::ConnectionsOut { subscribers },
                "connections-in" => Task::ConnectionsIn { to, subscribers },
                "pull-many" => Task::PullMany { peers },
                "push-many" => Task::PushMany { to, peers },
                "echo" => Task::Echo,
                "ping" => Task::Ping { to },
                "tunnel" => Task::Tunnel { to },
                "serve" => Task::Serve,
                "serve-counted" => Task::ServeCounted { peers },
                "idle" => Task::Idle { to, peers },
                other => panic!("no such task: {other}"),
            },
            curve: mechanism == "curve",
            size: size.parse().unwrap(),
            threads: threads.parse().unwrap(),
        }
    }
}
