//! PAIR (RFC 31).

use crate::securities::{ANY_PORT, fast, null, soon};
use zmtp_sockets::{Pair, SendReason, SocketEvent, TurnedAway};

#[tokio::test]
async fn a_second_peer_is_turned_away_until_the_first_is_gone() {
    let mut ours = Pair::new();
    let endpoint = ours.bind(ANY_PORT, null()).await.unwrap();
    let mut events = ours.events();
    assert_eq!(ours.try_send("x").unwrap_err().reason, SendReason::Full);
    let mut first = Pair::new();
    first.connect(&endpoint, null()).unwrap();
    soon(first.send("hello")).await;
    assert_eq!(soon(ours.recv()).await.frames(), ["hello"]);
    soon(ours.send("hello yourself")).await;
    assert_eq!(soon(first.recv()).await.frames(), ["hello yourself"]);
    let mut second = Pair::with_options(fast());
    second.connect(&endpoint, null()).unwrap();
    loop {
        match soon(events.next()).await {
            Some(SocketEvent::TurnedAway { reason, .. }) => {
                assert_eq!(reason, TurnedAway::PairHasPeer);
                break;
            }
            Some(SocketEvent::Accepted { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    soon(first.close()).await.unwrap();
    // The second one dials until the place is free. What it sent to a place that was taken is lost.
    while ours.try_recv().is_none() {
        let _ = second.try_send("now");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
