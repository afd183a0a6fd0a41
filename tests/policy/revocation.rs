//! A change of policy ends exactly the grants that it withdraws, and wakes every task that waits
//! for them.

use crate::poll_once::{now, poll};
use bytes::Bytes;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use zmtp_auth::auth::{AdmissionTerms, Audited, Authenticator, CurveQuestion, PlainQuestion, Rule};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    AccessRequest, Credential, Credentials, DenialStatus, Domain, Grant, MechanismKind, Password,
    PeerAddress, PublicKey, Verdict,
};

fn key(number: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes).unwrap()
}

/// An Authenticator behind a router, as in every host.
struct Server {
    auth: Authenticator,
    router: ZapRouter,
}

impl Server {
    fn new() -> Self {
        let auth = Authenticator::new();
        let router = ZapRouter::new();
        router.bind("*", auth.clone()).unwrap();
        Self { auth, router }
    }

    fn ask(&self, domain: &'static str, address: &str, credentials: Credentials) -> Verdict {
        let address = PeerAddress::from_zap(address.as_bytes());
        let request = AccessRequest::new(domain, address, credentials);
        now(self.router.authorize(&request))
    }

    #[track_caller]
    fn admit(&self, domain: &'static str, address: &str, credentials: Credentials) -> Grant {
        match self.ask(domain, address, credentials) {
            Verdict::Allow(approval) => approval.grant.unwrap(),
            Verdict::Deny(denied) => panic!("{denied}"),
        }
    }

    #[track_caller]
    fn curve(&self, domain: &'static str, number: u32) -> Grant {
        self.admit(domain, "127.0.0.1", Credentials::Curve { key: key(number) })
    }

    #[track_caller]
    fn plain(&self, domain: &'static str, name: &'static str) -> Grant {
        self.admit(domain, "127.0.0.1", credentials(name, "secret"))
    }

    #[track_caller]
    fn null(&self, domain: &'static str, address: &str) -> Grant {
        self.admit(domain, address, Credentials::Null)
    }
}

fn credentials(name: &'static str, password: &str) -> Credentials {
    Credentials::Plain {
        username: name.into(),
        password: Password::from(password),
    }
}

fn terms(grant: &Grant) -> &AdmissionTerms {
    grant.terms().unwrap()
}

/// Counts how often it wakes.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that waits for the end of a grant.
struct Watch<'a> {
    alarm: Arc<Alarm>,
    revoked: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl<'a> Watch<'a> {
    fn new(grant: &'a Grant) -> Self {
        let mut watch = Self {
            alarm: Arc::default(),
            revoked: Box::pin(grant.revoked()),
        };
        assert!(!watch.is_over());
        watch
    }

    fn is_over(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.revoked
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    }

    fn woken(&self) -> bool {
        self.alarm.0.load(Ordering::SeqCst) > 0
    }
}

/// Makes `change`. Checks that it ends the first grants and no others, and wakes exactly the tasks
/// that wait for the first.
#[track_caller]
fn revokes<T>(change: impl FnOnce() -> T, ended: &[&Grant], living: &[&Grant]) {
    let mut over: Vec<_> = ended.iter().map(|grant| Watch::new(grant)).collect();
    let mut lasting: Vec<_> = living.iter().map(|grant| Watch::new(grant)).collect();
    change();
    for (grant, watch) in ended.iter().zip(&mut over) {
        assert!(watch.woken(), "not woken: {:?}", terms(grant));
        assert!(watch.is_over(), "not ended: {:?}", terms(grant));
        assert!(!grant.still_valid());
    }
    for (grant, watch) in living.iter().zip(&mut lasting) {
        assert!(!watch.woken(), "woken: {:?}", terms(grant));
        assert!(!watch.is_over(), "over: {:?}", terms(grant));
        assert!(grant.still_valid());
    }
}

mod what_revokes {
    use super::*;

    #[test]
    fn removing_a_key_ends_its_admissions_and_no_other() {
        let server = Server::new();
        server.auth.configure_curve_keys("a", [key(1), key(2)]);
        server.auth.configure_curve_keys("b", [key(1)]);
        let (gone, also_gone) = (server.curve("a", 1), server.curve("a", 1));
        let (stays, elsewhere) = (server.curve("a", 2), server.curve("b", 1));
        revokes(
            || server.auth.configure_curve_keys("a", [key(2), key(3)]),
            &[&gone, &also_gone],
            &[&stays, &elsewhere],
        );
    }

