//! Topic permissions travel with the grant, follow the policy at once, and end with the admission.

use crate::poll_once::{now, poll};
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, UNIX_EPOCH};
use zmtp_auth::auth::{
    Audited, Authenticator, Change, CurveKey, CurveQuestion, Explanation, ProviderAnswer,
    TopicTable,
};
use zmtp_auth::cert::Certificate;
use zmtp_auth::{
    AccessRequest, Credentials, Domain, Grant, GrantTerms, Limits, MechanismKind, Metadata,
    PeerAddress, PublicKey, TopicPermissions, Topics, Verdict,
};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32]).unwrap()
}

fn may_subscribe(prefixes: &[&str]) -> TopicPermissions {
    let none = TopicPermissions::none();
    none.with_subscribe(prefixes).unwrap()
}

/// A table with these prefixes for alice.
fn alice(prefixes: &[&str]) -> TopicTable {
    TopicTable::new().with_user(MechanismKind::Curve, "alice", may_subscribe(prefixes))
}

/// Alice and a key without a name.
fn auth() -> Authenticator {
    let auth = Authenticator::new();
    let rows = [CurveKey::new(key(1)).with_user("alice"), key(2).into()];
    auth.configure_curve_users("*", rows).unwrap();
    auth
}

fn request(domain: &'static str, number: u8) -> AccessRequest {
    let address = PeerAddress::from_zap(b"10.0.0.1");
    let key = key(number);
    AccessRequest::new(domain, address, Credentials::Curve { key })
}

