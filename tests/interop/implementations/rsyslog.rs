//! rsyslog's modules for ZeroMQ, with NULL and CURVE: omczmq sends log lines to us and imczmq takes
//! them from us, each as client and as server. Its certificates are czmq's, written by us.

use super::{Keys, PATIENCE};
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Event, Listener, NetError};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, KeyPair, SocketType};

/// A running rsyslogd, which is killed when this is dropped.
struct Rsyslog(Child);

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts rsyslogd with lines of its configuration. Log lines to the socket `log` go to omczmq, and
/// those that imczmq takes go to the file `out`.
fn start(keys: &Keys, module: &str, endpoint: &str, security: &str) -> Rsyslog {
    for name in ["log", "out"] {
        // They may be there from an earlier run.
        let _ = fs::remove_file(keys.path(name));
    }
    let rest = match module {
        "omczmq" => format!(
            "template(name=\"bare\" type=\"string\" string=\"%msg%\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{}\")\n\
             action(type=\"omczmq\" endpoints=\"{endpoint}\" socktype=\"PUSH\" template=\"bare\")\n",
            keys.path("log").display()
        ),
        _ => format!(
            "template(name=\"bare\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             input(type=\"imczmq\" endpoints=\"{endpoint}\" socktype=\"PULL\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"bare\")\n",
            keys.path("out").display()
        ),
    };
    let text = format!("module(load=\"{module}\" {security})\n{rest}");
    fs::write(keys.path("rsyslog.conf"), text).unwrap();
    let child = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(keys.path("rsyslog.conf"))
        .arg("-i")
        .arg(keys.path("rsyslog.pid"))
        .stdin(Stdio::null())
        .spawn();
    Rsyslog(child.expect("rsyslogd starts"))
}

/// rsyslog's side of CURVE. A server admits the keys in the directory `known`.
fn curve(keys: &Keys, role: &str) -> String {
    let path = |name: &str| keys.path(name).display().to_string();
    match role {
        "CURVESERVER" => format!(
            "authenticator=\"on\" authtype=\"CURVESERVER\" servercertpath=\"{}\" clientcertpath=\"{}\"",
            path("theirs.key"),
            path("known"),
        ),
        client => format!(
            "authtype=\"CURVECLIENT\" servercertpath=\"{}\" clientcertpath=\"{}\"",
            path("ours.key"),
            path(&format!("{client}.key")),
        ),
    }
}

/// An address on loopback that is free now. rsyslog does not say to which port it is bound.
fn free_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

/// A listener that admits the peer `theirs`.
async fn listener(keys: &Keys, socket_type: SocketType, curve: bool) -> Listener {
    let authenticator = Authenticator::new();
    authenticator.configure_curve_keys("meet", [keys.theirs.public_key()]);
    let router = ZapRouter::new();
    router.bind("meet", authenticator).unwrap();
    let builder = Config::builder(socket_type);
    let config = if curve {
        let builder = builder.curve_server(keys.ours.clone());
        builder.authorize("meet").finish()
    } else {
        builder.null().authorize("meet").finish()
    };
    Listener::bind("tcp://127.0.0.1:*", (config.unwrap(), router))
        .await
        .unwrap()
}

async fn accepted(listener: &Listener) -> Connection {
    match listener.next_event().await.unwrap() {
        Event::Accepted(connection) => *connection,
        event => panic!("{event:?}"),
    }
}

async fn refused(listener: &Listener) {
    let event = listener.next_event().await.unwrap();
    assert!(matches!(event, Event::Refused(_)), "{event:?}");
}

/// Connects as soon as rsyslog listens.
async fn connected(
    endpoint: &str,
    socket_type: SocketType,
    keys: Option<(&KeyPair, &KeyPair)>,
) -> Result<Connection, NetError> {
    loop {
        let builder = Config::builder(socket_type);
        let config = match keys {
            Some((own, server)) => builder
                .curve_client(own.clone(), server.public_key())
                .finish(),
            None => builder.null().accept_any_peer().finish(),
        };
        match Connection::connect(endpoint, config.unwrap()).await {
            Err(NetError::Io { .. }) => tokio::time::sleep(PATIENCE / 1000).await,
            other => return other,
        }
    }
}

/// Logs a line, and takes it from the connection.
async fn logs(keys: &Keys, connection: &mut Connection) {
    let socket = UnixDatagram::unbound().unwrap();
    while socket
        .send_to(b"<13>tag: a line of the log", keys.path("log"))
        .is_err()
    {
        tokio::time::sleep(PATIENCE / 1000).await;
    }
    let message = connection.recv_message().await.unwrap();
    let frames: Vec<_> = message
        .frames()
        .iter()
        .map(|frame| String::from_utf8_lossy(frame).trim().to_owned())
        .collect();
    assert_eq!(frames, ["a line of the log"]);
}

