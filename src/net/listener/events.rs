//! The events of a listener: accepted peers and refusals. The queue of refusals is bounded, because
//! any stranger can cause one.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credential;
use crate::access::domain::Domain;
use crate::error::{Error, Stage};
use crate::host::subject::Subject;
use crate::lock::lock;
use crate::mechanism::session::PeerContext;
use crate::net::connection::handle::Connection;
use crate::net::error::NetError;
use crate::status::Denied;
use crate::with_causes::WithCauses;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;
use tokio::sync::Notify;
use tracing::field::display;

/// One outcome of a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// An authenticated peer. Boxed because it is much larger than a refusal.
    Accepted(Box<Connection>),
    /// A peer that was refused, left, or was too slow.
    Refused(Refusal),
}

/// A peer whose handshake did not succeed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// When the handshake ended, by the system's clock.
    pub at: SystemTime,
    /// The peer's address.
    pub address: PeerAddress,
    /// The peer's TCP port; `None` for ipc.
    pub port: Option<u16>,
    /// The domain under which policy was asked; `None` if policy was not asked.
    pub domain: Option<Domain>,
    /// What identifies the peer: the CURVE key that it has proven to hold, known to policy or not,
    /// or the name of a PLAIN user that policy knows. `None` if nothing was proven. A name that
    /// policy does not know is left out, because it may be a password in the wrong place.
    pub credential: Option<Credential>,
    /// What the handshake was waiting for.
    pub stage: Stage,
    /// Why it failed.
    pub error: NetError,
}

impl Refusal {
    pub(crate) fn new(
        context: &PeerContext,
        subject: Subject,
        stage: Stage,
        error: NetError,
    ) -> Self {
        Self {
            at: SystemTime::now(),
            address: context.address.clone(),
            port: context.port,
            domain: subject.domain,
            credential: subject.credential,
            stage,
            error,
        }
    }

    /// The denial by policy or by a bound on connections; `None` if the handshake failed for
    /// another reason.
    #[must_use]
    pub const fn denied(&self) -> Option<&Denied> {
        match self.error.protocol() {
            Some(Error::Denied(denied)) => Some(denied),
            _ => None,
        }
    }

    /// The rule that denied the peer, in words, if the handler says which.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.denied()?.rule()
    }

    /// Writes the one log line of this refusal. It is a warning if our own side needs attention:
    /// see [`Denied::needs_attention`].
    pub(crate) fn log(&self) {
        let needs_attention = self.denied().is_some_and(Denied::needs_attention);
        let by = self.denied().and_then(|denied| denied.by.as_ref());
        let policy_version = by.and_then(|by| by.policy_version);
        let address = self.address.with_port(self.port);
        let domain = self.domain.as_ref().map(display);
        let (stage, error) = (self.stage, WithCauses(&self.error));
        let status = self.denied().map(|denied| denied.status.as_str());
        let who = self.credential.as_ref().map(display);
        // A peer that has closed was not refused here: in a tunnel the far side may refuse it.
        let what = match self.error.protocol() {
            Some(Error::ClosedByPeer(_)) => "peer left before the end of its handshake",
            _ => "peer refused",
        };
        if needs_attention {
            tracing::warn!(%address, %stage, domain, who, status, rule = self.rule(), policy_version,
                %error, "{what}");
        } else {
            tracing::info!(%address, %stage, domain, who, status, rule = self.rule(), policy_version,
                %error, "{what}");
        }
    }
}

/// One line for a person: the address, what identifies the peer, the failure with its causes, and the
/// rule that denied the peer, if they are known.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address.with_port(self.port))?;
        if let Some(credential) = &self.credential {
            write!(f, ", {credential}")?;
        }
        write!(f, ": {}", WithCauses(&self.error))?;
        match self.rule() {
            Some(rule) => write!(f, ", by {rule}"),
            None => Ok(()),
        }
    }
}

/// Events between the tasks of a listener and the application.
#[derive(Debug)]
pub(crate) struct Events {
    state: Mutex<State>,
    refusals_kept: usize,
    accept_ahead: usize,
    added: Notify,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Event>,
    /// How many of `waiting` are refusals.
    refusals: usize,
    /// The number of refusals that were dropped before they were read.
    dropped: u64,
    /// The accepting task has ended, so no event follows.
    ended: bool,
}

impl Events {
    pub(crate) fn new(refusals_kept: usize, accept_ahead: usize) -> Self {
        Self {
            state: Mutex::default(),
            refusals_kept,
            accept_ahead: accept_ahead.max(1),
            added: Notify::new(),
            taken: Notify::new(),
        }
    }

