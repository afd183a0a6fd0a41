//! The timing of PING and PONG, without I/O (RFC 37, "Connection Heartbeating"). The caller owns the
//! clock.
//!
//! [`Heartbeat::deadline`] tells when to call [`Heartbeat::poll`], which returns what is due:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use zmtp_auth::traffic::heartbeat::{HeartbeatAction, Heartbeat, HeartbeatSettings, HeartbeatExpired};
//!
//! let second = Duration::from_secs(1);
//! let start = Instant::now();
//! let mut heartbeat = Heartbeat::new(Some(HeartbeatSettings::every(second)), false, start);
//! assert_eq!(heartbeat.poll(start), None);
//! assert!(matches!(heartbeat.poll(start + second), Some(HeartbeatAction::Ping(_))));
//! // Nothing arrives for as long as the interval:
//! assert_eq!(heartbeat.poll(start + 2 * second), Some(HeartbeatAction::Close(HeartbeatExpired::NoAnswer)));
//! ```
#![forbid(unsafe_code)]

use crate::wire::command::TrafficCommand;
use bytes::Bytes;
use std::time::{Duration, Instant};
use thiserror::Error as ThisError;

/// Longest time to live that our PINGs announce: 655 tenths of a second. The field has 16 bits, but
/// libzmq converts it to milliseconds in 16 bits, where more than 655 tenths overflow.
pub const MAX_TTL: Duration = Duration::from_millis(65_500);

/// Shortest interval between two PINGs. A shorter one would keep a processor busy.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Time that [`Expiry::OnceAnswered`] gives a peer that may have messages to take before it finds
/// the PING. A libzmq socket with its default high-water mark of 1,000 messages reads on once 500 are
/// taken. Ten minutes suffice for a program that takes one message a second.
const SLOW_READER: Duration = Duration::from_secs(600);

/// Which peers a heartbeat may close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expiry {
    /// Every peer that is silent for [`HeartbeatSettings::timeout`] after a PING.
    #[default]
    Always,
    /// Only a peer that has answered a PING on this connection before. Some implementations never
    /// answer a PING.
    ///
    /// A peer that takes its messages slowly finds a PING only behind them. So the time-out is at
    /// least ten minutes if a message was sent that no PONG has followed yet. No PING is sent while
    /// another is unanswered.
    OnceAnswered,
}

/// How often to send PINGs, and when a silent peer counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatSettings {
    /// Time between two of our PINGs, at least 1 ms.
    pub interval: Duration,
    /// Time after a PING in which at least one byte must arrive from the peer.
    pub timeout: Duration,
    /// Time to live that our PINGs announce: the peer may close the connection if it receives nothing
    /// for so long. Rounded down to tenths of a second, at most [`MAX_TTL`]. Zero announces none. It should
    /// be longer than the interval, or a PING that is a moment late ends the connection.
    pub ttl: Duration,
    /// Which peers are closed when they do not answer.
    pub expiry: Expiry,
}

impl HeartbeatSettings {
    /// A PING every `interval`, a time-out of the same length, no time to live, and
    /// [`Expiry::Always`]. libzmq does the same if only its interval is set.
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self {
            interval,
            timeout: interval,
            ttl: Duration::ZERO,
            expiry: Expiry::Always,
        }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`ttl`](Self::ttl).
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets [`expiry`](Self::expiry).
    #[must_use]
    pub const fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }
}

/// A PING that announces this time to live.
pub(crate) fn ping(ttl: Duration) -> TrafficCommand {
    let tenths = ttl.min(MAX_TTL).as_millis() / 100;
    TrafficCommand::Ping {
        // At most 655, so the conversion cannot fail.
        ttl: u16::try_from(tenths).unwrap_or(0),
        context: Bytes::new(),
    }
}

/// What [`Heartbeat::poll`] asks the caller to do.
#[must_use = "the host must do what the heartbeat asks for"]
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a host must handle every case")]
pub enum HeartbeatAction {
    /// Send this PING.
    Ping(TrafficCommand),
    /// Close the connection: the peer counts as dead.
    Close(HeartbeatExpired),
}

/// Why a silent peer counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[expect(clippy::exhaustive_enums, reason = "RFC 37 has two reasons")]
pub enum HeartbeatExpired {
    /// Nothing arrived within the time-out after one of our PINGs.
    #[error("the peer did not answer a PING")]
    NoAnswer,
    /// Nothing arrived within the time to live that the peer itself has announced.
    #[error("the peer was silent for longer than it had announced")]
    TtlExpired,
}

