//! Authentication works without an async runtime, on the caller's thread and on a thread of its
//! own.

use std::future::pending;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;
use zmtp_auth::auth::{Authenticator, CurveQuestion, PlainQuestion, ThreadAuthenticator};
use zmtp_auth::{
    AccessRequest, Credentials, DenialStatus, Domain, Limits, Password, PeerAddress, PublicKey,
    Verdict,
};

fn request(credentials: Credentials) -> AccessRequest {
    AccessRequest::new(
        Domain::EMPTY,
        PeerAddress::from_zap(b"127.0.0.1"),
        credentials,
    )
}

fn plain(password: &str) -> AccessRequest {
    request(Credentials::Plain {
        username: "ada".into(),
        password: Password::from(password),
    })
}

fn curve() -> AccessRequest {
    request(Credentials::Curve {
        key: PublicKey::from_bytes([7; 32]).unwrap(),
    })
}

/// The user id, or status and reason of the refusal.
fn outcome(verdict: Verdict) -> Result<String, (DenialStatus, String)> {
    match verdict {
        Verdict::Allow(approval) => Ok(String::from_utf8(approval.user_id.to_vec()).unwrap()),
        Verdict::Deny(denied) => Err((denied.status, denied.reason)),
    }
}

fn stopped() -> Result<String, (DenialStatus, String)> {
    Err((DenialStatus::Temporary, "Authenticator stopped".into()))
}

fn timed_out() -> Result<String, (DenialStatus, String)> {
    Err((DenialStatus::Temporary, "Provider timed out".into()))
}

fn quick() -> Authenticator {
    let mut limits = Limits::default();
    limits.verdict_timeout = Duration::from_millis(50);
    Authenticator::with_limits(&limits)
}

#[test]
fn a_synchronous_program_decides_on_its_own_thread() {
    let auth = Authenticator::new();
    auth.configure_plain("*", [("ada", "secret")]).unwrap();
    assert_eq!(
        outcome(auth.authorize_blocking(&plain("secret"))),
        Ok("ada".into())
    );
    let wrong = Err((DenialStatus::Failure, "Invalid password".into()));
    assert_eq!(outcome(auth.authorize_blocking(&plain("wrong"))), wrong);
    auth.configure_plain_callback_blocking("*", |question: PlainQuestion| {
        question.password.expose() == b"provided"
    });
    assert_eq!(
        outcome(auth.authorize_blocking(&plain("provided"))),
        Ok("ada".into())
    );
}

#[test]
fn a_provider_that_takes_too_long_is_300_without_a_runtime_too() {
    let auth = quick();
    auth.configure_curve_callback("*", |_| pending::<bool>());
    assert_eq!(outcome(auth.authorize_blocking(&curve())), timed_out());
    let thread = ThreadAuthenticator::new(auth);
    thread.start().unwrap();
    assert_eq!(outcome(thread.authorize(&curve())), timed_out());
    thread.stop();
}

#[test]
fn it_is_alive_between_start_and_stop_and_refuses_at_all_other_times() {
    let auth = Authenticator::new();
    let thread = ThreadAuthenticator::new(auth.clone());
    let null = request(Credentials::Null);
    for _ in 0..3 {
        assert!(!thread.is_alive());
        assert_eq!(outcome(thread.authorize(&null)), stopped());
        thread.start().unwrap();
        thread.start().unwrap();
        assert!(thread.is_alive());
        assert_eq!(outcome(thread.authorize(&null)), Ok("anonymous".into()));
        thread.stop();
        thread.stop();
    }
    assert_eq!(
        outcome(auth.authorize_blocking(&null)),
        Ok("anonymous".into())
    );
}

#[test]
fn configuration_takes_effect_while_the_thread_runs() {
    let thread = ThreadAuthenticator::new(Authenticator::new());
    thread.start().unwrap();
    thread
        .authenticator()
        .configure_plain("*", [("ada", "one")])
        .unwrap();
    assert_eq!(outcome(thread.authorize(&plain("one"))), Ok("ada".into()));
    thread
        .authenticator()
        .configure_plain("*", [("ada", "two")])
        .unwrap();
    assert!(outcome(thread.authorize(&plain("one"))).is_err());
}

