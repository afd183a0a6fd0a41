//! Audit events name the peer, its address, the rule, the duration and the change. They are bounded
//! and hold no secret.

use crate::poll_once::poll;
use bytes::Bytes;
use std::future::ready;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use zmtp_auth::auth::{
    AddressChange, AuditEvents, Audited, AuditedDecision, Authenticator, Change, CurveQuestion,
    Outcome, Rule,
};
use zmtp_auth::zap::ZapHandler;
use zmtp_auth::zap::ZapRequest;
use zmtp_auth::{
    AccessRequest, Credential, Credentials, DenialStatus, Domain, Grant, MechanismKind, Password,
    PeerAddress, PublicKey, Status, Verdict,
};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32]).unwrap()
}

fn frames(domain: &str, rest: &[&[u8]]) -> Vec<Bytes> {
    let fixed = ["1.0", "42", domain, "192.0.2.1", ""].map(str::as_bytes);
    let all = fixed.iter().chain(rest);
    all.map(|frame| Bytes::copy_from_slice(frame)).collect()
}

/// Asks. Returns the grant if the peer was admitted.
fn ask(auth: &Authenticator, domain: &str, rest: &[&[u8]]) -> Option<Grant> {
    let request = ZapRequest::from_frames(frames(domain, rest)).unwrap();
    match poll(auth.handle(request)) {
        Poll::Ready(reply) => {
            assert_eq!(reply.grant.is_some(), reply.status == Status::Success);
            reply.grant
        }
        Poll::Pending => panic!("not decided"),
    }
}

/// The next event, which must be there without a lost one before it.
#[track_caller]
fn next(events: &mut AuditEvents) -> Audited {
    let next = events.try_next().unwrap();
    assert_eq!(next.lost, 0);
    next.event.what.clone()
}

