//! Every number that bounds what a peer can cost us, each with its reason.
#![forbid(unsafe_code)]

use std::time::Duration;

/// A `with_*` method for each field.
macro_rules! setters {
    ($($with:ident($field:ident: $type:ty),)*) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $with(mut self, $field: $type) -> Self {
                self.$field = $field.into();
                self
            }
        )*
    };
}

/// Bounds on the memory and the time that peers can cost. Every default is safe.
///
/// ```
/// use zmtp_auth::Limits;
///
/// let limits = Limits::default().with_max_message(1024 * 1024);
/// ```
///
/// Values that make no sense, such as a message of no frames, are refused when the configuration
/// is built: see [`ConfigError`](crate::ConfigError).
///
/// The state machines enforce what is about bytes and counts. Time-outs need a clock, so
/// [`Security::conduct_on`](crate::Security::conduct_on) and
/// `host::AuthStream` enforce them. Bounds on connections need a listener, so `net`
/// enforces them. A host has to enforce each field whose file is in a folder that it does not use.
///
/// # Memory of one admitted peer
///
/// A connection keeps what it has received until the application takes it, however slow the
/// application is. It holds at most twice [`max_message`](Self::max_message), 64 bytes for each
/// frame, and 2 MiB. A buffer that grows exists twice for a moment. A tunnel holds at most twice as
/// much in each direction: one message that is being written and one that is being read. Neither
/// holds anything for a peer that is quiet between two messages.
///
/// The figures count memory as it is held, not as it is used. A frame keeps the buffer that it was
/// read into only if it fills at least half of it, or if the buffer has at most 128 KiB and its
/// frames together fill at least half. Other frames are copied. A message that the application
/// keeps therefore holds at most 128 KiB on top of its own bytes, or as much again as its own
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Time within which the peer's 64-byte greeting must be complete, counted from the connection.
    /// 5 s: a greeting costs nothing to send, and a slower peer holds a slot that an honest peer
    /// could use. Enforced in `src/host/conduct.rs`.
    pub greeting_timeout: Duration,
    /// Time for the whole handshake, greeting and verdict included. 30 s, which is libzmq's
    /// default (`ZMQ_HANDSHAKE_IVL`). Enforced in `src/host/conduct.rs`.
    pub handshake_timeout: Duration,
    /// Time within which a ZAP handler, or a provider of an Authenticator, must answer one
    /// question. 10 s: long enough for a slow directory service, and a third of the handshake's
    /// time. A late answer is a refusal with 300. Enforced in `src/zap/router.rs` and
    /// `src/auth/authenticator/handle.rs`.
    pub verdict_timeout: Duration,
    /// Longest body of a handshake command, in bytes. 8 KiB: libzmq sends at most 550 bytes unless
    /// the application adds `X-` properties. At least 276, the shortest INITIATE of CURVE.
    /// Enforced in `src/mechanism/machine.rs`.
    pub max_handshake_command: usize,
    /// Longest message, in bytes of payload, all frames together. 64 MiB: libzmq sets no limit by
    /// default, so this passes large messages and still bounds what one peer can make us hold. With
    /// 0 only empty messages pass. A command may be as long as what the current message has left,
    /// and a PING always passes. Enforced in `src/traffic/frames.rs`.
    pub max_message: usize,
    /// Most frames in one message. 4096: each frame costs about 32 bytes of bookkeeping, however
    /// short it is, so a message of empty frames needs a bound too. At least 1. Enforced in
    /// `src/traffic/frames.rs`.
    pub max_frames: usize,
    /// Most properties in one peer's metadata. 64: libzmq sends two, and applications add a few
    /// `X-` properties. Enforced in `src/mechanism/session.rs`.
    pub max_properties: usize,
    /// Whether to refuse a peer whose identity starts with a zero byte. `false`: RFC 23 and 37
    /// reserve these identities, but libzmq sends and routes them. Enforced in
    /// `src/access/peer.rs`.
    pub refuse_reserved_identity: bool,
    /// Most handshakes in progress on one listener. 8192, so that some thousand clients that all
    /// connect at once, after a restart of the server for example, come through at the first attempt.
    /// Each takes at most 6 KiB of heap, 48 MiB in all. This is 5.2 KiB for a connection that has sent
    /// nothing and 5.8 KiB after a HELLO of CURVE, and a sixth of it is the first buffer. A hostile peer
    /// that sends a longer command takes [`Limits::max_handshake_command`] more at most: 13 KiB, 104 MiB
    /// in all.
    ///
    /// When all slots are taken, a newcomer evicts a handshake that has sent no valid command in the
    /// last 5 s, the oldest of the address that has most of them. One that has keeps its slot, as long
    /// as at most three in four have. A quarter of the file descriptors of the process is for handshakes
    /// alone, of all its listeners together. A listener that is the only one of its process also uses
    /// those that no connection holds, and a tunnel half of them.
    ///
    /// At most three in four handshakes may wait for verdicts. Beyond that, the address with most
    /// waiting handshakes loses its newest one to an address that has fewer, and any other newcomer
    /// is refused with 300. Enforced in `src/net/accept/slots.rs`.
    pub max_pending_handshakes: usize,
    /// Most questions in progress: in one router, and in one Authenticator for its providers and
    /// hashed passwords. 256: far more than a directory service answers at once. When all places are
    /// taken, the address that holds most of them, recent failures included, loses one. A newcomer
    /// whose address holds no less is refused with 300.
    ///
    /// It must be less than [`max_pending_handshakes`](Self::max_pending_handshakes) where policy is
    /// asked: peers that wait for a verdict keep their slots, and some slots must be left for
    /// newcomers. Enforced in `src/zap/bounds.rs`.
    pub max_pending_verdicts: usize,
    /// Most peers whose recent failures one router or Authenticator remembers: PLAIN peers by
    /// address and user, others by address, and as many admitted keys. 4096, 16 times the questions
    /// in progress, at about 100 bytes each. Failures only order the questions when there are more
    /// than places. They never refuse a peer by themselves. Enforced in `src/zap/bounds.rs`.
    pub max_remembered_failures: usize,
    /// Most temporary refusals that one router, or one Authenticator that answers in frames, holds
    /// back at once: see [`ZapReply::hold_back`](crate::zap::ZapReply::hold_back). 256: together with
    /// 256 questions they use half of the pending handshakes and leave the other half to other
    /// peers. Further refusals are sent at once. Enforced in `src/zap/router.rs`
    /// and `src/auth/authenticator/handle.rs`.
    pub max_held_back: usize,
    /// Most established connections of one listener or tunnel. The next one is refused with 300.
    ///
    /// `None` by default: as many as the file descriptors of the process allow. An eighth of the
    /// descriptors, and at least 16, is left to the program, a quarter to handshakes, and the rest
    /// to the connections of all listeners and tunnels. A tunnel's connection takes two descriptors.
    /// A listener reads the soft limit when it binds, and assumes 4096 where the system reports
    /// none. Containers often have a soft limit of 10^9, and memory runs short long before
    /// that, so only 65,536 descriptors are counted on unless a listener or tunnel of the process
    /// sets this bound.
    ///
    /// A peer about which policy is not asked counts from its greeting under NULL. Enforced in
    /// `src/net/accept/connection_limit.rs`.
    pub max_connections: Option<usize>,
    /// Most established connections of one user on one listener or tunnel. The next one is refused
    /// with 300. `None` by default, since only the application knows how many connections an honest
    /// user has.
    ///
    /// A user is a mechanism, a domain and a user id. Peers whose user id is empty or `anonymous`
    /// are not counted, because they cannot be told apart. Loopback and ipc peers are not counted
    /// either, because a proxy may stand for many peers there. Enforced in
    /// `src/net/accept/connection_limit.rs`.
    pub max_connections_per_user: Option<usize>,
    /// Most established connections from one address on one listener or tunnel. The next one is
    /// refused with 300. `None` by default, since many users may share an address. An IPv6 address
    /// stands for its /64. Loopback and ipc peers are not counted, because a proxy may stand for
    /// many peers there. Enforced in `src/net/accept/connection_limit.rs`.
    pub max_connections_per_address: Option<usize>,
    /// Time that a refused peer has to read our ERROR before the connection closes. 1 s: enough for
    /// several round trips, and short enough that peers which never read hold few sockets.
    /// `net::Connection::close` waits as long for the peer to close. The socket is held until
    /// `net::Options::linger`. Enforced in `src/host/linger.rs` and
    /// `src/net/connection/driver.rs`.
    pub linger_timeout: Duration,
    /// Most bytes that are read and discarded from a refused peer during that time. Closing a
    /// socket with unread input resets the connection, and the reset can overtake our ERROR.
    /// 64 KiB: eight handshake commands of the greatest length, so more than an honest peer has
    /// under way. Enforced in `src/host/linger.rs`.
    pub linger_bytes: usize,
    /// Most bytes of traffic that a connection reads ahead of the application, or one message if it
    /// is longer. Each frame counts 64 bytes more. 256 KiB: a fast peer never waits for us, and the
    /// operating system's own buffers are larger. Enforced in `src/net/connection/driver.rs`.
    pub read_ahead: usize,
}

