//! What it costs a publisher to find who subscribes to a topic, among a million topics and among a tenth
//! of them. Both are measured in turn, on messages in no order.

use crate::measuring::pairing::{measure, timed};
use crate::output::report::Report;
use std::task::{Context, Waker};
use zmtp_auth::net::Message;
use zmtp_sockets::{Inproc, Pub, SocketOptions, Sub};

const FEW: u32 = 100_000;
const MANY: u32 = 1_000_000;
/// Messages that are made before they are matched. They do not fit into the processor's caches together
/// with the topics that they match.
const MESSAGES: u32 = 4096;

pub fn run(report: &mut Report) {
    let case = format!("sockets, match among {MANY} topics against {FEW}");
    if !report.wants(&case) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (mut many, mut few) = (Publisher::new(MANY).await, Publisher::new(FEW).await);
        let most = MESSAGES as usize;
        let pair = measure(|count| many.run(count), |count| few.run(count), most);
        report.measured(&case, &format!("{FEW} topics"), "ns", pair);
    });
}

/// A publisher whose subscriber, in the same process, has all the topics.
struct Publisher {
    publisher: Pub,
    _subscriber: Sub,
    topics: u32,
    /// The number of the next message.
    next: u32,
}

/// Topics that are spread as names of things are: a common beginning, then digits.
fn topic(number: u32) -> String {
    format!("weather.{:010}", number.wrapping_mul(2_654_435_761))
}

impl Publisher {
    async fn new(topics: u32) -> Self {
        let options = SocketOptions::default()
            .with_max_subscriptions(usize::MAX)
            .with_max_subscription_bytes(usize::MAX);
        let registry = Inproc::new();
        let mut publisher = Pub::with_options(options);
        publisher.bind_inproc(&registry, "topics").unwrap();
        let mut subscriber = Sub::new();
        for number in 0..topics {
            subscriber.subscribe(topic(number));
        }
        subscriber.connect_inproc(&registry, "topics").unwrap();
        let count = |publisher: &mut Pub| {
            let subscriptions = publisher.subscribers().map(|it| it.subscriptions);
            subscriptions.sum::<usize>()
        };
        while count(&mut publisher) < topics as usize {
            tokio::task::yield_now().await;
        }
        Self {
            publisher,
            _subscriber: subscriber,
            topics,
            next: 0,
        }
    }

    /// Asks for room for this many messages, which finds their subscribers and sends nothing.
    fn run(&mut self, count: usize) -> std::time::Duration {
        let messages = (0..count).map(|_| {
            // No number has a common factor with a power of ten, so all topics come once in a round.
            self.next = (self.next + 617_363) % self.topics;
            Message::from(topic(self.next))
        });
        let messages: Vec<_> = messages.collect();
        let mut messages = messages.iter();
        let mut context = Context::from_waker(Waker::noop());
        timed(count, || {
            if let Some(message) = messages.next() {
                assert!(
                    self.publisher
                        .poll_ready_for(message, &mut context)
                        .is_ready()
                );
            }
        })
    }
}
