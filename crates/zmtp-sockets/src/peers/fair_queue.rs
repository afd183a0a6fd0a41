//! Receives from many peers in turn (RFC 30, "The PULL Socket Type"): each turn takes one message
//! of one peer, so no peer can starve another. The work of a turn does not grow with the number of
//! peers.
#![forbid(unsafe_code)]

use crate::peers::admission::{TopicFrame, is_admitted};
use crate::peers::fair_queue::told::Told;
use crate::peers::held::{Held, Inlet};
use crate::peers::news::{Bell, News, PipeId};
use crate::peers::turns::{Turns, turns_of_an_operation};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, ready};
use tokio::task::coop;
use zmtp_auth::net::{Incoming, NetError, TryRecvError};
use zmtp_auth::{Peer, Topics};

pub(crate) mod told;

/// All peers that a socket receives from.
pub(crate) struct FairQueue<D> {
    pub(super) news: News<Inlet<D>>,
    pub(super) slots: Slab<Slot<D>>,
    /// The places of each pipe. A pipe has several connections while an earlier one has messages left.
    places: HashMap<PipeId, Vec<usize>>,
    /// The places that may have a message, in the order of their turns.
    pub(super) turns: Turns,
    /// Who is told of peers.
    told: Option<Told<D>>,
    /// The places of peers that were removed. Their ends come before all turns.
    pub(super) departed: VecDeque<usize>,
    /// The number of the next slot.
    next: u64,
    /// The turns that belong to the last operation still.
    pub(super) counted_turns: u8,
    /// Which frames are topics, if messages are dropped for them.
    pub(super) topic: Option<TopicFrame>,
    /// Messages that were dropped for their topic.
    pub(super) not_permitted: u64,
}

pub(super) struct Slot<D> {
    number: u64,
    pipe: PipeId,
    /// Absent once the peer is removed.
    pub(super) receiver: Option<Held>,
    data: D,
    /// What the peer may publish, by the policy of now.
    pub(super) topics: Topics,
    /// Messages that were dropped for their topic.
    not_permitted: u64,
    bell: Bell,
    /// Whether the connection is to be dropped once nothing more has arrived.
    is_finishing: bool,
}

/// Names the connection in a place, also when the place has another one by now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    place: usize,
    number: u64,
}

/// What a turn brings.
pub(crate) enum Turn<D> {
    /// From the peer in this place, whose data is [`FairQueue::data`].
    Incoming(usize, Incoming),
    /// The connection in this place has ended, and everything that had arrived was received. Or the
    /// peer was removed, with what it had sent. Boxed, so that a message is moved with little else.
    Ended(Box<Ended<D>>),
    /// A message was dropped, because its sender may not publish its topic.
    NotPermitted,
}

/// The end of one connection.
pub(crate) struct Ended<D> {
    /// Where the peer was. No other peer has had the place since.
    pub(crate) place: usize,
    pub(crate) ticket: Ticket,
    pub(crate) pipe: PipeId,
    pub(crate) data: D,
    pub(crate) error: NetError,
}