    #[test]
    fn changing_a_password_or_removing_a_user_ends_their_admissions_and_no_other() {
        let server = Server::new();
        let users = [("ada", "secret"), ("bob", "secret"), ("eve", "secret")];
        server.auth.configure_plain("a", users).unwrap();
        let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| server.plain("a", name));
        let changed = [("ada", "secret"), ("bob", "another")];
        revokes(
            || server.auth.configure_plain("a", changed).unwrap(),
            &[&bob, &eve],
            &[&ada],
        );
    }

    #[test]
    fn denying_an_address_ends_its_admissions_of_every_mechanism_and_no_other() {
        let server = Server::new();
        server.auth.configure_curve_any("*");
        server
            .auth
            .configure_plain("*", [("ada", "secret")])
            .unwrap();
        let at = |address| {
            [
                Credentials::Null,
                credentials("ada", "secret"),
                Credentials::Curve { key: key(1) },
                Credentials::Gssapi {
                    principal: "ada@EXAMPLE".into(),
                },
            ]
            .map(|credentials| server.admit("", address, credentials))
        };
        let (gone, mapped, stays) = (at("192.0.2.1"), at("::ffff:192.0.2.1"), at("192.0.2.2"));
        let gone: Vec<_> = gone.iter().chain(&mapped).collect();
        revokes(
            || server.auth.deny(["192.0.2.1"]).unwrap(),
            &gone,
            &stays.each_ref(),
        );
    }

    #[test]
    fn a_first_allow_list_and_one_that_shrinks_end_what_they_do_not_hold() {
        let server = Server::new();
        let [inside, outside, ipc] = ["10.0.0.1", "192.0.2.1", "localhost:1000:100:1"]
            .map(|address| server.null("a", address));
        revokes(
            || server.auth.allow(["10.0.0.0/8", "uid:1000"]).unwrap(),
            &[&outside],
            &[&inside, &ipc],
        );
        let remove_allowed = || {
            let removed = server.auth.addresses().remove_allowed(["uid:1000"]);
            assert_eq!(removed, Ok(1));
        };
        revokes(remove_allowed, &[&ipc], &[&inside]);
    }

    #[test]
    fn an_address_list_of_a_domain_ends_admissions_of_that_domain_alone() {
        let server = Server::new();
        let (gone, stays) = (server.null("a", "192.0.2.1"), server.null("b", "192.0.2.1"));
        revokes(
            || server.auth.addresses_of("a").deny(["192.0.2.1"]).unwrap(),
            &[&gone],
            &[&stays],
        );
    }

    #[test]
    fn replacing_a_directory_ends_what_is_not_in_the_new_one_or_has_other_metadata() {
        let server = Server::new();
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let create = |name: &str, role| {
            let metadata = [("role", role)];
            let (public, secret) =
                zmtp_auth::cert::create_certificates(old.path(), name, &metadata).unwrap();
            let certificate = zmtp_auth::cert::Certificate::load(secret).unwrap();
            (public, certificate.public_key())
        };
        let (stays, promoted, gone) = (create("a", "1"), create("b", "2"), create("c", "3"));
        server.auth.configure_curve("*", old.path()).unwrap();
        let grant = |key| server.admit("", "::1", Credentials::Curve { key });
        let (kept, changed, ended) = (grant(stays.1), grant(promoted.1), grant(gone.1));

        std::fs::copy(stays.0, new.path().join("other-name.key")).unwrap();
        let text = std::fs::read_to_string(promoted.0).unwrap();
        std::fs::write(new.path().join("b.key"), text.replace("\"2\"", "\"9\"")).unwrap();
        let replace = || {
            let report = server.auth.configure_curve("*", new.path()).unwrap();
            assert!(report.problems.is_empty());
        };
        revokes(replace, &[&changed, &ended], &[&kept]);
    }

    #[test]
    fn a_failed_load_ends_nothing() {
        let server = Server::new();
        server.auth.configure_curve_keys("a", [key(1)]);
        let grant = server.curve("a", 1);
        let fail = || assert!(server.auth.configure_curve("a", "/no/such/place").is_err());
        revokes(fail, &[], &[&grant]);
    }

    #[test]
    fn claiming_a_domain_ends_what_star_has_admitted_there() {
        let server = Server::new();
        server.auth.configure_curve_any("*");
        let (there, elsewhere) = (server.curve("a", 1), server.curve("b", 1));
        let claim = || assert!(server.auth.configure_curve("a", "/no/such/place").is_err());
        revokes(claim, &[&there], &[&elsewhere]);
    }

    #[test]
    fn unconfiguring_a_domain_ends_its_admissions_even_if_star_would_admit_the_same() {
        let server = Server::new();
        for domain in ["*", "a"] {
            server.auth.configure_curve_keys(domain, [key(1)]);
            server
                .auth
                .configure_plain(domain, [("ada", "secret")])
                .unwrap();
        }
        let (curve, plain) = (server.curve("a", 1), server.plain("a", "ada"));
        let (star_curve, star_plain) = (server.curve("b", 1), server.plain("b", "ada"));
        let null = server.null("a", "127.0.0.1");
        revokes(
            || server.auth.unconfigure("a"),
            &[&curve, &plain],
            &[&star_curve, &star_plain, &null],
        );
    }

    /// The entries of both domains have come into force together, so they have one version.
    #[test]
    #[cfg(feature = "policy-file")]
    fn a_policy_file_without_a_domain_ends_its_admissions_even_if_star_would_admit_the_same() {
        use zmtp_auth::auth::PolicyFile;
        let server = Server::new();
        let domain = |name: &str, user: &str| {
            let key = key(1).to_z85();
            format!(
                "[domain.\"{name}\"]\nnull = {{ any = true }}\ngssapi = {{ any = true }}\n\
                 curve = {{ keys = [{{ key = \"{key}\", user = \"{user}\" }}] }}\n"
            )
        };
        let load = |text: &str| {
            let file = PolicyFile::parse(text.as_bytes(), "").unwrap();
            server.auth.load_policy(&file).unwrap();
        };
        let star = domain("*", "guest");
        load(&format!("{star}{}", domain("a", "admin")));
        let gssapi = |domain| {
            let principal = Bytes::from_static(b"ada@EXAMPLE");
            server.admit(domain, "127.0.0.1", Credentials::Gssapi { principal })
        };
        let admitted = |domain| {
            let null = server.null(domain, "127.0.0.1");
            [server.curve(domain, 1), gssapi(domain), null]
        };
        let ([a, b, c], [d, e, f]) = (admitted("a"), admitted("b"));
        revokes(|| load(&star), &[&a, &b, &c], &[&d, &e, &f]);
    }

    #[test]
    fn another_provider_ends_what_the_first_has_admitted() {
        let server = Server::new();
        let yes = |_: CurveQuestion| ready(true);
        server.auth.configure_curve_callback("a", yes);
        server.auth.configure_curve_callback("b", yes);
        let (gone, stays) = (server.curve("a", 1), server.curve("b", 1));
        revokes(
            || server.auth.configure_curve_callback("a", yes),
            &[&gone],
            &[&stays],
        );
    }

    #[test]
    fn closing_an_open_domain_ends_what_came_in_while_it_was_open() {
        let server = Server::new();
        server.auth.configure_curve_any("a");
        let grant = server.curve("a", 1);
        revokes(|| server.auth.configure_curve_any("a"), &[], &[&grant]);
        revokes(
            || server.auth.configure_curve_keys("a", [key(1)]),
            &[&grant],
            &[],
        );
    }

    #[test]
    fn what_is_the_same_as_before_ends_nothing() {
        let server = Server::new();
        server.auth.configure_curve_keys("a", [key(1)]);
        server
            .auth
            .configure_plain("a", [("ada", "secret")])
            .unwrap();
        let (curve, plain) = (server.curve("a", 1), server.plain("a", "ada"));
        let same = || {
            server.auth.configure_curve_keys("a", [key(1)]);
            server
                .auth
                .configure_plain("a", [("ada", "secret")])
                .unwrap();
            server.auth.deny(["192.0.2.1"]).unwrap();
            assert!(server.auth.allow(["192.0.2.1"]).is_err());
            server.auth.set_curve_user_id(|_| "another");
            server.auth.stop();
            server.auth.start();
        };
        revokes(same, &[], &[&curve, &plain]);
    }

    #[test]
    fn what_is_taken_back_at_once_has_still_ended() {
        let server = Server::new();
        server.auth.configure_curve_keys("a", [key(1)]);
        server
            .auth
            .configure_plain("a", [("ada", "secret")])
            .unwrap();
        let (curve, plain) = (server.curve("a", 1), server.plain("a", "ada"));
        let null = server.null("a", "192.0.2.1");
        let there_and_back = || {
            server.auth.configure_curve_keys("a", []);
            server.auth.configure_curve_keys("a", [key(1)]);
            server
                .auth
                .configure_plain("a", [("ada", "another")])
                .unwrap();
            server
                .auth
                .configure_plain("a", [("ada", "secret")])
                .unwrap();
            server.auth.deny(["192.0.2.1"]).unwrap();
            assert_eq!(server.auth.addresses().remove_denied(["192.0.2.1"]), Ok(1));
        };
        revokes(there_and_back, &[&curve, &plain, &null], &[]);
        assert!(server.null("a", "192.0.2.1").still_valid());
        assert!(server.curve("a", 1).still_valid());
    }
}

