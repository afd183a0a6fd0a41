//! The Rust side of `zmq_peer.py`: one process of real libzmq serves every test of a crate. Each
//! test takes a [`Context`] of its own, and so its own ZAP handler.
//!
//! `ZMTP_AUTH_PYTHON` names a Python that has pyzmq; `./test` sets it. Without it these tests
//! fail: an interop test that is skipped silently proves nothing.
//!
//! Every function panics on a refusal by the peer process and on a time-out, with the command in
//! the message.
// Each test crate uses the part that it needs.
#![allow(dead_code)]

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Time for an operation that needs no other peer, and beyond the time-out of one that does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time for one message or one event on loopback.
const DELIVERY: Duration = Duration::from_secs(10);

/// The keys of libzmq's manual: public for the client, secret for the client, and the server's.
pub const CLIENT_PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
pub const CLIENT_SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
pub const SERVER_PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
pub const SERVER_SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

/// One frame, sent or received.
#[derive(Debug, Clone)]
pub enum Payload {
    Bytes(Vec<u8>),
    /// `length` bytes, the one at `i` being `(seed + i) % 251`: described, not carried, between
    /// the two processes.
    Fill {
        seed: u8,
        length: usize,
    },
    /// Received: long, and not what [`Payload::Fill`] makes. Equal to nothing.
    Other {
        sha256: String,
        length: u64,
    },
}

impl Payload {
    /// The bytes themselves; none for [`Payload::Other`].
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Fill { seed, length } => {
                let block: Vec<u8> = (0..251u16)
                    .map(|i| u8::try_from((u16::from(*seed) + i) % 251).unwrap())
                    .collect();
                Some(block.iter().copied().cycle().take(*length).collect())
            }
            Self::Other { .. } => None,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Bytes(bytes) => json!(to_hex(bytes)),
            Self::Fill { seed, length } => json!({ "fill": [seed, length] }),
            Self::Other { .. } => panic!("{self:?} cannot be sent"),
        }
    }

    fn from_json(value: &Value) -> Self {
        if let Some(text) = value.as_str() {
            return Self::Bytes(from_hex(text));
        }
        if let Some([seed, length]) = value["fill"].as_array().map(Vec::as_slice) {
            return Self::Fill {
                seed: u8::try_from(seed.as_u64().unwrap()).unwrap(),
                length: usize::try_from(length.as_u64().unwrap()).unwrap(),
            };
        }
        Self::Other {
            sha256: value["sha256"].as_str().unwrap().to_owned(),
            length: value["length"].as_u64().unwrap(),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        matches!((self.bytes(), other.bytes()), (Some(one), Some(two)) if one == two)
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A socket's mechanism, role and credentials.
#[derive(Debug, Clone, Copy)]
pub enum Security<'a> {
    Null,
    PlainServer,
    PlainClient {
        username: &'a str,
        password: &'a str,
    },
    CurveServer {
        secret: &'a str,
    },
    CurveClient {
        public: &'a str,
        secret: &'a str,
        server: &'a str,
    },
}

impl Security<'static> {
    /// A CURVE server with the server's key of libzmq's manual.
    pub const CURVE_SERVER: Self = Self::CurveServer {
        secret: SERVER_SECRET,
    };
    /// A CURVE client with the client's keys of libzmq's manual, for that server.
    pub const CURVE_CLIENT: Self = Self::CurveClient {
        public: CLIENT_PUBLIC,
        secret: CLIENT_SECRET,
        server: SERVER_PUBLIC,
    };
}

/// Options set on a socket before it binds or connects, by libzmq's names without `ZMQ_`.
#[derive(Debug, Clone, Default)]
pub struct Options(Vec<(String, Value)>);

impl Options {
    pub fn new(security: Security<'_>) -> Self {
        let options = Self::default();
        match security {
            Security::Null => options,
            Security::PlainServer => options.set("PLAIN_SERVER", 1),
            Security::PlainClient { username, password } => options
                .set("PLAIN_USERNAME", username)
                .set("PLAIN_PASSWORD", password),
            Security::CurveServer { secret } => options
                .set("CURVE_SERVER", 1)
                .set("CURVE_SECRETKEY", secret),
            Security::CurveClient {
                public,
                secret,
                server,
            } => options
                .set("CURVE_PUBLICKEY", public)
                .set("CURVE_SECRETKEY", secret)
                .set("CURVE_SERVERKEY", server),
        }
    }

    /// A number or a text.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Bytes, such as an identity or a topic.
    pub fn bytes(self, name: &str, value: &[u8]) -> Self {
        self.set(name, json!({ "hex": to_hex(value) }))
    }

    /// The domain under which a server's ZAP handler is asked; NULL asks only with one.
    pub fn domain(self, domain: &str) -> Self {
        self.set("ZAP_DOMAIN", domain)
    }
}