impl<D: Send + 'static> FairQueue<D> {
    pub(crate) fn new(news: News<Inlet<D>>) -> Self {
        Self {
            news,
            slots: Slab::new(),
            places: HashMap::new(),
            turns: Turns::new(),
            told: None,
            departed: VecDeque::new(),
            next: 0,
            counted_turns: 0,
            topic: None,
            not_permitted: 0,
        }
    }

    /// Drops messages whose topic their sender may not publish. They are counted.
    pub(crate) const fn with_topic_permissions(mut self, topic: TopicFrame) -> Self {
        self.topic = Some(topic);
        self
    }

    /// The number of messages that were dropped for their topic.
    pub(crate) const fn not_permitted(&self) -> u64 {
        self.not_permitted
    }

    /// Tells events of peers.
    pub(crate) fn with_events(mut self, told: Told<D>) -> Self {
        self.told = Some(told);
        self
    }

    /// What the socket knows about the peer in `place`.
    pub(crate) fn data(&self, place: usize) -> &D {
        &self.slots[place].data
    }

    /// As [`FairQueue::data`]. `None` if there is no peer in `place`.
    pub(crate) fn data_mut(&mut self, place: usize) -> Option<&mut D> {
        self.slots.get_mut(place).map(|slot| &mut slot.data)
    }

    /// Names the connection in `place`.
    pub(crate) fn ticket(&self, place: usize) -> Ticket {
        let number = self.slots[place].number;
        Ticket { place, number }
    }

    /// The place of a connection, if it is there.
    pub(crate) fn place(&self, ticket: Ticket) -> Option<usize> {
        let slot = self.slots.get(ticket.place)?;
        let is_it = slot.number == ticket.number && slot.receiver.is_some();
        is_it.then_some(ticket.place)
    }

    /// The places of a peer.
    pub(crate) fn places(&self, pipe: PipeId) -> Vec<usize> {
        self.places.get(&pipe).cloned().unwrap_or_default()
    }

    /// What the socket knows about all peers, with their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &D)> {
        let slots = self.slots.iter();
        slots.map(|(place, slot)| (place, &slot.data))
    }

    /// As [`FairQueue::data_mut`], for all peers.
    pub(crate) fn all_data_mut(&mut self) -> impl Iterator<Item = &mut D> {
        self.slots.iter_mut().map(|(_, slot)| &mut slot.data)
    }

    /// Takes out all peers. What they have sent is dropped.
    pub(crate) fn drain(&mut self) -> Vec<D> {
        self.take_news();
        self.turns = Turns::new();
        self.departed.clear();
        self.places.clear();
        let slots = std::mem::take(&mut self.slots);
        slots.into_iter().map(|(_, slot)| slot.data).collect()
    }

    /// The pipe of the peer in `place`.
    pub(crate) fn pipe(&self, place: usize) -> PipeId {
        self.slots[place].pipe
    }

    /// Whether something may still be received from a pipe.
    pub(crate) fn has(&mut self, pipe: PipeId) -> bool {
        self.take_news();
        self.places.contains_key(&pipe)
    }

    /// Takes one turn. The task of the last call is woken. Cancel-safe: a message stays queued until
    /// it is returned.
    /// A task that receives without end lets other tasks run now and then.
    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn<D>> {
        let operation = match self.counted_turns {
            0 => Some(ready!(coop::poll_proceed(context))),
            _ => None,
        };
        loop {
            if let Some(turn) = self.try_turn() {
                if let Some(operation) = operation {
                    operation.made_progress();
                    self.counted_turns = turns_of_an_operation();
                }
                self.counted_turns -= 1;
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
            if let Some(ended) = self.try_departure() {
                return Some(Turn::Ended(ended));
            }
            let place = self.turns.front()?;
            let Some(Slot {
                receiver: Some(Held { half: receiver, .. }),
                bell,
                is_finishing,
                ..
            }) = self.slots.get_mut(place)
            else {
                self.turns.remove(place);
                continue;
            };
            match receiver.try_recv() {
                Ok(incoming) => return Some(self.received(place, incoming)),
                Err(TryRecvError::Empty) if *is_finishing => {
                    return Some(Turn::Ended(self.end(place, TryRecvError::Empty)));
                }
                Err(TryRecvError::Empty) => {}
                Err(error) => return Some(Turn::Ended(self.end(place, error))),
            }
            // Nothing has arrived. The bell rings when something does.
            bell.silence();
            let mut context = Context::from_waker(&bell.waker);
            match receiver.poll_recv(&mut context) {
                Poll::Pending => self.turns.remove(place),
                Poll::Ready(Ok(incoming)) => return Some(self.received(place, incoming)),
                Poll::Ready(Err(error)) => {
                    let ended = self.end(place, TryRecvError::Ended(error));
                    return Some(Turn::Ended(ended));
                }
            }
        }
    }

    /// The turn of the first peer, which has sent something. It gets the last turn next.
    #[inline]
    pub(super) fn received(&mut self, place: usize, incoming: Incoming) -> Turn<D> {
        self.turns.front_to_back();
        if let Incoming::Message(message) = &incoming
            && let Some(topic) = self.refused_topic(&self.slots[place].topics, message)
        {
            self.drop_for_topic(Some(place), topic);
            return Turn::NotPermitted;
        }
        Turn::Incoming(place, incoming)
    }

    /// Counts a message that is dropped for its topic, and tells it if the peer is in a place still.
    #[cold]
    pub(super) fn drop_for_topic(&mut self, place: Option<usize>, topic: &[u8]) {
        self.not_permitted = self.not_permitted.saturating_add(1);
        let slot = place.and_then(|place| self.slots.get_mut(place));
        if let (Some(slot), Some(told)) = (slot, &self.told) {
            slot.not_permitted = slot.not_permitted.saturating_add(1);
            told.not_permitted(&slot.data, topic, slot.not_permitted);
        }
    }

    /// Takes the end of the next peer that was removed.
    pub(crate) fn try_departure(&mut self) -> Option<Box<Ended<D>>> {
        self.take_news();
        let place = self.departed.pop_front()?;
        Some(self.end(place, TryRecvError::Empty))
    }

    /// Drops a peer with what it has sent. The next turns say so.
    pub(crate) fn remove(&mut self, pipe: PipeId) {
        self.remove_unless(pipe, |_| false);
    }

    fn remove_unless(&mut self, pipe: PipeId, keep: impl Fn(&Peer) -> bool) {
        for place in self.places(pipe) {
            let receiver = self.slots.get_mut(place).map(|slot| &mut slot.receiver);
            let removed = receiver.and_then(|it| it.take_if(|it| !keep(it.half.peer())));
            if removed.is_some() {
                self.departed.push_back(place);
                self.forget(pipe, place);
                self.tell_end_of(self.data(place));
            }
        }
    }

    fn forget(&mut self, pipe: PipeId, place: usize) {
        if let Some(places) = self.places.get_mut(&pipe) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.places.remove(&pipe);
            }
        }
    }

    fn tell_end_of(&self, data: &D) {
        if let Some(told) = &self.told {
            told.all_received(data);
        }
    }

    fn end(&mut self, place: usize, error: TryRecvError) -> Box<Ended<D>> {
        self.turns.remove(place);
        if self.slots[place].receiver.is_some() {
            // A peer that was removed is told already.
            self.tell_end_of(self.data(place));
        }
        let slot = self.slots.remove(place);
        self.forget(slot.pipe, place);
        let error = match error {
            TryRecvError::Ended(error) => error,
            // It was to be dropped.
            _ => NetError::Closed,
        };
        Box::new(Ended {
            place,
            ticket: Ticket {
                place,
                number: slot.number,
            },
            pipe: slot.pipe,
            data: slot.data,
            error,
        })
    }

    /// Wakes the task at the next news. If there are some already, it is woken at once.
    pub(crate) fn wake_by_news(&self, context: &Context<'_>) {
        if !self.news.wait(context) {
            context.waker().wake_by_ref();
        }
    }

    /// Takes new peers in, and drops those that are given up.
    pub(crate) fn take_news(&mut self) {
        let Some(news) = self.news.take() else {
            return;
        };
        for pipe in news.removed {
            self.remove(pipe);
        }
        for pipe in news.withdrawn {
            self.remove_unless(pipe, is_admitted);
        }
        for (pipe, inlets) in news.added {
            for Inlet { receiver, data } in inlets {
                if !is_admitted(receiver.half.peer()) {
                    self.tell_end_of(&data);
                    continue;
                }
                let entry = self.slots.vacant_entry();
                let place = entry.key();
                let bell = self.news.bell(place);
                let topics = if self.topic.is_some() {
                    receiver.half.peer().topics()
                } else {
                    Topics::all()
                };
                let number = self.next;
                self.next += 1;
                entry.insert(Slot {
                    number,
                    pipe,
                    receiver: Some(receiver),
                    data,
                    topics,
                    not_permitted: 0,
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
