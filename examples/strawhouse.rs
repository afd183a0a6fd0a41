//! Strawhouse: NULL, but only for known addresses. Better than nothing, and easy to get around.
//!
//! `cargo run --example strawhouse`

use std::error::Error;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::{Config, Domain, SocketType};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authenticator = Authenticator::new();
    authenticator.allow(["127.0.0.1"])?;

    // A NULL socket asks the policy only if it has a domain.
    let server = Config::builder(SocketType::Push)
        .null()
        .authorize(Domain::from("global"))
        .finish()?;
    let listener = Listener::bind("tcp://127.0.0.1:*", (server, authenticator)).await?;

    let client = Config::builder(SocketType::Pull)
        .null()
        .accept_any_peer()
        .finish()?;
    let mut client = Connection::connect(listener.local_endpoint(), client).await?;

    let mut server = listener.accept().await?;
    println!(
        "admitted {:?} from {}",
        server.peer().user_id(),
        server.peer().address
    );
    server.send("Hello").await?;
    assert_eq!(client.recv_message().await?.frames(), ["Hello"]);
    println!("Strawhouse test OK");
    Ok(())
}