/// Sends a line, and waits until it is in the file.
async fn is_written(keys: &Keys, connection: &mut Connection) {
    connection
        .send("<13>tag: a line for the log")
        .await
        .unwrap();
    loop {
        let written = fs::read_to_string(keys.path("out")).unwrap_or_default();
        if written.ends_with('\n') {
            assert!(written.contains("a line for the log"), "{written}");
            return;
        }
        tokio::time::sleep(PATIENCE / 1000).await;
    }
}

fn version() -> String {
    let output = Command::new("rsyslogd").arg("-v").output();
    let text = output.expect("rsyslogd is installed").stdout;
    let text = String::from_utf8(text).unwrap();
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    assert!(version.starts_with('8'), "{text}");
    version.to_owned()
}

#[tokio::test]
#[ignore = "needs Debian's rsyslog-czmq: ./test --full peers"]
async fn rsyslogs_omczmq_sends_in_null_and_in_both_roles_of_curve() {
    let keys = Keys::new();
    let met = async {
        for (security, is_curve) in [(String::new(), false), (curve(&keys, "theirs"), true)] {
            let listener = listener(&keys, SocketType::Pull, is_curve).await;
            let endpoint = format!(">{}", listener.local_endpoint());
            let _rsyslog = start(&keys, "omczmq", &endpoint, &security);
            logs_when_accepted(&keys, &listener).await;
        }
        let listener = listener(&keys, SocketType::Pull, true).await;
        let endpoint = format!(">{}", listener.local_endpoint());
        let stranger = start(&keys, "omczmq", &endpoint, &curve(&keys, "stranger"));
        wakes(&keys).await;
        refused(&listener).await;
        drop(stranger);

        let endpoint = free_endpoint();
        let security = curve(&keys, "CURVESERVER");
        let _rsyslog = start(&keys, "omczmq", &format!("@{endpoint}"), &security);
        wakes(&keys).await;
        let wrong = Some((&keys.stranger, &keys.theirs));
        let denied = connected(&endpoint, SocketType::Pull, wrong).await;
        assert!(matches!(denied, Err(NetError::Handshake(_))), "{denied:?}");
        let right = Some((&keys.ours, &keys.theirs));
        let connection = connected(&endpoint, SocketType::Pull, right).await;
        logs(&keys, &mut connection.unwrap()).await;
    };
    tokio::time::timeout(PATIENCE, met).await.expect("in time");
    println!(
        "omczmq of rsyslog {}: NULL and CURVE, client and server",
        version()
    );
}

/// omczmq connects when the first line is logged.
async fn wakes(keys: &Keys) {
    let socket = UnixDatagram::unbound().unwrap();
    while socket
        .send_to(b"<13>tag: a line of the log", keys.path("log"))
        .is_err()
    {
        tokio::time::sleep(PATIENCE / 1000).await;
    }
}

async fn logs_when_accepted(keys: &Keys, listener: &Listener) {
    wakes(keys).await;
    let mut connection = accepted(listener).await;
    logs(keys, &mut connection).await;
}

#[tokio::test]
#[ignore = "needs Debian's rsyslog-czmq: ./test --full peers"]
async fn rsyslogs_imczmq_receives_in_null_and_in_both_roles_of_curve() {
    let keys = Keys::new();
    let met = async {
        for (security, is_curve) in [(String::new(), false), (curve(&keys, "theirs"), true)] {
            let listener = listener(&keys, SocketType::Push, is_curve).await;
            let endpoint = format!(">{}", listener.local_endpoint());
            let _rsyslog = start(&keys, "imczmq", &endpoint, &security);
            is_written(&keys, &mut accepted(&listener).await).await;
        }
        let listener = listener(&keys, SocketType::Push, true).await;
        let endpoint = format!(">{}", listener.local_endpoint());
        let stranger = start(&keys, "imczmq", &endpoint, &curve(&keys, "stranger"));
        refused(&listener).await;
        drop(stranger);

        let endpoint = free_endpoint();
        let security = curve(&keys, "CURVESERVER");
        let _rsyslog = start(&keys, "imczmq", &format!("@{endpoint}"), &security);
        let wrong = Some((&keys.stranger, &keys.theirs));
        let denied = connected(&endpoint, SocketType::Push, wrong).await;
        assert!(matches!(denied, Err(NetError::Handshake(_))), "{denied:?}");
        let right = Some((&keys.ours, &keys.theirs));
        let connection = connected(&endpoint, SocketType::Push, right).await;
        is_written(&keys, &mut connection.unwrap()).await;
    };
    tokio::time::timeout(PATIENCE, met).await.expect("in time");
    println!(
        "imczmq of rsyslog {}: NULL and CURVE, client and server",
        version()
    );
}
