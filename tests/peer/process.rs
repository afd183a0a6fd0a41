//! The one peer process of a test crate. Routes its answers to callers and its events to monitors.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// A monitor event, by libzmq's name without `ZMQ_EVENT_`.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub value: u64,
    pub endpoint: String,
}

/// The peer process. It ends with this one, when its stdin closes.
#[derive(Debug)]
pub struct Process {
    commands: Mutex<ChildStdin>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
}

/// The callers and monitors that wait for output. Empty, with `ended` set, once the process has
/// ended.
#[derive(Debug, Default)]
struct Waiting {
    ended: bool,
    answers: HashMap<u64, oneshot::Sender<Value>>,
    events: HashMap<String, mpsc::UnboundedSender<Event>>,
}

/// The peer's script, also for the program's tests, whose package lies deeper.
fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/peer/zmq_peer.py"))
        .find(|script| script.is_file())
        .expect("tests/peer/zmq_peer.py")
}

impl Process {
    pub fn get() -> &'static Self {
        static PROCESS: OnceLock<Process> = OnceLock::new();
        PROCESS.get_or_init(Self::start)
    }

    fn start() -> Self {
        let python = std::env::var_os("ZMTP_AUTH_PYTHON")
            .expect("ZMTP_AUTH_PYTHON must name a Python that has pyzmq; ./test sets it");
        let mut child = Command::new(python)
            .arg(script())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of ZMTP_AUTH_PYTHON starts");
        let commands = Mutex::new(child.stdin.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let waiting = Arc::default();
        // A thread, not a task, since every test has a runtime of its own and the process serves
        // all.
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

    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn ask(&self, command: &mut Value) -> (u64, oneshot::Receiver<Value>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        command["id"] = json!(id);
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap();
        if !waiting.ended {
            waiting.answers.insert(id, answer);
        }
        drop(waiting);
        // A process that has ended accepts no commands. Callers that wait for an answer get an
        // error.
        let _ = writeln!(self.commands.lock().unwrap(), "{command}");
        (id, receiver)
    }

    pub fn tell_events(&self, socket: &str, to: mpsc::UnboundedSender<Event>) {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.events.insert(socket.to_owned(), to);
    }

    pub fn forget(&self, id: u64) {
        self.waiting.lock().unwrap().answers.remove(&id);
    }
}

/// Passes on the process's output until it ends.
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
                // The test no longer needs further events.
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
