//! Configurations that fit each other, time limits, and waits.

use std::future::Future;
use std::time::Duration;
use zmtp_auth::net::ReconnectPolicy;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, Password, Security};
use zmtp_sockets::{Pub, SocketOptions};

pub const ANY_PORT: &str = "tcp://127.0.0.1:*";

/// Generous, so that a test that hangs fails and a slow machine does not.
const AT_MOST: Duration = Duration::from_secs(60);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(AT_MOST, future)
        .await
        .expect("takes too long")
}

/// Waits for a condition that nothing tells.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The number of subscriptions that the peers of `publisher` have together.
pub fn subscriptions(publisher: &mut Pub) -> usize {
    publisher.subscribers().map(|it| it.subscriptions).sum()
}

/// Waits until the peers of `publisher` have `count` subscriptions together.
pub async fn subscribed(publisher: &mut Pub, count: usize) {
    eventually(|| subscriptions(publisher) == count).await;
}

pub fn null() -> Security {
    let config = Config::untyped_builder().null().accept_any_peer().finish();
    config.unwrap().into()
}

/// NULL with a handler that gives every peer the same user id.
pub fn anonymous() -> Security {
    let router = ZapRouter::new();
    let admit = async |request: ZapRequest| request.allow("anonymous");
    router.bind("test", admit).unwrap();
    let config = Config::untyped_builder()
        .null()
        .authorize(Domain::from("test"))
        .finish();
    (config.unwrap(), router).into()
}

/// A PLAIN server that admits everyone under the name that they give.
pub fn plain_server() -> Security {
    plain_server_of("test")
}

/// The same in another domain.
pub fn plain_server_of(domain: &'static str) -> Security {
    let router = ZapRouter::new();
    let admit = async |request: ZapRequest| {
        let name = match request.credentials() {
            Ok(zmtp_auth::Credentials::Plain { username, .. }) => username,
            _ => return request.deny(zmtp_auth::DenialStatus::Failure, "not PLAIN"),
        };
        request.allow(name)
    };
    router.bind(domain, admit).unwrap();
    let config = Config::untyped_builder()
        .plain_server()
        .authorize(Domain::from(domain))
        .finish();
    (config.unwrap(), router).into()
}

pub fn plain_client(name: &'static str) -> Security {
    let config = Config::untyped_builder()
        .plain_client(name, Password::from("secret"))
        .finish();
    config.unwrap().into()
}

/// Options that lose no time with reconnecting.
pub fn fast() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.connection.reconnect = ReconnectPolicy::default()
        .with_first_delay(Duration::from_millis(1))
        .with_max_delay(Duration::from_millis(10));
    options
}
