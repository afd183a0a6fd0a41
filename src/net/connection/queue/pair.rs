//! How a queue is made, and the tests of its two sides together.
#![forbid(unsafe_code)]

use crate::net::connection::queue::consumer::Consumer;
use crate::net::connection::queue::item::Item;
use crate::net::connection::queue::producer::Producer;
use crate::net::connection::queue::shared::{Conflated, Shared};
use std::sync::Arc;

/// Makes a queue that has room while fewer than `limit` bytes and fewer than `max_items` items wait
/// in it. One item may be larger than all of `limit`: it passes alone. Where `conflated` items follow
/// each other, only the last one waits.
pub(crate) fn queue<T: Item>(
    limit: usize,
    max_items: usize,
    conflated: Conflated<T>,
) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared::new(limit, max_items, conflated, false));
    (Producer::new(Arc::clone(&shared)), Consumer::new(shared))
}

/// The same, without a consumer. [`Producer::attach`] makes one after another.
pub(crate) fn kept_queue<T: Item>(
    limit: usize,
    max_items: usize,
    conflated: Conflated<T>,
) -> Producer<T> {
    Producer::new(Arc::new(Shared::new(limit, max_items, conflated, true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::connection::queue::producer::{Gone, Rejected};
    use crate::net::connection::wake::tests::Counter;
    use std::collections::VecDeque;
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn is_ready(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut context).is_ready()
    }

    #[test]
    fn room_is_counted_in_bytes_and_one_item_of_any_size_passes() {
        let (producer, mut consumer) = queue(10, usize::MAX, None);
        assert!(is_ready(producer.room()));
        producer.push('a', 1000).unwrap();
        assert!(!is_ready(producer.room()));
        assert_eq!(consumer.take(), Some('a'));
        producer.push('b', 9).unwrap();
        assert!(is_ready(producer.room()));
        producer.push('c', 1).unwrap();
        assert!(!is_ready(producer.room()));
        assert_eq!(producer.bytes(), 10);
        assert_eq!((consumer.take(), consumer.take()), (Some('b'), Some('c')));
        assert_eq!((consumer.take(), producer.bytes()), (None, 0));
    }

    #[test]
    fn what_was_pushed_is_taken_after_the_producer_is_gone() {
        let (producer, mut consumer) = queue(10, usize::MAX, None);
        producer.push(1, 1).unwrap();
        drop(producer);
        assert!(!consumer.is_finished());
        assert!(is_ready(consumer.ready(false)));
        assert_eq!(consumer.take(), Some(1));
        assert!(is_ready(consumer.ready(false)));
        assert!(consumer.is_finished());
    }

    #[test]
    fn a_dropped_consumer_frees_everything_and_refuses_more() {
        let (producer, consumer) = queue(10, usize::MAX, None);
        let item = Arc::new(());
        producer.push(Arc::clone(&item), 10).unwrap();
        drop(consumer);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(producer.push(item, 1).is_err());
        assert!(producer.has_no_consumer());
        assert!(is_ready(producer.room()));
    }

    #[test]
    fn a_producer_is_woken_when_its_level_is_reached() {
        let wakes = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let (producer, mut consumer) = queue(100, usize::MAX, None);
        for _ in 0..4 {
            producer.push((), 25).unwrap();
        }
        let wait = |level| {
            let waiting = pin!(producer.below(level));
            assert!(waiting.poll(&mut Context::from_waker(&waker)).is_pending());
        };
        // Without a level it waits for the consumer's end alone.
        wait(None);
        consumer.take();
        assert_eq!(wakes.count(), 0);
        wait(Some(50));
        consumer.take();
        assert_eq!(wakes.count(), 0);
        consumer.take();
        assert_eq!(wakes.count(), 1);
        wait(Some(0));
        consumer.take();
        assert_eq!(wakes.count(), 2);
        wait(None);
        drop(consumer);
        assert_eq!(wakes.count(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_deferred_consumer_is_woken_at_once_by_half_the_limit_or_if_nothing_follows() {
        let turn = async {
            let wakes = Arc::new(Counter::default());
            let waker = Waker::from(Arc::clone(&wakes));
            let (producer, mut consumer) = queue(100, usize::MAX, None);
            let wait = |consumer: &mut Consumer<()>| {
                while consumer.take().is_some() {}
                let waiting = pin!(consumer.ready(true));
                assert!(waiting.poll(&mut Context::from_waker(&waker)).is_pending());
            };
            wait(&mut consumer);
            producer.push((), 49).unwrap();
            assert_eq!(wakes.count(), 0);
            producer.push((), 1).unwrap();
            assert_eq!(wakes.count(), 1);
            wait(&mut consumer);
            producer.push_all(&mut VecDeque::from([((), 1)]), true);
            assert_eq!(wakes.count(), 1);
            producer.push_all(&mut VecDeque::from([((), 1)]), false);
            assert_eq!(wakes.count(), 2);
        };
        tokio::spawn(turn).await.unwrap();
    }

    /// What one poll with `wakes` as waker returns.
    fn poll<T>(wakes: &Arc<Counter>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        let waker = Waker::from(Arc::clone(wakes));
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_producer_learns_when_the_consumer_is_done_with_everything() {
        let wakes = Arc::new(Counter::default());
        let (producer, mut consumer) = queue(100, usize::MAX, None);
        let done = || poll(&wakes, |context| producer.poll_done(context));
        assert_eq!(done(), Some(Ok(())));
        for _ in 0..2 {
            producer.push((), 1).unwrap();
        }
        assert_eq!(done(), None);
        // Neither what waits nor what is taken is done.
        consumer.take();
        consumer.confirm_done();
        consumer.take();
        assert_eq!((done(), wakes.count()), (None, 0));
        consumer.confirm_done();
        assert_eq!((done(), wakes.count()), (Some(Ok(())), 1));
        // The end of the consumer takes back nothing that was done.
        producer.push((), 1).unwrap();
        assert_eq!(done(), None);
        consumer.take();
        consumer.confirm_done();
        drop(consumer);
        assert_eq!((done(), wakes.count()), (Some(Ok(())), 2));
    }

    #[test]
    fn a_producer_learns_that_the_consumer_will_never_be_done() {
        let wakes = Arc::new(Counter::default());
        let (producer, consumer) = queue(100, usize::MAX, None);
        producer.push((), 1).unwrap();
        let done = || poll(&wakes, |context| producer.poll_done(context));
        assert_eq!(done(), None);
        drop(consumer);
        assert_eq!((done(), wakes.count()), (Some(Err(Gone)), 1));
    }

    #[test]
    fn a_closed_queue_takes_nothing_more_and_gives_what_is_left() {
        let (producer, mut consumer) = queue(100, usize::MAX, None);
        producer.push(1, 1).unwrap();
        producer.close();
        assert_eq!(producer.push(2, 1), Err(2));
        assert_eq!(producer.push_into_room(2, 1), Err(Rejected::Gone(2)));
        assert!(is_ready(producer.room()));
        assert!(!consumer.is_finished());
        assert_eq!(consumer.take(), Some(1));
        assert!(consumer.is_finished());
    }

    #[test]
    fn the_last_waker_of_each_side_is_woken() {
        let [first, last] = [(); 2].map(|()| Arc::new(Counter::default()));
        let (producer, mut consumer) = queue(10, usize::MAX, None);
        for wakes in [&first, &last] {
            assert_eq!(poll(wakes, |context| consumer.poll_next(context)), None);
        }
        producer.push((), 10).unwrap();
        assert_eq!((first.count(), last.count()), (0, 1));
        for wakes in [&first, &last] {
            assert_eq!(poll(wakes, |context| producer.poll_room(context)), None);
            assert_eq!(poll(wakes, |context| producer.poll_done(context)), None);
        }
        consumer.take();
        assert_eq!((first.count(), last.count()), (0, 2));
        consumer.confirm_done();
        assert_eq!((first.count(), last.count()), (0, 3));
    }

    #[test]
    fn a_consumer_whose_items_are_withdrawn_waits_for_the_end() {
        let wakes = Arc::new(Counter::default());
        let (producer, mut consumer) = queue(10, usize::MAX, None);
        producer.push((), 1).unwrap();
        producer.discard();
        assert_eq!(poll(&wakes, |context| consumer.poll_next(context)), None);
        drop(producer);
        let end = poll(&wakes, |context| consumer.poll_next(context));
        assert_eq!((end, wakes.count()), (Some(None), 1));
    }

    #[test]
    fn a_refused_queue_discards_its_items_and_refuses_more() {
        let (producer, mut consumer) = queue(10, usize::MAX, None);
        let item = Arc::new(());
        for _ in 0..2 {
            producer.push(Arc::clone(&item), 1).unwrap();
        }
        consumer.take();
        consumer.refuse();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(producer.push_into_room(item, 1).is_err());
        assert_eq!(consumer.take(), None);
        assert!(!consumer.is_finished());
        drop(producer);
        assert!(consumer.is_finished());
    }

    #[tokio::test]
    async fn both_ends_wake_each_other() {
        let (producer, mut consumer) = queue(1, usize::MAX, None);
        let pushing = tokio::spawn(async move {
            for number in 0..1000 {
                producer.room().await.unwrap();
                producer.push(number, 1).unwrap();
            }
            producer.below(Some(0)).await.unwrap();
            producer.bytes()
        });
        for number in 0..1000 {
            let next = poll_fn(|context| consumer.poll_next(context)).await;
            assert_eq!(next, Some(number));
        }
        assert_eq!(pushing.await.unwrap(), 0);
        let end = poll_fn(|context| consumer.poll_next(context)).await;
        assert_eq!(end, None);
    }

    #[test]
    fn room_is_counted_in_items_too() {
        let wakes = Arc::new(Counter::default());
        let (producer, mut consumer) = queue::<i32>(1000, 2, None);
        for number in 1..=2 {
            producer.push_into_room(number, 1).unwrap();
        }
        assert_eq!(producer.push_into_room(3, 1), Err(Rejected::Full(3)));
        assert_eq!(producer.places(), 0);
        assert_eq!(poll(&wakes, |context| producer.poll_room(context)), None);
        assert_eq!(consumer.take(), Some(1));
        assert_eq!((wakes.count(), producer.places()), (1, 1));
        producer.push_into_room(3, 1).unwrap();
        assert_eq!((consumer.take(), consumer.take()), (Some(2), Some(3)));
        assert_eq!(producer.places(), 2);
    }

    #[test]
    fn what_a_consumer_leaves_in_a_kept_queue_the_next_one_takes_in_order() {
        let producer = kept_queue::<i32>(100, 10, None);
        for number in 1..=4 {
            producer.push_into_room(number, 1).unwrap();
        }
        let source = producer.source();
        let (guest, mut first) = source.attach().unwrap();
        assert!(source.attach().is_none());
        assert_eq!(first.take(), Some(1));
        producer.push_into_room(5, 1).unwrap();
        drop(first);
        drop(guest);
        assert_eq!((producer.bytes(), producer.places()), (4, 6));
        let (_guest, mut second) = source.attach().unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| second.take()).collect();
        assert_eq!(taken, [2, 3, 4, 5]);
        assert_eq!((producer.bytes(), producer.places()), (0, 10));
    }

    #[test]
    fn the_end_of_a_guest_ends_its_consumer_and_not_the_queue() {
        let wakes = Arc::new(Counter::default());
        let producer = kept_queue::<i32>(100, 10, None);
        let (guest, mut consumer) = producer.source().attach().unwrap();
        assert_eq!(poll(&wakes, |context| consumer.poll_next(context)), None);
        drop(guest);
        producer.push_into_room(1, 1).unwrap();
        assert!(wakes.count() > 0 && consumer.is_closed() && consumer.is_finished());
        assert_eq!(consumer.take(), None);
        drop(consumer);
        let (_guest, mut next) = producer.source().attach().unwrap();
        assert!(!next.is_closed());
        assert_eq!(next.take(), Some(1));
        // A consumer that has left does not end the next one.
        next.leave_kept();
        let (_guest, mut last) = producer.source().attach().unwrap();
        drop(next);
        producer.push_into_room(2, 1).unwrap();
        assert_eq!(last.take(), Some(2));
    }

    #[test]
    fn a_kept_queue_waits_for_a_consumer_to_send_what_is_left() {
        let wakes = Arc::new(Counter::default());
        let producer = kept_queue::<i32>(100, 10, None);
        let source = producer.source();
        producer.push_into_room(1, 1).unwrap();
        producer.close();
        let done = || poll(&wakes, |context| producer.poll_done(context));
        assert_eq!((done(), source.is_finished()), (None, false));
        let (_guest, mut consumer) = source.attach().unwrap();
        assert_eq!(consumer.take(), Some(1));
        assert_eq!(done(), None);
        // It was taken and is lost with its consumer.
        drop(consumer);
        assert_eq!((done(), source.is_finished()), (Some(Ok(())), true));
    }

    #[test]
    fn items_that_are_pushed_or_used_up_together_are_not_moved() {
        let (producer, mut consumer) = queue(1000, 100, None);
        let mut items: VecDeque<_> = ('a'..='z').map(|item| (item, 2)).collect();
        let place = &raw const items[0].0;
        let pushed = allocation_counter::measure(|| producer.push_all(&mut items, true));
        assert_eq!((pushed.count_total, producer.bytes()), (0, 52));
        let used = consumer.take_some(|mut items| {
            assert_eq!(items.len(), 26);
            let first = items.next().unwrap();
            assert_eq!(&raw const *first, place);
            Ok::<_, ()>(1 + items.take(19).count())
        });
        assert_eq!(used, Ok((20, 40)));
        assert_eq!(consumer.take(), Some('u'));
        // An error and an empty hand use up nothing.
        assert_eq!(consumer.take_some(|_| Err('x')), Err('x'));
        assert_eq!(consumer.take_some(|_| Ok::<_, ()>(0)), Ok((0, 0)));
        assert_eq!(
            consumer.take_some(|items| Ok::<_, ()>(items.count())),
            Ok((5, 10))
        );
        assert_eq!((consumer.take(), producer.bytes()), (None, 0));
        // The list goes on from one side to the other.
        items.push_back(('A', 1));
        let place = &raw const items[0].0;
        producer.push_all(&mut items, true);
        producer.push_all(&mut VecDeque::from([('B', 1)]), true);
        let used = consumer.take_some(|mut items| {
            assert_eq!(&raw const *items.next().unwrap(), place);
            Ok::<_, ()>(1)
        });
        assert_eq!((used, consumer.take()), (Ok((1, 1)), Some('B')));
    }

    /// Capital letters replace each other.
    fn conflated() -> (Producer<char>, Consumer<char>) {
        queue(10, 2, Some(|item| item.is_uppercase()))
    }

    #[test]
    fn of_conflated_items_the_last_one_waits_and_it_needs_no_room() {
        let wakes = Arc::new(Counter::default());
        let (producer, mut consumer) = conflated();
        for item in ['A', 'B', 'C'] {
            producer.push_into_room(item, 1000).unwrap();
            assert_eq!((producer.occupied(), producer.places()), (0, 1));
            assert_eq!(
                poll(&wakes, |context| producer.poll_room(context)),
                Some(Ok(()))
            );
            assert_eq!(poll(&wakes, |context| producer.poll_done(context)), None);
        }
        assert_eq!(producer.bytes(), 1000);
        // What the consumer has seen can still be replaced until it is taken.
        assert!(is_ready(consumer.ready(false)));
        producer.push('D', 1).unwrap();
        producer.push_all(&mut "EF".chars().map(|item| (item, 1)).collect(), true);
        assert_eq!((producer.bytes(), consumer.take()), (1, Some('F')));
        assert_eq!((consumer.take(), producer.bytes()), (None, 0));
        consumer.confirm_done();
        assert_eq!(
            poll(&wakes, |context| producer.poll_done(context)),
            Some(Ok(()))
        );
    }

    #[test]
    fn a_look_tells_new_items_from_those_that_an_earlier_look_has_seen() {
        let (producer, mut consumer) = queue(10, usize::MAX, None);
        assert_eq!(consumer.look(), None);
        producer.push('a', 1).unwrap();
        producer.push('b', 1).unwrap();
        assert_eq!(
            [consumer.look(), consumer.look()],
            [Some(true), Some(false)]
        );
        assert_eq!(consumer.take(), Some('a'));
        producer.push('c', 1).unwrap();
        assert_eq!((consumer.look(), consumer.take()), (Some(false), Some('b')));
        assert_eq!((consumer.look(), consumer.take()), (Some(true), Some('c')));
        assert_eq!(consumer.look(), None);
    }

    #[test]
    fn what_is_not_conflated_is_kept_in_order_and_within_bounds() {
        let (producer, mut consumer) = conflated();
        producer.push_all(&mut "aBCdEFG".chars().map(|item| (item, 1)).collect(), true);
        assert_eq!((producer.bytes(), producer.places()), (4, 1));
        producer.push('h', 1).unwrap();
        assert_eq!(producer.push_into_room('I', 1), Err(Rejected::Full('I')));
        let taken: String = std::iter::from_fn(|| consumer.take()).collect();
        assert_eq!((taken.as_str(), producer.bytes()), ("aCdGh", 0));
    }

    #[test]
    fn a_kept_queue_conflates_while_it_has_no_consumer_and_what_is_withdrawn_is_gone() {
        let producer = kept_queue(10, 1, Some(|_: &Arc<()>| true));
        let item = Arc::new(());
        for _ in 0..3 {
            producer.push_into_room(Arc::clone(&item), 1).unwrap();
        }
        assert_eq!(Arc::strong_count(&item), 2);
        let (_guest, consumer) = producer.source().attach().unwrap();
        drop(consumer);
        assert_eq!((Arc::strong_count(&item), producer.bytes()), (2, 1));
        let (_other, mut next) = producer.source().attach().unwrap();
        producer.discard();
        assert_eq!((next.take(), Arc::strong_count(&item)), (None, 1));
    }
}
