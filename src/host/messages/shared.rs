//! What the reader and the writer of one connection share: its peer, answers to PINGs, and heartbeats.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::access::revoked::RevocationGuard;
use crate::host::alarm::{Alarm, AnyClock};
use crate::host::traffic_error::TrafficError;
use crate::lock::lock;
use crate::traffic::heartbeat::{Heartbeat, HeartbeatAction};
use crate::traffic::heartbeat_queue::Pings;
use crate::traffic::inbox::Ping;
use bytes::BytesMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Most answers to PINGs that wait to be written. 1,000, which no peer reaches that reads now and then,
/// and which take less memory than one read.
const MAX_ANSWERS: usize = 1000;

/// How long a peer that counts as dead is still listened to: 100 ms. After a pause of the whole
/// process the writer may find the time-out before the reader finds what has arrived.
const GRACE: Duration = Duration::from_millis(100);

/// What the two halves share.
pub(crate) struct Shared {
    pub(crate) peer: Peer,
    /// Set as soon as the admission is revoked.
    revoked: Arc<AtomicBool>,
    replies: Mutex<Replies>,
    /// Present if heartbeats are kept.
    clock: Option<Arc<dyn AnyClock>>,
    /// Sets `revoked`. It may be dropped with the last half.
    _guard: Option<RevocationGuard>,
}

/// Who waits: the writer, or a wait of its own, which may be in another task.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Writer,
    Owned,
}

/// Tasks to wake once the lock is free.
#[derive(Default)]
pub(crate) struct Wakers([Option<Waker>; 2]);

impl Wakers {
    pub(crate) fn wake(self) {
        self.0.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Answers to PINGs, which the reader queues and the writer sends.
#[derive(Default)]
pub(crate) struct Replies {
    pub(crate) pings: Pings,
    /// The tasks that wait for something to be written, or for the end.
    waiting: [Option<Waker>; 2],
    heartbeat: Option<Heartbeat>,
    /// When the peer was found silent.
    silent_since: Option<Instant>,
    /// What the writer waits for.
    alarm: Option<Instant>,
    /// Number of answers and PINGs that were ever queued.
    added: u64,
}

impl Replies {
    pub(crate) fn on_ping(&mut self, ping: &Ping) {
        self.pings.answer(&ping.context);
        self.added += 1;
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.on_ping(ping.ttl);
        }
    }

    /// Registers the task that waits in `place`. The waker before it is for the caller to drop, because that
    /// is foreign code and the lock must be free.
    pub(crate) const fn wait(&mut self, place: Place, waker: Waker) -> Option<Waker> {
        self.waiting[place as usize].replace(waker)
    }

    /// The tasks that wait.
    pub(crate) fn wakers(&mut self) -> Wakers {
        Wakers(std::mem::take(&mut self.waiting))
    }

    /// Number of answers and PINGs that were ever queued.
    pub(crate) const fn added(&self) -> u64 {
        self.added
    }

    /// Whether the peer does not read the answers to its PINGs.
    pub(crate) fn are_too_many(&self) -> bool {
        self.pings.answers() > MAX_ANSWERS
    }

    pub(crate) const fn on_pong(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.on_pong();
        }
    }

