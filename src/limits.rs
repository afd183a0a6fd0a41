//! Every number that bounds what a peer can cost us, each with its reason.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Bounds on memory and time. The defaults are safe; change what you must:
///
/// ```
/// use zmtp_auth::Limits;
///
/// let mut limits = Limits::default();
/// limits.max_message = 1024 * 1024;
/// ```
///
/// # What an admitted peer can make us hold
///
/// Memory is counted as it is held: a frame shares the buffer that it was read into only if it is
/// worth at least half of it, or if the buffer is at most 128 KiB and its frames together are. A
/// connection holds for its application, which may receive as slowly as it likes, at most twice
/// [`max_message`](Self::max_message), 64 bytes for each frame, and 2 MiB; a buffer that grows is
/// there twice for a moment. A tunnel holds at most twice that in each direction: one message that
/// is being written, and one that is being read. Both hold nothing of a peer that is quiet between
/// two messages. A message that the application keeps holds at most 128 KiB besides its own bytes,
/// or as much again.
///
/// Durations are enforced by `net`; whoever drives the sans-IO machines himself
/// owns the clock and should bound each handshake by the same figures.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Time in which the peer's 64-byte greeting must be complete. 5 s: it costs the peer
    /// nothing to send, so whoever is slower holds a place that an honest peer could use.
    pub greeting_timeout: Duration,
    /// Time for the whole handshake, greeting and verdict included. 30 s, as in libzmq.
    pub handshake_timeout: Duration,
    /// Time that the ZAP handler has for one verdict. 10 s: inside the handshake's 30 s, and
    /// long enough for a slow directory service.
    pub verdict_timeout: Duration,
    /// Longest command body taken during the handshake, in bytes. 8 KiB: libzmq sends at most
    /// 550 bytes unless the application adds `X-` properties. At least 276, the shortest INITIATE
    /// of CURVE.
    pub max_handshake_command: usize,
    /// Longest message, all its frames together, in bytes of payload. 64 MiB. With 0 only empty
    /// messages pass. A command may be as long as what a message has left, and a PING always
    /// passes.
    pub max_message: usize,
    /// Most frames in one message. 4096: each frame costs some 32 bytes of bookkeeping however
    /// short it is, so a message of empty frames must be bounded too. At least 1.
    pub max_frames: usize,
    /// Most properties in one peer's metadata. 64: libzmq sends two, plus the `X-` ones.
    pub max_properties: usize,
    /// Refuse a peer whose identity starts with a zero byte. RFC 23 and 37 reserve these, but
    /// live libzmq sends and routes them, so the default is to accept.
    pub refuse_reserved_identity: bool,
    /// Handshakes that may be in progress on one listener. 1024, at about 4 KiB of heap each;
    /// when all are taken the oldest of the busiest address makes room. All listeners of a
    /// process together use a quarter of its file descriptors for them at most. Three in four may
    /// wait for verdicts; then the address that has most that wait gives its newest up for one of
    /// an address that has fewer, and any other newcomer is refused with 300.
    pub max_pending_handshakes: usize,
    /// Questions in progress that pause, in one router, and in one Authenticator for its providers
    /// and hashed passwords. 256: far more than a directory service answers at once. When all are
    /// taken, the address that holds most of them, recent failures included, gives one up, and a
    /// newcomer that weighs no less is refused with 300. A configuration that asks wants it below
    /// `max_pending_handshakes`: peers that wait for a verdict keep their places, and must leave
    /// some for newcomers.
    pub max_pending_verdicts: usize,
    /// Peers whose recent failures one router or Authenticator remembers: of PLAIN by address and
    /// user, of other mechanisms by address, and as many keys that were admitted. 4096, 16 times
    /// the questions that may be in progress, at about 100 bytes each. Failures order questions
    /// when there are more than places; they refuse no peer by themselves.
    pub max_remembered_failures: usize,
    /// Temporary refusals held back at once, in one router, and in one Authenticator that answers
    /// in frames: [`ZapReply::hold_back`](crate::zap::ZapReply::hold_back). 256, so that together
    /// with the questions they leave half of the pending handshakes to others; the next is told at
    /// once.
    pub max_held_back: usize,
    /// Established connections of one listener or tunnel; the next is refused with 300. `None`,
    /// the default: as many as the file descriptors of the process allow. An eighth of those, 16
    /// at least, is left to the program, a quarter to handshakes, and the rest to the connections
    /// of all listeners and tunnels; one of a tunnel takes two. What the soft limit is is asked
    /// when a listener binds; where the system says none, it is taken for 4096. More than 65,536
    /// are counted on only if a listener or tunnel of the process sets this bound: containers often
    /// have a soft limit of a thousand million, and memory would run short long before. A peer that
    /// policy is not asked about counts under NULL from its greeting.
    pub max_connections: Option<usize>,
    /// Established connections of one user on one listener or tunnel; the next is refused with
    /// 300. A user is mechanism, domain and user id; peers whose user id is empty or `anonymous`
    /// are not told apart, and not counted. Neither are loopback and ipc, where a proxy may stand
    /// for many. `None` by default: how many connections an honest user has is the application's
    /// to know.
    pub max_connections_per_user: Option<usize>,
    /// Established connections from one address on one listener or tunnel; the next is refused
    /// with 300. An IPv6 address stands for its /64. Loopback and ipc are not counted, where a
    /// proxy may stand for many. `None` by default: many users may share one address.
    pub max_connections_per_address: Option<usize>,
    /// Time in which the peer of a refused handshake may read our ERROR before we close. 1 s.
    pub linger_timeout: Duration,
    /// Bytes discarded while that peer is still sending. 64 KiB.
    pub linger_bytes: usize,
    /// Bytes of traffic a connection reads ahead of the application. 256 KiB, or one message:
    /// enough for a fast peer never to wait for us, and little beside the system's own buffers.
    /// Each message counts 64 bytes more for each of its frames.
    pub read_ahead: usize,
}

impl Limits {
    /// Most bytes reserved at once for a frame because the peer announced them; from there the
    /// buffer doubles with what really arrives, whatever arrived before. 256 KiB.
    pub const MAX_INITIAL_RESERVE: usize = 256 * 1024;

    /// The first limit that makes no sense, and why: with it no peer could ever be admitted, or
    /// sums of lengths could overflow. `asks` is for a configuration that asks: a peer that waits
    /// for its verdict keeps its place among the handshakes, and if all of them could wait, a
    /// handler that hangs would keep every newcomer out.
    pub(crate) fn senseless(&self, asks: bool) -> Option<(&'static str, &'static str)> {
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
        .find_map(|(limit, is_senseless, why)| is_senseless.then_some((limit, why)))
    }
}

/// Bytes of the shortest INITIATE (RFC 26): 257, and a Socket-Type of three letters.
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
            max_pending_handshakes: 1024,
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
