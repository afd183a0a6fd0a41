//! Programs of others with ours: pyzmq's own tests of authentication judge `zmtp-auth zap`, and a
//! client of Jupyter reaches its kernel through tunnels.
//!
//! They are ignored by `./test`. `./test --full peers` installs what they need below
//! `ZMTP_AUTH_PEERS`.

use super::program::{House, Running};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tests of pyzmq that no program can pass, each with the reason.
const NOT_OURS: [(&str, &str); 3] = [
    (
        "test_curve_callback",
        "calls a provider in Python, which no other process can",
    ),
    (
        "test_curve_user_id",
        "replaces a method of pyzmq's Authenticator",
    ),
    (
        "test_ioloop_authenticator",
        "constructs a deprecated class of pyzmq, and asks it nothing",
    ),
];
/// How many of pyzmq's tests remain.
const PASSED: usize = 20;

fn folder() -> PathBuf {
    let folder = std::env::var_os("ZMTP_AUTH_PEERS");
    folder
        .expect("ZMTP_AUTH_PEERS must name a folder; ./test --full peers sets it")
        .into()
}

fn script(name: &str) -> PathBuf {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/peers");
    peers.join(name)
}

#[test]
#[ignore = "needs pyzmq's source package: ./test --full peers"]
fn pyzmqs_own_tests_of_authentication_pass_with_our_policy() {
    let deselected = NOT_OURS
        .map(|(test, _)| format!("not {test}"))
        .join(" and ");
    let output = Command::new(folder().join("venv/bin/python"))
        .args([
            "-m",
            "pytest",
            "-p",
            "authenticator",
            "-p",
            "no:cacheprovider",
        ])
        .args(["-q", "--durations", "0", "-k", &deselected])
        .arg("tests/test_auth.py")
        .current_dir(folder().join("pyzmq-tests"))
        .env("PYTHONPATH", script(""))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ZMTP_AUTH", env!("CARGO_BIN_EXE_zmtp-auth"))
        .output()
        .expect("the Python of ZMTP_AUTH_PEERS starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let line = |part: &str| {
        let mut lines = text.lines().filter(|line| line.contains(part));
        lines
            .next_back()
            .unwrap_or_else(|| panic!("no {part:?}: {text}"))
    };
    let summary = line(" passed");
    // A test that is skipped shows nothing.
    assert!(summary.contains(&format!("{PASSED} passed")), "{text}");
    assert!(!summary.contains("skipped"), "{text}");
    let decided = line("zmtp-auth decided: ");
    assert!(
        !decided.contains(" 0 "),
        "both outcomes were asked for: {decided}"
    );
    println!("tests/test_auth.py of pyzmq: {summary}\n{decided}");
    for (test, reason) in NOT_OURS {
        println!("{test} did not run: it {reason}");
    }
}

/// The tunnels of one client for these ports of a kernel, and the ports where it connects.
fn tunnels(house: &House, key: &str, ports: &Value) -> (Vec<Running>, Value) {
    let mut running = Vec::new();
    let mut entries = serde_json::Map::new();
    for (name, port) in ports.as_object().unwrap() {
        let (server, public) = house.listening(&format!(
            "tunnel server --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:{port} \
             --key @server.key_secret --policy @policy.toml --domain billing"
        ));
        let (client, clear) = house.listening(&format!(
            "tunnel client --bind tcp://127.0.0.1:* --forward {public} \
             --server-key @server.key --key @{key}"
        ));
        let port: u16 = clear.rsplit(':').next().unwrap().parse().unwrap();
        entries.insert(name.clone(), json!(port));
        running.extend([server, client]);
    }
    assert_eq!(entries.len(), 5, "a kernel has five sockets");
    (running, entries.into())
}

#[test]
#[ignore = "needs jupyter_client and ipykernel: ./test --full peers"]
fn a_client_of_jupyter_reaches_its_kernel_through_tunnels() {
    let house = House::new();
    let mut child = Command::new(folder().join("venv/bin/python"))
        .arg(script("kernel.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Python of ZMTP_AUTH_PEERS starts");
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = || -> Value {
        let line = lines.next().expect("the kernel's script runs").unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let kernel = told();
    let ports = &kernel["ports"];

    // The same tunnels with a key that the policy does not name.
    let (_tunnels, entries) = tunnels(&house, "mallory.key_secret", ports);
    writeln!(stdin, "{}", json!({"ports": entries, "may_enter": false})).unwrap();
    assert_eq!(told(), json!({"refused": true, "heart": false}));

    let (_tunnels, entries) = tunnels(&house, "alice.key_secret", ports);
    writeln!(stdin, "{}", json!({"ports": entries, "may_enter": true})).unwrap();
    let seen = told();
    assert_eq!(
        (&seen["status"], &seen["printed"]),
        (&json!("ok"), &json!("42\n")),
        "{seen}"
    );
    assert_eq!(seen["asked"], json!(["by "]));
    assert_eq!(seen["ended"], json!(0), "{seen}");
    drop(stdin);
    assert!(child.wait().unwrap().success());
    println!(
        "jupyter_client and ipykernel {}: five tunnels",
        kernel["versions"]
    );
}