#[track_caller]
fn grant(auth: &Authenticator, domain: &'static str, number: u8) -> Grant {
    match auth.authorize_blocking(&request(domain, number)) {
        Verdict::Allow(approval) => approval.grant.unwrap(),
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

fn topics(auth: &Authenticator, domain: &'static str, number: u8) -> Topics {
    grant(auth, domain, number).topics()
}

#[test]
fn without_a_table_everything_is_allowed_and_with_one_only_what_it_names() {
    let auth = auth();
    let [named, other] = [1, 2].map(|number| grant(&auth, "d", number));
    let may = |grant: &Grant, prefix: &[u8]| {
        let topics = grant.topics();
        (topics.may_subscribe(prefix), topics.may_publish(prefix))
    };
    assert_eq!(may(&named, b""), (true, true));
    assert_eq!(named.topics().permissions(), TopicPermissions::all());

    auth.configure_topics("d", alice(&["weather."]));
    assert_eq!(may(&named, b"weather.london"), (true, false));
    assert_eq!(may(&named, b"weather"), (false, false));
    assert_eq!(may(&other, b"weather.london"), (false, false));
    let elsewhere = topics(&auth, "elsewhere", 1);
    assert!(elsewhere.permissions().allow_all());

    let others = TopicPermissions::none().with_publish(["log."]).unwrap();
    auth.configure_topics("d", alice(&[""]).with_others(others));
    assert_eq!(may(&named, b""), (true, false));
    assert_eq!(may(&named, b"log.x"), (true, false), "its own entry alone");
    assert_eq!(may(&other, b"log.x"), (false, true));

    auth.configure_topics("d", TopicTable::new());
    assert_eq!(may(&named, b"weather."), (false, false));
    auth.clear_topics("d");
    assert_eq!(may(&named, b""), (true, true));
    assert!(named.still_valid() && other.still_valid());
}

#[test]
fn the_table_of_star_covers_the_domains_without_one() {
    let auth = auth();
    auth.configure_topics("*", alice(&["a"]));
    auth.configure_topics("d", alice(&["b"]));
    for (domain, allowed) in [("d", "b"), ("e", "a"), ("", "a")] {
        let topics = topics(&auth, domain, 1);
        assert_eq!(topics.permissions(), may_subscribe(&[allowed]), "{domain}");
    }
}

#[test]
fn an_entry_is_about_a_user_of_one_mechanism() {
    let auth = auth();
    auth.configure_plain("d", [("alice", "secret")]).unwrap();
    auth.configure_topics("d", alice(&["a"]));
    let plain = Credentials::Plain {
        username: "alice".into(),
        password: "secret".into(),
    };
    let address = PeerAddress::from_zap(b"::1");
    let Verdict::Allow(approval) =
        auth.authorize_blocking(&AccessRequest::new("d", address, plain))
    else {
        panic!("refused");
    };
    let plain = approval.grant.unwrap().topics();
    assert_eq!(plain.permissions(), TopicPermissions::none());
    assert_eq!(topics(&auth, "d", 1).permissions(), may_subscribe(&["a"]));
}

#[test]
fn a_user_of_a_provider_has_what_the_table_names() {
    let auth = Authenticator::new();
    auth.configure_curve_callback("d", |question: CurveQuestion| {
        let user_id = if question.key == key(1) {
            "alice"
        } else {
            "bob"
        };
        ready(ProviderAnswer::YesAs {
            user_id: user_id.into(),
            metadata: Metadata::new(),
        })
    });
    auth.configure_topics("d", alice(&["a"]));
    assert_eq!(topics(&auth, "d", 1).permissions(), may_subscribe(&["a"]));
    let bob = topics(&auth, "d", 2).permissions();
    assert_eq!(bob, TopicPermissions::none());
}

/// Counts the wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_change_wakes_every_waiter_and_is_told_once() {
    let auth = auth();
    let grants = [1, 2].map(|number| grant(&auth, "d", number));
    let [alice_topics, other] = [0, 1].map(|place| grants[place].topics());
    let (mut changes, mut of_other) = (alice_topics.changes(), other.changes());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    assert!(changes.poll_changed(&mut cx).is_pending());

    auth.configure_topics("d", alice(&["a"]));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert!(changes.poll_changed(&mut cx).is_ready());
    assert!(changes.poll_changed(&mut cx).is_pending());
    assert!(
        of_other.poll_changed(&mut cx).is_ready(),
        "from all to none"
    );

    // Changes that leave the permissions of a peer as they are do not concern it.
    let version = alice_topics.version();
    let bob = may_subscribe(&["b"]);
    auth.configure_topics(
        "d",
        alice(&["a"]).with_user(MechanismKind::Curve, "bob", bob),
    );
    auth.configure_topics("e", alice(&["b"]));
    auth.allow(["10.0.0.0/8"]).unwrap();
    assert_eq!(alice_topics.version(), version);
    assert!(changes.poll_changed(&mut cx).is_pending());

    // Two changes between two calls are one notification.
    auth.configure_topics("d", alice(&["b"]));
    auth.configure_topics("d", alice(&["c"]));
    assert!(alice_topics.version() > version);
    now(changes.changed());
    assert_eq!(alice_topics.permissions(), may_subscribe(&["c"]));
    assert!(changes.poll_changed(&mut cx).is_pending());
}

#[test]
fn a_change_that_is_taken_back_is_told_too() {
    let auth = auth();
    auth.configure_topics("d", alice(&["a"]));
    let topics = topics(&auth, "d", 1);
    // The handle keeps the admission, as a socket does.
    let mut changes = topics.changes();
    auth.configure_topics("d", TopicTable::new());
    auth.configure_topics("d", alice(&["a"]));
    now(changes.changed());
    assert_eq!(topics.permissions(), may_subscribe(&["a"]));
}

#[test]
fn no_topic_is_left_when_the_admission_ends() {
    type End = (&'static str, fn(&Authenticator));
    let ends: [End; 4] = [
        ("key", |auth| {
            auth.configure_curve_keys("*", [key(2)]);
        }),
        ("user", |auth| {
            auth.end_admissions(MechanismKind::Curve, "d", "alice");
        }),
        ("address", |auth| auth.deny(["10.0.0.1"]).unwrap()),
        ("name", |auth| {
            auth.configure_curve_keys("*", [key(1)]);
        }),
    ];
    for table in [true, false] {
        for (what, end) in ends {
            let auth = auth();
            if table {
                auth.configure_topics("d", alice(&[""]));
            }
            let grant = grant(&auth, "d", 1);
            let topics = grant.topics();
            let mut changes = topics.changes();
            assert!(topics.may_subscribe(b"a"));
            end(&auth);
            assert!(
                !topics.may_subscribe(b"a") && !topics.may_publish(b"a"),
                "{what}"
            );
            now(changes.changed());
            // What is put back is for new admissions.
            auth.clear_topics("d");
            assert!(!topics.may_subscribe(b"a"), "{what}");
            assert!(poll(changes.changed()).is_pending());
        }
    }
}

#[test]
fn no_topic_is_left_when_the_validity_ends() {
    let seconds = Arc::new(AtomicUsize::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst) as u64)
    };
    let auth = Authenticator::with_clock(&Limits::default(), clock);
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::from(key(1)).with_metadata("not-after", "1970-01-01T00:01:00Z");
    certificate.unwrap().save_public(dir.path(), "a").unwrap();
    auth.configure_curve("d", dir.path()).unwrap();
    let grant = grant(&auth, "d", 1);
    let topics = grant.topics();
    assert!(topics.may_subscribe(b"a"));
    seconds.store(60, Ordering::SeqCst);
    assert!(!grant.still_valid());
    assert!(!topics.may_subscribe(b"a"));
}

