//! Weather for subscribers that are known by their keys (PUB and SUB).
//!
//! `cargo run -p zmtp-sockets --example publish_subscribe`. Alice subscribes to the weather of one
//! town and gets nothing else. A subscriber with an unknown key is refused, and the publisher says so.

use std::error::Error;
use std::time::Duration;
use zmtp_auth::auth::{Authenticator, CurveKey};
use zmtp_auth::{Config, KeyPair};
use zmtp_sockets::{Pub, SocketEvent, Sub};

const UPDATES: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (station, alice, stranger) = (
        KeyPair::generate()?,
        KeyPair::generate()?,
        KeyPair::generate()?,
    );
    let station_key = station.public_key();

    let policy = Authenticator::new();
    let row = CurveKey::new(alice.public_key()).with_user("alice");
    policy.configure_curve_users("weather", [row])?;
    let config = Config::untyped_builder()
        .curve_server(station)
        .authorize("weather")
        .finish()?;
    let mut publisher = Pub::new();
    let endpoint = publisher
        .bind("tcp://127.0.0.1:*", (config, policy))
        .await?;
    let mut events = publisher.events();

    let publishing = tokio::spawn(async move {
        loop {
            for town in ["oslo", "rome"] {
                publisher.send([format!("weather.{town}"), "sunny".into()]);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });

    let mut subscriber = Sub::new();
    subscriber.subscribe("weather.rome");
    let config = Config::untyped_builder().curve_client(alice, station_key);
    subscriber.connect(&endpoint, config.finish()?)?;
    let mut refused = Sub::new();
    let config = Config::untyped_builder().curve_client(stranger, station_key);
    refused.connect(&endpoint, config.finish()?)?;

    for _ in 0..UPDATES {
        let update = subscriber.recv().await;
        assert_eq!(update.frames(), ["weather.rome", "sunny"]);
    }
    println!("alice has {UPDATES} updates of one town");
    while let Some(event) = events.next().await {
        println!("{event}");
        if matches!(event, SocketEvent::Refused { .. }) {
            break;
        }
    }
    publishing.abort();
    Ok(())
}
