//! Messages in a row that go to the same subscribers. They wait in one place for all of them, so that most
//! messages cost the publisher no work for each subscriber's queue.
#![forbid(unsafe_code)]

use crate::peers::fair_queue::FairQueue;
use crate::topics::subscriber::Subscriber;
use zmtp_auth::net::{Message, MessageRun};

/// The fewest subscribers whose queues share messages. With fewer it saves less than it costs.
const FROM: usize = 4;

/// The longest message that they share: half of what a run holds, so that two fit. The last run is kept
/// while nothing is sent, and then holds little memory.
const LONGEST: usize = 16 * 1024;

/// Sends messages to their audiences, those in a row for one audience together.
#[derive(Default)]
pub(crate) struct Runs {
    /// The places of all who were to get the last message.
    audience: Vec<usize>,
    /// What they have, and what the next message is added to.
    run: Option<MessageRun>,
    /// The places of those that have no room for a whole run. They get each message alone.
    apart: Vec<usize>,
}

impl Runs {
    /// Adds nothing more to the run: what follows has another audience, though its places may be the same.
    pub(crate) fn end(&mut self) {
        self.audience.clear();
        self.run = None;
    }

    /// Sends a message to the subscribers in `places`. One without room misses it.
    ///
    /// It never goes into a run behind which one of them has been sent something else, so all get their
    /// messages in order.
    pub(crate) fn send(
        &mut self,
        subscribers: &mut FairQueue<Subscriber>,
        places: &[usize],
        mut message: Message,
    ) {
        if places.len() > 1 {
            message.share();
        }
        if self.audience != places {
            self.end();
            self.audience.extend_from_slice(places);
            return send_alone(subscribers, places, message);
        }
        if places.len() < FROM || message.size() > LONGEST {
            self.run = None;
            return send_alone(subscribers, places, message);
        }
        let Some(run) = &self.run else {
            return self.begin(subscribers, message);
        };
        let alone = (!self.apart.is_empty()).then(|| message.clone());
        match run.push(message) {
            Ok(()) => {
                if let Some(message) = alone {
                    send_alone(subscribers, &self.apart, message);
                }
            }
            Err(message) => self.begin(subscribers, message),
        }
    }

    /// Begins a run with a message for the same audience as the last one.
    fn begin(&mut self, subscribers: &mut FairQueue<Subscriber>, message: Message) {
        let run = MessageRun::new(message.clone());
        self.apart.clear();
        for place in &self.audience {
            let subscriber = subscribers.data_mut(*place);
            if subscriber.is_some_and(|it| !it.send_run(&run)) {
                self.apart.push(*place);
            }
        }
        send_alone(subscribers, &self.apart, message);
        self.run = Some(run);
    }
}

fn send_alone(subscribers: &mut FairQueue<Subscriber>, places: &[usize], message: Message) {
    let Some((last, others)) = places.split_last() else {
        return;
    };
    for place in others {
        if let Some(subscriber) = subscribers.data_mut(*place) {
            subscriber.send(message.clone());
        }
    }
    if let Some(subscriber) = subscribers.data_mut(*last) {
        subscriber.send(message);
    }
}
