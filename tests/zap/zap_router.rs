//! The ZAP router asks the right handler, and refuses the peer on every kind of failure.

use std::future::{Future, pending, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use zmtp_auth::zap::{AlreadyBound, ZapHandler, ZapReply, ZapRequest, ZapRouter};
use zmtp_auth::{
    AccessRequest, Credentials, DenialStatus, Domain, Limits, Metadata, PeerAddress, Verdict,
};

fn request(domain: &'static str) -> AccessRequest {
    AccessRequest::new(
        Domain::from(domain),
        PeerAddress::from_zap(b"127.0.0.1"),
        Credentials::Null,
    )
}

/// Polls once, since every handler here answers at once or never.
fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn verdict(router: &ZapRouter, domain: &'static str) -> Verdict {
    match poll(router.authorize(&request(domain))) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => panic!("no verdict"),
    }
}

#[track_caller]
fn refused(verdict: Verdict, status: DenialStatus, reason: &str) {
    match verdict {
        Verdict::Deny(denied) => {
            assert_eq!(denied.status, status, "{denied}");
            assert!(denied.reason.contains(reason), "{denied}");
        }
        Verdict::Allow(_) => panic!("admitted"),
    }
}

#[track_caller]
fn admitted_as(verdict: Verdict, user_id: &str) {
    match verdict {
        Verdict::Allow(approval) => assert_eq!(approval.user_id, user_id),
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

fn admits_as(user_id: &'static str) -> impl ZapHandler {
    move |request: ZapRequest| ready(request.allow(user_id))
}

/// A router whose only handler is `handler`, for every domain.
fn router(handler: impl ZapHandler) -> ZapRouter {
    let router = ZapRouter::new();
    router.bind(Domain::ALL, handler).unwrap();
    router
}

fn at_most(places: usize) -> ZapRouter {
    let mut limits = Limits::default();
    limits.max_pending_verdicts = places;
    ZapRouter::with_limits(&limits)
}

#[test]
fn each_domain_is_asked_of_its_own_handler_and_the_rest_of_the_star() {
    let router = router(admits_as("star"));
    router.bind("a", admits_as("a")).unwrap();
    admitted_as(verdict(&router, "a"), "a");
    admitted_as(verdict(&router, "b"), "star");
    admitted_as(verdict(&router, ""), "star");
    admitted_as(verdict(&router, "*"), "star");
}

#[test]
fn a_domain_has_one_handler_and_the_first_one_stays() {
    let router = router(admits_as("first"));
    assert_eq!(
        router.bind(Domain::ALL, admits_as("second")),
        Err(AlreadyBound(Domain::ALL))
    );
    admitted_as(verdict(&router, "any"), "first");
}

#[test]
fn a_denial_reaches_the_socket_with_status_and_reason() {
    let router = router(|request: ZapRequest| ready(request.deny(DenialStatus::Failure, "no")));
    refused(verdict(&router, ""), DenialStatus::Failure, "no");
}

#[test]
fn where_no_handler_was_ever_bound_the_status_is_500() {
    let empty = ZapRouter::new();
    refused(
        verdict(&empty, ""),
        DenialStatus::Internal,
        "no ZAP handler was ever bound for the domain \"\"",
    );
    let other = ZapRouter::new();
    other.bind("other", admits_as("x")).unwrap();
    refused(
        verdict(&other, "mi\nne"),
        DenialStatus::Internal,
        "for the domain \"mi\\nne\"",
    );
}

#[test]
fn where_the_handler_is_gone_the_status_is_300_and_the_star_does_not_step_in() {
    let router = router(admits_as("star"));
    router.bind("a", admits_as("a")).unwrap();
    assert!(router.unbind("a"));
    assert!(!router.unbind("a"));
    assert!(!router.unbind("never"));
    refused(
        verdict(&router, "a"),
        DenialStatus::Temporary,
        "was unbound",
    );
    admitted_as(verdict(&router, "never"), "star");

    router.bind("a", admits_as("new")).unwrap();
    admitted_as(verdict(&router, "a"), "new");

    assert!(router.unbind(&Domain::ALL));
    refused(
        verdict(&router, "b"),
        DenialStatus::Temporary,
        "was unbound",
    );
}

#[test]
fn a_handler_that_is_unbound_before_it_answers_admits_no_peer() {
    let (answer, asked) = tokio::sync::oneshot::channel::<()>();
    let asked = Arc::new(Mutex::new(Some(asked)));
    let router = router(move |request: ZapRequest| {
        let asked = asked.lock().unwrap().take().unwrap();
        async move {
            let _ = asked.await;
            request.allow("late")
        }
    });
    let request = request("");
    let mut question = pin!(router.authorize(&request));
    assert!(poll(question.as_mut()).is_pending());
    router.unbind(&Domain::ALL);
    router.bind(Domain::ALL, admits_as("successor")).unwrap();
    answer.send(()).unwrap();
    match poll(question) {
        Poll::Ready(verdict) => refused(verdict, DenialStatus::Temporary, "was unbound"),
        Poll::Pending => panic!("still waiting"),
    }
}

#[test]
fn a_panic_in_the_call_is_500_and_the_service_goes_on() {
    let calls = AtomicUsize::new(0);
    let router = router(move |request: ZapRequest| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "first call");
        ready(request.allow("second"))
    });
    refused(verdict(&router, ""), DenialStatus::Internal, "panicked");
    admitted_as(verdict(&router, ""), "second");
    assert_eq!(router.in_progress(), 0);
}

