//! The options of a socket other than security: limits, identity, heartbeats, file modes.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use clap::Args;
use std::time::Duration;
use zmtp_auth::config::WantsMechanism;
use zmtp_auth::net::{Endpoint, Options};
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::{Builder, Config, Limits, SocketType};

/// Limits for each peer.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct LimitArguments {
    /// The longest message that a peer may send, over all its frames: a number of bytes, or of KiB,
    /// MiB or GiB with the suffix K, M or G. A peer that sends a longer one is closed. The default is
    /// 64M
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_message: Option<usize>,
    /// The most frames of a message. A peer that sends more is closed. The default is 4096
    #[arg(long, value_name = "NUMBER", value_parser = frames)]
    max_frames: Option<usize>,
    /// How many seconds a handshake may take. The default is 30
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    handshake_timeout: Option<u64>,
}

impl LimitArguments {
    /// The limits that apply.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(bytes) = self.max_message {
            limits.max_message = bytes;
        }
        if let Some(frames) = self.max_frames {
            limits.max_frames = frames;
        }
        if let Some(seconds) = self.handshake_timeout {
            limits.handshake_timeout = Duration::from_secs(seconds);
        }
        limits
    }
}

/// The options of a socket.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct SocketArguments {
    /// The identity to claim (ZMQ_ROUTING_ID), by which a router addresses this socket
    #[arg(long, value_name = "TEXT")]
    identity: Option<String>,
    /// Send a PING at this interval, and close a peer that does not answer within the same time, or
    /// within --heartbeat-timeout
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    heartbeat: Option<u64>,
    /// How long a peer may take to answer a PING, if not the interval of --heartbeat
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "heartbeat",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    heartbeat_timeout: Option<u64>,
    /// Tell the peer with each PING to close the connection if it receives nothing for so long. At
    /// most 65 seconds
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "heartbeat",
        value_parser = clap::value_parser!(u64).range(1..=65)
    )]
    heartbeat_ttl: Option<u64>,
    #[command(flatten)]
    limits: LimitArguments,
}

impl SocketArguments {
    /// A configuration without a mechanism yet.
    ///
    /// # Errors
    /// Returns a usage failure if an identity was given that this type does not send.
    pub(crate) fn builder(
        &self,
        socket_type: SocketType,
    ) -> Result<Builder<WantsMechanism>, Failure> {
        let builder = Config::builder(socket_type).limits(self.limits.limits());
        match &self.identity {
            Some(identity) if socket_type.sends_identity() => {
                Ok(builder.identity(identity.clone()))
            }
            Some(_) => Err(Failure::usage(format_args!(
                "--identity has no effect: a {socket_type} socket sends none; req, dealer and router do"
            ))),
            None => Ok(builder),
        }
    }

    /// Sets the options that were given.
    pub(crate) fn apply(&self, options: &mut Options) {
        options.heartbeat = self.heartbeat.map(|seconds| {
            let mut heartbeat = HeartbeatSettings::every(Duration::from_secs(seconds));
            if let Some(seconds) = self.heartbeat_timeout {
                heartbeat.timeout = Duration::from_secs(seconds);
            }
            if let Some(seconds) = self.heartbeat_ttl {
                heartbeat.ttl = Duration::from_secs(seconds);
            }
            heartbeat
        });
    }

    /// The limits that apply.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.limits()
    }
}

/// What a socket subscribes to.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct TopicArguments {
    /// A topic that a sub or xsub subscribes to: the beginning of the first frames that it wants. May
    /// be given several times; the default is every topic
    #[arg(long, value_name = "TOPIC")]
    subscribe: Vec<String>,
}

impl TopicArguments {
    /// # Errors
    /// Returns a usage failure if a topic was given and a socket of this type does not subscribe.
    pub(crate) fn check(&self, socket_type: SocketType) -> Result<(), Failure> {
        if self.subscribe.is_empty() || socket_type.subscribes() {
            return Ok(());
        }
        Err(Failure::usage(format_args!(
            "--subscribe has no effect: a {socket_type} socket subscribes to nothing"
        )))
    }

    /// The topics that apply.
    pub(crate) fn of(&self, socket_type: SocketType) -> Vec<String> {
        match self.subscribe.as_slice() {
            [] if socket_type.subscribes() => vec![String::new()],
            topics => topics.to_vec(),
        }
    }
}