/// What a scripted ZAP handler answers to every request.
#[derive(Debug, Clone, Copy)]
pub struct ZapAnswer<'a> {
    pub status: &'a str,
    pub user_id: &'a str,
    /// Properties as ZMTP writes them.
    pub metadata: &'a [u8],
    pub delay: Duration,
}

impl<'a> ZapAnswer<'a> {
    pub const fn status(status: &'a str) -> Self {
        Self {
            status,
            user_id: "",
            metadata: &[],
            delay: Duration::ZERO,
        }
    }
}

/// The policy of pyzmq's own `ThreadAuthenticator`.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    command: serde_json::Map<String, Value>,
}

impl Policy {
    pub fn allow(self, addresses: &[&str]) -> Self {
        self.with("allow", json!(addresses))
    }

    pub fn deny(self, addresses: &[&str]) -> Self {
        self.with("deny", json!(addresses))
    }

    pub fn plain(self, domain: &str, passwords: &[(&str, &str)]) -> Self {
        let passwords: HashMap<_, _> = passwords.iter().copied().collect();
        self.with("plain", json!([[domain, passwords]]))
    }

    /// `location` is a directory of certificates, or `*` for any key.
    pub fn curve(self, domain: &str, location: &str) -> Self {
        self.with("curve", json!([[domain, location]]))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.command.insert(key.to_owned(), value);
        self
    }
}

/// A message that a socket of the peer received.
#[derive(Debug, Clone)]
pub struct Received {
    pub frames: Vec<Payload>,
    properties: Value,
}

impl Received {
    /// A property that was asked for; none if the message has no such one.
    pub fn property(&self, name: &str) -> Option<&str> {
        let value = self.properties.get(name).expect("a property asked for");
        value.as_str()
    }
}

/// A monitor event, by libzmq's name without `ZMQ_EVENT_`.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub value: u64,
    pub endpoint: String,
}

/// The events of one monitored socket.
#[derive(Debug)]
pub struct Events {
    incoming: mpsc::UnboundedReceiver<Event>,
    seen: Vec<Event>,
}

impl Events {
    /// The first event of one of these names; those before it are passed over.
    pub async fn first_of(&mut self, names: &[&str]) -> Event {
        let wait = async {
            while let Some(event) = self.incoming.recv().await {
                self.seen.push(event.clone());
                if names.contains(&event.name.as_str()) {
                    return Some(event);
                }
            }
            None
        };
        let found = tokio::time::timeout(DELIVERY, wait).await;
        match found.ok().flatten() {
            Some(event) => event,
            None => panic!("none of {names:?} came, but {:?}", self.seen),
        }
    }

    /// The outcome of the next handshake, however it ends.
    pub async fn handshake(&mut self) -> Event {
        self.first_of(&[
            "HANDSHAKE_SUCCEEDED",
            "HANDSHAKE_FAILED_AUTH",
            "HANDSHAKE_FAILED_PROTOCOL",
            "HANDSHAKE_FAILED_NO_DETAIL",
        ])
        .await
    }
}

/// A libzmq context in the peer process. What was made from it goes when it is dropped.
#[derive(Debug)]
pub struct Context {
    name: String,
    process: &'static Process,
}

impl Context {
    pub async fn new() -> Self {
        let process = Process::get();
        let context = Self {
            name: process.unique("context"),
            process,
        };
        context.call("context", json!({})).await;
        context
    }

    /// The versions of pyzmq and libzmq.
    pub async fn versions(&self) -> (String, String) {
        let answer = self.call("version", json!({})).await;
        let of = |name: &str| answer[name].as_str().unwrap().to_owned();
        (of("pyzmq"), of("libzmq"))
    }

