//! Options of sockets, swapped roles, and messages about missing arguments.

use super::program::{House, Running, command, ends, mode, texts};
use super::undrained::Unread;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use zmtp_auth::SocketType;
use zmtp_auth::net::Connection;

const OPEN: &str = "--null --accept-any-peer";

fn message(listening: &mut Running) -> Value {
    listening.event("message")["frames"].clone()
}

#[test]
fn an_ipc_file_has_the_mode_that_was_asked_for() {
    let house = House::new();
    for (option, expected) in [("", 0o600), ("--ipc-mode 660", 0o660)] {
        let socket = format!("ipc://{}", house.text("sock"));
        let listen = format!("listen {socket} --type pull {OPEN} {option}");
        let (_listening, _) = house.listening(&listen);
        assert_eq!(mode(&house.path("sock")), expected);
    }
    house.ends(
        2,
        &format!("listen tcp://127.0.0.1:* --type pull {OPEN} --ipc-mode 888"),
    );
}

#[test]
fn an_ipc_path_may_be_as_long_as_the_system_takes() {
    let house = House::new();
    let directory = house.text("");
    let longest = if cfg!(target_os = "linux") { 107 } else { 103 };
    let name = "x".repeat(longest - directory.len());
    let listen = format!("listen ipc://{directory}{name} --type pull {OPEN}");
    let (mut listening, endpoint) = house.listening(&listen);
    house.events(
        0,
        &format!("connect {endpoint} --type push --null"),
        "hello\n",
    );
    assert_eq!(message(&mut listening), json!([{"text": "hello"}]));
    let complaint = house.ends(
        2,
        &format!("listen ipc://{directory}{name}x --type pull {OPEN}"),
    );
    assert!(
        complaint.contains(&format!("{longest} allowed")),
        "{complaint}"
    );
}

#[test]
fn limits_of_messages_can_be_lowered_and_raised() {
    let house = House::new();
    let listen =
        format!("listen tcp://127.0.0.1:* --type pull {OPEN} --max-message 1K --max-frames 5000");
    let (mut listening, endpoint) = house.listening(&listen);
    let connect = format!("connect {endpoint} --type push --null --multipart ,");
    let frames = vec![""; 5000].join(",");
    house.events(0, &connect, &format!("{frames}\n"));
    assert_eq!(message(&mut listening).as_array().unwrap().len(), 5000);
    let closed_by = |listening: &mut Running, text: &str| {
        // The peer may be closed before it has written everything.
        let arguments = house.arguments(&connect);
        super::program::run_with(&texts(&arguments), &format!("{text}\n"));
        listening.event("accepted");
        loop {
            let closed = listening.event("closed")["reason"].to_string();
            if !closed.contains("the peer closed") {
                return closed;
            }
        }
    };
    let reason = closed_by(&mut listening, &format!("{frames},"));
    assert!(
        reason.contains("5001") || reason.contains("frames"),
        "{reason}"
    );
    let reason = closed_by(&mut listening, &"x".repeat(1025));
    assert!(
        reason.contains("1025") || reason.contains("long"),
        "{reason}"
    );
    for bad in ["--max-message 0", "--max-message 1.5M", "--max-frames 0"] {
        house.ends(
            2,
            &format!("listen tcp://127.0.0.1:* --type pull {OPEN} {bad}"),
        );
    }
}

#[test]
fn a_peer_over_the_bound_on_connections_is_refused_for_now_and_that_is_told() {
    let house = House::new();
    let (mut listening, endpoint) = house.listening(
        "listen tcp://127.0.0.1:* --type pull --curve --key @server.key_secret --policy \
         @policy.toml --domain billing --max-connections 1 --max-connections-per-user 1 \
         --max-connections-per-address 1",
    );
    let connect =
        format!("{endpoint} --type push --curve --server-key @server.key --key @alice.key_secret");
    let first = house.arguments(&format!("connect {connect}"));
    let _first = Running::start(&texts(&first));
    listening.event("accepted");
    house.ends(4, &format!("probe {connect}"));
    let refused = listening.event("refused");
    assert_eq!(refused["rule"], "max_connections", "{refused}");
    house.ends(
        2,
        &format!("listen tcp://127.0.0.1:* --type pull {OPEN} --max-connections 0"),
    );
}

