//! Fitting configurations for our side and for libzmq's. The side that binds is the server of its
//! mechanism.

use crate::peer;

use peer::{CLIENT_PUBLIC, CLIENT_SECRET, Options, SERVER_PUBLIC, SERVER_SECRET};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, KeyPair, Password, PublicKey, Security};

pub const DOMAIN: &str = "sockets";
pub const MECHANISMS: [&str; 3] = ["NULL", "PLAIN", "CURVE"];

fn keys(secret: &str) -> KeyPair {
    KeyPair::from_secret(secret.parse().unwrap())
}

/// Ours, when we bind, with a policy that knows libzmq's client.
pub fn our_server(mechanism: &str) -> Security {
    let builder = Config::untyped_builder();
    match mechanism {
        "NULL" => builder.null().accept_any_peer().finish().unwrap().into(),
        "PLAIN" => authorized(builder.plain_server().authorize(Domain::from(DOMAIN))),
        _ => authorized(
            builder
                .curve_server(keys(SERVER_SECRET))
                .authorize(Domain::from(DOMAIN)),
        ),
    }
}

fn authorized(
    builder: zmtp_auth::Builder<zmtp_auth::config::Ready<zmtp_auth::Authorizing>>,
) -> Security {
    let authenticator = Authenticator::new();
    authenticator
        .configure_plain(DOMAIN, [("admin", "secret")])
        .unwrap();
    let key: PublicKey = CLIENT_PUBLIC.parse().unwrap();
    authenticator.configure_curve_keys(DOMAIN, [key]);
    let router = ZapRouter::new();
    router.bind(DOMAIN, authenticator).unwrap();
    (builder.finish().unwrap(), router).into()
}

/// Ours, when libzmq binds.
pub fn our_client(mechanism: &str) -> Security {
    let builder = Config::untyped_builder();
    let config = match mechanism {
        "NULL" => builder.null().accept_any_peer().finish(),
        "PLAIN" => builder
            .plain_client("admin", Password::from("secret"))
            .finish(),
        _ => builder
            .curve_client(keys(CLIENT_SECRET), SERVER_PUBLIC.parse().unwrap())
            .finish(),
    };
    config.unwrap().into()
}

/// libzmq's, when it binds.
pub fn their_server(mechanism: &str) -> Options {
    match mechanism {
        "NULL" => Options::new(peer::Security::Null),
        "PLAIN" => Options::new(peer::Security::PlainServer).domain(DOMAIN),
        _ => Options::new(peer::Security::CURVE_SERVER).domain(DOMAIN),
    }
}

/// libzmq's, when we bind.
pub fn their_client(mechanism: &str) -> Options {
    Options::new(match mechanism {
        "NULL" => peer::Security::Null,
        "PLAIN" => peer::Security::PlainClient {
            username: "admin",
            password: "secret",
        },
        _ => peer::Security::CURVE_CLIENT,
    })
}
