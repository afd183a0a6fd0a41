//! A proxy between publishers and subscribers that do not know each other (XSUB and XPUB).
//!
//! `cargo run -p zmtp-sockets --example forwarder`. Subscriptions travel from the subscribers through
//! the proxy to the publishers, so that only what somebody subscribes to crosses the network.

use std::error::Error;
use std::time::Duration;
use zmtp_auth::{Config, Security};
use zmtp_sockets::{Pub, Sub, Xpub, Xsub, proxy};

const PUBLISHERS: usize = 3;
const MESSAGES: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut frontend, mut backend) = (Xsub::new(), Xpub::new());
    let for_publishers = frontend.bind("tcp://127.0.0.1:*", anyone()?).await?;
    let for_subscribers = backend.bind("tcp://127.0.0.1:*", anyone()?).await?;
    tokio::spawn(proxy(frontend, backend, |_| {}));

    for number in 0..PUBLISHERS {
        let mut publisher = Pub::new();
        publisher.connect(&for_publishers, anyone()?)?;
        tokio::spawn(async move {
            loop {
                publisher.send([format!("topic {number}"), "news".into()]);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    for number in 0..PUBLISHERS {
        let topic = format!("topic {number}");
        let mut subscriber = Sub::new();
        subscriber.subscribe(topic.clone());
        subscriber.connect(&for_subscribers, anyone()?)?;
        for _ in 0..MESSAGES {
            assert_eq!(subscriber.recv().await.frames()[0], topic);
        }
        println!("{MESSAGES} messages of {topic}");
    }
    Ok(())
}

/// No security: for an example on one machine. It has to be said.
fn anyone() -> Result<Security, Box<dyn Error>> {
    let config = Config::untyped_builder().null().accept_any_peer();
    Ok(config.finish()?.into())
}
