//! CURVE for the sockets of the pure-Rust `zeromq` crate, which speak only NULL. A tunnel stands in
//! front of each socket, all in one process.
//!
//! ```text
//! push (zeromq) --NULL, ipc--> client's tunnel --CURVE, tcp--> server's tunnel --NULL, ipc--> pull (zeromq)
//! ```

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use zeromq::{PullSocket, PushSocket, Socket, SocketRecv, SocketSend, ZmqMessage};
    use zmtp_auth::auth::Authenticator;
    use zmtp_auth::net::{Tunnel, TunnelOptions};
    use zmtp_auth::{Config, Domain, KeyPair, SocketType};

    // The NULL sides are ipc paths in a directory that only this user can enter.
    let directory = tempfile::tempdir()?;
    let path = |name| format!("ipc://{}", directory.path().join(name).display());
    let (server, client) = (KeyPair::generate()?, KeyPair::generate()?);
    let server_key = server.public_key();

    let mut pull = PullSocket::new();
    pull.bind(&path("pull")).await?;

    // Only the owner of this key is admitted.
    let authenticator = Authenticator::new();
    authenticator.configure_curve_keys("pull", [client.public_key()]);
    let config = Config::builder(SocketType::Relay)
        .curve_server(server)
        .authorize(Domain::from("pull"))
        .finish()?;
    let options = TunnelOptions::default;
    let before_pull = Tunnel::server(
        "tcp://127.0.0.1:*",
        path("pull"),
        (config, authenticator),
        options(),
    )
    .await?;

    let config = Config::builder(SocketType::Relay)
        .curve_client(client, server_key)
        .finish()?;
    let network = before_pull.local_endpoint();
    let behind_push = Tunnel::client(path("push"), network, config, options()).await?;

    let mut push = PushSocket::new();
    push.connect(&path("push")).await?;
    for text in [
        "across the network",
        "sealed with CURVE",
        "without a changed line",
    ] {
        push.send(ZmqMessage::from(text)).await?;
        let message = pull.recv().await?;
        let frame = message.get(0).map(|frame| String::from_utf8_lossy(frame));
        println!("received: {}", frame.unwrap_or_default());
    }

    behind_push.close().await?;
    before_pull.close().await?;
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this example needs ipc");
}
