//! Stonehouse: everything is encrypted and the server proves its identity, but it admits any client
//! key.
//!
//! `cargo run --example stonehouse`

use std::error::Error;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::{Config, Domain, KeyPair, SocketType};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authenticator = Authenticator::new();
    authenticator.allow(["127.0.0.1"])?;
    authenticator.configure_curve_any(Domain::ALL);

    let server_keys = KeyPair::generate()?;
    let server_key = server_keys.public_key();
    let server = Config::builder(SocketType::Push)
        .curve_server(server_keys)
        .authorize(Domain::EMPTY)
        .finish()?;
    let listener = Listener::bind("tcp://127.0.0.1:*", (server, authenticator)).await?;

    let client_keys = KeyPair::generate()?;
    let client_key = client_keys.public_key();
    let client = Config::builder(SocketType::Pull)
        .curve_client(client_keys, server_key)
        .finish()?;
    let mut client = Connection::connect(listener.local_endpoint(), client).await?;

    let mut server = listener.accept().await?;
    println!("admitted the owner of {client_key}");
    assert_eq!(server.peer().proven_key, Some(client_key));
    server.send("Hello").await?;
    assert_eq!(client.recv_message().await?.frames(), ["Hello"]);
    println!("Stonehouse test OK");
    Ok(())
}
