//! PING and PONG timing without I/O: the caller brings the clock (RFC 37, "Connection
//! Heartbeating").
//!
//! Ask [`Heartbeat::deadline`] when to look again, and [`Heartbeat::poll`] what is due then:
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

/// Longest time to live that we announce: 655 tenths of a second. The field has 16 bits, but
/// libzmq turns it into milliseconds in 16 bits, where more than 655 tenths wrap around.
pub const MAX_TTL: Duration = Duration::from_millis(65_500);

/// Shortest interval between two PINGs; anything below would be a busy loop.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Time that [`Expiry::OnceAnswered`] gives a peer that may be held up by messages it has not
/// taken. A libzmq socket with its default high-water mark of 1,000 messages reads again once 500
/// are taken: this is enough for one message a second.
const SLOW_READER: Duration = Duration::from_secs(600);

/// Which peers a heartbeat of ours may close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expiry {
    /// Every peer that is silent for [`HeartbeatSettings::timeout`] after a PING.
    #[default]
    Always,
    /// Only a peer that has answered a PING before on this connection. Some implementations never
    /// answer one, and are as alive as others.
    ///
    /// A peer that takes its messages slowly finds a PING only behind them. So the time-out is ten
    /// minutes, if it was shorter, where a message has gone out that no PONG has confirmed yet.
    /// Until a PING is answered no other is sent.
    OnceAnswered,
}

/// How often to ask a peer whether it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatSettings {
    /// Time between two PINGs of ours; at least 1 ms.
    pub interval: Duration,
    /// Time after a PING in which anything at all must arrive from the peer.
    pub timeout: Duration,
    /// Time to live that our PINGs announce: a peer that hears nothing of us for so long
    /// may close. Sent in whole tenths of a second, at most [`MAX_TTL`]; zero announces none.
    pub ttl: Duration,
    /// Which peers are closed when they do not answer.
    pub expiry: Expiry,
}

impl HeartbeatSettings {
    /// A PING every `interval`, as much time to answer it, no time to live, and
    /// [`Expiry::Always`]: what libzmq does when only its interval is set.
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self {
            interval,
            timeout: interval,
            ttl: Duration::ZERO,
            expiry: Expiry::Always,
        }
    }

    fn ping(&self) -> TrafficCommand {
        let tenths = self.ttl.min(MAX_TTL).as_millis() / 100;
        TrafficCommand::Ping {
            // At most 655, so the conversion cannot fail; it would announce no time to live.
            ttl: u16::try_from(tenths).unwrap_or(0),
            context: Bytes::new(),
        }
    }
}

/// What [`Heartbeat::poll`] wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// Send this PING.
    Ping(TrafficCommand),
    /// The peer is taken for dead: close.
    Close(HeartbeatExpired),
}

/// Which promise a silent peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeartbeatExpired {
    /// Nothing arrived in the time-out after a PING of ours.
    NoAnswer,
    /// Nothing arrived in the time to live that the peer itself announced.
    TtlExpired,
}

/// The clockwork of one connection.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    ours: Option<HeartbeatSettings>,
    next_ping: Option<Instant>,
    /// When the oldest PING that nothing has followed yet must have been answered. With
    /// [`Expiry::OnceAnswered`] it must be followed by a PONG, and other traffic prolongs its time.
    answer_due: Option<Instant>,
    /// The time that the latest PING gave.
    patience: Duration,
    /// A PING of ours that no PONG has answered.
    awaits_pong: bool,
    /// Whether the peer has ever answered one.
    has_answered: bool,
    /// Whether anything but heartbeats went to the peer before the next PING and after the latest
    /// one that it has answered.
    may_have_unread: bool,
    /// The time to live of the peer's latest PING.
    peer_ttl: Option<Duration>,
    last_received: Instant,
    deaf: bool,
}