#[track_caller]
fn decision(events: &mut AuditEvents) -> AuditedDecision {
    match next(events) {
        Audited::Decision(decision) => decision,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn change(events: &mut AuditEvents) -> Change {
    match next(events) {
        Audited::Change(change) => change,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn ended(events: &mut AuditEvents) -> Credential {
    match next(events) {
        Audited::Ended(admission) => admission.credential,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_admission_tells_peer_address_rule_and_duration() {
    let auth = Authenticator::new();
    auth.configure_curve_keys("*", [key(1)]);
    let mut events = auth.events();
    let grant = ask(&auth, "a", &[b"CURVE", key(1).as_bytes()]);
    let event = events.try_next().unwrap().event;
    assert_eq!(event.policy_version, auth.policy_version());
    assert!(event.at.elapsed().unwrap() < Duration::from_secs(60));
    let Audited::Decision(decision) = &event.what else {
        panic!("{event:?}");
    };
    assert_eq!(decision.id.as_bytes(), b"42");
    assert_eq!(decision.domain, Domain::from("a"));
    assert_eq!(decision.address, PeerAddress::from_zap(b"192.0.2.1"));
    assert_eq!(decision.mechanism, "CURVE");
    assert_eq!(decision.credential, Some(Credential::Key(key(1))));
    assert_eq!(decision.rule, Rule::Keys(Domain::ALL));
    assert!(decision.took < Duration::from_secs(60));
    match &decision.outcome {
        Outcome::Allowed { user_id, .. } => assert_eq!(user_id, &key(1).to_z85()),
        other => panic!("{other:?}"),
    }

    auth.configure_curve_keys("*", []);
    assert!(matches!(change(&mut events), Change::Ruled { .. }));
    match next(&mut events) {
        Audited::Ended(admission) => {
            assert_eq!(admission.domain, Domain::from("a"));
            assert_eq!(admission.address, PeerAddress::from_zap(b"192.0.2.1"));
            assert_eq!(admission.credential, Credential::Key(key(1)));
            assert_eq!(admission.user_id, key(1).to_z85());
            assert_eq!(admission.rule, Rule::Keys(Domain::ALL));
        }
        other => panic!("{other:?}"),
    }
    // The end is reported once.
    assert!(!grant.unwrap().still_valid());
    assert_eq!(events.try_next(), None);
}

#[test]
fn a_refusal_tells_status_reason_and_rule_and_the_name_if_it_cannot_be_a_secret() {
    let auth = Authenticator::new();
    auth.configure_plain("a", [("ada", "secret")]).unwrap();
    auth.configure_curve_keys("a", []);
    let mut events = auth.events();
    let mut refused = |rest: &[&[u8]]| {
        assert!(ask(&auth, "a", rest).is_none());
        let decision = decision(&mut events);
        match decision.outcome {
            Outcome::Refused { status, reason, .. } => {
                assert_eq!(status, DenialStatus::Failure);
                (reason, decision.credential, decision.rule)
            }
            other => panic!("{other:?}"),
        }
    };
    let passwords = Rule::Passwords("a".into());
    assert_eq!(
        refused(&[b"PLAIN", b"ada", b"hunter2"]),
        (
            "Invalid password",
            Some(Credential::UserName("ada".into())),
            passwords.clone()
        )
    );
    assert_eq!(
        refused(&[b"PLAIN", b"hunter2", b"ada"]),
        ("Invalid username", None, passwords)
    );
    assert_eq!(
        refused(&[b"CURVE", key(3).as_bytes()]),
        (
            "Unknown key",
            Some(Credential::Key(key(3))),
            Rule::Keys("a".into())
        )
    );
    assert_eq!(
        refused(&[b"PLAIN", b"hunter2"]),
        ("Invalid credentials", None, Rule::Request)
    );
    assert_eq!(refused(&[b"EXTERNAL"]), ("NO ACCESS", None, Rule::Request));
}

#[test]
fn a_malformed_request_is_an_event_too() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    let mut told = |frames: Vec<&'static str>| {
        let _ = poll(auth.handle_zap_message(frames.into_iter().map(Bytes::from).collect()));
        match next(&mut events) {
            Audited::Malformed { id, reason } => (id.map(|id| id.as_bytes().to_vec()), reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(vec![]), (None, "Not enough frames"));
    let id = Some(b"7".to_vec());
    assert_eq!(told(vec!["1.0", "7"]), (id.clone(), "Not enough frames"));
    let other_version = vec!["2.0", "7", "", "", "", "NULL"];
    assert_eq!(told(other_version), (id, "Invalid version"));
    let _ = poll(auth.handle_zap_envelope(vec!["1.0".into()]));
    assert!(matches!(
        next(&mut events),
        Audited::Malformed {
            id: None,
            reason: "No delimiter"
        }
    ));
}

#[test]
fn each_change_tells_what_it_has_added_changed_and_removed() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    let user = |name: &'static str| Credential::UserName(name.into());
    let sorted = |mut credentials: Vec<Credential>| {
        credentials.sort_by_key(|credential| format!("{credential:?}"));
        credentials
    };

    auth.configure_plain("a", [("ada", "1"), ("bob", "2"), ("cyd", "3")])
        .unwrap();
    let claimed = Change::Claimed(MechanismKind::Plain, "a".into());
    assert_eq!(change(&mut events), claimed);
    match change(&mut events) {
        Change::Ruled {
            rule,
            added,
            changed,
            removed,
            ..
        } => {
            assert_eq!(rule, Rule::Passwords("a".into()));
            assert_eq!(sorted(added), [user("ada"), user("bob"), user("cyd")]);
            assert!(changed.is_empty() && removed.is_empty());
        }
        other => panic!("{other:?}"),
    }
    auth.configure_plain("a", [("ada", "1"), ("bob", "9"), ("dan", "4")])
        .unwrap();
    match change(&mut events) {
        Change::Ruled {
            added,
            changed,
            removed,
            ..
        } => {
            assert_eq!(added, [user("dan")]);
            assert_eq!(changed, [user("bob")]);
            assert_eq!(removed, [user("cyd")]);
        }
        other => panic!("{other:?}"),
    }
    auth.configure_curve_keys("b", [key(1)]);
    auth.configure_curve_callback("b", |_: CurveQuestion| ready(true));
    assert!(matches!(change(&mut events), Change::Ruled { added, .. }
        if added == [Credential::Key(key(1))]));
    assert!(
        matches!(change(&mut events), Change::Ruled { rule, removed, .. }
        if rule == Rule::Provider(MechanismKind::Curve, "b".into())
        && removed == [Credential::Key(key(1))])
    );
    auth.configure_curve_any("c");
    assert!(matches!(change(&mut events), Change::Ruled { rule, .. }
        if rule == Rule::AnyKey("c".into())));
    assert!(auth.configure_curve("d", "/no/such/place").is_err());
    let claimed = Change::Claimed(MechanismKind::Curve, "d".into());
    assert_eq!(change(&mut events), claimed);
    auth.unconfigure("d");
    assert_eq!(change(&mut events), Change::Unconfigured("d".into()));
    auth.set_curve_user_id(|_| "someone");
    assert_eq!(change(&mut events), Change::UserIds);
    auth.stop();
    auth.start();
    assert_eq!(change(&mut events), Change::Stopped);
    assert_eq!(change(&mut events), Change::Started);
    assert_eq!(events.try_next(), None);
}

#[test]
fn each_change_of_an_address_list_tells_its_rules_and_one_that_fails_is_none() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    auth.deny(["192.0.2.1"]).unwrap();
    assert!(auth.allow(["192.0.2.1"]).is_err());
    auth.addresses().remove_denied(["192.0.2.1"]).unwrap();
    auth.addresses_of("a").allow(["uid:7"]).unwrap();
    auth.addresses_of("a").remove_allowed(["uid:7"]).unwrap();
    auth.addresses_of("a").clear();
    let a = Some(Domain::from("a"));
    for (expected, list, rule) in [
        (AddressChange::Deny, None, Some("192.0.2.1")),
        (AddressChange::RemoveDenied, None, Some("192.0.2.1")),
        (AddressChange::Allow, a.clone(), Some("uid:7")),
        (AddressChange::RemoveAllowed, a.clone(), Some("uid:7")),
        (AddressChange::Clear, a, None),
    ] {
        match change(&mut events) {
            Change::Addresses {
                domain, how, rules, ..
            } => {
                assert_eq!((how, domain), (expected, list));
                let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
                assert_eq!(rules, rule.into_iter().collect::<Vec<_>>());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events.try_next(), None);
}

#[test]
fn no_event_holds_a_password() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    auth.configure_plain("*", [("ada", "hunter2")]).unwrap();
    for rest in [
        &[&b"PLAIN"[..], b"ada", b"hunter2"][..],
        &[b"PLAIN", b"ada", b"hunter2x"],
        &[b"PLAIN", b"hunter2", b"ada"],
        &[b"PLAIN", b"hunter2"],
        &[b"CURVE", b"hunter2"],
    ] {
        drop(ask(&auth, "", rest));
    }
    let mut count = 0;
    while let Some(next) = events.try_next() {
        count += 1;
        assert!(!format!("{next:?}").contains("hunter2"), "{next:?}");
    }
    assert_eq!(count, 7);
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
    let auth = Authenticator::new();
    let (mut slow, mut quick) = (auth.events(), auth.events());
    let all = 10_000;
    for _ in 0..all {
        drop(ask(&auth, "", &[b"NULL"]));
        let next = quick.try_next().unwrap();
        assert_eq!(next.lost, 0);
    }
    let first = slow.try_next().unwrap();
    let mut read = 1;
    while let Some(next) = slow.try_next() {
        assert_eq!(next.lost, 0);
        read += 1;
    }
    assert!(first.lost > 0);
    assert_eq!(first.lost + read, all);
    assert!(read <= 4096, "{read} kept");
}

#[test]
fn big_changes_count_for_what_they_list() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    let many = |from: u32| {
        (from..from + 3000).map(|number| {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            PublicKey::from_bytes(bytes).unwrap()
        })
    };
    // Together they list too much. The latest is kept, however much it lists.
    for round in 0..5 {
        auth.configure_curve_keys("a", many(round * 3000));
    }
    let next = events.try_next().unwrap();
    assert_eq!(next.lost, 4);
    match &next.event.what {
        Audited::Change(Change::Ruled { added, removed, .. }) => {
            assert_eq!((added.len(), removed.len()), (3000, 3000));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_hears_of_what_comes_after_it_was_made() {
    let auth = Authenticator::new();
    auth.configure_curve_any("a");
    let mut first = auth.events();
    auth.configure_curve_any("b");
    let mut second = auth.events();
    auth.configure_curve_any("c");
    let rule = |events: &mut AuditEvents| match change(events) {
        Change::Ruled { rule, .. } => rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(&mut first), Rule::AnyKey("b".into()));
    assert_eq!(rule(&mut first), Rule::AnyKey("c".into()));
    assert_eq!(rule(&mut second), Rule::AnyKey("c".into()));
    drop(first);
    auth.configure_curve_any("d");
    assert_eq!(rule(&mut second), Rule::AnyKey("d".into()));
    drop(second);
    auth.configure_curve_any("e");
    assert_eq!(auth.events().try_next(), None);
}

#[test]
fn a_thread_and_a_task_can_wait_for_the_next_event() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    assert_eq!(events.next_timeout(Duration::from_millis(1)), None);
    let waiting = thread::spawn(move || events.next_timeout(Duration::from_secs(60)));
    let mut task = auth.events();
    assert!(poll(task.next()).is_pending());
    auth.stop();
    assert_eq!(
        waiting.join().unwrap().unwrap().event.what,
        Audited::Change(Change::Stopped)
    );
    assert!(matches!(poll(task.next()), Poll::Ready(Some(next))
        if next.event.what == Audited::Change(Change::Stopped)));
    assert!(poll(task.next()).is_pending());
}

#[test]
fn the_stream_ends_with_the_authenticator_and_its_grants() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    let grant = ask(&auth, "", &[b"NULL"]);
    drop(auth);
    assert!(!events.is_closed());
    assert!(matches!(poll(events.next()), Poll::Ready(Some(_))));
    assert!(poll(events.next()).is_pending());
    drop(grant);
    assert_eq!(poll(events.next()), Poll::Ready(None));
    assert_eq!(events.next_timeout(Duration::from_secs(60)), None);
    assert!(events.is_closed());
}

#[test]
fn the_end_of_a_validity_is_an_event_when_it_is_noticed() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::SystemTime;
    let late = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&late);
    let auth = Authenticator::with_clock(&zmtp_auth::Limits::default(), move || {
        let seconds = if shown.load(Ordering::SeqCst) {
            u32::MAX
        } else {
            0
        };
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
    });
    let dir = tempfile::tempdir().unwrap();
    let metadata = [("not-after", "2027-01-31T12:00:00Z")];
    let (public, _secret) =
        zmtp_auth::cert::create_certificates(dir.path(), "ada", &metadata).unwrap();
    let key = zmtp_auth::cert::load_certificate(public)
        .unwrap()
        .public_key();
    auth.configure_curve("*", dir.path()).unwrap();
    let mut events = auth.events();
    let grant = ask(&auth, "", &[b"CURVE", key.as_bytes()]).unwrap();
    assert!(decision(&mut events).outcome.is_allowed());
    assert!(grant.still_valid());
    late.store(true, Ordering::SeqCst);
    assert!(!grant.still_valid() && !grant.still_valid());
    assert_eq!(ended(&mut events), Credential::Key(key));
    assert_eq!(events.try_next(), None);
}

#[test]
fn a_decision_says_from_which_port_and_which_known_user_was_refused() {
    let auth = Authenticator::new();
    auth.configure_plain("billing", [("alice", "secret")])
        .unwrap();
    let mut events = auth.events();
    let mut refused = |name: &'static str| {
        let credentials = Credentials::Plain {
            username: name.into(),
            password: Password::from("wrong"),
        };
        let address = PeerAddress::from_zap(b"192.0.2.1");
        let request = AccessRequest::new("billing", address, credentials);
        let request = request.with_port(Some(5555));
        assert!(matches!(
            auth.authorize_blocking(&request),
            Verdict::Deny(_)
        ));
        decision(&mut events)
    };
    let known = refused("alice");
    assert_eq!(known.port, Some(5555));
    assert_eq!(known.credential, Some(Credential::UserName("alice".into())));
    assert_eq!(known.rule, Rule::Passwords("billing".into()));
    assert_eq!(refused("mallory").credential, None);
    // A request in ZAP frames has no port.
    ask(&auth, "billing", &[b"PLAIN", b"alice", b"wrong"]);
    assert_eq!(decision(&mut events).port, None);
}
