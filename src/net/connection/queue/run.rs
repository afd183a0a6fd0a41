//! Messages that wait in many queues together.
//!
//! A sender to many connections would lock each queue for each message, and move the cache line of each
//! between processors. A run is put into each queue once, and takes the messages that follow until one of
//! the connections begins to send it. That connection, and all others, then find them in one place.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::net::connection::queue::item::Item;
use crate::traffic::message::Message;
use crate::traffic::outgoing::Outgoing;
use std::fmt;
use std::slice;
use std::sync::{Arc, Mutex, OnceLock};

/// The most messages of a run. More would save little: a run of 64 locks a queue once for 64 messages.
const MOST_MESSAGES: usize = 64;

/// The most that the messages of a run cost together, in bytes. With larger ones the bytes cost more than
/// the queues.
const MOST_BYTES: usize = 32 * 1024;

/// Messages in a row that go to the same connections.
///
/// [`SendHalf::try_send_run`](crate::net::SendHalf::try_send_run) queues it for each connection, and
/// [`MessageRun::push`] adds a message for all of them. A run takes no more messages once one of the
/// connections has begun to send it, or has queued something behind it. The next message then begins another
/// run.
///
/// A run holds at most 64 messages and 32 KiB. Its first message may be longer. As in
/// [`Options::send_ahead`](crate::net::Options::send_ahead), each frame counts for 64 bytes more than its
/// length. In the queue of each connection, a run counts as its messages do.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use zmtp_auth::net::{Connection, Listener};
/// # use zmtp_auth::{Config, SocketType};
/// # let pair = || Config::builder(SocketType::Pair).null().accept_any_peer().finish();
/// # let listener = Listener::bind("tcp://127.0.0.1:*", pair()?).await?;
/// # let one = Connection::connect(listener.local_endpoint(), pair()?).await?;
/// # let mut other = listener.accept().await?;
/// # let (sender, _receiver) = one.split();
/// use zmtp_auth::net::MessageRun;
///
/// let mut senders = [sender];
/// let run = MessageRun::new("first");
/// for sender in &mut senders {
///     sender.try_send_run(&run)?;
/// }
/// // It comes back if a connection was faster, and goes into the next run.
/// assert!(run.push("second").is_ok());
/// # assert_eq!(other.recv_message().await?.frames(), ["first"]);
/// # assert_eq!(other.recv_message().await?.frames(), ["second"]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MessageRun(Arc<State>);

struct State {
    /// What its first message costs.
    first_cost: usize,
    growing: Mutex<Messages>,
    /// All messages, once it grows no more.
    ended: OnceLock<Messages>,
}

#[derive(Default)]
struct Messages {
    /// At least one.
    list: Vec<Outgoing>,
    cost: usize,
}

impl MessageRun {
    /// A run that begins with this message.
    #[must_use]
    pub fn new(first: impl Into<Message>) -> Self {
        let mut messages = Messages::default();
        messages.add(first.into());
        Self(Arc::new(State {
            first_cost: messages.cost,
            growing: Mutex::new(messages),
            ended: OnceLock::new(),
        }))
    }

    /// Adds a message, for all connections that have the run. Does not wait.
    ///
    /// # Errors
    /// Returns the message if the run takes no more.
    pub fn push(&self, message: impl Into<Message>) -> Result<(), Message> {
        let message = message.into();
        let mut growing = lock(&self.0.growing);
        let is_full = growing.list.len() >= MOST_MESSAGES
            || growing.cost.saturating_add(message.cost()) > MOST_BYTES;
        // The lock is held for it, so that nothing is added to what was taken out.
        if is_full || self.0.ended.get().is_some() {
            return Err(message);
        }
        growing.add(message);
        Ok(())
    }

    /// Ends its growth. Returns what it has.
    fn end(&self) -> &Messages {
        if let Some(ended) = self.0.ended.get() {
            return ended;
        }
        let mut growing = lock(&self.0.growing);
        self.0.ended.get_or_init(|| std::mem::take(&mut *growing))
    }
}

impl Messages {
    fn add(&mut self, mut message: Message) {
        // Each connection that has it takes a clone if it has several frames.
        message.share();
        self.cost = self.cost.saturating_add(message.cost());
        self.list.push(Outgoing::Message(message));
    }
}

/// Shows how many messages there are, and not what is in them.
impl fmt::Debug for MessageRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = match self.0.ended.get() {
            Some(ended) => ended.list.len(),
            None => lock(&self.0.growing).list.len(),
        };
        f.debug_struct("MessageRun")
            .field("messages", &messages)
            .finish_non_exhaustive()
    }
}

/// What waits to be sent on a connection.
#[derive(Clone)]
pub(crate) enum Queued {
    One(Outgoing),
    Run(MessageRun),
}