#[test]
fn a_panic_while_polled_is_500() {
    async fn panics(_: ZapRequest) -> ZapReply {
        ready(()).await;
        panic!("while polled")
    }
    let router = router(panics);
    refused(verdict(&router, ""), DenialStatus::Internal, "panicked");
    assert_eq!(router.in_progress(), 0);
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

#[test]
fn a_panic_in_drop_is_500_or_unheard_but_never_reaches_the_socket() {
    let answering = router(|request: ZapRequest| {
        let held = PanicsInDrop;
        async move {
            let _held = held;
            request.allow("dropped")
        }
    });
    refused(verdict(&answering, ""), DenialStatus::Internal, "panicked");

    let hanging = router(|request: ZapRequest| {
        let held = PanicsInDrop;
        async move {
            pending::<()>().await;
            let _held = held;
            request.allow("never")
        }
    });
    assert!(poll(hanging.authorize(&request(""))).is_pending());
    assert_eq!(hanging.in_progress(), 0);
}

#[test]
fn a_reply_for_another_request_is_500() {
    let earlier = Mutex::new(None::<ZapReply>);
    let router = router(move |request: ZapRequest| {
        let reply = request.allow("admin");
        ready(
            earlier
                .lock()
                .unwrap()
                .replace(reply.clone())
                .unwrap_or(reply),
        )
    });
    admitted_as(verdict(&router, ""), "admin");
    refused(
        verdict(&router, ""),
        DenialStatus::Internal,
        "for request 1",
    );
}

#[test]
fn a_reply_that_cannot_be_believed_is_500() {
    let long = router(|request: ZapRequest| ready(request.allow(vec![b'u'; 256])));
    refused(verdict(&long, ""), DenialStatus::Internal, "256 bytes");

    let claims = router(|request: ZapRequest| {
        let mut reply = request.allow("u");
        reply.metadata.push("identity", "root").unwrap();
        ready(reply)
    });
    refused(verdict(&claims, ""), DenialStatus::Internal, "Identity");
}

#[test]
fn metadata_reaches_the_application() {
    let router = router(|request: ZapRequest| {
        let mut reply = request.allow("u");
        let mut metadata = Metadata::new();
        metadata.push("department", "7").unwrap();
        reply.metadata = metadata;
        ready(reply)
    });
    match verdict(&router, "") {
        Verdict::Allow(approval) => assert_eq!(approval.metadata.get("Department").unwrap(), "7"),
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

#[test]
fn request_ids_are_unique() {
    let seen = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let ids = Arc::clone(&seen);
    let router = router(move |request: ZapRequest| {
        assert!(ids.lock().unwrap().insert(request.id.clone()));
        ready(request.allow("u"))
    });
    for _ in 0..100 {
        admitted_as(verdict(&router.clone(), ""), "u");
    }
    assert_eq!(seen.lock().unwrap().len(), 100);
}

#[test]
fn one_question_too_many_is_300_at_once() {
    let router = at_most(2);
    router.bind(Domain::ALL, |_| pending::<ZapReply>()).unwrap();
    let request = request("");
    let mut first = Box::pin(router.authorize(&request));
    let mut second = Box::pin(router.authorize(&request));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    refused(verdict(&router, ""), DenialStatus::Temporary, "too many");
    assert_eq!(router.in_progress(), 2);
}

#[test]
fn a_cancelled_question_frees_its_place_and_drops_the_handlers_future() {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&alive);
    let router = at_most(1);
    router
        .bind(Domain::ALL, move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            let alive = Alive(Arc::clone(&counter));
            async move {
                let _alive = alive;
                pending::<ZapReply>().await
            }
        })
        .unwrap();
    let request = request("");
    for _ in 0..3 {
        let mut question = Box::pin(router.authorize(&request));
        assert!(poll(question.as_mut()).is_pending());
        assert_eq!(
            (router.in_progress(), alive.load(Ordering::Relaxed)),
            (1, 1)
        );
        drop(question);
        assert_eq!(
            (router.in_progress(), alive.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}

#[test]
fn questions_can_be_asked_from_any_thread() {
    fn moves<T: Send>(_: T) {}
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let router = ZapRouter::new();
    shared(&router);
    moves(router.authorize(&request("")));
}

#[cfg(feature = "tokio")]
mod with_a_clock {
    use super::*;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn no_answer_in_time_is_300() {
        let router = router(|_| pending::<ZapReply>());
        let before = Instant::now();
        refused(
            router.authorize(&request("")).await,
            DenialStatus::Temporary,
            "did not answer in time",
        );
        assert_eq!(before.elapsed(), Limits::default().verdict_timeout);
        assert_eq!(router.in_progress(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_in_time_counts() {
        let router = router(|request: ZapRequest| async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            request.allow("slow")
        });
        admitted_as(router.authorize(&request("")).await, "slow");
    }

    #[tokio::test]
    async fn concurrent_questions_do_not_wait_for_each_other() {
        let barrier = Arc::new(tokio::sync::Barrier::new(50));
        let router = router(move |request: ZapRequest| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                request.allow("u")
            }
        });
        let questions: Vec<_> = (0..50)
            .map(|_| {
                let router = router.clone();
                tokio::spawn(async move { router.authorize(&request("")).await })
            })
            .collect();
        for question in questions {
            admitted_as(question.await.unwrap(), "u");
        }
    }

    /// A router whose handler delays its refusals by `time`.
    fn holding_back(time: Duration, max_held_back: usize) -> ZapRouter {
        let mut limits = Limits::default();
        limits.max_held_back = max_held_back;
        let router = ZapRouter::with_limits(&limits);
        let handler = move |request: ZapRequest| {
            let mut reply = request.deny(DenialStatus::Temporary, "later");
            reply.hold_back = Some(time);
            ready(reply)
        };
        router.bind(Domain::ALL, handler).unwrap();
        router
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_held_back_outside_the_places_and_five_seconds_at_most() {
        for (asked, held) in [(700, 700), (60_000, 5000)] {
            let router = holding_back(Duration::from_millis(asked), 1);
            let before = Instant::now();
            let request = request("");
            let mut question = pin!(router.authorize(&request));
            assert!(poll(question.as_mut()).is_pending());
            assert_eq!(router.in_progress(), 0);
            refused(question.await, DenialStatus::Temporary, "later");
            assert_eq!(before.elapsed(), Duration::from_millis(held));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_held_back_are_bounded_and_a_peer_that_leaves_makes_room() {
        let router = holding_back(Duration::from_secs(1), 2);
        let request = request("");
        let mut held: Vec<_> = (0..2)
            .map(|_| Box::pin(router.authorize(&request)))
            .collect();
        for question in &mut held {
            assert!(poll(question.as_mut()).is_pending());
        }
        // One more than the limit is refused at once.
        refused(verdict(&router, ""), DenialStatus::Temporary, "later");
        held.pop();
        assert!(poll(router.authorize(&request)).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_gives_no_answer_refuses_with_300_half_a_second_later_or_more() {
        use zmtp_auth::auth::{Authenticator, CurveQuestion, ProviderAnswer};
        let auth = Authenticator::new();
        auth.configure_curve_callback("fails", |_| ready(Err::<bool, _>("away")));
        auth.configure_curve_callback("later", |_| ready(ProviderAnswer::TemporaryFailure));
        auth.configure_curve_callback("panics", |question: CurveQuestion| async move {
            assert!(question.domain != Domain::from("panics"), "deliberate");
            true
        });
        auth.configure_curve_callback("hangs", |_| pending::<bool>());
        let router = router(auth.clone());
        let key = zmtp_auth::PublicKey::from_bytes([7; 32]).unwrap();
        for (domain, before) in [("fails", 0), ("later", 0), ("panics", 0), ("hangs", 10)] {
            let mut request = request(domain);
            request.credentials = Credentials::Curve { key };
            let start = Instant::now();
            refused(
                router.authorize(&request).await,
                DenialStatus::Temporary,
                "Provider",
            );
            let held = start.elapsed() - Duration::from_secs(before);
            let range = Duration::from_millis(500)..=Duration::from_secs(5);
            assert!(range.contains(&held), "{domain}: {held:?}");

            // A request in frames, which only the router itself can delay.
            let question = ZapRequest::new(1.into(), &request);
            let start = Instant::now();
            let reply = auth.handle_zap_message(question.to_frames()).await.unwrap();
            assert_eq!(reply[2], "300");
            let held = start.elapsed() - Duration::from_secs(before);
            assert!(range.contains(&held), "{domain}: {held:?}");
        }
    }

    #[test]
    fn a_runtime_without_timers_holds_nothing_back() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let router = holding_back(Duration::from_secs(5), 1);
        let verdict = runtime.block_on(router.authorize(&request("")));
        refused(verdict, DenialStatus::Temporary, "later");
    }

    #[test]
    fn a_runtime_without_timers_refuses_and_does_not_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let pauses = router(|_| pending::<ZapReply>());
        refused(
            runtime.block_on(pauses.authorize(&request(""))),
            DenialStatus::Internal,
            "panicked",
        );
        // A decision without a delay needs no timer.
        let decides = router(admits_as("u"));
        admitted_as(runtime.block_on(decides.authorize(&request(""))), "u");
    }
}
