//! The Rust side of `zmq_peer.py`: one process with real libzmq serves all tests of a crate. Each
//! test has a [`Context`] and so a ZAP handler of its own.
//!
//! `ZMTP_AUTH_PYTHON` names a Python that has pyzmq, and `./test` sets it. Without it these tests
//! fail, since an interop test that is skipped silently proves nothing.
//!
//! Every function panics on an error of the peer process and on a time-out. The message names the
//! command.
// Each test crate uses the part that it needs.
#![allow(dead_code, unused_imports)]

mod options;
mod payload;
mod process;

pub use options::{
    CLIENT_PUBLIC, CLIENT_SECRET, Options, Policy, SERVER_PUBLIC, SERVER_SECRET, Security,
    ZapAnswer,
};
pub use payload::Payload;
pub use process::Event;

use payload::{payloads, to_hex};
use process::Process;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// Time for an operation that needs no other peer, and additional time for one that does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time for one message or one event on loopback.
const DELIVERY: Duration = Duration::from_secs(10);

/// A message that a socket of the peer received.
#[derive(Debug, Clone)]
pub struct Received {
    pub frames: Vec<Payload>,
    properties: Value,
}

impl Received {
    /// A requested property, or `None` if the message has no such one.
    pub fn property(&self, name: &str) -> Option<&str> {
        let value = self.properties.get(name).expect("a property asked for");
        value.as_str()
    }
}

/// The events of one monitored socket.
#[derive(Debug)]
pub struct Events {
    incoming: mpsc::UnboundedReceiver<Event>,
    seen: Vec<Event>,
}

impl Events {
    /// The first event with one of these names. Earlier events are discarded.
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
            None => panic!("none of {names:?} arrived, but {:?}", self.seen),
        }
    }

    /// The outcome of the next handshake.
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

/// A libzmq context in the peer process. Dropping it closes its sockets.
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

    /// Gives every ZAP request of this context the same answer. A second call changes the answer.
    pub async fn script_zap(&self, answer: ZapAnswer<'_>) {
        let reply = json!({
            "status": answer.status,
            "user_id": answer.user_id,
            "metadata": to_hex(answer.metadata),
            "delay_ms": milliseconds(answer.delay),
        });
        self.call("script_zap", json!({ "reply": reply })).await;
    }

    /// The requests to the scripted handler since the last call: all frames from the version on.
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

    /// `None` if the peer's own time-out of `wait` has passed.
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

    /// Starts to report the socket's events. A monitor changes what libzmq does after some
    /// failures, so a test that asks whether a connection is closed must not use one.
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
        assert!(
            self.try_send(frames, DELIVERY).await,
            "libzmq could not send"
        );
    }

    /// False if the socket had no peer, or a full queue, for the whole time.
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
        message.expect("no message arrived")
    }

    /// `None` if no message arrived in this time.
    pub async fn try_receive(&self, properties: &[&str], wait: Duration) -> Option<Received> {
        let parameters = json!({ "properties": properties, "timeout_ms": milliseconds(wait) });
        let message = self.call_within("receive", parameters, wait).await?;
        Some(Received {
            frames: payloads(&message["frames"]),
            properties: message["properties"].clone(),
        })
    }

    /// Closes at once and discards unsent messages.
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

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
