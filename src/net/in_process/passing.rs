//! The task that passes messages between two sockets of one process.
#![forbid(unsafe_code)]

use crate::net::connection::activity::Activity;
use crate::net::connection::driver::{Loss, State};
use crate::net::connection::queue::consumer::Consumer;
use crate::net::connection::queue::producer::Producer;
use crate::net::connection::queue::run::Queued;
use crate::net::deadline::{deadline, until};
use crate::net::error::NetError;
use crate::traffic::inbox::Incoming;
use crate::traffic::outgoing::Outgoing;
use crate::wire::socket_type::SocketType;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// One of the two sockets, as the task holds it.
pub(crate) struct PassingSide {
    pub(crate) ours: SocketType,
    pub(crate) linger: Duration,
    pub(crate) received: Producer<Incoming>,
    pub(crate) to_send: Consumer<Queued>,
    pub(crate) state: watch::Sender<State>,
    /// The end of the linger time, once the application has closed this side.
    pub(crate) closing_until: Option<Instant>,
}

/// What the task owns.
pub(crate) struct Passing {
    one: PassingSide,
    other: PassingSide,
    activity: Activity,
    /// What is on its way. Empty between two turns.
    batch: VecDeque<(Incoming, usize)>,
}

/// What the application has done to a side, read once in a turn.
#[derive(Clone, Copy)]
struct Seen {
    /// It receives no more.
    has_no_receiver: bool,
    /// It sends no more.
    is_closed: bool,
}

impl Seen {
    const fn is_closing(self) -> bool {
        self.has_no_receiver && self.is_closed
    }
}

/// How one direction waits.
#[derive(Clone, Copy)]
struct Waits {
    /// For something to pass, or for the sender's end. Off if nothing may be passed and the end was seen.
    for_sender: bool,
    /// Whether something may be passed.
    may_pass: bool,
    /// For room, or for the receiver's end. Off if that was seen.
    for_receiver: bool,
    /// The bytes below which there is room, if there is too little.
    level: Option<usize>,
}

/// Which side has ended the connection.
enum PassingEnd {
    /// It was closed, and everything that it has sent was passed on. Both sides may be closed.
    Closed { one: bool, other: bool },
    /// Its linger time is over.
    Overdue { one: bool },
}

impl Passing {
    pub(crate) fn new(one: PassingSide, other: PassingSide) -> Self {
        Self {
            one,
            other,
            activity: Activity::default(),
            batch: VecDeque::new(),
        }
    }

    /// Passes messages until one side is closed. Both states are published before the ends of the
    /// queues are dropped, so that the application finds a reason when a queue ends.
    pub(crate) async fn run(mut self) {
        let (one, other) = match self.pass().await {
            PassingEnd::Closed { one, other } => (
                (!one).then_some(NetError::Closed),
                (!other).then_some(NetError::Closed),
            ),
            PassingEnd::Overdue { one: true } => (Some(NetError::Unsent), Some(NetError::Closed)),
            PassingEnd::Overdue { one: false } => (Some(NetError::Closed), Some(NetError::Unsent)),
        };
        tracing::debug!("connection closed");
        self.one.end(one);
        self.other.end(other);
    }

    async fn pass(&mut self) -> PassingEnd {
        loop {
            tokio::task::coop::consume_budget().await;
            let Self {
                one,
                other,
                activity,
                batch,
            } = self;
            // The application runs on other threads meanwhile. Suppose that a state were read twice, and
            // changed in between: one read would keep an arm off, and the other would not act on it.
            let (seen, other_seen) = (one.seen(), other.seen());
            let forth = pass((one, seen), (other, other_seen), batch, activity);
            let back = pass((other, other_seen), (one, seen), batch, activity);
            let (closing, other_closing) = (seen.is_closing(), other_seen.is_closing());
            let ended = closing && (other_closing || one.to_send.is_finished());
            let other_ended = other_closing && (closing || other.to_send.is_finished());
            if ended || other_ended {
                return PassingEnd::Closed {
                    one: ended,
                    other: other_ended,
                };
            }
            one.begin_linger(closing);
            other.begin_linger(other_closing);
            activity.before_wait();
            let is_busy = activity.is_busy();
            if !is_busy {
                *batch = VecDeque::new();
                one.release();
                other.release();
            }
            let overdue = [one.closing_until, other.closing_until];
            // Each arm only waits. An arm is off while its work could not be done.
            tokio::select! {
                () = one.to_send.ready_if(forth.may_pass, is_busy), if forth.for_sender => {}
                () = other.to_send.ready_if(back.may_pass, is_busy), if back.for_sender => {}
                _ = other.received.below(forth.level), if forth.for_receiver => {}
                _ = one.received.below(back.level), if back.for_receiver => {}
                () = activity.idle() => {}
                () = until(overdue[0]) => return PassingEnd::Overdue { one: true },
                () = until(overdue[1]) => return PassingEnd::Overdue { one: false },
            }
        }
    }
}

