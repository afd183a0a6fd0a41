//! REQ and REP (RFC 28).

use crate::securities::{ANY_PORT, fast, null, soon};
use std::time::Duration;
use zmtp_sockets::{Dealer, Rep, Req, RequestError, Router, proxy};

#[tokio::test]
async fn a_request_gets_its_reply() {
    for correlate in [false, true] {
        let mut rep = Rep::new();
        let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                let reply = request.reply(request.message().clone());
                rep.send(reply);
            }
        });
        let mut req = Req::with_options(fast().with_correlate(correlate));
        req.connect(&endpoint, null()).unwrap();
        for number in 0..10 {
            let reply = soon(req.request([number.to_string(), "two".into()])).await;
            assert_eq!(reply.unwrap().frames(), [number.to_string(), "two".into()]);
        }
        serving.abort();
    }
}

#[tokio::test]
async fn a_router_answers_a_req_behind_the_empty_frame() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let mut req = Req::new();
    req.connect(&endpoint, null()).unwrap();
    let asking = async {
        let reply = soon(req.request("question")).await.unwrap();
        assert_eq!(reply.frames(), ["answer"]);
    };
    let answering = async {
        let request = soon(router.recv()).await;
        assert_eq!(request.frames(), ["", "question"]);
        router.send(request.reply("answer")).unwrap();
    };
    tokio::join!(asking, answering);
}

#[tokio::test]
async fn the_loss_of_the_peer_ends_a_request_and_the_next_one_is_answered() {
    let mut rep = Rep::new();
    let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
    let mut req = Req::with_options(fast());
    req.connect(&endpoint, null()).unwrap();
    let asking = req.request("lost");
    let losing = async {
        soon(rep.recv()).await;
        soon(rep.close()).await.unwrap();
    };
    let (asked, ()) = tokio::join!(soon(asking), losing);
    assert!(matches!(asked, Err(RequestError::PeerLost(_))));
    let mut rep = Rep::new();
    rep.bind(&endpoint, null()).await.unwrap();
    let answering = async {
        let request = soon(rep.recv()).await;
        assert_eq!(request.frames(), ["again"]);
        rep.send(request.reply("answer"));
    };
    let (reply, ()) = tokio::join!(soon(req.request("again")), answering);
    assert_eq!(reply.unwrap().frames(), ["answer"]);
}

#[tokio::test]
async fn the_late_reply_to_an_abandoned_request_is_not_taken_for_another() {
    for correlate in [false, true] {
        let mut rep = Rep::new();
        let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
        let mut req = Req::with_options(fast().with_correlate(correlate));
        req.connect(&endpoint, null()).unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(200), req.request("first"));
        assert!(given_up.await.is_err());
        let first = soon(rep.recv()).await;
        let answering = async {
            rep.send(first.reply("late"));
            let second = soon(rep.recv()).await;
            assert_eq!(second.frames(), ["second"]);
            rep.send(second.reply("in time"));
        };
        let (reply, ()) = tokio::join!(soon(req.request("second")), answering);
        assert_eq!(reply.unwrap().frames(), ["in time"]);
    }
}

#[tokio::test]
async fn requests_without_an_empty_frame_are_dropped_and_counted() {
    let mut rep = Rep::new();
    let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
    let mut dealer = Dealer::new();
    dealer.connect(&endpoint, null()).unwrap();
    for frames in [vec!["no delimiter"], vec!["", ""], vec!["a", "", "body"]] {
        let frames: Vec<_> = frames.into_iter().map(bytes::Bytes::from).collect();
        soon(dealer.send(frames)).await;
    }
    // Behind the empty frame of the second one is an empty body.
    let request = soon(rep.recv()).await;
    assert_eq!(request.frames(), [""]);
    let request = soon(rep.recv()).await;
    assert_eq!(request.frames(), ["body"]);
    assert_eq!(rep.malformed(), 1);
    rep.send(request.reply("reply"));
    assert_eq!(soon(dealer.recv()).await.frames(), ["a", "", "reply"]);
}

#[tokio::test]
async fn a_queue_takes_each_reply_back_to_the_one_who_asked() {
    let (mut clients, mut workers) = (Router::new(), Dealer::new());
    let frontend = clients.bind(ANY_PORT, null()).await.unwrap();
    let backend = workers.bind(ANY_PORT, null()).await.unwrap();
    let (seen, mut captured) = tokio::sync::mpsc::unbounded_channel();
    let queue = tokio::spawn(proxy(clients, workers, move |message| {
        let _ = seen.send(message.frames().len());
    }));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let mut rep = Rep::new();
        rep.connect(&backend, null()).unwrap();
        tasks.push(tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                let reply = request.reply(request.message().clone());
                rep.send(reply);
            }
        }));
    }
    let asking = (0..5_u32).map(|client| {
        let frontend = frontend.clone();
        tokio::spawn(async move {
            let mut req = Req::new();
            req.connect(&frontend, null()).unwrap();
            for number in 0..20_u32 {
                let body = format!("{client} {number}");
                let reply = req.request(body.clone()).await.unwrap();
                assert_eq!(reply.frames(), [body]);
            }
        })
    });
    for client in asking.collect::<Vec<_>>() {
        soon(client).await.unwrap();
    }
    // The routing id, the empty frame and the body.
    assert_eq!(captured.recv().await, Some(3));
    queue.abort();
    for task in tasks {
        task.abort();
    }
}
