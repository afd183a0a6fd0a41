//! When a tunnel is killed, its programs see the end, reconnect, and go on through the next tunnel.

use crate::net_peers::{null, soon, welcoming};
use crate::rig::{client, ipc, server};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use zmtp_auth::SocketType;
use zmtp_auth::net::{Connector, Listener, NetError, Reconnecting, Tunnel, TunnelOptions};

/// The child's tunnel, `server` or `client`, and the directory of its sockets.
const ROLE: &str = "ZMTP_AUTH_TEST_TUNNEL";

/// A tunnel in a process of its own. It is killed when this is dropped.
struct TunnelProcess {
    child: Child,
    /// Kept open, so that the process can write to it.
    _stdout: BufReader<ChildStdout>,
}

impl TunnelProcess {
    fn start(role: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "killed::tunnel_process",
                "--nocapture",
            ])
            .env(ROLE, format!("{role}:{}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("bound") {
            line.clear();
            assert_ne!(
                stdout.read_line(&mut line).unwrap(),
                0,
                "the child did not bind"
            );
        }
        Self {
            child,
            _stdout: stdout,
        }
    }
}

impl Drop for TunnelProcess {
    fn drop(&mut self) {
        // SIGKILL: the tunnel cannot say goodbye.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "the process that is killed, started by the test below"]
fn tunnel_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, directory) = role.split_once(':').unwrap();
    let path = |name| ipc(Path::new(directory), name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = TunnelOptions::default();
        let _tunnel = if role == "server" {
            let config = server(SocketType::Relay, "curve");
            Tunnel::server(path("net"), path("program"), (config, welcoming()), options).await
        } else {
            let config = client(SocketType::Relay, "curve");
            Tunnel::client(path("clear"), path("net"), config, options).await
        }
        .unwrap();
        println!("bound");
        // Runs until it is killed, or the test that started it has ended.
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
            .await
            .unwrap()
            .unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_tunnel_can_be_killed_and_the_programs_recover() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| ipc(directory.path(), name);
    let program = Listener::bind(path("program"), null(SocketType::Pair))
        .await
        .unwrap();
    let mut processes =
        ["server", "client"].map(|role| Some(TunnelProcess::start(role, directory.path())));
    let connector = Connector::new(path("clear"), null(SocketType::Pair)).unwrap();
    let mut there = Reconnecting::new(connector);
    for (killed, role) in [(0, "server"), (1, "client"), (0, "server")] {
        // A receiver reconnects while it waits for a message.
        let greeting = async {
            let mut here = program.accept().await.unwrap();
            here.send("here").await.unwrap();
            here
        };
        let (message, mut here) = soon(async { tokio::join!(there.recv(), greeting) }).await;
        let message = message.unwrap().into_message().unwrap();
        assert_eq!(message.frames(), ["here"]);
        there.send("there").await.unwrap();
        assert_eq!(soon(here.recv_message()).await.unwrap().frames(), ["there"]);

        processes[killed] = None;
        assert!(matches!(
            soon(here.recv_message()).await.unwrap_err(),
            NetError::Closed
        ));
        processes[killed] = Some(TunnelProcess::start(role, directory.path()));
    }
}