/// The heartbeat of one connection.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    ours: Option<HeartbeatSettings>,
    next_ping: Option<Instant>,
    /// When the peer must have answered. It counts from the oldest PING after which nothing has
    /// arrived. With [`Expiry::OnceAnswered`] only a PONG is an answer, and other traffic extends the
    /// time.
    answer_due: Option<Instant>,
    /// The time-out of the latest PING.
    answer_timeout: Duration,
    /// Whether one of our PINGs is unanswered.
    awaits_pong: bool,
    /// Whether the peer has ever answered a PING.
    has_answered: bool,
    /// Whether a message was sent since the latest PING that the peer has answered. The peer may have
    /// to take it before it finds the next PING.
    may_have_unread: bool,
    /// The time to live of the peer's latest PING.
    peer_ttl: Option<Duration>,
    last_received: Instant,
    /// Whether we do not read from the peer now, so that its silence means nothing.
    is_paused: bool,
}

impl Heartbeat {
    /// Starts the clock. A peer of ZMTP 3.0 (RFC 23) knows no PING, so none is sent to it, whatever
    /// the settings. If it sends one, its time to live is enforced.
    #[must_use]
    pub fn new(settings: Option<HeartbeatSettings>, zmtp_3_0: bool, now: Instant) -> Self {
        let ours = settings.filter(|_| !zmtp_3_0);
        Self {
            next_ping: ours.and_then(|ours| now.checked_add(ours.interval)),
            ours,
            answer_due: None,
            answer_timeout: Duration::ZERO,
            awaits_pong: false,
            has_answered: false,
            may_have_unread: false,
            peer_ttl: None,
            last_received: now,
            is_paused: false,
        }
    }

    /// Notes that bytes arrived. RFC 37: any traffic is a sign of life, not only a PONG. Every byte
    /// counts, so that a long frame on a slow line does not look like silence.
    pub fn on_receive(&mut self, now: Instant) {
        self.last_received = now;
        // Where only a PONG is an answer, other traffic extends the time.
        self.answer_due = match self.answer_due {
            Some(_) if self.is_lenient() => now.checked_add(self.answer_timeout),
            _ => None,
        };
    }

    /// Notes that the peer has sent a PONG.
    pub const fn on_pong(&mut self) {
        self.has_answered = true;
        self.awaits_pong = false;
        self.answer_due = None;
    }

    /// Notes that a message is sent to the peer.
    pub const fn on_send(&mut self) {
        self.may_have_unread = true;
    }

    /// Notes that the peer has sent a PING with this time to live, in tenths of a second. 0 takes
    /// back an earlier one. RFC 37: a peer without traffic for that long counts as dead.
    pub fn on_ping(&mut self, ttl: u16) {
        self.peer_ttl = (ttl > 0).then(|| Duration::from_millis(u64::from(ttl) * 100));
    }

    /// Notes that the caller has stopped reading because of back-pressure. The peer's silence means
    /// nothing until [`Heartbeat::resume_reading`].
    pub const fn pause_reading(&mut self) {
        self.is_paused = true;
    }

    /// Notes that the caller reads again. The peer's time starts again at `now`.
    pub fn resume_reading(&mut self, now: Instant) {
        if !self.is_paused {
            return;
        }
        self.is_paused = false;
        self.last_received = now;
        if self.answer_due.is_some() {
            self.answer_due = now.checked_add(self.answer_timeout);
        }
    }