    /// A socket of this type, such as `PUSH`.
    pub async fn socket(&self, kind: &str, options: Options) -> Socket<'_> {
        let name = self.process.unique(kind);
        let parameters = json!({ "socket": name, "type": kind, "options": options.0 });
        self.call("socket", parameters).await;
        Socket {
            name,
            context: self,
        }
    }

    /// A bound socket, and the endpoint with wildcards filled in.
    pub async fn bound(&self, kind: &str, options: Options, to: &str) -> (Socket<'_>, String) {
        let socket = self.socket(kind, options).await;
        let endpoint = socket.bind(to).await;
        (socket, endpoint)
    }

    pub async fn connected(&self, kind: &str, options: Options, to: &str) -> Socket<'_> {
        let socket = self.socket(kind, options).await;
        socket.connect(to).await;
        socket
    }

    /// Answers every ZAP request of this context alike; a second call changes the answer.
    pub async fn script_zap(&self, answer: ZapAnswer<'_>) {
        let reply = json!({
            "status": answer.status,
            "user_id": answer.user_id,
            "metadata": to_hex(answer.metadata),
            "delay_ms": milliseconds(answer.delay),
        });
        self.call("script_zap", json!({ "reply": reply })).await;
    }

    /// The requests that the scripted handler saw since this was last asked: all frames from
    /// the version on.
    pub async fn zap_requests(&self) -> Vec<Vec<Payload>> {
        let requests = self.call("zap_requests", json!({})).await;
        let requests = requests.as_array().unwrap();
        requests.iter().map(payloads).collect()
    }

    /// Runs pyzmq's `ThreadAuthenticator`, or adds to the policy of the running one.
    pub async fn authenticate(&self, policy: Policy) {
        self.call("authenticate", Value::Object(policy.command))
            .await;
    }

    /// Ends the ZAP handler of this context.
    pub async fn stop_zap(&self) {
        self.call("stop_zap", json!({})).await;
    }

    /// Has pyzmq write a pair of certificates; gives the paths of the public and the secret one.
    pub async fn create_certificates(&self, directory: &str, name: &str) -> (String, String) {
        let parameters = json!({ "directory": directory, "name": name });
        let paths = self.call("create_certificates", parameters).await;
        let of = |at: usize| paths[at].as_str().unwrap().to_owned();
        (of(0), of(1))
    }

    /// Has pyzmq read a certificate: the public key, and the secret one if there is any.
    pub async fn load_certificate(&self, path: &str) -> (String, Option<String>) {
        let keys = self.call("load_certificate", json!({ "path": path })).await;
        let of = |at: usize| keys[at].as_str().map(str::to_owned);
        (of(0).unwrap(), of(1))
    }

    async fn call(&self, operation: &str, parameters: Value) -> Value {
        self.call_within(operation, parameters, Duration::ZERO)
            .await
            .unwrap_or_else(|| panic!("{operation}: the peer timed out"))
    }

    /// None if the peer says that its own time-out of `wait` has passed.
    async fn call_within(
        &self,
        operation: &str,
        mut parameters: Value,
        wait: Duration,
    ) -> Option<Value> {
        parameters["op"] = json!(operation);
        parameters["context"] = json!(self.name);
        let (id, answer) = self.process.ask(&mut parameters);
        let answer = tokio::time::timeout(PATIENCE + wait, answer).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => panic!("the peer process ended; asked {parameters}"),
            Err(_) => {
                self.process.forget(id);
                panic!("no answer to {parameters}");
            }
        };
        if let Some(error) = answer.get("error") {
            panic!("the peer refused {parameters}: {error}");
        }
        answer.get("ok").cloned()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut command = json!({ "op": "close_context", "context": self.name });
        let (id, _) = self.process.ask(&mut command);
        self.process.forget(id);
    }
}

/// A libzmq socket in the peer process.
#[derive(Debug)]
pub struct Socket<'a> {
    name: String,
    context: &'a Context,
}

impl Socket<'_> {
    /// Gives the endpoint with wildcards filled in.
    pub async fn bind(&self, endpoint: &str) -> String {
        let bound = self.call("bind", json!({ "endpoint": endpoint })).await;
        bound.as_str().unwrap().to_owned()
    }

    pub async fn connect(&self, endpoint: &str) {
        self.call("connect", json!({ "endpoint": endpoint })).await;
    }

    pub async fn unbind(&self, endpoint: &str) {
        self.call("unbind", json!({ "endpoint": endpoint })).await;
    }

    pub async fn disconnect(&self, endpoint: &str) {
        self.call("disconnect", json!({ "endpoint": endpoint }))
            .await;
    }

    /// Sets a number or a text on a live socket.
    pub async fn set(&self, option: &str, value: impl Into<Value>) {
        self.call("set", json!({ "option": [option, value.into()] }))
            .await;
    }

    /// Sets bytes on a live socket, such as `SUBSCRIBE` with a topic.
    pub async fn set_bytes(&self, option: &str, value: &[u8]) {
        self.set(option, json!({ "hex": to_hex(value) })).await;
    }

    /// From now on the socket's events are told. A monitor changes what libzmq does after some
    /// failures: attach none where a test asks whether a connection is closed.
    pub async fn monitor(&self) -> Events {
        let (outgoing, incoming) = mpsc::unbounded_channel();
        self.context.process.tell_events(&self.name, outgoing);
        self.call("monitor", json!({})).await;
        Events {
            incoming,
            seen: Vec::new(),
        }
    }

    pub async fn send(&self, frames: &[Payload]) {
        assert!(self.try_send(frames, DELIVERY).await, "could not send");
    }

    /// False if the socket had nobody to send to, or no room, for so long.
    pub async fn try_send(&self, frames: &[Payload], wait: Duration) -> bool {
        let frames: Vec<_> = frames.iter().map(Payload::to_json).collect();
        let parameters = json!({ "frames": frames, "timeout_ms": milliseconds(wait) });
        self.call_within("send", parameters, wait).await.is_some()
    }

    pub async fn receive(&self) -> Received {
        self.receive_with(&[]).await
    }

    /// Receives a message and reads these properties of it, such as `User-Id`.
    pub async fn receive_with(&self, properties: &[&str]) -> Received {
        let message = self.try_receive(properties, DELIVERY).await;
        message.expect("no message came")
    }

    /// None if no message came for so long.
    pub async fn try_receive(&self, properties: &[&str], wait: Duration) -> Option<Received> {
        let parameters = json!({ "properties": properties, "timeout_ms": milliseconds(wait) });
        let message = self.call_within("receive", parameters, wait).await?;
        Some(Received {
            frames: payloads(&message["frames"]),
            properties: message["properties"].clone(),
        })
    }

    /// Closes at once; what was not yet sent is gone.
    pub async fn close(self) {
        self.call("close", json!({})).await;
    }

    async fn call(&self, operation: &str, mut parameters: Value) -> Value {
        parameters["socket"] = json!(self.name);
        self.context.call(operation, parameters).await
    }

    async fn call_within(
        &self,
        operation: &str,
        mut parameters: Value,
        wait: Duration,
    ) -> Option<Value> {
        parameters["socket"] = json!(self.name);
        self.context.call_within(operation, parameters, wait).await
    }
}

