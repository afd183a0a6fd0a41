//! A configured domain admits no peer when its source failed, was emptied or removed. Only
//! `unconfigure` lets `*` apply to it again.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::Certificate;
use zmtp_auth::zap::{RequestId, ZapHandler, ZapRequest};
use zmtp_auth::{AccessRequest, Credentials, Grant, KeyPair, PeerAddress, PublicKey};

fn ask(auth: &Authenticator, domain: &'static str, key: PublicKey) -> Option<Grant> {
    let address = PeerAddress::from_zap(b"::1");
    let request = AccessRequest::new(domain, address, Credentials::Curve { key });
    let request = ZapRequest::new(RequestId::from(1), &request);
    match pin!(auth.handle(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply.grant,
        Poll::Pending => panic!("not decided"),
    }
}

fn certificate(directory: &Path, name: &str) -> PublicKey {
    let pair = KeyPair::generate().unwrap();
    Certificate::from(pair.public_key())
        .save_public(directory, name)
        .unwrap();
    pair.public_key()
}

/// An Authenticator whose `*` admits every peer, for domains without a configuration of their own.
fn open() -> Authenticator {
    let auth = Authenticator::new();
    auth.configure_curve_any("*");
    auth
}

const STRANGER: [u8; 32] = [9; 32];

fn stranger() -> PublicKey {
    PublicKey::from_bytes(STRANGER).unwrap()
}

#[test]
fn a_first_load_that_failed_admits_no_peer_and_ends_what_star_had_admitted() {
    let auth = open();
    let dir = tempfile::tempdir().unwrap();
    let before = ask(&auth, "a", stranger()).unwrap();
    for missing in [dir.path().join("missing"), "*".into(), "".into()] {
        assert!(auth.configure_curve("a", missing).is_err());
        assert!(ask(&auth, "a", stranger()).is_none());
    }
    assert!(!before.still_valid());
    assert!(ask(&auth, "b", stranger()).is_some());

    auth.unconfigure("a");
    assert!(ask(&auth, "a", stranger()).is_some());
    assert!(!before.still_valid());
}

#[test]
fn a_directory_without_any_good_file_admits_no_peer() {
    let auth = open();
    let dir = tempfile::tempdir().unwrap();
    auth.configure_curve("a", dir.path()).unwrap();
    assert!(ask(&auth, "a", stranger()).is_none());
    std::fs::write(dir.path().join("bad.key"), "no certificate").unwrap();
    let report = auth.configure_curve("a", dir.path()).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert!(ask(&auth, "a", stranger()).is_none());
}

#[test]
fn an_emptied_directory_admits_no_peer_and_a_removed_one_changes_nothing_by_itself() {
    let auth = open();
    let dir = tempfile::tempdir().unwrap();
    let certificates = dir.path().join("certificates");
    std::fs::create_dir(&certificates).unwrap();
    let ada = certificate(&certificates, "ada");
    auth.configure_curve("a", &certificates).unwrap();
    let admitted = ask(&auth, "a", ada).unwrap();

    // The explicit call fails and leaves the domain's keys unchanged.
    let moved = dir.path().join("moved");
    std::fs::rename(&certificates, &moved).unwrap();
    assert!(auth.configure_curve("a", &certificates).is_err());
    assert!(admitted.still_valid() && ask(&auth, "a", ada).is_some());

    std::fs::remove_file(moved.join("ada.key")).unwrap();
    auth.configure_curve("a", &moved).unwrap();
    assert!(!admitted.still_valid());
    for key in [ada, stranger()] {
        assert!(ask(&auth, "a", key).is_none());
    }

    auth.unconfigure("a");
    assert!(ask(&auth, "a", ada).is_some());
}

#[test]
fn a_domain_whose_keys_were_all_taken_away_stays_claimed_however_it_was_configured() {
    let auth = open();
    let dir = tempfile::tempdir().unwrap();
    auth.configure_curve_keys("a", [stranger()]);
    auth.configure_curve_keys("a", []);
    assert!(ask(&auth, "a", stranger()).is_none());
    auth.configure_curve_any("a");
    auth.configure_curve("a", dir.path()).unwrap();
    assert!(ask(&auth, "a", stranger()).is_none());
}

#[test]
fn star_can_fail_to_load_and_then_admits_no_peer_of_the_domains_it_covers() {
    let auth = Authenticator::new();
    assert!(auth.configure_curve("*", "/no/such/place").is_err());
    for domain in ["", "*", "a"] {
        assert!(ask(&auth, domain, stranger()).is_none());
    }
}

#[test]
fn while_a_directory_loads_star_does_not_apply() {
    let auth = open();
    let dir = tempfile::tempdir().unwrap();
    for number in 0..200 {
        certificate(dir.path(), &format!("peer-{number}"));
    }
    assert!(ask(&auth, "a", stranger()).is_some());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (auth, done) = (&auth, &done);
        let asking = scope.spawn(move || {
            let mut closed = false;
            while !done.load(Ordering::SeqCst) {
                let refused = ask(auth, "a", stranger()).is_none();
                assert!(refused || !closed, "open again");
                closed |= refused;
            }
        });
        let mut changes = auth.changes();
        auth.configure_curve("a", dir.path()).unwrap();
        assert!(changes.try_next().is_some());
        done.store(true, Ordering::SeqCst);
        asking.join().unwrap();
    });
    assert!(ask(&auth, "a", stranger()).is_none());
}
