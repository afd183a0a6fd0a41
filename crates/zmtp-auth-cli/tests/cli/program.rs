//! The program as a child process.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest wait. It only keeps a failing test from hanging.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zmtp-auth"));
    command.args(arguments).env_remove("ZMTP_AUTH_PASSWORD");
    command
}

/// Runs the program to its end, with this text on standard input.
pub fn run_with(arguments: &[&str], stdin: &str) -> Output {
    let mut command = command(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Fails if the program does not read. It says why.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn run(arguments: &[&str]) -> Output {
    run_with(arguments, "")
}

/// Runs the program to its end and checks the exit code. Returns stdout, or stderr if it must fail.
#[track_caller]
pub fn ends(code: i32, arguments: &[&str], stdin: &str) -> String {
    let output = run_with(arguments, stdin);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let shown = format!("{arguments:?}\n{stdout}\n{stderr}");
    assert_eq!(output.status.code(), Some(code), "{shown}");
    if code == 0 { stdout } else { stderr }
}

/// The lines of stdout as JSON.
#[track_caller]
pub fn events(code: i32, arguments: &[&str], stdin: &str) -> Vec<Value> {
    let output = run_with(arguments, stdin);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A running program, which is killed when this is dropped.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("each line is JSON");
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Starts the program and waits for its first line, which names its endpoint.
    pub fn listening(arguments: &[&str]) -> (Self, String) {
        let mut running = Self::start(arguments);
        let event = running.event("listening");
        assert_eq!(running.seen.len(), 1, "it is the first line");
        (running, event["endpoint"].as_str().unwrap().to_owned())
    }

    /// The next event of this name; those before it are passed over.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if event["event"] == name {
                        return event;
                    }
                }
                Err(_) => panic!("no {name:?} came, but {:?}", self.seen),
            }
        }
    }

    /// The next event, if one comes within this time.
    pub fn next_within(&mut self, time: Duration) -> Option<Value> {
        let event = self.lines.recv_timeout(time).ok()?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// All events as far as the next of this name.
    #[track_caller]
    pub fn told_until(&mut self, name: &str) -> &[Value] {
        self.event(name);
        &self.seen
    }

    /// Waits until an event of this name has come, unless it has already.
    #[track_caller]
    pub fn has_told(&mut self, name: &str) {
        if !self.seen.iter().any(|event| event["event"] == name) {
            self.event(name);
        }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// As [`Running::end`], but fails if the program does not end.
    #[track_caller]
    pub fn end_in_time(mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }

    /// Waits for the end of the program. Returns the exit code.
    pub fn end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with keys of a server and two clients, and a policy that knows one of the clients.
pub struct House {
    pub dir: TempDir,
}

impl House {
    pub fn new() -> Self {
        let house = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(house.path("known")).unwrap();
        for name in ["server", "alice", "mallory"] {
            ends(0, &["cert", "new", name, "--dir", &house.text("")], "");
        }
        fs::rename(house.path("alice.key"), house.path("known/alice.key")).unwrap();
        house.policy(
            r#"
            [domain."*"]
            plain.users = { admin = "secret" }
            [domain.billing]
            curve.certificates = "known"
            [domain.open]
            null.any = true
            "#,
        );
        fs::write(house.path("right"), "secret\n").unwrap();
        fs::write(house.path("wrong"), "guess\n").unwrap();
        house
    }

    pub fn policy(&self, text: &str) {
        fs::write(self.path("policy.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Arguments with `@name` replaced by the path of that file.
    pub fn arguments(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace();
        words
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.text(name),
                None => word.to_owned(),
            })
            .collect()
    }

    pub fn listening(&self, line: &str) -> (Running, String) {
        let arguments = self.arguments(line);
        Running::listening(&texts(&arguments))
    }

    #[track_caller]
    pub fn events(&self, code: i32, line: &str, stdin: &str) -> Vec<Value> {
        events(code, &texts(&self.arguments(line)), stdin)
    }

    #[track_caller]
    pub fn ends(&self, code: i32, line: &str) -> String {
        ends(code, &texts(&self.arguments(line)), "")
    }
}

/// An endpoint that is bound but does not listen, so that no other process can listen there.
pub fn unused_endpoint() -> (socket2::Socket, String) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, format!("tcp://127.0.0.1:{port}"))
}

pub fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
