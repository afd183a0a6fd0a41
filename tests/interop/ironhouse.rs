//! The example `ironhouse` runs as the README says: alone, and with a libzmq client.

use crate::peer;

use peer::{Context, Options, Security};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn ironhouse() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", "ironhouse", "--"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Ends the example with the test. It is a child of cargo, in a process group of its own.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["--", &group]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn alone_it_shows_four_cases_and_exits_with_success() {
    let output = ironhouse().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("ok ")).count(),
        4,
        "{text}"
    );
}

#[tokio::test]
async fn a_libzmq_client_with_its_certificate_gets_in_and_another_does_not() {
    use std::os::unix::process::CommandExt;
    let mut child = Running(
        ironhouse()
            .args(["--listen", "tcp://127.0.0.1:*"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut next = move || -> serde_json::Value {
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    let listening = next();
    let text = |name: &str| listening[name].as_str().unwrap().to_owned();
    let (endpoint, server) = (text("endpoint"), text("public_key"));

    let context = Context::new().await;
    let (public, secret) = context.load_certificate(&text("client_secret")).await;
    let secret = secret.unwrap();
    let known = Security::CurveClient {
        public: &public,
        secret: &secret,
        server: &server,
    };
    let push = context
        .connected("PUSH", Options::new(known), &endpoint)
        .await;
    push.send(&["from libzmq".into()]).await;
    assert_eq!(
        next(),
        serde_json::json!({ "event": "accepted", "user_id": public })
    );
    let message = next();
    assert_eq!(message["user_id"], public);
    assert_eq!(message["frames"], serde_json::json!(["from libzmq"]));

    let stranger = Security::CurveClient {
        public: peer::CLIENT_PUBLIC,
        secret: peer::CLIENT_SECRET,
        server: &server,
    };
    let other = context.socket("PUSH", Options::new(stranger)).await;
    let mut events = other.monitor().await;
    other.connect(&endpoint).await;
    let event = events.handshake().await;
    assert_eq!((&*event.name, event.value), ("HANDSHAKE_FAILED_AUTH", 400));
    let refused = next();
    assert_eq!(refused["event"], "refused");
    assert!(
        refused["reason"].as_str().unwrap().contains("Unknown key"),
        "{refused}"
    );
}
