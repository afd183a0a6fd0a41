//! What the two sides speak, and what lies between them.
#![forbid(unsafe_code)]

use crate::targets::connection::script::KIB;
use std::path::Path;
use zmtp_auth::net::{Endpoint, Tunnel, TunnelOptions};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, KeyPair, Limits, NoPolicy, SecretKey, SocketType};

/// The limits, small so that scripts reach them.
pub const MAX_MESSAGE: usize = 512 * KIB;
pub const MAX_FRAMES: usize = 120;
pub const READ_AHEAD: usize = 64 * KIB;

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    curve: bool,
    pub socket: SocketType,
    /// Whether a tunnel stands between the two, which takes CURVE and speaks NULL.
    pub tunnel: bool,
}

impl From<u8> for Setup {
    fn from(byte: u8) -> Self {
        Self {
            curve: byte & 1 != 0 || byte & 4 != 0,
            socket: [SocketType::Dealer, SocketType::Xpub][usize::from(byte >> 1 & 1)],
            tunnel: byte & 4 != 0,
        }
    }
}

impl Setup {
    fn limits() -> Limits {
        let mut limits = Limits::default();
        limits.max_message = MAX_MESSAGE;
        limits.max_frames = MAX_FRAMES;
        limits.read_ahead = READ_AHEAD;
        limits
    }

    pub fn server(self) -> Config<NoPolicy> {
        let builder = Config::builder(self.socket).limits(Self::limits());
        let finished = if self.curve && !self.tunnel {
            builder.curve_server(keys(2)).accept_any_peer().finish()
        } else {
            builder.null().accept_any_peer().finish()
        };
        finished.unwrap()
    }

    /// A tunnel from `path` to the application.
    pub async fn tunnel(path: &Path, forward: &Endpoint) -> Tunnel {
        let config = Config::builder(SocketType::Relay)
            .limits(Self::limits())
            .curve_server(keys(2))
            .authorize(Domain::from("fuzz"));
        let router = ZapRouter::new();
        let admit = async |request: ZapRequest| request.allow("peer");
        router.bind("fuzz", admit).unwrap();
        let endpoint = format!("ipc://{}", path.display());
        let options = TunnelOptions::default();
        let config = config.finish().unwrap();
        let opened = Tunnel::server(endpoint.as_str(), forward, (config, router), options).await;
        opened.unwrap()
    }

    pub fn client(self) -> Config<NoPolicy> {
        let socket = match self.socket {
            SocketType::Xpub => SocketType::Xsub,
            other => other,
        };
        let builder = Config::builder(socket);
        let finished = if self.curve {
            builder.curve_client(keys(1), keys(2).public_key()).finish()
        } else {
            builder.null().accept_any_peer().finish()
        };
        finished.unwrap()
    }
}

fn keys(seed: u8) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[seed; 32]).expect("not zero"))
}
