//! Two parties of a handshake, and the streams between them.

use bytes::BytesMut;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use zmtp_auth::PeerContext;
use zmtp_auth::host::{Failed, Secured};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    Config, Domain, Grant, GrantTerms, KeyPair, Limits, PeerAddress, Security, SocketType,
};

pub fn context() -> PeerContext {
    PeerContext::new(PeerAddress::from_zap(b"192.0.2.1"))
}

pub async fn conduct(
    security: &Security,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Secured, Failed> {
    security
        .conduct(context(), stream, &mut BytesMut::new())
        .await
}

/// Both ends of one connection.
pub async fn both(
    one: &Security,
    other: &Security,
    room: usize,
) -> (Result<Secured, Failed>, Result<Secured, Failed>) {
    let (mut here, mut there) = tokio::io::duplex(room);
    // Each end is closed when its party is done, as sockets are.
    let one = async move { conduct(one, &mut here).await };
    let other = async move { conduct(other, &mut there).await };
    tokio::join!(one, other)
}

/// A router whose handler admits every peer.
pub fn admits() -> ZapRouter {
    let router = ZapRouter::new();
    let allow = async |request: ZapRequest| request.allow("alice");
    router.bind("*", allow).unwrap();
    router
}

/// A router whose handler never answers.
pub fn ponders(limits: &Limits) -> ZapRouter {
    let router = ZapRouter::with_limits(limits);
    router.bind("*", |_| std::future::pending()).unwrap();
    router
}

/// A grant that ends when its owner says so. Its holder must look, because the future never resolves.
#[derive(Clone)]
pub struct Admission(Arc<Mutex<bool>>);

impl Admission {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    pub fn end(&self) {
        *self.0.lock().unwrap() = false;
    }

    /// A router that admits with this grant.
    pub fn router(&self) -> ZapRouter {
        let router = ZapRouter::new();
        let terms = self.clone();
        let admit = move |request: ZapRequest| {
            let mut reply = request.allow("alice");
            reply.grant = Some(Grant::new(terms.clone()));
            async move { reply }
        };
        router.bind("*", admit).unwrap();
        router
    }
}

impl GrantTerms for Admission {
    fn still_valid(&self) -> bool {
        *self.0.lock().unwrap()
    }

    fn revoked(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

pub fn null(socket_type: SocketType) -> Security {
    let config = Config::builder(socket_type).null().accept_any_peer();
    config.finish().unwrap().into()
}

pub fn null_asks(socket_type: SocketType, router: ZapRouter, limits: &Limits) -> Security {
    let builder = Config::builder(socket_type).limits(limits.clone());
    let config = builder.null().authorize(Domain::EMPTY).finish();
    (config.unwrap(), router).into()
}

pub fn plain_client(socket_type: SocketType) -> Security {
    let config = Config::builder(socket_type).plain_client("alice", "secret");
    config.finish().unwrap().into()
}

pub fn plain_server(socket_type: SocketType, router: ZapRouter, limits: &Limits) -> Security {
    let builder = Config::builder(socket_type).limits(limits.clone());
    let config = builder.plain_server().authorize(Domain::EMPTY).finish();
    (config.unwrap(), router).into()
}

/// A CURVE client and its server.
pub fn curve(router: ZapRouter, limits: &Limits) -> (Security, Security) {
    let keys = KeyPair::generate().unwrap();
    let client = Config::builder(SocketType::Push)
        .curve_client(KeyPair::generate().unwrap(), keys.public_key())
        .finish();
    let server = Config::builder(SocketType::Pull)
        .limits(limits.clone())
        .curve_server(keys)
        .authorize(Domain::EMPTY)
        .finish();
    (client.unwrap().into(), (server.unwrap(), router).into())
}