impl Heartbeat {
    /// Starts the clock. A peer of ZMTP 3.0 (RFC 23) knows no PING, so none is sent to it,
    /// whatever the settings; one that it sends nevertheless counts.
    #[must_use]
    pub fn new(settings: Option<HeartbeatSettings>, zmtp_3_0: bool, now: Instant) -> Self {
        let ours = settings.filter(|_| !zmtp_3_0);
        Self {
            next_ping: ours.and_then(|ours| now.checked_add(ours.interval)),
            ours,
            answer_due: None,
            patience: Duration::ZERO,
            awaits_pong: false,
            has_answered: false,
            may_have_unread: false,
            peer_ttl: None,
            last_received: now,
            deaf: false,
        }
    }

    /// Something arrived. RFC 37: any traffic is a sign of life, not only a PONG; we count every
    /// byte, so that a long frame on a slow line does not pass for silence.
    pub fn received(&mut self, now: Instant) {
        self.last_received = now;
        // Where only a PONG is an answer, no other PING asks before it.
        self.answer_due = match self.answer_due {
            Some(_) if self.is_lenient() => now.checked_add(self.patience),
            _ => None,
        };
    }

    /// The peer sent a PONG.
    pub const fn on_pong(&mut self) {
        self.has_answered = true;
        self.awaits_pong = false;
        self.answer_due = None;
    }

    /// Something that is no heartbeat goes to the peer: it may have to take that first.
    pub const fn on_send(&mut self) {
        self.may_have_unread = true;
    }

    /// The peer sent a PING with this time to live, in tenths of a second; 0 takes back an
    /// earlier one. RFC 37: without traffic for that long, the peer may be taken for dead.
    pub fn on_ping(&mut self, ttl: u16) {
        self.peer_ttl = (ttl > 0).then(|| Duration::from_millis(u64::from(ttl) * 100));
    }

    /// We have stopped reading (back-pressure), so silence means nothing until
    /// [`Heartbeat::listen`].
    pub const fn stop_listening(&mut self) {
        self.deaf = true;
    }

    /// We read again; the peer gets its full time from now on.
    pub fn listen(&mut self, now: Instant) {
        if !self.deaf {
            return;
        }
        self.deaf = false;
        self.last_received = now;
        if self.answer_due.is_some() {
            self.answer_due = now.checked_add(self.patience);
        }
    }

