//! The handshake of a socket that someone else has written, in one call.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::error::{Error, LocalError};
use crate::handshake::Established;
use crate::host::alarm::AnyClock;
use crate::host::byte_stream::ByteStream;
use crate::host::clock::Clock;
use crate::host::conduct::{Agreed, Conduct, Stop};
use crate::host::failed::Failed;
use crate::host::messages::halves::halves;
use crate::host::messages::reader::MessageReader;
use crate::host::messages::writer::MessageWriter;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::mechanism::session::PeerContext;
use crate::security::Security;
use crate::status::{DenialStatus, Denied};
use crate::traffic::channel::Channel;
use crate::traffic::heartbeat::HeartbeatSettings;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "tokio")]
use crate::host::byte_stream::TokioStream;
#[cfg(feature = "tokio")]
use crate::host::clock::TokioClock;
#[cfg(feature = "tokio")]
use tokio::io::{AsyncRead, AsyncWrite};

impl Security {
    /// Conducts the handshake with the peer at the other end of `stream`, on tokio's runtime.
    ///
    /// It exchanges greetings and commands, asks policy about the peer, and keeps the time-outs of
    /// [`Limits`](crate::Limits): `greeting_timeout`, `handshake_timeout` and `verdict_timeout`. While
    /// policy thinks it notices a peer that leaves, and cancels the question. If our policy refuses
    /// the peer, the peer gets an ERROR and has `linger_timeout` to read it. So it takes at most
    /// `handshake_timeout` and `linger_timeout` together.
    ///
    /// `input` holds what has been read from the peer already, and afterwards what has arrived behind
    /// the handshake: the beginning of the traffic. `stream` may be used again at once. After a failure
    /// `input` is empty, and `stream` is to be closed.
    ///
    /// Dropping the future ends the handshake. What it has read is wiped, and `stream` is to be closed.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use zmtp_auth::PeerContext;
    /// use zmtp_auth::{Config, PeerAddress, Security, SocketType};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let context = || PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    /// let null = |socket_type| {
    ///     let config = Config::builder(socket_type).null().accept_any_peer();
    ///     config.finish().map(Security::from)
    /// };
    /// let (push, pull) = (null(SocketType::Push)?, null(SocketType::Pull)?);
    /// // Any stream of tokio, such as a TcpStream.
    /// let (mut here, mut there) = tokio::io::duplex(1024);
    /// let (mut input, mut input_there) = (BytesMut::new(), BytesMut::new());
    /// let (push, pull) = tokio::join!(
    ///     push.conduct(context(), &mut here, &mut input),
    ///     pull.conduct(context(), &mut there, &mut input_there),
    /// );
    /// assert_eq!(push?.peer().claims.socket_type, Some(SocketType::Pull));
    /// assert_eq!(pull?.peer().claims.socket_type, Some(SocketType::Push));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Failed`] if the handshake fails: [`Failed::kind`] says how.
    #[cfg(feature = "tokio")]
    pub async fn conduct<S: AsyncRead + AsyncWrite + Unpin + ?Sized>(
        &self,
        context: PeerContext,
        stream: &mut S,
        input: &mut BytesMut,
    ) -> Result<Secured, Failed> {
        self.conduct_on(context, &mut TokioStream(stream), &TokioClock, input)
            .await
    }

    /// As `conduct`, over any stream and with any clock. It needs no feature.
    ///
    /// # Errors
    /// Returns [`Failed`] if the handshake fails: [`Failed::kind`] says how.
    pub async fn conduct_on(
        &self,
        context: PeerContext,
        stream: &mut impl ByteStream,
        clock: &impl Clock,
        input: &mut BytesMut,
    ) -> Result<Secured, Failed> {
        let arrived = HandshakeBytes::from(std::mem::take(input));
        let outcome = {
            let mut conduct = Conduct::new(&mut *stream, clock, self, (), arrived);
            match conduct.run(context).await {
                Ok(Stop::Complete(established)) if is_revoked(&established.peer) => {
                    Err(conduct.failed(revoked()))
                }
                Ok(Stop::Complete(established)) => Ok(conduct.agreed(established)),
                // Only a relay pauses, and it is driven by `relay`.
                Ok(Stop::Paused(_)) => {
                    Err(conduct.failed(Error::from(LocalError::MetadataMissing)))
                }
                Err(failure) => Err(failure),
            }
        };
        match outcome {
            Ok(Agreed {
                established,
                input: rest,
            }) => {
                *input = rest;
                let security = self.clone();
                Ok(Secured {
                    established,
                    security,
                    as_messages: false,
                })
            }
            Err(failure) => Err(Failed::after_linger(failure, stream, clock, self.limits()).await),
        }
    }
}