    pub(crate) fn accepted(&self, connection: Connection) {
        self.lock()
            .waiting
            .push_back(Event::Accepted(Box::new(connection)));
        self.added.notify_one();
    }

    /// Queues a refusal. If there are too many, drops the oldest one.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let forgotten = {
            let mut state = self.lock();
            state.waiting.push_back(Event::Refused(refusal));
            state.refusals += 1;
            if state.refusals > self.refusals_kept {
                state.refusals -= 1;
                state.dropped = state.dropped.saturating_add(1);
                let oldest = state
                    .waiting
                    .iter()
                    .position(|event| matches!(event, Event::Refused(_)));
                oldest.and_then(|index| state.waiting.remove(index))
            } else {
                None
            }
        };
        drop(forgotten);
        self.added.notify_one();
    }

    /// Notes that no event follows.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.added.notify_one();
    }

    /// The oldest event; `None` once no event follows. Several tasks may wait. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Event> {
        loop {
            {
                let mut state = self.lock();
                let event = state.waiting.pop_front();
                if event.is_some() || state.ended {
                    if matches!(event, Some(Event::Refused(_))) {
                        state.refusals -= 1;
                    }
                    if !state.waiting.is_empty() || state.ended {
                        // One wake-up may stand for two events, so wake the next task too.
                        self.added.notify_one();
                    }
                    self.taken.notify_one();
                    return event;
                }
            }
            self.added.notified().await;
        }
    }

    /// Waits until fewer connections than `accept_ahead` wait for the application. Only one task
    /// may wait.
    pub(crate) async fn room(&self) {
        loop {
            {
                let state = self.lock();
                if state.waiting.len() - state.refusals < self.accept_ahead {
                    return;
                }
            }
            self.taken.notified().await;
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{DenialStatus, DeniedBy};
    use std::net::SocketAddr;

    fn refusal(number: u8) -> Refusal {
        let address = PeerAddress::from_zap(&[b'x', number]);
        let error = NetError::Handshake(Error::Timeout(Stage::Greeting));
        Refusal::new(
            &PeerContext::new(address),
            Subject::default(),
            Stage::Greeting,
            error,
        )
    }

    #[test]
    fn a_refusal_is_one_line_that_says_who_why_and_by_which_rule() {
        let subject = Subject {
            domain: None,
            credential: Some(Credential::UserName("al\"ice\n".into())),
        };
        let denied = Denied {
            status: DenialStatus::Failure,
            reason: "denied".to_owned(),
            by: Some(Box::new(DeniedBy::new("deny 192.0.2.0/24"))),
        };
        let context = PeerContext::from(SocketAddr::from(([192, 0, 2, 1], 4000)));
        let error = NetError::Handshake(Error::Denied(denied));
        assert_eq!(
            Refusal::new(&context, subject, Stage::Verdict, error).to_string(),
            "192.0.2.1:4000, user \"al\\\"ice\\n\": handshake failed: peer denied: 400 denied, by deny \
             192.0.2.0/24"
        );
        assert_eq!(
            refusal(b'y').to_string(),
            "xy: handshake failed: time-out while waiting for greeting"
        );
    }

    async fn number(events: &Events) -> u8 {
        match events.next().await {
            Some(Event::Refused(refusal)) => refusal.address.to_zap()[1],
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn refusals_that_are_not_read_are_dropped_oldest_first_and_counted() {
        let events = Events::new(3, 1);
        for index in 0..10 {
            events.refused(refusal(index));
        }
        assert_eq!(events.dropped(), 7);
        for expected in 7..10 {
            assert_eq!(number(&events).await, expected);
        }
        events.refused(refusal(20));
        assert_eq!((number(&events).await, events.dropped()), (20, 7));
    }

    #[tokio::test]
    async fn each_event_reaches_one_of_several_readers_and_the_end_all() {
        let events = Events::new(1000, 1);
        let read = || async {
            let mut read = 0;
            while events.next().await.is_some() {
                read += 1;
                tokio::task::yield_now().await;
            }
            read
        };
        let write = async {
            for index in 0..100 {
                events.refused(refusal(index));
                if index % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            events.end();
        };
        let (first, second, third, ()) = tokio::join!(read(), read(), read(), write);
        assert_eq!(first + second + third, 100);
    }

    #[tokio::test]
    async fn nothing_kept_means_nothing_read() {
        let events = Events::new(0, 1);
        events.refused(refusal(0));
        events.end();
        assert!(events.next().await.is_none());
    }
}