    /// When to call [`Heartbeat::poll`] next; `None`: only after something has changed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let silence = (!self.deaf).then(|| [self.answer_due, self.ttl_due()]);
        silence
            .into_iter()
            .flatten()
            .chain([self.next_ping])
            .flatten()
            .min()
    }

    /// What is due at `now`. Call until it gives `None`.
    pub fn poll(&mut self, now: Instant) -> Option<HeartbeatAction> {
        let is_over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if !self.deaf && is_over(self.answer_due) {
            return Some(HeartbeatAction::Close(HeartbeatExpired::NoAnswer));
        }
        if !self.deaf && is_over(self.ttl_due()) {
            return Some(HeartbeatAction::Close(HeartbeatExpired::TtlExpired));
        }
        let ours = self.ours.filter(|_| is_over(self.next_ping))?;
        self.next_ping = now.checked_add(ours.interval.max(MIN_INTERVAL));
        if self.is_lenient() && self.awaits_pong {
            return None;
        }
        if self.answer_due.is_none() {
            let is_held_up = std::mem::take(&mut self.may_have_unread) && self.is_lenient();
            self.patience = match is_held_up {
                true => ours.timeout.max(SLOW_READER),
                false => ours.timeout,
            };
            let counts = !self.is_lenient() || self.has_answered;
            self.answer_due = now.checked_add(self.patience).filter(|_| counts);
        }
        self.awaits_pong = true;
        Some(HeartbeatAction::Ping(ours.ping()))
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
        let mut settings = HeartbeatSettings::every(SECOND * interval);
        settings.timeout = SECOND * timeout;
        Some(settings)
    }

    fn at(start: Instant, seconds: u32) -> Instant {
        start + SECOND * seconds
    }

    #[test]
    fn a_ping_goes_out_every_interval_whatever_arrives() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings(2, 1), false, start);
        for round in 1..5 {
            heartbeat.received(at(start, 2 * round - 1));
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
        // Later PINGs do not extend the time that the first one gave.
        assert_eq!(heartbeat.deadline(), Some(at(start, 4)));
        assert_eq!(
            heartbeat.poll(at(start, 4)),
            Some(HeartbeatAction::Close(HeartbeatExpired::NoAnswer))
        );
    }

    fn lenient(interval: u32, timeout: u32) -> Heartbeat {
        let settings = settings(interval, timeout).map(|settings| HeartbeatSettings {
            expiry: Expiry::OnceAnswered,
            ..settings
        });
        Heartbeat::new(settings, false, Instant::now())
    }

    /// What a heartbeat of this start does at each second, `P` for a PING and `D` for dead.
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
        // Nor is other traffic an answer.
        heartbeat.received(heartbeat.last_received + 2000 * SECOND);
        assert_eq!(course(&mut heartbeat, 0..=2000), []);
    }

    #[test]
    fn a_peer_that_has_answered_once_is_dead_when_it_falls_silent() {
        let mut heartbeat = lenient(2, 3);
        let start = heartbeat.last_received;
        assert_eq!(course(&mut heartbeat, 0..=2), [(2, 'P')]);
        heartbeat.received(at(start, 3));
        heartbeat.on_pong();
        // Seconds count from the PONG.
        assert_eq!(course(&mut heartbeat, 0..=9), [(1, 'P'), (4, 'D')]);
    }

    #[test]
    fn what_comes_before_the_pong_prolongs_its_time_and_does_not_end_it() {
        let mut heartbeat = lenient(2, 3);
        let start = heartbeat.last_received;
        heartbeat.on_pong();
        assert_eq!(course(&mut heartbeat, 0..=2), [(2, 'P')]);
        heartbeat.received(at(start, 4));
        assert_eq!(heartbeat.deadline(), Some(at(start, 4)));
        assert_eq!(course(&mut heartbeat, 0..=9), [(3, 'D')]);
    }

    #[test]
    fn a_peer_that_may_have_messages_to_take_first_has_ten_minutes() {
        let mut heartbeat = lenient(2, 3);
        heartbeat.on_pong();
        heartbeat.on_send();
        assert_eq!(course(&mut heartbeat, 0..=900), [(2, 'P'), (602, 'D')]);
        // A message behind the PING is no excuse for it, but one for the next.
        let mut heartbeat = lenient(2, 3);
        heartbeat.on_pong();
        assert_eq!(course(&mut heartbeat, 0..=2), [(2, 'P')]);
        heartbeat.on_send();
        assert_eq!(course(&mut heartbeat, 2..=900), [(5, 'D')]);
        heartbeat.on_pong();
        assert_eq!(course(&mut heartbeat, 6..=900), [(6, 'P'), (606, 'D')]);
        // Who has said otherwise waits no longer than was said.
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
        heartbeat.received(at(start, 12));
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
        heartbeat.received(at(start, 1));
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
        heartbeat.stop_listening();
        for second in 1..50 {
            assert!(matches!(
                heartbeat.poll(at(start, second)),
                Some(HeartbeatAction::Ping(_))
            ));
        }
        heartbeat.listen(at(start, 50));
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
            let mut settings = HeartbeatSettings::every(SECOND);
            settings.ttl = Duration::from_millis(ttl);
            assert_eq!(
                settings.ping(),
                TrafficCommand::Ping {
                    ttl: tenths,
                    context: Bytes::new()
                }
            );
        }
    }

    #[test]
    fn settings_without_end_or_without_length_are_harmless() {
        let start = Instant::now();
        let mut endless =
            Heartbeat::new(Some(HeartbeatSettings::every(Duration::MAX)), false, start);
        assert_eq!(endless.poll(at(start, 1)), None);
        assert_eq!(endless.deadline(), None);
        let mut restless = HeartbeatSettings::every(Duration::ZERO);
        restless.timeout = SECOND;
        let mut restless = Heartbeat::new(Some(restless), false, start);
        assert!(restless.poll(start).is_some());
        assert_eq!(restless.poll(start), None);
    }
}