#[test]
fn a_tunnel_takes_the_same_limits() {
    let house = House::new();
    let (mut listening, program) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type pull {OPEN} --max-frames 5000"
    ));
    let (_tunnel, endpoint) = house.listening(&format!(
        "tunnel server --bind tcp://127.0.0.1:* --forward {program} --key @server.key_secret \
         --policy @policy.toml --domain billing --max-message 8K --max-frames 5000"
    ));
    let connect = format!(
        "connect {endpoint} --type push --multipart , --curve --server-key @server.key --key \
         @alice.key_secret"
    );
    let frames = vec![""; 5000].join(",");
    house.events(0, &connect, &format!("{frames}\n"));
    assert_eq!(message(&mut listening).as_array().unwrap().len(), 5000);
    listening.event("closed");
    let arguments = house.arguments(&connect);
    let long = format!("before\n{}\n", "x".repeat(8193));
    super::program::run_with(&texts(&arguments), &long);
    assert_eq!(message(&mut listening), json!([{"text": "before"}]));
    listening.event("closed");
}

#[test]
fn a_handshake_may_take_as_long_as_was_said() {
    let house = House::new();
    let listen = format!("listen tcp://127.0.0.1:* --type pull {OPEN} --handshake-timeout 1");
    let (mut listening, endpoint) = house.listening(&listen);
    let _silent = TcpStream::connect(endpoint.strip_prefix("tcp://").unwrap()).unwrap();
    let refused = listening.event("refused");
    assert!(
        refused["reason"].as_str().unwrap().contains("time"),
        "{refused}"
    );
}

/// A NULL peer that completes its handshake and then sends nothing.
fn silent_peer(endpoint: &str) -> TcpStream {
    let mut greeting = [0; 64];
    greeting[..12].copy_from_slice(b"\xFF\0\0\0\0\0\0\0\x01\x7F\x03\x01");
    greeting[12..16].copy_from_slice(b"NULL");
    let ready = b"\x04\x19\x05READY\x0BSocket-Type\0\0\0\x04PUSH";
    let mut stream = TcpStream::connect(endpoint.strip_prefix("tcp://").unwrap()).unwrap();
    stream.write_all(&greeting).unwrap();
    let mut ready = ready.to_vec();
    ready[1] = u8::try_from(ready.len() - 2).unwrap();
    stream.write_all(&ready).unwrap();
    stream
}

#[test]
fn listen_notices_by_heartbeats_that_a_peer_is_gone() {
    let house = House::new();
    let listen = format!("listen tcp://127.0.0.1:* --type pull {OPEN} --heartbeat 1");
    let (mut listening, endpoint) = house.listening(&listen);
    let mut silent = silent_peer(&endpoint);
    let closed = listening.event("closed");
    assert!(
        closed["reason"].as_str().unwrap().contains("PING"),
        "{closed}"
    );
    let mut received = Vec::new();
    let _ = silent.read_to_end(&mut received);
    assert!(received.windows(5).any(|bytes| bytes == b"\x04PING"));
}

