//! Hosts learn of a revocation by a future of their own or by a function, with a runtime or none.

use crate::poll_once::now;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    AccessRequest, Credentials, Domain, Grant, GrantTerms, PeerAddress, RevocationGuard, Revoked,
    Verdict,
};

const ADDRESS: &str = "192.0.2.1";

/// An Authenticator and what it has admitted.
fn admitted() -> (Authenticator, Grant) {
    let auth = Authenticator::new();
    let grant = admit(&auth, Credentials::Null);
    (auth, grant)
}

fn admit(auth: &Authenticator, credentials: Credentials) -> Grant {
    let router = ZapRouter::new();
    router.bind("*", auth.clone()).unwrap();
    let address = PeerAddress::from_zap(ADDRESS.as_bytes());
    let request = AccessRequest::new(Domain::EMPTY, address, credentials);
    match now(router.authorize(&request)) {
        Verdict::Allow(approval) => approval.grant.unwrap(),
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

fn revoke(auth: &Authenticator) {
    auth.deny([ADDRESS]).unwrap();
}

/// Counts calls or wakes.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn call(&self) -> impl FnOnce() + Send + 'static {
        let count = self.clone();
        move || count.add()
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}

#[test]
fn the_hooks_go_wherever_a_socket_goes() {
    fn owned<T: std::fmt::Debug + Send + Sync + Unpin + 'static>() {}
    owned::<Revoked>();
    owned::<RevocationGuard>();
}

#[test]
fn an_owned_future_keeps_the_grant_and_stays_resolved() {
    let (auth, grant) = admitted();
    let mut revoked = grant.revoked_owned();
    drop(grant);
    assert_eq!(auth.live_grants(), 1);
    let wakes = Count::default();
    let waker = Waker::from(Arc::new(wakes.clone()));
    let cx = &mut Context::from_waker(&waker);
    assert!(revoked.poll_revoked(cx).is_pending());
    revoke(&auth);
    assert_eq!(wakes.get(), 1);
    for _ in 0..2 {
        assert!(revoked.poll_revoked(cx).is_ready());
    }
    assert!(Pin::new(&mut revoked).poll(cx).is_ready());
    assert_eq!(auth.live_grants(), 0, "it does not keep what is over");
}

#[test]
fn a_function_is_called_once() {
    let (auth, grant) = admitted();
    let calls = Count::default();
    let _guards = [
        grant.on_revoked(calls.call()),
        grant.clone().on_revoked(calls.call()),
    ];
    assert_eq!(calls.get(), 0);
    auth.deny(["198.51.100.7"]).unwrap();
    assert_eq!(calls.get(), 0, "another address");
    revoke(&auth);
    assert_eq!(
        calls.get(),
        2,
        "each function once, before the change returns"
    );
    auth.deny(["198.51.100.8"]).unwrap();
    assert!(!grant.still_valid());
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_function_is_called_at_once_if_the_admission_is_over() {
    let (auth, grant) = admitted();
    revoke(&auth);
    let calls = Count::default();
    let guard = grant.on_revoked(calls.call());
    assert_eq!(calls.get(), 1);
    drop(guard);
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_function_without_its_guard_is_not_called_and_keeps_nothing() {
    let (auth, grant) = admitted();
    let calls = Count::default();
    let guard = grant.on_revoked(calls.call());
    drop(grant);
    assert_eq!(auth.live_grants(), 1, "the guard keeps the grant");
    drop(guard);
    assert_eq!(auth.live_grants(), 0);
    assert_eq!(Arc::strong_count(&calls.0), 1, "the function is dropped");
    revoke(&auth);
    assert_eq!(calls.get(), 0);
}

#[test]
fn after_the_call_nothing_is_kept_though_the_guard_lives() {
    let (auth, grant) = admitted();
    let calls = Count::default();
    let guard = grant.on_revoked(calls.call());
    drop(grant);
    revoke(&auth);
    assert_eq!((calls.get(), auth.live_grants()), (1, 0));
    assert_eq!(Arc::strong_count(&calls.0), 1, "the function is dropped");
    drop(guard);
}

#[test]
fn a_function_may_change_the_policy_and_drop_its_guard() {
    let (auth, grant) = admitted();
    let slot: Arc<Mutex<Option<RevocationGuard>>> = Arc::default();
    let calls = Count::default();
    let guard = grant.on_revoked({
        let (auth, grant, slot) = (auth.clone(), grant.clone(), slot.clone());
        let call = calls.call();
        move || {
            assert!(!grant.still_valid());
            auth.configure_curve_any("woken");
            drop(slot.lock().unwrap().take());
            call();
        }
    });
    *slot.lock().unwrap() = Some(guard);
    revoke(&auth);
    assert_eq!(calls.get(), 1);
    assert!(slot.lock().unwrap().is_none());
}

#[test]
fn a_function_that_panics_harms_only_itself() {
    let (auth, grant) = admitted();
    let calls = Count::default();
    let _guards = [
        grant.on_revoked(|| panic!("in a function")),
        grant.on_revoked(calls.call()),
    ];
    revoke(&auth);
    assert_eq!(calls.get(), 1);
}

#[test]
fn revocations_and_drops_race_without_a_second_call() {
    for _ in 0..200 {
        let (auth, grant) = admitted();
        let calls = Count::default();
        let guards: Vec<_> = (0..4).map(|_| grant.on_revoked(calls.call())).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| revoke(&auth));
            scope.spawn(|| drop(guards));
            scope.spawn(|| grant.still_valid());
        });
        assert!(calls.get() <= 4);
        drop(grant);
        assert_eq!(auth.live_grants(), 0);
    }
}

/// Terms of a host's own policy, whose future wakes its waker from within `poll`.
struct WakesItself {
    left: AtomicUsize,
    over: AtomicBool,
}

impl GrantTerms for WakesItself {
    fn still_valid(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::poll_fn(|cx| {
            if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.over.store(true, Ordering::SeqCst);
            Poll::Ready(())
        }))
    }
}

#[test]
fn a_future_that_wakes_itself_while_it_is_polled_is_polled_again() {
    let grant = Grant::new(WakesItself {
        left: AtomicUsize::new(5),
        over: AtomicBool::new(false),
    });
    let calls = Count::default();
    let _guard = grant.on_revoked(calls.call());
    assert_eq!(calls.get(), 1);
}

struct Panics;

impl GrantTerms for Panics {
    fn still_valid(&self) -> bool {
        true
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        panic!("in the terms of a host")
    }
}

#[test]
fn terms_that_panic_count_as_revoked() {
    let calls = Count::default();
    let _guard = Grant::new(Panics).on_revoked(calls.call());
    assert_eq!(calls.get(), 1);
}
