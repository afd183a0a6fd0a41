//! Rotating a server's key: for a while it answers to the old key and to the new one, so that
//! clients can be told the new one at leisure; then the old one is dropped.
//!
//! `cargo run --example rotate_server_key`

use std::error::Error;
use zmtp_auth::net::{Connection, Listener, NetError};
use zmtp_auth::{Config, KeyPair, NoPolicy, PublicKey, SocketType};

/// The server, with one key or with two.
fn server(current: &KeyPair, old: Option<&KeyPair>) -> Result<Config<NoPolicy>, Box<dyn Error>> {
    let builder = Config::builder(SocketType::Pull).curve_server(current.clone());
    let builder = match old {
        Some(old) => builder.also_accept(old.clone()),
        None => builder,
    };
    Ok(builder.accept_any_peer().finish()?)
}

async fn connect(listener: &Listener, server: PublicKey) -> Result<Connection, Box<dyn Error>> {
    let keys = KeyPair::generate()?;
    let config = Config::builder(SocketType::Push)
        .curve_client(keys, server)
        .finish()?;
    Ok(Connection::connect(listener.local_endpoint(), config).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (old, new) = (KeyPair::generate()?, KeyPair::generate()?);

    let both = Listener::bind("tcp://127.0.0.1:*", server(&new, Some(&old))?).await?;
    for key in [&old, &new] {
        let client = connect(&both, key.public_key()).await?;
        assert_eq!(client.peer().proven_key, Some(key.public_key()));
        println!(
            "while both are accepted, a client that knows {} gets in",
            key.public_key()
        );
    }

    let after = Listener::bind("tcp://127.0.0.1:*", server(&new, None)?).await?;
    connect(&after, new.public_key()).await?;
    match connect(&after, old.public_key()).await {
        Ok(_) => return Err("the old key is still accepted".into()),
        Err(error) => match error.downcast_ref::<NetError>() {
            Some(NetError::Handshake(reason)) => println!("afterwards the old one fails: {reason}"),
            _ => return Err(error),
        },
    }
    Ok(())
}
