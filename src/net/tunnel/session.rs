//! One connection through a tunnel: the handshake with the peer in front, and the handshake with
//! the far side behind.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credential;
use crate::access::grant::Grant;
use crate::access::peer::Peer;
use crate::error::{Error, Stage};
use crate::host::conduct::Agreed;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::mechanism::session::PeerContext;
use crate::net::accept::acceptor::Accepted;
use crate::net::accept::connection_limit::ConnectionLimit;
use crate::net::accept::inbound::InboundPeer;
use crate::net::accept::slots::Loss;
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::listener::events::Refusal;
use crate::net::negotiate::{Failed, Negotiation};
use crate::net::socket::stream::{self, Stream};
use crate::net::tunnel::far_side_backoff::{Attempt, FarSideBackoff, Taken};
use crate::net::tunnel::forward::{End, Traffic};
use crate::net::tunnel::options::TunnelOptions;
use crate::net::tunnel::rate_limited_log::{RateLimitedLog, origin};
use crate::net::tunnel::user_ids::{UserIdUse, UserIds};
use crate::printable::printable;
use crate::relay::end::RelayEnd;
use crate::relay::forward::{Relay, RelayError};
use crate::relay::handoff::{IdentityRule, PeerHandoff};
use crate::relay::side::Side;
use crate::security::Security;
use crate::wire::metadata::Metadata;
use crate::wire::socket_type::SocketType;
use crate::with_causes::WithCauses;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Span;

/// What the connections of a tunnel share.
pub(crate) struct TunnelShared {
    pub(crate) security: Security,
    pub(crate) back: Back,
    pub(crate) options: TunnelOptions,
    pub(crate) connections: ConnectionLimit,
    /// Turns true when the tunnel is closed.
    pub(crate) close: watch::Receiver<bool>,
    /// The user ids of connected peers, kept where a user id serves as the identity.
    pub(crate) user_ids: UserIds,
    /// For peers whose user id another peer has too.
    pub(crate) user_ids_log: RateLimitedLog,
    /// For peers that could not be forwarded to the far side.
    pub(crate) forward_log: RateLimitedLog,
    /// For messages that were lost to a limit.
    pub(crate) limit_log: RateLimitedLog,
}

/// The side that the tunnel dials.
pub(crate) struct Back {
    pub(crate) endpoint: Endpoint,
    pub(crate) security: Security,
    /// Whether this is the side without security.
    pub(crate) is_clear: bool,
    /// A client's tunnel waits after failures. A server's tunnel does not: it dials its program for
    /// each peer, so that a program that restarted is found at once.
    pub(crate) backoff: Option<FarSideBackoff>,
}

/// The connection to the far side, ready for traffic.
struct Backend {
    stream: Stream,
    agreed: Agreed,
    taken: Option<Taken>,
}

/// Both ends of a connection, after both handshakes.
struct Linked {
    relay: Relay,
    back: Stream,
    grant: Option<Grant>,
    taken: Option<Taken>,
    /// Held for as long as the connection lasts.
    user_id_use: Option<UserIdUse>,
    /// For the log lines.
    user_id: Option<String>,
}

/// Why two peers were not linked.
enum LinkError {
    /// The peer in front was refused, left, or was too slow.
    Front(Failed),
    /// The far side could not be reached, or refused us.
    Back(Failed),
    /// The far side was not dialled, because it has failed before.
    NotAsked,
    /// The tunnel is being closed.
    Closing,
}

impl From<Failed> for LinkError {
    fn from(failed: Failed) -> Self {
        Self::Front(failed)
    }
}

