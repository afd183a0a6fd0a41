//! Grasslands: no security at all. Anyone can connect and read everything.
//!
//! `cargo run --example grasslands`

use std::error::Error;
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::{Config, SocketType};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Config::builder(SocketType::Push)
        .null()
        .accept_any_peer()
        .finish()?;
    let listener = Listener::bind("tcp://127.0.0.1:*", server).await?;

    let client = Config::builder(SocketType::Pull)
        .null()
        .accept_any_peer()
        .finish()?;
    let mut client = Connection::connect(listener.local_endpoint(), client).await?;

    let mut server = listener.accept().await?;
    server.send("Hello").await?;
    let message = client.recv_message().await?;
    println!(
        "{} says {:?}, and its identity is unknown",
        client.peer().address,
        message.frames()
    );
    assert!(client.peer().authenticated.is_none() && server.peer().authenticated.is_none());
    println!("Grasslands test OK");
    Ok(())
}
