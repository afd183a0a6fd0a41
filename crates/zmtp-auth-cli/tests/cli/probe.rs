//! probe: its report about each kind of peer.

use super::program::{House, ends, events, unused_endpoint};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

#[test]
fn a_peer_is_recognised_without_credentials() {
    let house = House::new();
    let (_curve, curve) = house.listening(
        "listen tcp://127.0.0.1:* --type rep --curve --key @server.key_secret \
         --policy @policy.toml --domain billing",
    );
    let seen = &house.events(0, &format!("probe {curve} --json"), "")[0];
    assert_eq!(seen["mechanism"], "CURVE", "{seen}");
    assert_eq!(seen["zmtp"], "3.1");
    assert_eq!(seen["outcome"], "recognised");

    let ipc = format!("ipc://{}", house.text("sock"));
    let listen = format!("listen {ipc} --type router --null --accept-any-peer");
    let (_null, null) = house.listening(&listen);
    let seen = &house.events(0, &format!("probe {null} --json"), "")[0];
    assert_eq!(seen["mechanism"], "NULL", "{seen}");
    assert_eq!(seen["socket_type"], "ROUTER");
    let text = house.ends(0, &format!("probe {null}"));
    assert!(
        text.contains("socket type: ROUTER") && text.contains(" ms "),
        "{text}"
    );
    let text = house.ends(0, &format!("probe {curve}"));
    let verdict = text.lines().last();
    assert_eq!(verdict, Some("recognised; no credentials were checked"));
}

#[test]
fn credentials_have_an_exact_outcome() {
    let house = House::new();
    for (kind, seen) in [("pull", "PULL"), ("pub", "PUB"), ("rep", "REP")] {
        let listen = format!(
            "listen tcp://127.0.0.1:* --type {kind} --curve --key @server.key_secret \
             --policy @policy.toml --domain billing"
        );
        let (_listening, endpoint) = house.listening(&listen);
        for (credentials, code, outcome, last_step) in [
            (
                "--server-key @server.key --key @alice.key_secret",
                0,
                "accepted",
                "CURVE READY",
            ),
            (
                "--server-key @server.key --key @mallory.key_secret",
                3,
                "refused",
                "ERROR in place of CURVE READY",
            ),
            (
                "--server-key @mallory.key --key @alice.key_secret",
                5,
                "wrong server key",
                "waited for CURVE WELCOME",
            ),
        ] {
            let probe = format!("probe {endpoint} --json --curve {credentials}");
            let told = &house.events(code, &probe, "")[0];
            assert_eq!(told["outcome"], outcome, "{told}");
            let last = told["steps"].as_array().unwrap().last().unwrap();
            assert_eq!(last["step"], last_step, "{told}");
            if code == 0 {
                assert_eq!(told["socket_type"], seen);
            }
        }
        let told = &house.events(5, &format!("probe {endpoint} --json --null"), "")[0];
        assert_eq!(told["outcome"], "other mechanism", "{told}");
    }
}

#[test]
fn old_silent_and_absent_peers_are_told_apart() {
    let say = |bytes: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let speaking = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(bytes).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        (endpoint, speaking)
    };
    let (endpoint, speaking) = say(b"\xFF\x00\x00\x00\x00\x00\x00\x00\x01\x7F\x01");
    let told = ends(5, &["probe", &endpoint], "");
    assert!(told.contains("which has no security"), "{told}");
    speaking.join().unwrap();
    // What another protocol says is not shown as a mechanism.
    let http = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nno such page, I am afraid";
    let (endpoint, speaking) = say(http);
    let told = &events(5, &["probe", &endpoint, "--json"], "")[0];
    assert_eq!(
        (told.get("mechanism"), told.get("zmtp")),
        (None, None),
        "{told}"
    );
    speaking.join().unwrap();
    // Times have three digits after the point.
    for step in told["steps"].as_array().unwrap() {
        let ms = step["ms"].to_string();
        assert!(
            ms.split_once('.')
                .is_some_and(|(_, digits)| digits.len() <= 3),
            "{ms}"
        );
    }
    let (endpoint, speaking) = say(b"");
    ends(6, &["probe", &endpoint, "--timeout", "0.2"], "");
    speaking.join().unwrap();
    let (_bound, unused) = unused_endpoint();
    ends(7, &["probe", &unused], "");
}

/// A NULL socket of type ROUTER that says so only once it has the type of its peer. To a peer that
/// tells none it says nothing, or it closes.
fn patient_router(closes: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve_patiently(stream.unwrap(), closes));
        }
    });
    endpoint
}

fn serve_patiently(mut stream: TcpStream, closes: bool) {
    const READY: &[u8] = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06ROUTER";
    let mut greeting = [0; 64];
    greeting[0] = 0xFF;
    greeting[9] = 0x7F;
    (greeting[10], greeting[11]) = (3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).unwrap();
    stream.read_exact(&mut greeting).unwrap();
    if closes {
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
    }
    let mut header = [0; 2];
    if stream.read_exact(&mut header).is_ok() {
        stream.read_exact(&mut vec![0; header[1].into()]).unwrap();
        stream.write_all(READY).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_null_server_that_waits_for_our_type_is_told_one() {
    for closes in [false, true] {
        let endpoint = patient_router(closes);
        for arguments in ["", "--null", "--null --type dealer"] {
            let told = House::new().events(0, &format!("probe {endpoint} --json {arguments}"), "");
            assert_eq!(told[0]["socket_type"], "ROUTER", "{closes} {arguments}");
        }
    }
}

#[test]
fn credentials_are_read_once_however_many_types_are_tried() {
    let house = House::new();
    let (_curve, curve) = house.listening(
        "listen tcp://127.0.0.1:* --type pull --curve --key @server.key_secret \
         --policy @policy.toml --domain billing",
    );
    let alice = std::fs::read_to_string(house.path("alice.key_secret")).unwrap();
    for key in ["-", "/dev/fd/0"] {
        let probe = format!("probe {curve} --json --curve --server-key @server.key --key {key}");
        let told = &house.events(0, &probe, &alice)[0];
        assert_eq!(told["outcome"], "accepted", "{told}");
    }
    let fifo = house.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let writing = std::thread::spawn(move || std::fs::write(fifo, alice).unwrap());
    let probe = format!("probe {curve} --json --curve --server-key @server.key --key @fifo");
    assert_eq!(house.events(0, &probe, "")[0]["outcome"], "accepted");
    writing.join().unwrap();

    let (_plain, plain) =
        house.listening("listen tcp://127.0.0.1:* --type pull --plain --policy @policy.toml");
    for file in ["-", "/dev/fd/0"] {
        let probe = format!("probe {plain} --json --plain admin --password-file {file}");
        assert_eq!(
            house.events(0, &probe, "secret\n")[0]["outcome"],
            "accepted"
        );
    }
}
