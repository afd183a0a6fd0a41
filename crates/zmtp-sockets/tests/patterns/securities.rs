//! Configurations that fit each other, and time limits.

use std::future::Future;
use std::time::Duration;
use zmtp_auth::{Config, Security};

pub const ANY_PORT: &str = "tcp://127.0.0.1:*";

/// Generous, so that a test that hangs fails and a slow machine does not.
const AT_MOST: Duration = Duration::from_secs(60);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(AT_MOST, future)
        .await
        .expect("takes too long")
}

pub fn null() -> Security {
    let config = Config::untyped_builder().null().accept_any_peer().finish();
    config.unwrap().into()
}