fn payloads(frames: &Value) -> Vec<Payload> {
    let frames = frames.as_array().unwrap();
    frames.iter().map(Payload::from_json).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// The peer process. It ends by itself when this one does, since its stdin closes then.
#[derive(Debug)]
struct Process {
    commands: Mutex<ChildStdin>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
}

/// Who waits for what the process says. Empty and `ended` once it says nothing more.
#[derive(Debug, Default)]
struct Waiting {
    ended: bool,
    answers: HashMap<u64, oneshot::Sender<Value>>,
    events: HashMap<String, mpsc::UnboundedSender<Event>>,
}

impl Process {
    fn get() -> &'static Self {
        static PROCESS: OnceLock<Process> = OnceLock::new();
        PROCESS.get_or_init(Self::start)
    }

    fn start() -> Self {
        let python = std::env::var_os("ZMTP_AUTH_PYTHON")
            .expect("ZMTP_AUTH_PYTHON must name a Python that has pyzmq; ./test sets it");
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/peer/zmq_peer.py"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of ZMTP_AUTH_PYTHON starts");
        let commands = Mutex::new(child.stdin.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let waiting = Arc::default();
        // A thread, not a task: every test has a runtime of its own, and the process serves all.
        std::thread::spawn({
            let waiting = Arc::clone(&waiting);
            move || {
                listen(stdout, &waiting);
                let _ = child.wait();
            }
        });
        Self {
            commands,
            waiting,
            next: AtomicU64::new(1),
        }
    }

    fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn ask(&self, command: &mut Value) -> (u64, oneshot::Receiver<Value>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        command["id"] = json!(id);
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap();
        if !waiting.ended {
            waiting.answers.insert(id, answer);
        }
        drop(waiting);
        // A process that has ended takes no commands; whoever waits for the answer is told.
        let _ = writeln!(self.commands.lock().unwrap(), "{command}");
        (id, receiver)
    }

    fn tell_events(&self, socket: &str, to: mpsc::UnboundedSender<Event>) {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.events.insert(socket.to_owned(), to);
    }

    fn forget(&self, id: u64) {
        self.waiting.lock().unwrap().answers.remove(&id);
    }
}

/// Hands out what the process says, until it ends.
fn listen(stdout: ChildStdout, waiting: &Mutex<Waiting>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            break;
        };
        let mut waiting = waiting.lock().unwrap();
        if let Some(name) = message["event"].as_str() {
            let event = Event {
                name: name.to_owned(),
                value: message["value"].as_u64().unwrap_or_default(),
                endpoint: message["endpoint"].as_str().unwrap_or_default().to_owned(),
            };
            if let Some(events) = waiting.events.get(message["socket"].as_str().unwrap_or("")) {
                // A test that no longer listens has seen what it wanted.
                let _ = events.send(event);
            }
        } else if let Some(answer) = message["id"]
            .as_u64()
            .and_then(|id| waiting.answers.remove(&id))
        {
            let _ = answer.send(message);
        }
    }
    let mut waiting = waiting.lock().unwrap();
    waiting.ended = true;
    waiting.answers.clear();
    waiting.events.clear();
}