/// The options of an endpoint that is bound.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct BindArguments {
    /// The mode of the file of an ipc endpoint. Users who may write to the file can connect. The
    /// default is 600: this user only
    #[arg(long, value_name = "MODE", value_parser = mode)]
    ipc_mode: Option<u32>,
    /// The most connections at once. Further peers are refused for now. The default is the number
    /// of file descriptors that the process may have (`ulimit -n`), less a reserve
    #[arg(long, value_name = "NUMBER", value_parser = connections)]
    max_connections: Option<usize>,
    /// The most connections of one user at once. Peers on this machine and peers without a user id
    /// of their own are not counted. The default is no limit
    #[arg(long, value_name = "NUMBER", value_parser = connections)]
    max_connections_per_user: Option<usize>,
    /// The most connections from one address at once. All addresses of an IPv6 /64 count as one.
    /// Peers on this machine are not counted. The default is no limit
    #[arg(long, value_name = "NUMBER", value_parser = connections)]
    max_connections_per_address: Option<usize>,
}

impl BindArguments {
    /// `limits` with the options that were given.
    pub(crate) fn limits(&self, mut limits: Limits) -> Limits {
        limits.max_connections = self.max_connections;
        limits.max_connections_per_user = self.max_connections_per_user;
        limits.max_connections_per_address = self.max_connections_per_address;
        limits
    }

    /// Whether the connections of each user are limited.
    pub(crate) const fn limits_users(&self) -> bool {
        self.max_connections_per_user.is_some()
    }

    /// # Errors
    /// Returns a usage failure if an option has no effect at this endpoint.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        let is_tcp = matches!(endpoint, Endpoint::Tcp { .. });
        let has_file = matches!(endpoint, Endpoint::IpcPath(_));
        let uncounted = "peers on this machine are not counted";
        let without_effect = [
            (self.ipc_mode.is_some() && !has_file)
                .then_some(("--ipc-mode", "the endpoint has no file")),
            (self.max_connections_per_user.is_some() && !is_tcp)
                .then_some(("--max-connections-per-user", uncounted)),
            (self.max_connections_per_address.is_some() && !is_tcp)
                .then_some(("--max-connections-per-address", uncounted)),
        ];
        match without_effect.into_iter().flatten().next() {
            Some((option, why)) => Err(Failure::usage(format_args!(
                "{option} has no effect at {endpoint}: {why}"
            ))),
            None => Ok(()),
        }
    }

    /// Sets the options that were given.
    pub(crate) fn apply(&self, options: &mut Options) {
        if let Some(mode) = self.ipc_mode {
            options.ipc_mode = mode;
        }
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number = positive(digits);
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "it must be a number of bytes, such as 1048576, 64K, 256M or 1G".into())
}

fn frames(text: &str) -> Result<usize, String> {
    positive(text).ok_or_else(|| "it must be a number of frames, 1 or more".into())
}

fn connections(text: &str) -> Result<usize, String> {
    positive(text).ok_or_else(|| "it must be a number of connections, 1 or more".into())
}

/// A number of digits only, and not zero.
fn positive(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.filter(|&number| number > 0)
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|&mode| mode <= 0o777 && !text.starts_with('+'));
    mode.ok_or_else(|| "it must be octal, such as 600, 660 or 666".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    #[test]
    fn heartbeats_have_libzmqs_options() {
        let of = |line: &str| {
            let command = SocketArguments::augment_args(clap::Command::new("socket"));
            let words = std::iter::once("socket").chain(line.split_whitespace());
            let matches = command.try_get_matches_from(words).ok()?;
            let arguments = SocketArguments::from_arg_matches(&matches).ok()?;
            let mut options = Options::default();
            arguments.apply(&mut options);
            Some(options.heartbeat)
        };
        let second = Duration::from_secs(1);
        assert_eq!(of(""), Some(None));
        let every = HeartbeatSettings::every(3 * second);
        assert_eq!(of("--heartbeat 3"), Some(Some(every)));
        let all = every.with_timeout(7 * second).with_ttl(9 * second);
        let line = "--heartbeat 3 --heartbeat-timeout 7 --heartbeat-ttl 9";
        assert_eq!(of(line), Some(Some(all)));
        for bad in [
            "--heartbeat 0",
            "--heartbeat-timeout 7",
            "--heartbeat-ttl 9",
            "--heartbeat 3 --heartbeat-ttl 66",
        ] {
            assert!(of(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_modes_are_read_strictly() {
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        assert_eq!(bytes("3K"), Ok(3072));
        assert_eq!(bytes("256M"), Ok(256 << 20));
        for bad in [
            "",
            "K",
            "0",
            "0M",
            "-1",
            "+1",
            "1.5M",
            "1k",
            "1MB",
            "99999999999999999999G",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(mode("660"), Ok(0o660));
        assert_eq!(mode("0600"), Ok(0o600));
        for bad in ["", "888", "+66", "1777", "rw"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
