//! What a listener has to tell: peers that came in, and peers that did not. Bounded on the side
//! that strangers can fill.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::error::Stage;
use crate::net::connection::Connection;
use crate::net::error::NetError;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// One outcome of a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// An authenticated peer. Boxed, for it is much larger than the other.
    Accepted(Box<Connection>),
    /// A peer that was refused, gave up, or was too slow.
    Refused(Refusal),
}

/// A peer that did not come in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// Where it came from.
    pub address: PeerAddress,
    /// What the handshake was waiting for.
    pub stage: Stage,
    /// Why.
    pub error: NetError,
}

impl Refusal {
    pub(crate) const fn new(address: PeerAddress, stage: Stage, error: NetError) -> Self {
        Self {
            address,
            stage,
            error,
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
    /// Refusals that nobody has read and that are gone.
    dropped: u64,
    /// The task that accepts has ended: nothing more will come.
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

    /// Keeps a refusal; if there are too many, the oldest is dropped.
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

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.added.notify_one();
    }

    /// The oldest event; `None` when nothing more will come. Several may wait. Cancel-safe.
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
                        // One wake-up may stand for two events; pass it on.
                        self.added.notify_one();
                    }
                    self.taken.notify_one();
                    return event;
                }
            }
            self.added.notified().await;
        }
    }

    /// Waits until fewer connections than allowed wait to be accepted. One task may wait.
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
        // No code that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn refusal(number: u8) -> Refusal {
        let address = PeerAddress::from_zap(&[b'x', number]);
        let error = NetError::Handshake(Error::Timeout(Stage::Greeting));
        Refusal::new(address, Stage::Greeting, error)
    }

    async fn number(events: &Events) -> u8 {
        match events.next().await {
            Some(Event::Refused(refusal)) => refusal.address.to_zap()[1],
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn refusals_that_nobody_reads_are_dropped_oldest_first_and_counted() {
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