    pub(crate) const fn on_send(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.on_send();
        }
    }

    /// When the writer has to look at the heartbeat next. It waits for that from now on.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        self.alarm = match self.silent_since {
            Some(since) => Some(since + GRACE),
            None => self.heartbeat.as_ref().and_then(Heartbeat::deadline),
        };
        self.alarm
    }

    /// Notes whether the host reads from the peer. Returns the tasks that have to wait for less.
    fn note_reading(&mut self, reads: bool, now: Instant) -> Wakers {
        let Some(heartbeat) = &mut self.heartbeat else {
            return Wakers::default();
        };
        if !reads {
            self.silent_since = None;
            heartbeat.pause_reading();
            return Wakers::default();
        }
        heartbeat.resume_reading(now);
        let is_earlier = |due| self.alarm.is_none_or(|alarm| due < alarm);
        match heartbeat.deadline().is_some_and(is_earlier) {
            true => self.wakers(),
            false => Wakers::default(),
        }
    }

    /// Queues a PING that is due.
    ///
    /// # Errors
    /// Returns [`TrafficError::Silent`] if the peer was silent for too long.
    pub(crate) fn beat(&mut self, now: Instant) -> Result<(), TrafficError> {
        let Some(heartbeat) = &mut self.heartbeat else {
            return Ok(());
        };
        while let Some(action) = heartbeat.poll(now) {
            match action {
                HeartbeatAction::Ping(ping) => {
                    self.pings.ours = Some(ping);
                    self.added += 1;
                }
                HeartbeatAction::Close(expired) => {
                    let since = *self.silent_since.get_or_insert(now);
                    if now < since + GRACE {
                        break;
                    }
                    return Err(TrafficError::Silent(expired));
                }
            }
        }
        Ok(())
    }
}

/// What the reader knows about the silence of the peer.
#[derive(Default)]
pub(crate) struct Silence {
    /// Number of bytes that the last read has left in its input.
    left: usize,
    /// The host delivers what it has read, or waits for its writer, so silence means nothing.
    is_paused: bool,
}

impl Silence {
    /// Notes what has arrived since the last read.
    pub(crate) fn before_read(&mut self, input: &BytesMut, shared: &Shared) {
        let Some(now) = shared.now().filter(|_| input.len() > self.left) else {
            return;
        };
        self.left = input.len();
        let mut replies = shared.replies();
        replies.silent_since = None;
        if let Some(heartbeat) = &mut replies.heartbeat {
            heartbeat.on_receive(now);
        }
    }

    /// Notes whether the host now waits for more bytes.
    pub(crate) fn after_read(&mut self, waits: bool, input: &BytesMut, shared: &Shared) {
        self.left = input.len();
        if waits != self.is_paused {
            return;
        }
        self.is_paused = !waits;
        let Some(now) = shared.now() else {
            return;
        };
        let wakers = shared.replies().note_reading(waits, now);
        wakers.wake();
    }
}

impl Shared {
    pub(crate) fn new(
        peer: Peer,
        clock: Option<Arc<dyn AnyClock>>,
        heartbeat: Option<Heartbeat>,
    ) -> Self {
        let revoked = Arc::new(AtomicBool::new(false));
        let guard = peer.grant().map(|grant| {
            let revoked = Arc::clone(&revoked);
            grant.on_revoked(move || revoked.store(true, Ordering::Release))
        });
        Self {
            peer,
            revoked,
            replies: Mutex::new(Replies {
                heartbeat,
                ..Replies::default()
            }),
            clock,
            _guard: guard,
        }
    }

    /// The time, if heartbeats are kept.
    pub(crate) fn now(&self) -> Option<Instant> {
        self.clock.as_ref().map(|clock| clock.now())
    }

    /// An alarm of the clock.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        self.clock.clone().map(Alarm::from)
    }

    pub(crate) fn replies(&self) -> MutexGuard<'_, Replies> {
        lock(&self.replies)
    }

    /// Checks what the issuer of the grant has told.
    pub(crate) fn require_not_revoked(&self) -> Result<(), TrafficError> {
        if self.revoked.load(Ordering::Acquire) {
            return Err(TrafficError::Revoked);
        }
        Ok(())
    }

    /// Asks the issuer of the grant. This also finds the end of a validity that no timer has told.
    pub(crate) fn require_admitted(&self) -> Result<(), TrafficError> {
        self.require_not_revoked()?;
        if self.peer.grant().is_some_and(|grant| !grant.still_valid()) {
            self.revoked.store(true, Ordering::Release);
            return Err(TrafficError::Revoked);
        }
        Ok(())
    }
}