#[test]
fn connect_claims_the_identity_that_it_was_given() {
    let house = House::new();
    let listen = format!("listen tcp://127.0.0.1:* --type router {OPEN}");
    let (mut listening, endpoint) = house.listening(&listen);
    let connect = format!("connect {endpoint} --type dealer --null --identity worker-7 --count 0");
    house.events(0, &connect, "");
    let accepted = listening.event("accepted");
    assert_eq!(
        accepted["claims"]["Identity"]["text"], "worker-7",
        "{accepted}"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let house = House::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    for line in [
        format!("listen {endpoint} --type pull {OPEN}"),
        format!("zap --policy @policy.toml --listen {endpoint} --insecure-clear-zap"),
        format!(
            "tunnel server --bind {endpoint} --forward tcp://127.0.0.1:1 --key @server.key_secret \
             --policy @policy.toml --domain billing"
        ),
        format!(
            "tunnel client --bind {endpoint} --forward tcp://127.0.0.1:1 --server-key @server.key"
        ),
    ] {
        let complaint = house.ends(1, &line);
        let last = complaint.lines().last().unwrap();
        assert!(
            last.matches(&endpoint).count() == 1 && last.contains("in use"),
            "{complaint}"
        );
    }
}

#[test]
fn an_endpoint_that_cannot_be_used_is_named() {
    let house = House::new();
    let (_unused, endpoint) = super::program::unused_endpoint();
    let complaint = house.ends(7, &format!("connect {endpoint} --type push --null"));
    assert!(complaint.contains(&endpoint), "{complaint}");
    let tunnel = "tunnel client --server-key @server.key";
    for (line, option) in [
        (
            format!("{tunnel} --bind tcp://127.0.0.1:* --forward nonsense"),
            "--forward",
        ),
        (
            format!("{tunnel} --bind nonsense --forward tcp://127.0.0.1:1"),
            "--bind",
        ),
        (
            "zap --policy @policy.toml --listen nonsense".to_owned(),
            "--listen",
        ),
        (format!("listen nonsense --type pull {OPEN}"), "<ENDPOINT>"),
        ("probe nonsense".to_owned(), "<ENDPOINT>"),
    ] {
        let complaint = house.ends(2, &line);
        assert!(
            complaint.contains("'nonsense'") && complaint.contains(option),
            "{complaint}"
        );
        assert!(
            complaint.contains("does not begin with tcp:// or ipc://"),
            "{complaint}"
        );
    }
}

#[test]
fn hangup_says_where_there_is_no_policy_to_load() {
    let house = House::new();
    for line in [
        format!("listen tcp://127.0.0.1:* --type pull {OPEN}"),
        "tunnel client --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:1 --server-key @server.key"
            .to_owned(),
    ] {
        let (mut running, _) = house.listening(&line);
        running.signal("HUP");
        let failed = running.event("reload_failed");
        assert!(failed["error"].as_str().unwrap().contains("no policy"), "{failed}");
        running.signal("TERM");
        assert_eq!(running.end_in_time(), Some(0));
    }
}

#[test]
fn a_client_may_bind_and_a_server_connect() {
    let house = House::new();
    for (client, server) in [
        (
            "--curve --server-key @server.key --key @alice.key_secret",
            "--curve --key @server.key_secret --policy @policy.toml --domain billing",
        ),
        (
            "--plain --user admin --password-file @right",
            "--plain-server --policy @policy.toml",
        ),
        (
            "--curve --server-key @server.key",
            "--curve --key @server.key_secret --accept-any-peer",
        ),
        (OPEN, "--null --policy @policy.toml --domain open"),
    ] {
        let (mut listening, endpoint) =
            house.listening(&format!("listen tcp://127.0.0.1:* --type pull {client}"));
        let connect = format!("connect {endpoint} --type push {server}");
        house.events(0, &connect, "hello\n");
        assert_eq!(message(&mut listening), json!([{"text": "hello"}]));
    }
    // The policy of the side that connects decides.
    let client = "--curve --server-key @server.key --key @mallory.key_secret";
    let (mut listening, endpoint) =
        house.listening(&format!("listen tcp://127.0.0.1:* --type pull {client}"));
    let server = "--curve --key @server.key_secret --policy @policy.toml --domain billing";
    let output = super::program::run(&texts(
        &house.arguments(&format!("connect {endpoint} --type push {server}")),
    ));
    assert!(!output.status.success());
    listening.event("refused");
    for line in [
        "connect tcp://127.0.0.1:1 --type push --plain-server",
        "connect tcp://127.0.0.1:1 --type push --plain admin --policy @policy.toml",
        "connect tcp://127.0.0.1:1 --type push --curve --server-key @server.key --policy @policy.toml",
        "connect tcp://127.0.0.1:1 --type push --curve --policy @policy.toml",
        "listen tcp://127.0.0.1:* --type pull --curve --server-key @server.key --accept-any-peer",
        "listen tcp://127.0.0.1:* --type pull --plain --user admin --policy @policy.toml",
    ] {
        house.ends(2, line);
    }
}

#[test]
fn connect_sends_lines_as_their_bytes() {
    let house = House::new();
    let (mut listening, endpoint) =
        house.listening(&format!("listen tcp://127.0.0.1:* --type pull {OPEN}"));
    let arguments = house.arguments(&format!("connect {endpoint} --type push --null"));
    let mut child = command(&texts(&arguments))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"kept\r\n\xff\xfe\n\nlast").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(message(&mut listening), json!([{"text": "kept\r"}]));
    assert_eq!(message(&mut listening), json!([{"base64": "//4="}]));
    assert_eq!(message(&mut listening), json!([{"text": ""}]));
    assert_eq!(message(&mut listening), json!([{"text": "last"}]));
}