impl TunnelShared {
    /// Serves one connection to its end. Returns false if closing the tunnel cut off messages that
    /// were on their way.
    ///
    /// A connection has two phases. In the first, [`link`](Self::link) conducts both handshakes,
    /// unless the loss of the slot or the end of the tunnel comes first. In the second, messages
    /// cross. The slot was freed before the far side was dialled, so only the two peers, the grant
    /// and the end of the tunnel can end the second phase. If the peers were not linked and our own
    /// policy refused the peer in front, that peer gets an ERROR and time to read it.
    pub(crate) async fn serve(self: Arc<Self>, mut accepted: Accepted, span: Span) -> bool {
        let context = accepted.context.clone();
        let mut close = self.close.clone();
        // The permit is held until both sockets are closed.
        let (linked, _permit) = {
            let inbound = InboundPeer {
                address: &context.address,
                slot: &accepted.place.slot,
                connections: &self.connections,
            };
            let mut front =
                Negotiation::new(&accepted.stream, &self.security, &span, Some(inbound));
            let linked = tokio::select! {
                linked = self.link(&mut front, &context, &span) => linked,
                loss = accepted.place.eviction.lost() => Err(match loss {
                    Loss::Evicted(error) => {
                        accepted.stream.reset_when_closed();
                        front.failed(error).into()
                    }
                    Loss::Closed => LinkError::Closing,
                }),
                _ = close.wait_for(|close| *close) => Err(LinkError::Closing),
            };
            (linked, front.take_permit())
        };
        match linked {
            Ok(linked) => {
                let Accepted { stream, place, .. } = accepted;
                drop(place);
                let linger = self.options.sockets.linger;
                let limits = self.security.limits();
                let traffic = Traffic::new(stream, linked.back, linked.relay, linger, limits, span);
                let end = traffic.run(linked.grant, close).await;
                drop(linked.user_id_use);
                if let (Some(backoff), Some(taken)) = (&self.back.backoff, &linked.taken) {
                    backoff.ended(taken, end.is_by(Side::Back));
                }
                self.log_end(&context, linked.user_id.as_deref(), &end);
                !matches!(end, End::Unsent)
            }
            Err(error) => {
                let error_frame = self.log_link_error(&context, error);
                let limits = self.security.limits();
                accepted.close_gracefully(error_frame, limits).await;
                true
            }
        }
    }

    /// Conducts both handshakes, within the time for the handshake in front.
    ///
    /// The handshake in front pauses after the verdict, before our last command. The far side is
    /// dialled during this pause, so never for a peer that was not admitted. The far side thus
    /// learns the claims of the peer in front, and our last command tells that peer the claims of
    /// the far side. A peer that leaves during the pause ends the dialling.
    async fn link(
        &self,
        front: &mut Negotiation<'_>,
        context: &PeerContext,
        span: &Span,
    ) -> Result<Linked, LinkError> {
        let pause = front.run_to_pause(context.clone()).await?;
        let handoff =
            PeerHandoff::new(pause, self.options.identity).map_err(|error| front.failed(error))?;
        // Half of the time for the handshake; the other half is for the far side.
        let max_wait = self.security.limits().handshake_timeout / 2;
        let none = Metadata::new();
        let claims = handoff.claims();
        let claims = claims.map_or(&none, |claims| &claims.properties);
        let dialled = front
            .meanwhile(async {
                let attempt = match &self.back.backoff {
                    Some(backoff) => Some(timeout(max_wait, backoff.attempt(claims)).await.ok()?),
                    None => None,
                };
                Some(self.back.dial(&handoff, span, &self.options, attempt).await)
            })
            .await?;
        let Backend {
            stream,
            agreed: back,
            taken,
        } = dialled
            .ok_or(LinkError::NotAsked)?
            .map_err(|error| LinkError::Back(front.failed_behind(error)))?;
        let claims = &back.established.peer.claims;
        let front = front.resume(|out| handoff.complete(claims, out)).await?;

        let peer = &front.established.peer;
        let user_id = peer.user_id().map(|id| printable(id));
        let socket_type = peer.claims.socket_type.map(SocketType::name);
        tracing::info!(socket_type, "peer connected");
        Ok(Linked {
            user_id_use: self.register_user_id(peer),
            grant: peer.grant().cloned(),
            user_id,
            taken,
            back: stream,
            relay: self.relay(front, back),
        })
    }

    /// Counts the user id of a peer, where user ids serve as identities, and warns if another peer
    /// has it too. A ROUTER accepts one peer of an identity and closes or ignores the others
    /// without an ERROR, so the log has to say why.
    fn register_user_id(&self, peer: &Peer) -> Option<UserIdUse> {
        if self.options.identity != IdentityRule::UserId {
            return None;
        }
        let user_id = peer.user_id()?;
        let (user_id_use, is_only) = self.user_ids.register(user_id);
        let user_id = printable(user_id);
        if !is_only && let Some(left_out) = self.user_ids_log.admit("", user_id.clone()) {
            tracing::warn!(
                user_id,
                left_out,
                "another peer of this user id is connected, and a ROUTER takes one of an identity"
            );
        }
        Some(user_id_use)
    }

