//! One attempt to connect: socket, handshake, connection.
#![forbid(unsafe_code)]

use crate::access::request::MechanismKind;
use crate::config::settings::Config;
use crate::net::access::Access;
use crate::net::connection::handle::Connection;
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::negotiate::{Failed, Negotiation};
use crate::net::options::Options;
use crate::net::socket::stream;

/// Connects and shakes hands, once.
pub(crate) async fn dial<A: Access>(
    endpoint: &Endpoint,
    config: &Config<A>,
    router: &A::Router,
    options: &Options,
) -> Result<Connection, NetError> {
    warn_of_plain(endpoint, config);
    let stream = stream::connect(endpoint, options).await?;
    let conn = stream.peer().map_err(NetError::io("connect"))?;
    let agreed = Negotiation::new(&stream, config, router, None)
        .run(conn)
        .await;
    match agreed {
        Ok(agreed) => {
            let connection = Connection::start(stream, agreed, config, options);
            // Policy may have changed while the handshake went on.
            if is_admitted(&connection) {
                tracing::debug!(%endpoint, "connected");
                Ok(connection)
            } else {
                Err(NetError::Revoked)
            }
        }
        Err(Failed {
            stage,
            error,
            error_frame,
            ..
        }) => {
            tracing::debug!(%endpoint, %stage, %error, "not connected");
            if !error_frame.is_empty() {
                let limits = config.limits().clone();
                tokio::spawn(async move { stream.close_gracefully(error_frame, &limits).await });
            }
            Err(error)
        }
    }
}

/// Whether the grant that admitted the peer, if there is one, still stands.
pub(crate) fn is_admitted(connection: &Connection) -> bool {
    let authenticated = connection.peer().authenticated.as_ref();
    authenticated
        .and_then(|authenticated| authenticated.grant.as_ref())
        .is_none_or(|grant| grant.still_valid())
}

/// RFC 24, "Security Considerations": PLAIN sends passwords, and everything else, in clear.
/// Once for each listener or client.
pub(crate) fn warn_of_plain<A>(endpoint: &Endpoint, config: &Config<A>) {
    if config.mechanism() == MechanismKind::Plain && !endpoint.is_local() {
        tracing::warn!(%endpoint, "PLAIN sends passwords in clear to and from other machines");
    }
}