mod what_a_grant_says {
    use super::*;

    #[test]
    fn a_grant_names_the_peer_its_address_the_rule_and_the_time() {
        let server = Server::new();
        server.auth.configure_curve_keys("*", [key(1)]);
        let entry_version = server.auth.policy_version();
        server.auth.configure_curve_any("b");
        let grant = server.admit("a", "192.0.2.1", Credentials::Curve { key: key(1) });
        let terms = terms(&grant);
        assert_eq!(terms.policy_version(), server.auth.policy_version());
        assert_eq!(terms.entry_version(), entry_version);
        assert!(terms.entry_version() < terms.policy_version());
        assert_eq!(terms.domain(), &Domain::from("a"));
        assert_eq!(terms.mechanism(), MechanismKind::Curve);
        assert_eq!(terms.credential(), &Credential::Key(key(1)));
        assert_eq!(terms.user_id(), &key(1).to_z85());
        assert_eq!(terms.address(), &PeerAddress::from_zap(b"192.0.2.1"));
        assert_eq!(terms.rule(), &Rule::Keys(Domain::ALL));
        assert_eq!(terms.valid_until(), None);
        assert!(terms.was_issued_by(&server.auth));
        assert_eq!(server.auth.live_grants(), 1);
        assert!(!format!("{grant:?} {terms:?}").is_empty());
    }