    /// Heartbeats are sent on the network side only, because a program on this machine cannot
    /// vanish unnoticed.
    fn relay(&self, front: Agreed, back: Agreed) -> Relay {
        let heartbeat = self.options.sockets.heartbeat;
        let (in_front, behind) = if self.back.is_clear {
            (heartbeat, None)
        } else {
            (None, heartbeat)
        };
        let now = Instant::now().into_std();
        let end = |agreed: Agreed, limits, heartbeat| {
            RelayEnd::new(*agreed.established, limits, heartbeat, now).with_input(agreed.input)
        };
        Relay::new(
            end(front, self.security.limits(), in_front),
            end(back, self.back.security.limits(), behind),
        )
    }

    /// Logs why the peers were not linked. Returns what the peer in front should still get to read:
    /// an ERROR of our own policy, but never one of the far side.
    fn log_link_error(&self, context: &PeerContext, error: LinkError) -> HandshakeBytes {
        match error {
            LinkError::Front(failed) => refuse(context, failed),
            LinkError::Back(Failed { error, subject, .. }) => {
                let credential = subject.credential.as_ref();
                let whose = credential.map(Credential::to_string);
                let whose = whose.unwrap_or_else(|| origin(&context.address));
                if let Some(left_out) = self.forward_log.admit("", whose) {
                    let forward = &self.back.endpoint;
                    tracing::warn!(who = credential.map(display), %forward,
                        error = %WithCauses(&error), left_out, "cannot forward");
                }
                HandshakeBytes::default()
            }
            LinkError::NotAsked | LinkError::Closing => HandshakeBytes::default(),
        }
    }

    /// Logs the end of a connection. A message over a limit is lost again with every new try, so
    /// that line says which limit it was and where the message came from.
    fn log_end(&self, context: &PeerContext, user_id: Option<&str>, end: &End) {
        if let End::RelayError(RelayError { side, error }) = end
            && let Error::Limit(limit) = error
            && let whose = user_id.map_or_else(|| origin(&context.address), str::to_owned)
            && let Some(left_out) = self.limit_log.admit(limit.name(), whose)
        {
            let from = match (side, self.back.is_clear) {
                (Side::Front, false) | (Side::Back, true) => "the local program",
                (Side::Front, true) | (Side::Back, false) => "the network",
            };
            let limit = limit.name();
            tracing::warn!(from, limit, error = %WithCauses(error), left_out,
                "a message is over a limit of this tunnel: it is lost, and its connection closed");
        } else {
            tracing::info!(%end, "peer disconnected");
        }
    }
}

/// Logs a refusal. Returns the ERROR that the peer should still get to read.
pub(crate) fn refuse(context: &PeerContext, failed: Failed) -> HandshakeBytes {
    Refusal::new(context, *failed.subject, failed.stage, failed.error).log();
    failed.error_frame
}

impl Back {
    /// Connects, and conducts the handshake with the claims of the peer in front, from `handoff`.
    /// Reports the outcome to `attempt`.
    async fn dial(
        &self,
        handoff: &PeerHandoff,
        span: &Span,
        options: &TunnelOptions,
        attempt: Option<Attempt<'_>>,
    ) -> Result<Backend, NetError> {
        let authenticated = handoff.authenticated();
        let grant = authenticated.and_then(|authenticated| authenticated.grant.as_ref());
        if grant.is_some_and(|grant| !grant.still_valid()) {
            return Err(NetError::Revoked);
        }
        let (error, is_for_all) = match self.connect(options).await {
            Ok((stream, address)) => {
                let agreed = Negotiation::new(&stream, &self.security, span, None)
                    .run(handoff.peer_context(address))
                    .await;
                match agreed {
                    Ok(agreed) => {
                        let taken = attempt.map(Attempt::succeeded);
                        return Ok(Backend {
                            stream,
                            agreed,
                            taken,
                        });
                    }
                    Err(failed) => {
                        let before_claims = matches!(
                            failed.stage,
                            Stage::Greeting | Stage::PlainWelcome | Stage::CurveWelcome
                        );
                        (failed.error, before_claims)
                    }
                }
            }
            Err(error) => (error, true),
        };
        if let Some(attempt) = attempt {
            attempt.failed(&error, is_for_all);
        }
        Err(error)
    }

    async fn connect(&self, options: &TunnelOptions) -> Result<(Stream, PeerAddress), NetError> {
        let stream = stream::connect(&self.endpoint, &options.sockets).await?;
        let address = stream.peer().map_err(NetError::io("connect"))?.address;
        if self.is_clear {
            options.require_trusted(&self.endpoint, &address)?;
        }
        Ok((stream, address))
    }
}
