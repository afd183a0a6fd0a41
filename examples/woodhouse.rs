//! Woodhouse: a user name and a password, sent in clear text. For networks that are private already.
//!
//! `cargo run --example woodhouse`

use std::error::Error;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::{Config, Domain, SocketType, WithCauses};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authenticator = Authenticator::new();
    authenticator.allow(["127.0.0.1"])?;
    authenticator.configure_plain(Domain::ALL, [("admin", "secret")])?;

    let server = Config::builder(SocketType::Push)
        .plain_server()
        .authorize(Domain::EMPTY)
        .finish()?;
    let listener = Listener::bind("tcp://127.0.0.1:*", (server, authenticator)).await?;

    let right = Config::builder(SocketType::Pull)
        .plain_client("admin", "secret")
        .finish()?;
    let mut client = Connection::connect(listener.local_endpoint(), right).await?;
    let mut server = listener.accept().await?;
    println!("admitted {:?}", server.peer().user_id());
    server.send("Hello").await?;
    assert_eq!(client.recv_message().await?.frames(), ["Hello"]);

    let wrong = Config::builder(SocketType::Pull)
        .plain_client("admin", "bogus")
        .finish()?;
    match Connection::connect(listener.local_endpoint(), wrong).await {
        Err(error) => println!("wrong password: {}", WithCauses(&error)),
        Ok(_) => return Err("a wrong password was accepted".into()),
    }
    println!("Woodhouse test OK");
    Ok(())
}