impl Queued {
    /// A run, and what it costs when it is added to a queue: its first message.
    pub(crate) fn run(run: &MessageRun) -> (Self, usize) {
        (Self::Run(run.clone()), run.0.first_cost)
    }

    /// Whether it is one message.
    pub(crate) const fn is_message(&self) -> bool {
        matches!(self, Self::One(Outgoing::Message(_)))
    }
}

impl From<Outgoing> for Queued {
    fn from(outgoing: Outgoing) -> Self {
        Self::One(outgoing)
    }
}

impl From<Message> for Queued {
    fn from(message: Message) -> Self {
        Self::One(message.into())
    }
}

impl Item for Queued {
    type Part = Outgoing;

    const MOST: (usize, usize) = (MOST_MESSAGES, MOST_BYTES);

    fn parts(&self) -> &[Outgoing] {
        match self {
            Self::One(outgoing) => slice::from_ref(outgoing),
            Self::Run(run) => &run.end().list,
        }
    }

    fn into_part(self) -> Option<Outgoing> {
        match self {
            Self::One(outgoing) => Some(outgoing),
            Self::Run(run) => run.end().list.first().cloned(),
        }
    }

    fn end_growth(&self) -> Option<usize> {
        match self {
            Self::One(_) => None,
            Self::Run(run) => Some(run.end().cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::connection::queue::consumer::Consumer;
    use crate::net::connection::queue::pair::{kept_queue, queue};
    use crate::net::connection::queue::producer::{Producer, Rejected};
    use crate::net::connection::queue::shared::Conflated;
    use bytes::Bytes;
    use std::task::{Context, Waker};

    /// What each message of one byte costs.
    const COST: usize = 65;

    fn message(number: u8) -> Message {
        Message::from(vec![number])
    }

    fn pair(limit: usize, messages: usize) -> (Producer<Queued>, Consumer<Queued>) {
        queue(limit, messages, None)
    }

    fn add_to(producer: &Producer<Queued>, run: &MessageRun) -> bool {
        let (item, cost) = Queued::run(run);
        producer.push_growing(item, cost).is_ok()
    }

    fn taken(consumer: &mut Consumer<Queued>) -> Vec<u8> {
        let next = std::iter::from_fn(|| consumer.take());
        next.map(|outgoing| outgoing.single().unwrap()[0]).collect()
    }

    #[test]
    fn a_run_brings_each_queue_all_its_messages_in_order_and_costs_one_push() {
        let pairs = [(); 3].map(|()| pair(usize::MAX, usize::MAX));
        let run = MessageRun::new(message(0));
        for (producer, _) in &pairs {
            assert!(add_to(producer, &run));
        }
        // No queue is locked for these.
        let counted = allocation_counter::measure(|| {
            for number in 1..MOST_MESSAGES as u8 {
                run.push(Bytes::from_static(
                    &NUMBERS[number as usize..=number as usize],
                ))
                .unwrap();
            }
        });
        assert!(counted.count_total <= 6, "{}", counted.count_total);
        assert_eq!(run.push(message(99)), Err(message(99)));
        let expected: Vec<u8> = (0..MOST_MESSAGES as u8).chain([77]).collect();
        for (producer, mut consumer) in pairs {
            assert!(producer.push(Queued::from(message(77)), COST).is_ok());
            assert_eq!(producer.bytes(), COST * expected.len());
            assert_eq!(taken(&mut consumer), expected);
            assert_eq!(producer.bytes(), 0);
        }
    }

    const NUMBERS: [u8; 256] = {
        let mut numbers = [0; 256];
        let mut at = 0;
        while at < 256 {
            numbers[at] = at as u8;
            at += 1;
        }
        numbers
    };

    #[test]
    fn a_run_ends_when_the_first_queue_takes_it_and_the_others_get_the_same() {
        let [(one, mut first), (other, mut second)] = [(); 2].map(|()| pair(100_000, 100));
        let run = MessageRun::new(message(1));
        assert!(add_to(&one, &run) && add_to(&other, &run));
        run.push(message(2)).unwrap();
        assert_eq!(first.take().unwrap().single().unwrap(), &[1][..]);
        assert_eq!(run.push(message(3)), Err(message(3)));
        // Who comes late gets what the others have.
        let (late, mut third) = pair(100_000, 100);
        assert!(add_to(&late, &run));
        for (producer, consumer) in [(&other, &mut second), (&late, &mut third)] {
            assert_eq!(producer.bytes(), 2 * COST);
            assert_eq!(taken(consumer), [1, 2]);
        }
        assert_eq!(taken(&mut first), [2]);
        assert_eq!([one.bytes(), other.bytes(), late.bytes()], [0; 3]);
    }

    #[test]
    fn what_follows_a_run_in_one_queue_ends_it_for_all() {
        let [(one, mut first), (other, mut second)] = [(); 2].map(|()| pair(100_000, 100));
        let run = MessageRun::new(message(1));
        assert!(add_to(&one, &run) && add_to(&other, &run));
        run.push(message(2)).unwrap();
        assert!(one.push_into_room(message(3), COST).is_ok());
        assert!(run.push(message(4)).is_err());
        assert_eq!(
            (taken(&mut first), taken(&mut second)),
            (vec![1, 2, 3], vec![1, 2])
        );
    }

    #[test]
    fn messages_of_runs_count_for_the_bound_of_a_queue_one_by_one() {
        let messages = MOST_MESSAGES + 10;
        let (producer, mut consumer) = pair(usize::MAX, messages);
        let run = MessageRun::new(message(0));
        assert!(add_to(&producer, &run));
        for number in 1..10 {
            run.push(message(number)).unwrap();
        }
        // There is room for one more whole run, and then for single messages alone.
        assert!(add_to(&producer, &MessageRun::new(message(10))));
        assert!(!add_to(&producer, &MessageRun::new(message(0))));
        let mut queued = 11;
        while producer.push_into_room(message(queued as u8), COST).is_ok() {
            queued += 1;
        }
        assert_eq!(queued, messages);
        // Room comes back when a run was taken as a whole.
        let used = consumer.take_some(|parts| {
            assert_eq!(parts.len(), messages);
            Ok::<_, ()>(parts.take(5).count())
        });
        assert_eq!((used, producer.places()), (Ok((5, 0)), 0));
        let rest: Vec<u8> = (5..messages as u8).collect();
        assert_eq!(taken(&mut consumer), rest);
        assert_eq!((producer.places(), producer.bytes()), (messages, 0));
    }

    #[test]
    fn a_run_grows_on_while_a_producer_that_asks_for_room_has_it_in_any_case() {
        let has_room = |producer: &Producer<Queued>| {
            let room = producer.poll_room(&Context::from_waker(Waker::noop()));
            room.is_ready()
        };
        for (limit, messages) in [
            (usize::MAX, MOST_MESSAGES + 2),
            (MOST_BYTES + COST + 1, usize::MAX),
        ] {
            let (producer, _consumer) = pair(limit, messages);
            let run = MessageRun::new(message(0));
            assert!(add_to(&producer, &run));
            for number in 1..MOST_MESSAGES as u8 {
                assert!(has_room(&producer));
                run.push(message(number)).unwrap();
            }
            assert!(has_room(&producer));
            assert!(producer.push_into_room(message(64), COST).is_ok());
        }
        // With less room, what the run has grown by decides.
        for (limit, messages) in [(usize::MAX, MOST_MESSAGES), (MOST_BYTES, usize::MAX)] {
            let (producer, _consumer) = pair(limit, messages);
            let run = MessageRun::new(message(0));
            assert!(add_to(&producer, &run));
            run.push(message(1)).unwrap();
            assert!(has_room(&producer));
            assert!(run.push(message(2)).is_err());
            assert_eq!(producer.bytes(), 2 * COST);
        }
        let (producer, _consumer) = pair(usize::MAX, MOST_MESSAGES);
        let run = MessageRun::new(message(0));
        assert!(add_to(&producer, &run));
        for number in 1..MOST_MESSAGES as u8 {
            run.push(message(number)).unwrap();
        }
        assert!(!has_room(&producer));
    }

    #[test]
    fn the_bytes_of_a_run_are_bounded_and_there_must_be_room_for_them() {
        let (producer, _consumer) = pair(MOST_BYTES + COST, 1000);
        let run = MessageRun::new(message(0));
        assert!(add_to(&producer, &run));
        let half = Message::from(vec![7; MOST_BYTES / 2]);
        run.push(half.clone()).unwrap();
        assert!(run.push(half).is_err());
        assert!(!add_to(&producer, &MessageRun::new(message(0))));
        assert_eq!(producer.bytes(), 2 * COST - 1 + MOST_BYTES / 2);
    }

    #[test]
    fn a_queue_that_conflates_or_outlives_its_consumers_takes_no_run() {
        let is_message: Conflated<Queued> = Some(Queued::is_message);
        let (conflating, _consumer) = queue(100_000, 100, is_message);
        let kept = kept_queue(100_000, 100, None);
        let run = MessageRun::new(message(0));
        assert!(!add_to(&conflating, &run) && !add_to(&kept, &run));
        let (gone, consumer) = pair(100_000, 100);
        drop(consumer);
        let (item, cost) = Queued::run(&run);
        let refused = gone.push_growing(item, cost);
        assert!(matches!(refused, Err(Rejected::Gone(_))));
    }
}