    /// When to call [`Heartbeat::poll`] next. `None` means never, until something changes.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let silence = (!self.is_paused).then(|| [self.answer_due, self.ttl_due()]);
        silence
            .into_iter()
            .flatten()
            .chain([self.next_ping])
            .flatten()
            .min()
    }

    /// Returns what is due at `now`. Call it until it returns `None`.
    pub fn poll(&mut self, now: Instant) -> Option<HeartbeatAction> {
        let is_over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if !self.is_paused && is_over(self.answer_due) {
            return Some(HeartbeatAction::Close(HeartbeatExpired::NoAnswer));
        }
        if !self.is_paused && is_over(self.ttl_due()) {
            return Some(HeartbeatAction::Close(HeartbeatExpired::TtlExpired));
        }
        let ours = self.ours.filter(|_| is_over(self.next_ping))?;
        self.next_ping = now.checked_add(ours.interval.max(MIN_INTERVAL));
        if self.is_lenient() && self.awaits_pong {
            return None;
        }
        if self.answer_due.is_none() {
            let is_slow = std::mem::take(&mut self.may_have_unread) && self.is_lenient();
            self.answer_timeout = match is_slow {
                true => ours.timeout.max(SLOW_READER),
                false => ours.timeout,
            };
            let counts = !self.is_lenient() || self.has_answered;
            self.answer_due = now.checked_add(self.answer_timeout).filter(|_| counts);
        }
        self.awaits_pong = true;
        Some(HeartbeatAction::Ping(ping(ours.ttl)))
    }

    fn is_lenient(&self) -> bool {
        self.ours
            .is_some_and(|ours| ours.expiry == Expiry::OnceAnswered)
    }

    fn ttl_due(&self) -> Option<Instant> {
        self.last_received.checked_add(self.peer_ttl?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(interval: u32, timeout: u32) -> Option<HeartbeatSettings> {
        Some(HeartbeatSettings::every(SECOND * interval).with_timeout(SECOND * timeout))
    }

    fn at(start: Instant, seconds: u32) -> Instant {
        start + SECOND * seconds
    }

    #[test]
    fn a_ping_goes_out_every_interval_whatever_arrives() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings(2, 1), false, start);
        for round in 1..5 {
            heartbeat.on_receive(at(start, 2 * round - 1));
            assert_eq!(heartbeat.deadline(), Some(at(start, 2 * round)));
            assert_eq!(heartbeat.poll(at(start, 2 * round - 1)), None);
            assert!(matches!(
                heartbeat.poll(at(start, 2 * round)),
                Some(HeartbeatAction::Ping(_))
            ));
            assert_eq!(heartbeat.poll(at(start, 2 * round)), None);
        }
    }

    #[test]
    fn a_peer_that_answers_nothing_is_dead_after_the_timeout() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings(1, 3), false, start);
        for second in 1..4 {
            assert!(matches!(
                heartbeat.poll(at(start, second)),
                Some(HeartbeatAction::Ping(_))
            ));
        }
        // Later PINGs do not extend the time-out of the first.
        assert_eq!(heartbeat.deadline(), Some(at(start, 4)));
        assert_eq!(
            heartbeat.poll(at(start, 4)),
            Some(HeartbeatAction::Close(HeartbeatExpired::NoAnswer))
        );
    }

    fn lenient(interval: u32, timeout: u32) -> Heartbeat {
        let settings =
            settings(interval, timeout).map(|settings| settings.with_expiry(Expiry::OnceAnswered));
        Heartbeat::new(settings, false, Instant::now())
    }

    /// What `heartbeat` does at each of these seconds: `P` for a PING, `D` for dead.
    fn course(
        heartbeat: &mut Heartbeat,
        seconds: std::ops::RangeInclusive<u32>,
    ) -> Vec<(u32, char)> {
        let start = heartbeat.last_received;
        let mut course = Vec::new();
        for second in seconds {
            match heartbeat.poll(at(start, second)) {
                Some(HeartbeatAction::Ping(_)) => course.push((second, 'P')),
                Some(HeartbeatAction::Close(_)) => return [&course[..], &[(second, 'D')]].concat(),
                None => {}
            }
        }
        course
    }

    #[test]
    fn a_peer_that_never_answers_is_asked_once_and_stays() {
        let mut heartbeat = lenient(1, 3);
        assert_eq!(course(&mut heartbeat, 0..=2000), [(1, 'P')]);
        // Other traffic is no answer either.
        heartbeat.on_receive(heartbeat.last_received + 2000 * SECOND);
        assert_eq!(course(&mut heartbeat, 0..=2000), []);
    }

    #[test]
    fn a_peer_that_has_answered_once_is_dead_when_it_falls_silent() {
        let mut heartbeat = lenient(2, 3);
        let start = heartbeat.last_received;
        assert_eq!(course(&mut heartbeat, 0..=2), [(2, 'P')]);
        heartbeat.on_receive(at(start, 3));
        heartbeat.on_pong();
        // Seconds count from the PONG.
        assert_eq!(course(&mut heartbeat, 0..=9), [(1, 'P'), (4, 'D')]);
    }

    #[test]
    fn traffic_before_the_pong_extends_its_time_and_does_not_replace_it() {
        let mut heartbeat = lenient(2, 3);
        let start = heartbeat.last_received;
        heartbeat.on_pong();
        assert_eq!(course(&mut heartbeat, 0..=2), [(2, 'P')]);
        heartbeat.on_receive(at(start, 4));
        assert_eq!(heartbeat.deadline(), Some(at(start, 4)));
        assert_eq!(course(&mut heartbeat, 0..=9), [(3, 'D')]);
    }

    #[test]
    fn a_peer_that_may_have_messages_to_take_first_has_ten_minutes() {
        let mut heartbeat = lenient(2, 3);
        heartbeat.on_pong();
        heartbeat.on_send();
        assert_eq!(course(&mut heartbeat, 0..=900), [(2, 'P'), (602, 'D')]);
        // A message that follows the PING extends only the time of the next PING.
        let mut heartbeat = lenient(2, 3);
        heartbeat.on_pong();
        assert_eq!(course(&mut heartbeat, 0..=2), [(2, 'P')]);
        heartbeat.on_send();
        assert_eq!(course(&mut heartbeat, 2..=900), [(5, 'D')]);
        heartbeat.on_pong();
        assert_eq!(course(&mut heartbeat, 6..=900), [(6, 'P'), (606, 'D')]);
        // With `Expiry::Always` the time-out is never extended.
        let mut heartbeat = Heartbeat::new(settings(2, 3), false, Instant::now());
        heartbeat.on_pong();
        heartbeat.on_send();
        assert_eq!(
            course(&mut heartbeat, 0..=900),
            [(2, 'P'), (4, 'P'), (5, 'D')]
        );
    }

    #[test]
    fn anything_received_is_an_answer() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings(10, 3), false, start);
        assert!(heartbeat.poll(at(start, 10)).is_some());
        heartbeat.on_receive(at(start, 12));
        assert_eq!(heartbeat.poll(at(start, 19)), None);
        assert!(matches!(
            heartbeat.poll(at(start, 20)),
            Some(HeartbeatAction::Ping(_))
        ));
    }

    #[test]
    fn zmtp_3_0_peers_get_no_ping() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings(1, 1), true, start);
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(heartbeat.poll(at(start, 1000)), None);
    }

    #[test]
    fn the_peers_ttl_is_enforced_and_its_latest_ping_decides() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(None, false, start);
        heartbeat.on_ping(20);
        assert_eq!(heartbeat.deadline(), Some(at(start, 2)));
        heartbeat.on_receive(at(start, 1));
        assert_eq!(heartbeat.poll(at(start, 2)), None);
        assert_eq!(
            heartbeat.poll(at(start, 3)),
            Some(HeartbeatAction::Close(HeartbeatExpired::TtlExpired))
        );
        heartbeat.on_ping(0);
        assert_eq!(heartbeat.poll(at(start, 1000)), None);
    }

    #[test]
    fn silence_means_nothing_while_we_do_not_read() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings(1, 1), false, start);
        heartbeat.on_ping(10);
        assert!(
            heartbeat
                .poll(at(start, 1))
                .is_some_and(|due| due == HeartbeatAction::Close(HeartbeatExpired::TtlExpired))
        );
        heartbeat.pause_reading();
        for second in 1..50 {
            assert!(matches!(
                heartbeat.poll(at(start, second)),
                Some(HeartbeatAction::Ping(_))
            ));
        }
        heartbeat.resume_reading(at(start, 50));
        assert!(matches!(
            heartbeat.poll(at(start, 50)),
            Some(HeartbeatAction::Ping(_))
        ));
        assert_eq!(heartbeat.deadline(), Some(at(start, 51)));
        assert!(matches!(
            heartbeat.poll(at(start, 51)),
            Some(HeartbeatAction::Close(_))
        ));
    }

    #[test]
    fn a_ttl_never_exceeds_what_libzmq_can_hold() {
        for (ttl, tenths) in [(0, 0), (99, 0), (100, 1), (65_500, 655), (600_000, 655)] {
            let settings = HeartbeatSettings::every(SECOND).with_ttl(Duration::from_millis(ttl));
            assert_eq!(
                ping(settings.ttl),
                TrafficCommand::Ping {
                    ttl: tenths,
                    context: Bytes::new()
                }
            );
        }
    }

    #[test]
    fn settings_with_infinite_or_zero_durations_are_harmless() {
        let start = Instant::now();
        let mut endless =
            Heartbeat::new(Some(HeartbeatSettings::every(Duration::MAX)), false, start);
        assert_eq!(endless.poll(at(start, 1)), None);
        assert_eq!(endless.deadline(), None);
        let restless = HeartbeatSettings::every(Duration::ZERO).with_timeout(SECOND);
        let mut restless = Heartbeat::new(Some(restless), false, start);
        assert!(restless.poll(start).is_some());
        assert_eq!(restless.poll(start), None);
    }
}