impl Limits {
    /// Most bytes that are reserved at once because a peer announced a frame of that length. From
    /// there on the buffer doubles as bytes arrive. 256 KiB: a frame of ordinary size is read into
    /// one allocation, and an announcement alone costs no more than that.
    /// Enforced in `src/traffic/frames.rs` and `src/traffic/input.rs`.
    pub const MAX_INITIAL_RESERVE: usize = 256 * 1024;

    setters! {
        with_greeting_timeout(greeting_timeout: Duration),
        with_handshake_timeout(handshake_timeout: Duration),
        with_verdict_timeout(verdict_timeout: Duration),
        with_max_handshake_command(max_handshake_command: usize),
        with_max_message(max_message: usize),
        with_max_frames(max_frames: usize),
        with_max_properties(max_properties: usize),
        with_refuse_reserved_identity(refuse_reserved_identity: bool),
        with_max_pending_handshakes(max_pending_handshakes: usize),
        with_max_pending_verdicts(max_pending_verdicts: usize),
        with_max_remembered_failures(max_remembered_failures: usize),
        with_max_held_back(max_held_back: usize),
        with_max_connections(max_connections: impl Into<Option<usize>>),
        with_max_connections_per_user(max_connections_per_user: impl Into<Option<usize>>),
        with_max_connections_per_address(max_connections_per_address: impl Into<Option<usize>>),
        with_linger_timeout(linger_timeout: Duration),
        with_linger_bytes(linger_bytes: usize),
        with_read_ahead(read_ahead: usize),
    }

