//! Sends to many peers in turn (RFC 30, "The PUSH Socket Type"): each message goes to the next peer
//! that has room. The work of a message does not grow with the number of peers.
#![forbid(unsafe_code)]

use crate::peers::news::{Bell, News, PipeId, Taken};
use crate::peers::outlet::Outlet;
use crate::peers::sending::Sending;
use crate::peers::turns::Turns;
use slab::Slab;
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use zmtp_auth::net::{Message, TrySendError, TrySendReason};

/// All peers that a socket sends to in turn.
pub(crate) struct RoundRobin {
    news: News<Outlet>,
    slots: Slab<Slot>,
    places: HashMap<PipeId, usize>,
    /// The places that may have room, in the order of their turns.
    turns: Turns,
    /// A message of a sink that found no room, because the peer that had it was lost. It goes first.
    kept: Option<Message>,
}

struct Slot {
    pipe: PipeId,
    outlet: Outlet,
    bell: Bell,
}

impl RoundRobin {
    pub(crate) fn new(news: News<Outlet>) -> Self {
        Self {
            news,
            slots: Slab::new(),
            places: HashMap::new(),
            turns: Turns::new(),
            kept: None,
        }
    }

    /// Gives the message in `message` to the next peer with room, and returns who got it. Waits while
    /// no peer has room. The task of the last call is woken. Cancel-safe: the message stays where it is.
    pub(crate) fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        context: &mut Context<'_>,
    ) -> Poll<PipeId> {
        loop {
            let Some(sent) = message.take() else {
                return Poll::Pending;
            };
            match self.try_send(sent) {
                Ok(pipe) => return Poll::Ready(pipe),
                Err(returned) => *message = Some(returned),
            }
            if self.news.wait(context) {
                return Poll::Pending;
            }
        }
    }

    /// Gives a message to the next peer with room. Waits while no peer has room. Cancel-safe: if the
    /// future is dropped before it is done, the message was not given away.
    pub(crate) async fn send(&mut self, message: Message) {
        let mut message = Some(message);
        poll_fn(|context| self.poll_send(&mut message, context)).await;
    }

    /// Waits until some peer has room.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.give_kept();
            self.take_news();
            while let Some(place) = self.turns.front() {
                let has_room = self.slots.get_mut(place).is_some_and(|slot| {
                    slot.bell.silence();
                    let mut context = Context::from_waker(&slot.bell.waker);
                    matches!(slot.outlet.poll_ready(&mut context), Poll::Ready(Ok(())))
                });
                if has_room {
                    return Poll::Ready(());
                }
                self.turns.remove(place);
            }
            if self.news.wait(context) {
                return Poll::Pending;
            }
        }
    }

    /// Gives a message to the next peer with room, and returns who got it. Returns the message if
    /// no peer has room.
    pub(crate) fn try_send(&mut self, message: Message) -> Result<PipeId, Message> {
        if self.kept.is_some() && !self.give_kept() {
            return Err(message);
        }
        self.give(message)
    }

    /// Takes a message for which [`RoundRobin::poll_ready`] has found room. If the room is gone, the
    /// message is kept. Returns a message that comes without that.
    pub(crate) fn put(&mut self, message: Message) -> Result<(), Message> {
        match self.try_send(message) {
            Err(message) if self.kept.is_none() => self.kept = Some(message),
            Err(message) => return Err(message),
            Ok(_) => {}
        }
        Ok(())
    }

    /// Gives the message that is kept, if there is one. Returns whether none is left.
    fn give_kept(&mut self) -> bool {
        if let Some(message) = self.kept.take() {
            self.kept = self.give(message).err();
        }
        self.kept.is_none()
    }

    fn give(&mut self, mut message: Message) -> Result<PipeId, Message> {
        self.take_news();
        while let Some(place) = self.turns.front() {
            let Some(slot) = self.slots.get_mut(place) else {
                self.turns.remove(place);
                continue;
            };
            loop {
                match slot.outlet.try_send(message) {
                    Ok(()) => {
                        let pipe = slot.pipe;
                        self.turns.front_to_back();
                        return Ok(pipe);
                    }
                    Err(TrySendError {
                        message: returned,
                        reason,
                        ..
                    }) => {
                        message = returned;
                        if !matches!(reason, TrySendReason::Full) {
                            // The peer is gone. Its removal is on its way.
                            break;
                        }
                    }
                }
                slot.bell.silence();
                let mut context = Context::from_waker(&slot.bell.waker);
                match slot.outlet.poll_ready(&mut context) {
                    // Room was made in between.
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                }
            }
            self.turns.remove(place);
        }
        Err(message)
    }

    /// Drops a peer.
    pub(crate) fn remove(&mut self, pipe: PipeId) {
        if let Some(place) = self.places.remove(&pipe) {
            self.turns.remove(place);
            self.slots.remove(place);
        }
    }

    /// Takes out all peers, to close them.
    pub(crate) fn drain(&mut self) -> Vec<Outlet> {
        self.take_news();
        self.turns = Turns::new();
        self.places.clear();
        let slots = std::mem::take(&mut self.slots);
        slots.into_iter().map(|(_, slot)| slot.outlet).collect()
    }

    /// Takes new peers in, and drops those that are given up.
    pub(crate) fn take_news(&mut self) {
        if let Some(news) = self.news.take() {
            self.apply(news);
        }
    }

    fn apply(&mut self, news: Taken<Outlet>) {
        for pipe in news.removed {
            self.remove(pipe);
        }
        for (pipe, outlets) in news.added {
            for outlet in outlets {
                if !outlet.is_admitted() {
                    continue;
                }
                let entry = self.slots.vacant_entry();
                let place = entry.key();
                let bell = self.news.bell(place);
                entry.insert(Slot { pipe, outlet, bell });
                if let Some(before) = self.places.insert(pipe, place) {
                    self.turns.remove(before);
                    self.slots.remove(before);
                }
                self.turns.push_back(place);
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

impl Sending for RoundRobin {
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_ready(context)
    }

    fn poll_queued(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.give_kept() {
            if self.news.wait(context) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_queued(context));
        self.take_news();
        for (_, slot) in &mut self.slots {
            ready!(slot.outlet.poll_sent(context));
        }
        Poll::Ready(())
    }
}
