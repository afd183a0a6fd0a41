//! Receives from many peers in turn (RFC 30, "The PULL Socket Type"): each turn takes one message
//! of one peer, so no peer can starve another. The work of a turn does not grow with the number of
//! peers.
#![forbid(unsafe_code)]

use crate::event::SocketEvent;
use crate::peers::news::{Bell, News, PipeId};
use crate::peers::turns::Turns;
use slab::Slab;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::broadcast;
use tokio::task::coop;
use zmtp_auth::Peer;
use zmtp_auth::net::{Incoming, NetError, RecvHalf, TryRecvError};

/// Where messages of one connection come from, with what the socket knows about its peer.
pub(crate) struct Inlet<D> {
    pub(crate) receiver: RecvHalf,
    pub(crate) data: D,
}

/// All peers that a socket receives from.
pub(crate) struct FairQueue<D> {
    news: News<Inlet<D>>,
    slots: Slab<Slot<D>>,
    /// The places of each pipe. A pipe has several connections while an earlier one has messages left.
    places: HashMap<PipeId, Vec<usize>>,
    /// The places that may have a message, in the order of their turns.
    turns: Turns,
    /// Who is told when everything of a peer was received.
    told: Option<Told<D>>,
}

/// How a socket tells that everything of a peer was received.
struct Told<D> {
    events: broadcast::Sender<SocketEvent>,
    peer_of: fn(&D) -> &Arc<Peer>,
}

struct Slot<D> {
    pipe: PipeId,
    inlet: Inlet<D>,
    bell: Bell,
    /// Whether the connection is to be dropped once nothing more has arrived.
    is_finishing: bool,
}

/// What a turn brings.
pub(crate) enum Turn<D> {
    /// From the peer in this place, whose data is [`FairQueue::data`].
    Incoming(usize, Incoming),
    /// A connection has ended, and everything that had arrived was received.
    Ended(PipeId, D, NetError),
}

impl<D: Send + 'static> FairQueue<D> {
    pub(crate) fn new(news: News<Inlet<D>>) -> Self {
        Self {
            news,
            slots: Slab::new(),
            places: HashMap::new(),
            turns: Turns::new(),
            told: None,
        }
    }

    /// Tells [`SocketEvent::AllReceived`] of each peer.
    pub(crate) fn with_events(
        mut self,
        events: broadcast::Sender<SocketEvent>,
        peer_of: fn(&D) -> &Arc<Peer>,
    ) -> Self {
        self.told = Some(Told { events, peer_of });
        self
    }

    /// What the socket knows about the peer in `place`.
    pub(crate) fn data(&self, place: usize) -> &D {
        &self.slots[place].inlet.data
    }

    /// The pipe of the peer in `place`.
    pub(crate) fn pipe(&self, place: usize) -> PipeId {
        self.slots[place].pipe
    }

    /// Takes one turn. The task of the last call is woken. Cancel-safe: a message stays queued until
    /// it is returned.
    ///
    /// A task that receives without end lets other tasks run now and then.
    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn<D>> {
        let budget = ready!(coop::poll_proceed(context));
        loop {
            if let Some(turn) = self.try_turn() {
                budget.made_progress();
                return Poll::Ready(turn);
            }
            if self.news.wait(context) {
                return Poll::Pending;
            }
        }
    }

    /// Takes one turn without waiting.
    pub(crate) fn try_turn(&mut self) -> Option<Turn<D>> {
        loop {
            self.take_news();
            let place = self.turns.pop_front()?;
            let Some(slot) = self.slots.get_mut(place) else {
                continue;
            };
            match slot.inlet.receiver.try_recv() {
                Ok(incoming) => {
                    self.turns.push_back(place);
                    return Some(Turn::Incoming(place, incoming));
                }
                Err(TryRecvError::Empty) if slot.is_finishing => {
                    return Some(self.end(place, TryRecvError::Empty));
                }
                Err(TryRecvError::Empty) => {}
                Err(error) => return Some(self.end(place, error)),
            }
            // Nothing has arrived. The bell rings when something does.
            slot.bell.silence();
            let mut context = Context::from_waker(&slot.bell.waker);
            match slot.inlet.receiver.poll_recv(&mut context) {
                Poll::Pending => {}
                Poll::Ready(Ok(incoming)) => {
                    self.turns.push_back(place);
                    return Some(Turn::Incoming(place, incoming));
                }
                Poll::Ready(Err(error)) => {
                    return Some(self.end(place, TryRecvError::Ended(error)));
                }
            }
        }
    }

    /// Drops a peer with what it has sent.
    pub(crate) fn remove(&mut self, pipe: PipeId) {
        for place in self.places.remove(&pipe).unwrap_or_default() {
            self.turns.remove(place);
            let slot = self.slots.remove(place);
            self.tell(&slot);
        }
    }

    fn tell(&self, slot: &Slot<D>) {
        if let Some(told) = &self.told {
            let peer = Arc::clone((told.peer_of)(&slot.inlet.data));
            // It fails without a reader, which is fine.
            let _ = told.events.send(SocketEvent::AllReceived { peer });
        }
    }

    fn end(&mut self, place: usize, error: TryRecvError) -> Turn<D> {
        let slot = self.slots.remove(place);
        if let Some(places) = self.places.get_mut(&slot.pipe) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.places.remove(&slot.pipe);
            }
        }
        let error = match error {
            TryRecvError::Ended(error) => error,
            // It was to be dropped.
            _ => NetError::Closed,
        };
        self.tell(&slot);
        Turn::Ended(slot.pipe, slot.inlet.data, error)
    }

    /// Takes new peers in, and drops those that are given up.
    pub(crate) fn take_news(&mut self) {
        let Some(news) = self.news.take() else {
            return;
        };
        for pipe in news.removed {
            self.remove(pipe);
        }
        for (pipe, inlets) in news.added {
            for inlet in inlets {
                let entry = self.slots.vacant_entry();
                let place = entry.key();
                let bell = self.news.bell(place);
                entry.insert(Slot {
                    pipe,
                    inlet,
                    bell,
                    is_finishing: false,
                });
                self.places.entry(pipe).or_default().push(place);
                self.turns.push_back(place);
            }
        }
        for pipe in news.finishing {
            for place in self.places.get(&pipe).cloned().unwrap_or_default() {
                if let Some(slot) = self.slots.get_mut(place) {
                    slot.is_finishing = true;
                    self.turns.push_back(place);
                }
            }
        }
        // A place may have another peer by now, which then gets a turn without need.
        for place in news.ready {
            if self.slots.contains(place) {
                self.turns.push_back(place);
            }
        }
    }
}