    /// The first limit that makes no sense, and the reason: no peer could ever be admitted, or sums
    /// of lengths could overflow. `asks` is whether policy is asked about peers. A peer that waits
    /// for its verdict keeps its slot, so if all slots could wait, a handler that hangs would keep
    /// every newcomer out.
    pub(crate) fn first_invalid(&self, asks: bool) -> Option<(&'static str, &'static str)> {
        const NO_TIME: &str = "it must be longer than zero";
        const NONE: &str = "it must be at least 1";
        const ENDLESS: &str = "no buffer has more than isize::MAX bytes";
        let endless = |bytes: usize| isize::try_from(bytes).is_err();
        [
            ("greeting_timeout", self.greeting_timeout.is_zero(), NO_TIME),
            (
                "handshake_timeout",
                self.handshake_timeout.is_zero(),
                NO_TIME,
            ),
            ("verdict_timeout", self.verdict_timeout.is_zero(), NO_TIME),
            (
                "max_handshake_command",
                self.max_handshake_command < MIN_HANDSHAKE_COMMAND,
                "the shortest INITIATE of CURVE has 276 bytes",
            ),
            (
                "max_handshake_command",
                endless(self.max_handshake_command),
                ENDLESS,
            ),
            ("max_message", endless(self.max_message), ENDLESS),
            ("max_frames", self.max_frames == 0, NONE),
            ("max_properties", self.max_properties == 0, NONE),
            (
                "max_pending_handshakes",
                self.max_pending_handshakes == 0,
                NONE,
            ),
            ("max_pending_verdicts", self.max_pending_verdicts == 0, NONE),
            (
                "max_pending_verdicts",
                asks && self.max_pending_verdicts >= self.max_pending_handshakes,
                "it must be less than max_pending_handshakes, so that newcomers find a place",
            ),
            ("max_connections", self.max_connections == Some(0), NONE),
            (
                "max_connections_per_user",
                self.max_connections_per_user == Some(0),
                NONE,
            ),
            (
                "max_connections_per_address",
                self.max_connections_per_address == Some(0),
                NONE,
            ),
            ("linger_bytes", endless(self.linger_bytes), ENDLESS),
            ("read_ahead", endless(self.read_ahead), ENDLESS),
        ]
        .into_iter()
        .find_map(|(limit, is_invalid, why)| is_invalid.then_some((limit, why)))
    }
}

/// Bytes of the shortest INITIATE (RFC 26): 257, and a Socket-Type property of three letters.
const MIN_HANDSHAKE_COMMAND: usize = 276;

impl Default for Limits {
    fn default() -> Self {
        Self {
            greeting_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(30),
            verdict_timeout: Duration::from_secs(10),
            max_handshake_command: 8 * 1024,
            max_message: 64 * 1024 * 1024,
            max_frames: 4096,
            max_properties: 64,
            refuse_reserved_identity: false,
            max_pending_handshakes: 8192,
            max_pending_verdicts: 256,
            max_remembered_failures: 4096,
            max_held_back: 256,
            max_connections: None,
            max_connections_per_user: None,
            max_connections_per_address: None,
            linger_timeout: Duration::from_secs(1),
            linger_bytes: 64 * 1024,
            read_ahead: 256 * 1024,
        }
    }
}