impl PassingSide {
    fn seen(&self) -> Seen {
        Seen {
            has_no_receiver: self.received.has_no_consumer(),
            is_closed: self.to_send.is_closed(),
        }
    }

    /// Begins the linger time, unless it has begun.
    fn begin_linger(&mut self, is_closing: bool) {
        if is_closing && self.closing_until.is_none() {
            self.closing_until = Some(deadline(Instant::now(), self.linger));
        }
    }

    /// Frees the memory that only a busy connection needs.
    fn release(&mut self) {
        self.to_send.release();
        self.received.release();
    }

    /// Ends this side, for a reason unless the application has closed it. What has arrived can still be
    /// received. What is queued is dropped, or stays in a queue that outlives the connection.
    fn end(&mut self, reason: Option<NetError>) {
        let mut refused = None;
        // The queue is refused while the state is locked. So a `send` that is refused finds the reason.
        self.state.send_modify(|state| {
            let (all_sent, waiting) = self.to_send.refuse_without_waking();
            refused = Some(waiting);
            let reason = match reason {
                None if !all_sent => Some(NetError::Closed),
                reason => reason,
            };
            *state = State::Ended(match reason {
                Some(reason) => Err(Loss { reason, all_sent }),
                None => Ok(()),
            });
        });
        // A waker is foreign code and may look at the state.
        if let Some(refused) = refused {
            refused.wake();
        }
    }
}

/// Passes on what `from` has queued, as far as `to` has room.
///
/// A closed side takes nothing: what is queued for it stays where it is. A side whose receiving half
/// alone is dropped takes everything, and it is discarded.
fn pass(
    (from, from_seen): (&mut PassingSide, Seen),
    (to, to_seen): (&PassingSide, Seen),
    batch: &mut VecDeque<(Incoming, usize)>,
    activity: &mut Activity,
) -> Waits {
    let mut room = if to_seen.has_no_receiver {
        Room::new(0, to.received.limit(), usize::MAX)
    } else {
        let places = to.received.places();
        Room::new(to.received.occupied(), to.received.limit(), places)
    };
    let mut passed = 0;
    while !to_seen.is_closing()
        && room.is_some()
        && let Some(outgoing) = from.to_send.take()
    {
        let cost = outgoing.cost();
        room.take(cost);
        passed += cost;
        batch.extend(arrival(to.ours, outgoing).map(|incoming| (incoming, cost)));
    }
    activity.count(batch.len(), passed);
    to.received.push_all(batch, activity.is_busy());
    from.to_send.confirm_done();
    let has_room = !to_seen.is_closing() && (to_seen.has_no_receiver || room.is_some());
    let may_pass = has_room && !from.to_send.is_finished();
    Waits {
        for_sender: may_pass || !from_seen.is_closed,
        may_pass,
        for_receiver: !to_seen.has_no_receiver,
        level: (!has_room).then(|| to.received.limit()),
    }
}

/// The room of a queue.
struct Room {
    is_empty: bool,
    bytes: usize,
    places: usize,
}

impl Room {
    const fn new(waiting: usize, limit: usize, places: usize) -> Self {
        Self {
            is_empty: waiting == 0,
            bytes: limit.saturating_sub(waiting),
            places,
        }
    }

    /// Whether one more item may come. An empty queue takes an item of any size.
    const fn is_some(&self) -> bool {
        self.places > 0 && (self.is_empty || self.bytes > 0)
    }

    const fn take(&mut self, cost: usize) {
        self.is_empty = false;
        self.bytes = self.bytes.saturating_sub(cost);
        self.places -= 1;
    }
}

/// What a socket of type `ours` receives of what the other sends. `None` if it takes no such thing,
/// as on a wire.
fn arrival(ours: SocketType, outgoing: Outgoing) -> Option<Incoming> {
    let outgoing = match outgoing {
        // RFC 23, "The Publish-Subscribe Pattern": an XSUB may send subscriptions as messages.
        Outgoing::Message(message) if ours.publishes() => Outgoing::from_message_3_0(message),
        other => other,
    };
    match outgoing {
        Outgoing::Message(message) => ours.receives().then_some(Incoming::Message(message)),
        Outgoing::Subscribe(topic) => ours.publishes().then_some(Incoming::Subscribe(topic)),
        Outgoing::Unsubscribe(topic) => ours.publishes().then_some(Incoming::Unsubscribe(topic)),
        // RFC 48: groups concern a relay alone here.
        Outgoing::Join(_) | Outgoing::Leave(_) => None,
    }
}
