//! One connection of a probe: a handshake by bytes whose steps are timed.
#![forbid(unsafe_code)]

use crate::exit::{Exit, Failure};
use bytes::BytesMut;
use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::Handshake;
use zmtp_auth::net::{Endpoint, Host};
use zmtp_auth::{Config, Error, NoPolicy, PeerAddress, SocketType, Stage};

/// The length of a greeting in bytes (RFC 37).
const GREETING_LEN: usize = 64;

/// How long a relay waits for the type of a NULL socket. A peer that does not wait for our type
/// sends its own within one round trip, and 1 s is many of them.
const PATIENCE_FOR_TYPE: Duration = Duration::from_secs(1);

/// How long a step took.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) ms: f64,
}

/// What a probe has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// The part of the peer's greeting that has arrived.
    greeting: Vec<u8>,
    pub(crate) socket_type: Option<SocketType>,
    pub(crate) steps: Vec<Step>,
}

impl Seen {
    /// RFC 37, "Greeting": the version is the two bytes after the signature.
    pub(crate) fn version(&self) -> Option<String> {
        match self.greeting.get(..12)? {
            [0xFF, .., signature, major, minor] if signature & 1 == 1 => Some(match major {
                // Before ZMTP 3 this byte is a revision, and the next byte is not a minor version.
                0 => "1.0".to_owned(),
                1 | 2 => format!("2.{}", major - 1),
                _ => format!("{major}.{minor}"),
            }),
            _ => None,
        }
    }

    /// RFC 37, "Greeting": the mechanism is the 20 bytes after the version, padded with zeros. `None`
    /// before ZMTP 3 and for other protocols, whose bytes there mean something else.
    pub(crate) fn mechanism(&self) -> Option<String> {
        match self.greeting.get(..11)? {
            [0xFF, .., signature, 3..=255] if signature & 1 == 1 => {}
            _ => return None,
        }
        let name = self.greeting.get(12..32)?;
        let end = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        Some(name[..end].escape_ascii().to_string())
    }

    fn step(&mut self, step: &str, since: Instant) {
        // Three digits after the point, as for people.
        let microseconds = (since.elapsed().as_secs_f64() * 1e6).round();
        self.steps.push(Step {
            step: step.to_owned(),
            ms: microseconds / 1000.0,
        });
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<W: AsyncRead + AsyncWrite + Unpin + Send> Wire for W {}

/// A connection on which nothing was sent yet.
pub(crate) struct Link {
    wire: Box<dyn Wire>,
    seen: Seen,
    /// When the step in progress began.
    since: Instant,
}

impl Link {
    pub(crate) async fn connect(endpoint: &Endpoint, time: Duration) -> Result<Self, Failure> {
        let start = Instant::now();
        let wire = match timeout(time, connect(endpoint)).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) => {
                let why = format_args!("cannot connect to {endpoint}: {error}");
                return Err(Failure::with(Exit::Unreachable, why));
            }
            Err(_) => {
                let why = format_args!("time-out while connecting to {endpoint}");
                return Err(Failure::with(Exit::TimedOut, why));
            }
        };
        let mut seen = Seen::default();
        seen.step("connect", start);
        let since = Instant::now();
        Ok(Self { wire, seen, since })
    }

    /// Runs the handshake until it is complete or fails.
    pub(crate) async fn shake_hands(
        mut self,
        config: &Config<NoPolicy>,
        time: Duration,
    ) -> (Seen, Result<(), Error>) {
        let mut stage = Stage::Greeting;
        let ended = match timeout(time, self.converse(config, &mut stage)).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::Timeout(stage)),
        };
        let name = stage.name();
        let step = match &ended {
            // What was waited for has arrived, and may not suit.
            Ok(()) | Err(Error::Incompatible(_)) => name.to_owned(),
            Err(Error::RefusedByPeer(_)) => format!("ERROR in place of {name}"),
            Err(_) => format!("waited for {name}"),
        };
        self.seen.step(&step, self.since);
        (self.seen, ended)
    }

    async fn converse(&mut self, config: &Config<NoPolicy>, at: &mut Stage) -> Result<(), Error> {
        // Only a server needs the address of its peer.
        let conn = PeerContext::new(PeerAddress::Other(bytes::Bytes::new()));
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let is_relay = config.socket_type() == Some(SocketType::Relay);
        let mut state = Handshake::start(config, conn, &mut out);
        loop {
            // An error shows when reading: the peer may have sent an ERROR before it closed.
            let _ = self.wire.write_all_buf(&mut out).await;
            let waiting = match state {
                Handshake::NeedsInput(waiting) => waiting,
                Handshake::Complete(established) => {
                    self.seen.socket_type = established.peer.claims.socket_type;
                    return Ok(());
                }
                // A relay over NULL has learned the peer's type, and no more is needed.
                Handshake::NeedsMetadata(paused) => {
                    self.seen.socket_type = paused.claims().and_then(|claims| claims.socket_type);
                    return Ok(());
                }
                // Only a side with a policy pauses here.
                Handshake::Authorize(_) => return Err(Error::Timeout(Stage::Verdict)),
            };
            if waiting.stage() != *at {
                self.seen.step(at.name(), self.since);
                *at = waiting.stage();
                self.since = Instant::now();
            }
            let before = input.len();
            state = waiting.process(&mut input, &mut out)?;
            if let Handshake::NeedsInput(waiting) = state {
                if input.len() < before {
                    // Input was consumed, so the stage may have changed.
                    state = Handshake::NeedsInput(waiting);
                    continue;
                }
                let _ = self.wire.write_all_buf(&mut out).await;
                let had = input.len();
                let reading = self.wire.read_buf(&mut input);
                let read = if is_relay && *at == Stage::NullReady {
                    match timeout(PATIENCE_FOR_TYPE, reading).await {
                        Ok(read) => read,
                        Err(_) => return Err(waiting.timed_out()),
                    }
                } else {
                    reading.await
                };
                match read {
                    Ok(0) => return Err(waiting.peer_closed()),
                    Err(_) if waiting.stage() == Stage::CurveWelcome => {
                        return Err(Error::ResetByServer(Stage::CurveWelcome));
                    }
                    Err(_) => return Err(waiting.peer_closed()),
                    Ok(_) => {}
                }
                let missing = GREETING_LEN.saturating_sub(self.seen.greeting.len());
                let news = &input[had..];
                let greeting = &news[..news.len().min(missing)];
                self.seen.greeting.extend_from_slice(greeting);
                state = Handshake::NeedsInput(waiting);
            }
        }
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<Box<dyn Wire>> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let host = match host {
                Host::Ip(ip) => ip.to_string(),
                Host::Scoped(ip, scope) => format!("{ip}%{scope}"),
                Host::Name(name) => name.clone(),
                _ => return Err(io::Error::other("a wildcard cannot be connected to")),
            };
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Endpoint::IpcPath(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(unix)]
        Endpoint::IpcAbstract(name) => {
            let path = format!("\0{name}");
            Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
        }
        #[cfg(not(unix))]
        _ => Err(io::Error::other("there is no ipc on this system")),
        #[cfg(unix)]
        _ => Err(io::Error::other("no such kind of endpoint")),
    }
}
