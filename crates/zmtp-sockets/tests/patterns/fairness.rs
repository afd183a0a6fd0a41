//! No peer gets more than its share, whatever it does.

use crate::securities::{ANY_PORT, eventually, fast, null, soon};
use zmtp_sockets::{Events, Pull, Push, SocketEvent};

async fn until(events: &mut Events, is_it: impl Fn(&SocketEvent) -> bool) {
    while !is_it(&soon(events.next()).await.unwrap()) {}
}

#[tokio::test]
async fn a_peer_that_connects_again_and_again_gets_no_more_turns() {
    let mut push = Push::new();
    let endpoint = push.bind(ANY_PORT, null()).await.unwrap();
    let mut events = push.events();
    let pull = || {
        let mut pull = Pull::with_options(fast());
        pull.connect(&endpoint, null()).unwrap();
        pull
    };
    let mut honest = pull();
    let mut greedy = pull();
    let accepted = |event: &SocketEvent| matches!(event, SocketEvent::Accepted { .. });
    for _ in 0..2 {
        until(&mut events, accepted).await;
    }
    for _ in 0..20 {
        push.try_send("before").unwrap();
        drop(greedy);
        until(&mut events, |event| {
            matches!(event, SocketEvent::Lost { .. })
        })
        .await;
        greedy = pull();
        until(&mut events, accepted).await;
    }
    for _ in 0..100 {
        push.try_send("now").unwrap();
    }
    let mut counts = [0, 0];
    eventually(|| {
        for (count, pull) in counts.iter_mut().zip([&mut honest, &mut greedy]) {
            while let Some(received) = pull.try_recv() {
                *count += usize::from(received.frames() == ["now"]);
            }
        }
        counts.iter().sum::<usize>() == 100
    })
    .await;
    assert_eq!(counts, [50, 50]);
}