#[test]
fn a_peer_that_no_policy_limits_may_use_every_topic_for_ever() {
    struct Forever;
    impl GrantTerms for Forever {
        fn still_valid(&self) -> bool {
            true
        }
        fn revoked(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }
    for topics in [Topics::all(), Grant::new(Forever).topics()] {
        assert!(topics.may_subscribe(b"") && topics.may_publish(b""));
        assert_eq!(topics.version(), 0);
        let mut changes = topics.changes();
        assert_eq!(poll(pin!(changes.changed())), Poll::Pending);
    }
}

#[test]
fn the_topics_of_an_admission_are_those_of_the_policy_that_admits_it() {
    let auth = Authenticator::new();
    let changed = auth.clone();
    // The table comes while the provider decides.
    auth.configure_curve_callback("d", move |_: CurveQuestion| {
        changed.configure_topics("d", alice(&["a"]));
        ready(true)
    });
    let unnamed = topics(&auth, "d", 2);
    assert_eq!(unnamed.permissions(), TopicPermissions::none());
}

#[test]
fn explanations_and_audit_events_tell_the_topics() {
    let auth = auth();
    let mut events = auth.events();
    let explain = |number| -> Explanation { now(auth.explain(&request("d", number))) };
    assert!(explain(1).topics.unwrap().allow_all());
    assert!(!explain(1).to_string().contains("subscribe"));
    let both = alice(&["a"]).with_user(MechanismKind::Plain, "bob", may_subscribe(&["b"]));
    auth.configure_topics("d", both);
    assert_eq!(explain(1).topics.unwrap(), may_subscribe(&["a"]));
    assert_eq!(
        explain(1).to_string(),
        "allowed as \"alice\": the keys of domain \"*\"; may subscribe to \"a\" and publish nothing"
    );
    assert_eq!(explain(3).topics, None);
    auth.configure_topics("d", alice(&["c"]).with_others(TopicPermissions::none()));
    auth.clear_topics("d");
    let [curve, plain] = [MechanismKind::Curve, MechanismKind::Plain];
    for expected in [
        (
            true,
            vec![(plain, "bob".into()), (curve, "alice".into())],
            false,
        ),
        (
            true,
            vec![(plain, "bob".into()), (curve, "alice".into())],
            true,
        ),
        (false, vec![(curve, "alice".into())], true),
    ] {
        match &events.try_next().unwrap().event.what {
            Audited::Change(Change::Topics {
                domain,
                is_table,
                users,
                others,
                ..
            }) => {
                assert_eq!(*domain, Domain::from("d"));
                assert_eq!((*is_table, users.clone(), *others), expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_ended_admission_is_audited_once_however_its_topics_change() {
    let auth = auth();
    let grant = grant(&auth, "d", 1);
    let mut events = auth.events();
    auth.configure_topics("d", alice(&["a"]));
    auth.configure_curve_keys("*", []);
    auth.configure_topics("d", alice(&["b"]));
    assert!(!grant.still_valid());
    let ends = std::iter::from_fn(|| events.try_next())
        .filter(|next| matches!(next.event.what, Audited::Ended(_)));
    assert_eq!(ends.count(), 1);
}