    #[test]
    fn an_entry_that_was_changed_has_another_version() {
        let server = Server::new();
        server
            .auth
            .configure_plain("a", [("ada", "secret"), ("bob", "b")])
            .unwrap();
        let before = terms(&server.plain("a", "ada")).entry_version();
        server
            .auth
            .configure_plain("a", [("ada", "secret"), ("bob", "c")])
            .unwrap();
        assert_eq!(terms(&server.plain("a", "ada")).entry_version(), before);
        server
            .auth
            .configure_plain("a", [("ada", "other")])
            .unwrap();
        server
            .auth
            .configure_plain("a", [("ada", "secret")])
            .unwrap();
        assert!(terms(&server.plain("a", "ada")).entry_version() > before);
    }

    #[test]
    fn a_grant_outlives_its_authenticator() {
        let server = Server::new();
        let grant = server.null("a", "::1");
        drop(server);
        assert!(grant.still_valid());
    }

    #[test]
    fn a_grant_without_a_holder_is_forgotten() {
        let server = Server::new();
        let grant = server.null("a", "::1");
        let copy = grant.clone();
        drop(grant);
        assert_eq!(server.auth.live_grants(), 1);
        drop(copy);
        assert_eq!(server.auth.live_grants(), 0);
        assert!(matches!(
            server.ask("a", "::1", Credentials::Curve { key: key(1) }),
            Verdict::Deny(_)
        ));
        assert_eq!(server.auth.live_grants(), 0);
    }
}

mod who_is_told {
    use super::*;

    #[test]
    fn every_copy_and_waiter_sees_the_end_even_later_ones() {
        let server = Server::new();
        let grant = server.null("a", "192.0.2.1");
        let copy = grant.clone();
        revokes(
            || server.auth.deny(["192.0.2.1"]).unwrap(),
            &[&grant, &grant, &copy],
            &[],
        );
        now(grant.revoked());
    }