/// Whether the admission was revoked between the verdict and the end of the handshake.
fn is_revoked(peer: &Peer) -> bool {
    peer.grant().is_some_and(|grant| !grant.still_valid())
}

fn revoked() -> Error {
    Error::Denied(Denied {
        status: DenialStatus::Failure,
        reason: "the admission was revoked during the handshake".to_owned(),
        by: None,
    })
}

/// A connection whose handshake is complete. [`Security::conduct_on`] makes one.
#[derive(Debug)]
pub struct Secured {
    established: Box<Established>,
    security: Security,
    /// Subscriptions are messages to the host.
    as_messages: bool,
}

impl Secured {
    /// The peer: what it has proven, and what it claims.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.established.peer
    }

    /// Whether the peer speaks ZMTP 3.0 ([`Established::zmtp_3_0`]).
    #[must_use]
    pub const fn is_zmtp_3_0(&self) -> bool {
        self.established.zmtp_3_0
    }

    /// For a host that handles subscriptions as messages, as ZMTP 3.0 does: the reader and the writer
    /// then convert them ([`Incoming::into_message_3_0`], and for SUB and XSUB
    /// [`Outgoing::from_message_3_0`]). The peer may speak either version.
    ///
    /// [`Incoming::into_message_3_0`]: crate::traffic::Incoming::into_message_3_0
    /// [`Outgoing::from_message_3_0`]: crate::traffic::Outgoing::from_message_3_0
    #[must_use]
    pub const fn with_subscriptions_as_messages(mut self) -> Self {
        self.as_messages = true;
        self
    }

    /// The two halves of the connection, for a host that has buffers and tasks of its own. What has
    /// arrived behind the handshake is read by [`MessageReader::read`] first.
    ///
    /// They have no clock: no PING is sent, and the time that a peer's PING announces is not enforced.
    /// `into_messages_with` (feature `tokio`) and [`Secured::into_messages_on`] do both.
    #[must_use]
    pub fn into_messages(self) -> (MessageReader, MessageWriter) {
        let limits = self.security.limits();
        halves(*self.established, limits, self.as_messages, None)
    }

    /// As [`Secured::into_messages`], with heartbeats, on tokio's runtime.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn into_messages_with(
        self,
        heartbeat: impl Into<Option<HeartbeatSettings>>,
    ) -> (MessageReader, MessageWriter) {
        self.into_messages_on(heartbeat, TokioClock)
    }

    /// As [`Secured::into_messages`], with heartbeats. `heartbeat` enables PINGs to the peer. The writer
    /// sends them when they are due ([`MessageWriter::replies_ready`]), and fails with
    /// [`TrafficError::Silent`](crate::host::TrafficError::Silent) if the peer is silent for too long, by
    /// our settings or by the time that its own PING announces. Silence counts while the host waits for
    /// more bytes, which is after [`MessageReader::read`] has returned `None`.
    #[must_use]
    pub fn into_messages_on(
        self,
        heartbeat: impl Into<Option<HeartbeatSettings>>,
        clock: impl Clock<Sleep: Send + 'static> + Send + Sync + 'static,
    ) -> (MessageReader, MessageWriter) {
        let pulse = (Arc::new(clock) as Arc<dyn AnyClock>, heartbeat.into());
        let limits = self.security.limits();
        halves(*self.established, limits, self.as_messages, Some(pulse))
    }

    /// The peer, and a [`Channel`] for messages to and from it. `input` is what has arrived behind the
    /// handshake, `heartbeat` enables PINGs to the peer.
    #[must_use]
    pub fn into_channel(
        self,
        input: BytesMut,
        heartbeat: Option<HeartbeatSettings>,
        now: Instant,
    ) -> (Peer, Channel) {
        let ours = self.established.socket_type;
        let limits = self.security.limits();
        let (peer, channel) = self.established.into_channel(ours, limits, heartbeat, now);
        (peer, channel.with_input(input))
    }

    /// The parts: what seals, what opens, and the peer.
    #[must_use]
    pub fn into_established(self) -> Established {
        *self.established
    }
}