#[test]
fn questions_run_side_by_side_and_one_that_waits_holds_up_no_other() {
    let auth = Authenticator::new();
    auth.configure_curve_callback("*", |_| pending::<bool>());
    let thread = ThreadAuthenticator::new(auth);
    thread.start().unwrap();
    let waits = {
        let thread = thread.clone();
        thread::spawn(move || outcome(thread.authorize(&curve())))
    };
    let null = request(Credentials::Null);
    assert_eq!(outcome(thread.authorize(&null)), Ok("anonymous".into()));
    thread.stop();
    assert_eq!(waits.join().unwrap(), stopped());
}

#[test]
fn stop_returns_after_a_provider_panicked() {
    let auth = Authenticator::new();
    auth.configure_curve_callback("*", |_: CurveQuestion| async move {
        assert!(thread::current().name() != Some("zmtp-auth"), "deliberate");
        true
    });
    let thread = ThreadAuthenticator::new(auth);
    thread.start().unwrap();
    let failed = Err((DenialStatus::Temporary, "Provider failed".into()));
    assert_eq!(outcome(thread.authorize(&curve())), failed);
    assert!(thread.is_alive());
    let null = request(Credentials::Null);
    assert_eq!(outcome(thread.authorize(&null)), Ok("anonymous".into()));
    thread.stop();
    assert!(!thread.is_alive());
}

#[test]
fn stop_returns_while_a_provider_blocks_the_thread_and_waiting_questions_are_refused() {
    let auth = Authenticator::new();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let entered = Arc::new(Barrier::new(2));
    let at = Arc::clone(&entered);
    auth.configure_curve_callback("*", move |_: CurveQuestion| {
        at.wait();
        let allowed = gone.lock().unwrap().recv().is_ok();
        async move { allowed }
    });
    let thread = ThreadAuthenticator::new(auth);
    thread.start().unwrap();
    let waits = {
        let thread = thread.clone();
        thread::spawn(move || outcome(thread.authorize(&curve())))
    };
    entered.wait();
    // The provider returns when `go` is dropped.
    thread.stop();
    assert!(!thread.is_alive());
    // A new thread serves while the old one is still blocked.
    thread.start().unwrap();
    assert_eq!(
        outcome(thread.authorize(&request(Credentials::Null))),
        Ok("anonymous".into())
    );
    drop(go);
    assert!(waits.join().unwrap().is_err());
    thread.stop();
}

#[test]
fn a_waiting_question_is_refused_though_the_provider_that_blocks_the_thread_says_yes_after_stop() {
    let auth = Authenticator::new();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let entered = Arc::new(Barrier::new(2));
    let at = Arc::clone(&entered);
    auth.configure_curve_callback("*", move |_: CurveQuestion| {
        at.wait();
        gone.lock().unwrap().recv().unwrap();
        async { true }
    });
    let thread = ThreadAuthenticator::new(auth);
    thread.start().unwrap();
    let waits = {
        let thread = thread.clone();
        thread::spawn(move || outcome(thread.authorize(&curve())))
    };
    entered.wait();
    thread.stop();
    go.send(()).unwrap();
    assert_eq!(waits.join().unwrap(), stopped());
}

#[test]
fn a_provider_may_stop_the_thread_that_it_runs_on() {
    let auth = Authenticator::new();
    let thread = ThreadAuthenticator::new(auth.clone());
    let own = thread.clone();
    auth.configure_curve_callback("*", move |_: CurveQuestion| {
        own.stop();
        async { true }
    });
    thread.start().unwrap();
    let _whatever = thread.authorize(&curve());
    assert!(!thread.is_alive());
    auth.configure_curve_any("*");
}

#[test]
fn the_thread_ends_with_its_last_owner() {
    let (held, ended) = mpsc::channel::<()>();
    let auth = Authenticator::new();
    auth.configure_curve_callback("*", move |_| {
        let _held = &held;
        pending::<bool>()
    });
    let thread = ThreadAuthenticator::new(auth);
    thread.start().unwrap();
    drop(thread);
    let last = ended.recv_timeout(Duration::from_secs(10));
    assert_eq!(last, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn it_is_a_handler_for_a_router_like_any_other() {
    let thread = ThreadAuthenticator::new(Authenticator::new());
    thread.start().unwrap();
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("*", thread.clone()).unwrap();
    let null = request(Credentials::Null);
    assert_eq!(
        outcome(router.authorize(&null).await),
        Ok("anonymous".into())
    );
    thread.stop();
    assert_eq!(outcome(router.authorize(&null).await), stopped());
}