    #[test]
    fn a_dropped_wait_wakes_no_task_and_can_start_again() {
        let server = Server::new();
        let grant = server.null("a", "192.0.2.1");
        let dropped = Watch::new(&grant);
        let alarm = Arc::clone(&dropped.alarm);
        drop(dropped);
        revokes(|| server.auth.deny(["192.0.2.1"]).unwrap(), &[&grant], &[]);
        assert_eq!(alarm.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn hosts_can_wait_for_changes_and_check_their_grants() {
        let server = Server::new();
        let grant = server.null("a", "192.0.2.1");
        let mut changes = server.auth.changes();
        assert!(poll(changes.next()).is_pending());
        server.auth.configure_curve_any("b");
        server.auth.configure_curve_any("c");
        assert_eq!(now(changes.next()), server.auth.policy_version());
        assert!(grant.still_valid());
        assert!(poll(changes.next()).is_pending());

        server.auth.deny(["192.0.2.1"]).unwrap();
        assert_eq!(changes.try_next(), Some(server.auth.policy_version()));
        assert_eq!(changes.try_next(), None);
        assert!(!grant.still_valid());

        assert!(server.auth.allow(["192.0.2.1"]).is_err());
        assert_eq!(changes.next_timeout(Duration::ZERO), None);
    }

    #[test]
    fn a_thread_that_waits_for_changes_is_woken() {
        let server = Server::new();
        let mut changes = server.auth.changes();
        let waiting = std::thread::spawn(move || changes.next_timeout(Duration::from_secs(60)));
        server.auth.configure_curve_any("a");
        assert_eq!(waiting.join().unwrap(), Some(server.auth.policy_version()));
    }

    /// A waker may do anything, even change the policy.
    #[test]
    fn a_waker_may_change_the_policy() {
        struct Changes(Authenticator);
        impl Wake for Changes {
            fn wake(self: Arc<Self>) {
                self.0.configure_curve_any("woken");
            }
        }
        let server = Server::new();
        let grant = server.null("a", "192.0.2.1");
        let waker = Waker::from(Arc::new(Changes(server.auth.clone())));
        let mut revoked = Box::pin(grant.revoked());
        assert!(
            revoked
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        server.auth.deny(["192.0.2.1"]).unwrap();
        assert!(server.curve("woken", 1).still_valid());
    }
}

#[test]
fn a_change_while_a_provider_ponders_is_not_missed() {
    let server = Server::new();
    let auth = server.auth.clone();
    server.auth.configure_curve_callback("a", move |_| {
        auth.configure_curve_keys("a", [key(2)]);
        ready(true)
    });
    // The provider says yes after it was replaced, so the keys that replaced it decide.
    let verdict = server.ask("a", "::1", Credentials::Curve { key: key(1) });
    assert!(matches!(verdict, Verdict::Deny(denied) if denied.reason == "Unknown key"));
    assert!(server.curve("a", 2).still_valid());
}

fn curve_frames(number: u32) -> Vec<Bytes> {
    let key = key(number);
    let frames = [
        &b"1.0"[..],
        b"1",
        b"a",
        b"::1",
        b"",
        b"CURVE",
        key.as_bytes(),
    ];
    frames.map(Bytes::copy_from_slice).into()
}

/// The status and the user id of the reply in frames.
fn reply(auth: &Authenticator, number: u32) -> (Bytes, Bytes) {
    let frames = now(auth.handle_zap_message(curve_frames(number)));
    let [_, _, status, _, user_id, _] = frames.unwrap();
    (status, user_id)
}

#[test]
fn a_reply_in_frames_misses_no_change_either_and_leaves_no_grant() {
    let auth = Authenticator::new();
    let inside = auth.clone();
    auth.configure_curve_callback("a", move |_| {
        inside.configure_curve_keys("a", [key(2)]);
        ready(true)
    });
    let mut events = auth.events();
    assert_eq!(reply(&auth, 1), ("400".into(), Bytes::new()));
    assert_eq!(reply(&auth, 2), ("200".into(), key(2).to_z85().into()));
    assert_eq!(auth.live_grants(), 0);
    // One change, two decisions, and no end of a grant that was never handed out.
    let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter()
            .all(|next| !matches!(next.event.what, Audited::Ended(_)))
    );

    // A change that does not affect the answer has no effect.
    let inside = auth.clone();
    auth.configure_curve_callback("a", move |_| {
        inside.deny(["192.0.2.1"]).unwrap();
        ready(true)
    });
    assert_eq!(reply(&auth, 1).0, "200");
}

/// A provider that gives its first answer, a yes, when the test says so.
fn late_provider(auth: &Authenticator) -> (tokio::sync::oneshot::Sender<()>, Arc<AtomicUsize>) {
    let (answer, told) = tokio::sync::oneshot::channel();
    let (told, asked) = (Mutex::new(Some(told)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    auth.configure_curve_callback("a", move |_: CurveQuestion| {
        count.fetch_add(1, Ordering::Relaxed);
        let told = told.lock().unwrap().take();
        async move {
            if let Some(told) = told {
                told.await.unwrap();
            }
            true
        }
    });
    (answer, asked)
}

fn curve_request(number: u32) -> AccessRequest {
    let address = PeerAddress::from_zap(b"::1");
    AccessRequest::new("a", address, Credentials::Curve { key: key(number) })
}

#[test]
fn a_question_in_progress_when_stop_returns_is_refused_with_300() {
    let server = Server::new();
    let (answer, _) = late_provider(&server.auth);
    let request = curve_request(1);
    let mut question = pin!(server.router.authorize(&request));
    assert!(poll(question.as_mut()).is_pending());
    server.auth.stop();
    answer.send(()).unwrap();
    match now(question) {
        Verdict::Deny(denied) => assert_eq!(denied.status, DenialStatus::Temporary),
        Verdict::Allow(approval) => panic!("admitted, {:?}", approval.grant),
    }
    assert_eq!(server.auth.live_grants(), 0);

    server.auth.start();
    let (answer, _) = late_provider(&server.auth);
    let mut question = pin!(server.auth.handle_zap_message(curve_frames(1)));
    assert!(poll(question.as_mut()).is_pending());
    server.auth.stop();
    answer.send(()).unwrap();
    let [_, _, status, ..] = now(question).unwrap();
    assert_eq!(status, "300");
}

#[test]
fn a_question_that_a_stop_has_overtaken_is_judged_again_after_the_start() {
    let server = Server::new();
    let (answer, asked) = late_provider(&server.auth);
    let request = curve_request(1);
    let mut question = pin!(server.router.authorize(&request));
    assert!(poll(question.as_mut()).is_pending());
    server.auth.stop();
    server.auth.start();
    answer.send(()).unwrap();
    assert!(matches!(now(question), Verdict::Allow(_)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_call_ends_the_admissions_of_one_user_or_key_and_no_others() {
    let server = Server::new();
    let users = |_: PlainQuestion| ready(true);
    server.auth.configure_plain_callback("a", users);
    server.auth.configure_plain_callback("b", users);
    server.auth.configure_curve_callback("a", |_| ready(true));
    server.auth.configure_curve_callback("b", |_| ready(true));
    let ended = [server.plain("a", "ada"), server.plain("a", "ada")];
    let kept = [server.plain("a", "bob"), server.plain("b", "ada")];
    let count = server.auth.end_admissions(MechanismKind::Plain, "a", "ada");
    assert_eq!(count, 2);
    assert!(ended.iter().all(|grant| !grant.still_valid()));
    assert!(kept.iter().all(Grant::still_valid));
    // A grant that has ended and is still held does not end again.
    let again = server.auth.end_admissions(MechanismKind::Plain, "a", "ada");
    assert_eq!(again, 0);
    assert_eq!(
        server.auth.end_admissions(MechanismKind::Curve, "a", "ada"),
        0
    );

    let ended = [server.curve("a", 1), server.curve("b", 1)];
    let mut events = server.auth.events();
    let other = server.curve("a", 2);
    let watch = Watch::new(&ended[0]);
    assert_eq!(server.auth.end_admissions_of_key(&key(1)), 2);
    assert!(watch.woken());
    assert!(ended.iter().all(|grant| !grant.still_valid()));
    assert!(kept.iter().all(Grant::still_valid) && other.still_valid());
    let told = std::iter::from_fn(|| events.try_next());
    let told = told.filter(|next| matches!(next.event.what, Audited::Ended(_)));
    assert_eq!(told.count(), 2);
    // The policy is unchanged.
    assert!(server.curve("a", 1).still_valid() && server.plain("a", "ada").still_valid());
}

#[test]
fn a_decision_in_progress_does_not_escape_the_end_of_its_users_admissions() {
    let server = Server::new();
    let (answer, asked) = late_provider(&server.auth);
    let request = curve_request(1);
    let mut question = pin!(server.router.authorize(&request));
    assert!(poll(question.as_mut()).is_pending());
    assert_eq!(server.auth.end_admissions_of_key(&key(1)), 0);
    answer.send(()).unwrap();
    assert!(matches!(now(question), Verdict::Allow(_)));
    // An answer from before the call does not count.
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn the_end_of_others_admissions_asks_no_provider_again() {
    let server = Server::new();
    let (answer, asked) = late_provider(&server.auth);
    let request = curve_request(1);
    let mut question = pin!(server.router.authorize(&request));
    assert!(poll(question.as_mut()).is_pending());
    for number in 2..40 {
        server.auth.end_admissions_of_key(&key(number));
        server
            .auth
            .end_admissions(MechanismKind::Plain, "a", number.to_string());
        // The same name under another mechanism or domain is another user.
        let user_id = server.auth.curve_user_id(&key(1)).unwrap();
        server
            .auth
            .end_admissions(MechanismKind::Plain, "a", user_id.clone());
        server
            .auth
            .end_admissions(MechanismKind::Curve, "b", user_id);
    }
    answer.send(()).unwrap();
    assert!(matches!(now(question), Verdict::Allow(_)));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn calls_that_end_others_admissions_without_end_keep_no_peer_out() {
    let server = Server::new();
    let (inside, asked) = (server.auth.clone(), AtomicUsize::new(0));
    server.auth.configure_curve_callback("a", move |_| {
        inside.end_admissions_of_key(&key(2));
        let number = asked.fetch_add(1, Ordering::Relaxed).to_string();
        inside.end_admissions(MechanismKind::Curve, "a", number);
        ready(true)
    });
    let verdict = now(server.router.authorize(&curve_request(1)));
    assert!(matches!(verdict, Verdict::Allow(_)));
    assert_eq!(reply(&server.auth, 1).0, "200");
    // A peer whose admissions end at each question never gets in.
    assert_eq!(reply(&server.auth, 2).0, "300");
}

#[test]
fn a_decision_that_more_ends_overtake_than_are_remembered_is_made_again() {
    for ends_of_its_own in [false, true] {
        let server = Server::new();
        let (answer, asked) = late_provider(&server.auth);
        let request = curve_request(1);
        let mut question = pin!(server.router.authorize(&request));
        assert!(poll(question.as_mut()).is_pending());
        if ends_of_its_own {
            server.auth.end_admissions_of_key(&key(1));
        }
        for number in 0..if ends_of_its_own { 1024 } else { 1025 } {
            let user_id = number.to_string();
            server
                .auth
                .end_admissions(MechanismKind::Plain, "a", user_id);
        }
        answer.send(()).unwrap();
        assert!(matches!(now(question), Verdict::Allow(_)));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}

/// A provider that says yes and is replaced meanwhile: `times` times by another of its kind, then
/// by `last`.
fn overtaken(auth: &Authenticator, times: usize, last: fn(&Authenticator)) {
    let inside = auth.clone();
    auth.configure_curve_callback("a", move |_: CurveQuestion| {
        match times.checked_sub(1) {
            None => last(&inside),
            Some(left) => overtaken(&inside, left, last),
        }
        ready(true)
    });
}

#[test]
fn a_decision_that_is_overtaken_more_than_once_is_judged_until_it_stands() {
    for times in 0..4 {
        let server = Server::new();
        overtaken(&server.auth, times, |auth| {
            auth.configure_curve_keys("a", []);
        });
        match now(server.router.authorize(&curve_request(1))) {
            Verdict::Deny(denied) => assert_eq!(denied.reason, "Unknown key"),
            Verdict::Allow(approval) => panic!("admitted, {:?}", approval.grant),
        }
        // A reply in frames has no grant that could end the admission.
        overtaken(&server.auth, times, |auth| {
            auth.configure_curve_keys("a", []);
        });
        assert_eq!(reply(&server.auth, 1).0, "400", "overtaken {times} times");
        overtaken(&server.auth, times, |auth| {
            auth.configure_curve_keys("a", [key(1)]);
        });
        assert_eq!(reply(&server.auth, 1).0, "200");
    }
}

#[test]
fn a_decision_that_never_stands_is_300() {
    let server = Server::new();
    let endless = || usize::MAX;
    overtaken(&server.auth, endless(), |_| {});
    match now(server.router.authorize(&curve_request(1))) {
        Verdict::Deny(denied) => assert_eq!(denied.status, DenialStatus::Temporary),
        Verdict::Allow(approval) => panic!("admitted, {:?}", approval.grant),
    }
    assert_eq!(reply(&server.auth, 1).0, "300");
    assert_eq!(server.auth.live_grants(), 0);
}

#[test]
fn a_grant_is_of_a_policy_since_which_it_has_stood_all_the_time() {
    let server = Server::new();
    let auth = server.auth.clone();
    server.auth.configure_curve_callback("a", move |_| {
        auth.deny(["::1"]).unwrap();
        auth.addresses().remove_denied(["::1"]).unwrap();
        ready(true)
    });
    // Two changes happen during the decision, and the resulting policy admits as the first did. The
    // admission belongs to that policy, since the policy in between would have ended it.
    let grant = server.admit("a", "::1", Credentials::Curve { key: key(1) });
    assert!(grant.still_valid());
    let terms: &AdmissionTerms = grant.terms().unwrap();
    assert_eq!(terms.policy_version(), server.auth.policy_version());
}

#[test]
fn a_hundred_thousand_grants_are_all_known_until_they_are_dropped() {
    let server = Server::new();
    server.auth.configure_curve_any("*");
    let time = |count: u32| {
        let start = Instant::now();
        let grants: Vec<_> = (0..count).map(|number| server.curve("a", number)).collect();
        (grants, start.elapsed())
    };
    let (_few, alone) = time(1000);
    let (many, _) = time(100_000);
    let (_more, crowded) = time(1000);
    let start = Instant::now();
    server.auth.configure_curve_any("b");
    let swept = start.elapsed();
    println!("1000 decisions took {alone:?}, then {crowded:?}; a change {swept:?}");
    assert_eq!(server.auth.live_grants(), 102_000);
    drop(many);
    assert_eq!(server.auth.live_grants(), 2000);
}

#[cfg(feature = "tokio")]
mod many_peers {
    use super::*;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    /// The number of connections, and of those that must close: 1000 and 50 with
    /// `ZMTP_AUTH_FULL=1`.
    fn scale() -> (u32, u32) {
        match std::env::var_os("ZMTP_AUTH_FULL") {
            Some(_) => (1000, 50),
            None => (100, 5),
        }
    }

    /// Starts a task that waits for each grant, makes `change`, and checks that exactly the first
    /// `gone` tasks are woken, and promptly.
    async fn closes_exactly(grants: Vec<Grant>, gone: u32, change: impl FnOnce()) {
        let mut waiting = JoinSet::new();
        for (number, grant) in (0..).zip(grants) {
            waiting.spawn(async move {
                grant.revoked().await;
                (number, Instant::now())
            });
        }
        tokio::task::yield_now().await;
        let start = Instant::now();
        change();
        let mut told = Vec::new();
        let mut last = start;
        for _ in 0..gone {
            let next = timeout(Duration::from_secs(10), waiting.join_next());
            let (number, at): (u32, _) = next.await.unwrap().unwrap().unwrap();
            told.push(number);
            last = last.max(at);
        }
        println!("{gone} woken within {:?}", last - start);
        told.sort_unstable();
        assert_eq!(told, (0..gone).collect::<Vec<_>>());
        let another = timeout(Duration::from_millis(100), waiting.join_next());
        assert!(
            another.await.is_err(),
            "more tasks were woken than grants ended"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_peers_exactly_those_whose_keys_were_removed_are_told() {
        let (all, gone) = scale();
        let server = Server::new();
        server.auth.configure_curve_keys("a", (0..all).map(key));
        let grants = (0..all).map(|number| server.curve("a", number)).collect();
        closes_exactly(grants, gone, || {
            server.auth.configure_curve_keys("a", (gone..all).map(key));
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_peers_exactly_those_whose_passwords_were_changed_are_told() {
        let (all, gone) = scale();
        let server = Server::new();
        let users = |first: &'static str| {
            (0..all).map(move |number| {
                let password = if number < gone { first } else { "secret" };
                (format!("user-{number}"), password)
            })
        };
        server.auth.configure_plain("a", users("secret")).unwrap();
        let admit = |number| {
            let credentials = Credentials::Plain {
                username: format!("user-{number}").into(),
                password: Password::from("secret"),
            };
            server.admit("a", "::1", credentials)
        };
        closes_exactly((0..all).map(admit).collect(), gone, || {
            server.auth.configure_plain("a", users("changed")).unwrap();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_peers_exactly_those_from_a_denied_block_are_told() {
        let (all, gone) = scale();
        let server = Server::new();
        let address = |number: u32| {
            let block = if number < gone { 1 } else { 2 };
            format!("10.{block}.{}.{}", number / 256, number % 256)
        };
        let grants = (0..all)
            .map(|number| server.null("a", &address(number)))
            .collect();
        closes_exactly(grants, gone, || server.auth.deny(["10.1.0.0/16"]).unwrap()).await;
    }
}