#[test]
fn listen_sends_lines_to_subscribers_and_to_one_peer_after_the_other() {
    let house = House::new();
    let listen = |kind| {
        let line = format!("listen tcp://127.0.0.1:* --type {kind} {OPEN} --send --multipart ,");
        house.listening(&line)
    };
    let (mut publishing, endpoint) = listen("pub");
    let connect = format!("connect {endpoint} --type sub --null --subscribe news --count 1");
    let arguments = house.arguments(&connect);
    let mut subscribed = Running::start(&texts(&arguments));
    publishing.say("weather,rain");
    publishing.say("news,sun");
    let news = json!([{"text": "news"}, {"text": "sun"}]);
    assert_eq!(message(&mut subscribed), news);

    let (mut pushing, endpoint) = listen("push");
    pushing.say("1");
    let arguments = house.arguments(&format!("connect {endpoint} --type pull --null"));
    let mut first = Running::start(&texts(&arguments));
    assert_eq!(message(&mut first), json!([{"text": "1"}]));
    let mut second = Running::start(&texts(&arguments));
    for _ in 0..2 {
        pushing.event("accepted");
    }
    pushing.say("2");
    pushing.say("3");
    message(&mut first);
    message(&mut second);
    pushing.signal("TERM");
    assert_eq!(pushing.end_in_time(), Some(0));
    house.ends(
        2,
        &format!("listen tcp://127.0.0.1:* --type pull {OPEN} --send"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_whose_names_look_alike_are_told_apart() {
    let house = House::new();
    std::fs::write(house.path("users"), b"\xff=secret\n\\xff=secret\n").unwrap();
    house.policy("[domain.\"*\"]\nplain.file = \"users\"");
    let (mut listening, endpoint) =
        house.listening("listen tcp://127.0.0.1:* --type pull --plain --policy @policy.toml");
    for (name, shown) in [
        (&b"\xff"[..], json!({"base64": "/w=="})),
        (b"\\xff", json!({"text": "\\xff"})),
    ] {
        let builder = zmtp_auth::Config::builder(SocketType::Push);
        let password = zmtp_auth::Password::new("secret");
        let config = builder.plain_client(name.to_vec(), password).finish();
        let config = config.unwrap();
        let _push = Connection::connect(endpoint.as_str(), config)
            .await
            .unwrap();
        assert_eq!(listening.event("accepted")["user_id"], shown);
    }
}

#[test]
fn names_cannot_steer_a_terminal_and_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let house = House::new();
    let name = |bytes: &[u8]| house.path("").join(std::ffi::OsStr::from_bytes(bytes));
    let made = name(b"\x1b[2J\xc2\x9b\xe2\x80\xae.key");
    std::fs::copy(house.path("server.key"), &made).unwrap();
    let steers = |text: &str| {
        text.chars()
            .any(|one| (one.is_control() && one != '\n') || one == '\u{202e}')
    };
    for json in ["", "--json"] {
        let told = house.ends(0, &format!("cert check @ {json}"));
        assert!(!steers(&told) && told.contains("[2J"), "{told:?}");
    }
    let other = name(b"\xff.key");
    std::fs::copy(house.path("server.key"), &other).unwrap();
    let told = &house.events(0, "cert check @ --json", "")[0];
    let files = told["certificates"].as_array().unwrap();
    assert!(
        files.iter().any(|file| file["file"]["base64"].is_string()),
        "{told}"
    );
    let mut command = command(&["cert", "show", "--json"]);
    let shown = command.arg(&other).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    // A failure is one line.
    let complaint = ends(
        2,
        &[
            "listen",
            "tcp://a\nforged\u{9b}:1",
            "--type",
            "pull",
            "--null",
            "--accept-any-peer",
        ],
        "",
    );
    assert!(
        complaint.lines().count() == 1 && !steers(&complaint),
        "{complaint:?}"
    );
}

#[test]
fn wrong_usage_is_json_too() {
    for arguments in [&["--json", "listen"][..], &["no-such-command", "--json"]] {
        let told: Value = serde_json::from_str(&ends(2, arguments, "")).unwrap();
        assert_eq!(told["exit"], 2);
        assert!(told["error"].as_str().unwrap().contains("Usage"), "{told}");
    }
}

#[test]
fn a_tunnel_says_that_two_peers_have_one_identity() {
    let house = House::new();
    let (mut router, program) =
        house.listening(&format!("listen tcp://127.0.0.1:* --type router {OPEN}"));
    let mut tunnel = Unread::in_house(
        &house,
        &format!(
            "tunnel server --bind tcp://127.0.0.1:* --forward {program} --identity user-id \
             --key @server.key_secret --policy @policy.toml --domain billing"
        ),
    );
    let connect = house.arguments(&format!(
        "connect {} --type dealer --curve --server-key @server.key --key @alice.key_secret",
        tunnel.endpoint
    ));
    for _ in 0..2 {
        let mut dealer = Running::start(&texts(&connect));
        dealer.event("connected");
        router.event("accepted");
        drop(dealer);
        // The identity is free again.
        router.event("closed");
    }
    let mut first = Running::start(&texts(&connect));
    first.event("connected");
    let mut second = Running::start(&texts(&connect));
    second.event("connected");
    tunnel.signal("TERM");
    assert_eq!(tunnel.end(), Some(0));
    let log = tunnel.log();
    assert_eq!(log.matches("takes one of an identity").count(), 1, "{log}");
}
