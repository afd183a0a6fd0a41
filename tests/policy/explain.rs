//! `explain` returns the answer that a request would get and its rule, without any other effect.

use crate::poll_once::now;
use proptest::prelude::*;
use std::future::ready;
use zmtp_auth::auth::{Authenticator, CurveQuestion, Explanation, Outcome, Rule};
use zmtp_auth::zap::{RequestId, ZapHandler, ZapRequest};
use zmtp_auth::{
    AccessRequest, Credentials, DenialStatus, Domain, MechanismKind, Metadata, Password,
    PeerAddress, PublicKey, Status,
};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number + 1; 32]).unwrap()
}

fn request(domain: &'static str, address: &str, credentials: Credentials) -> AccessRequest {
    let address = PeerAddress::from_zap(address.as_bytes());
    AccessRequest::new(domain, address, credentials)
}

fn curve(domain: &'static str, number: u8) -> AccessRequest {
    request(domain, "127.0.0.1", Credentials::Curve { key: key(number) })
}

fn plain(domain: &'static str, name: &'static str, password: &str) -> AccessRequest {
    let credentials = Credentials::Plain {
        username: name.into(),
        password: Password::from(password),
    };
    request(domain, "127.0.0.1", credentials)
}

fn null(domain: &'static str, address: &str) -> AccessRequest {
    request(domain, address, Credentials::Null)
}

fn explain(auth: &Authenticator, request: &AccessRequest) -> Explanation {
    now(auth.explain(request))
}

#[track_caller]
fn allows(auth: &Authenticator, request: &AccessRequest, rule: Rule) {
    let explanation = explain(auth, request);
    assert_eq!(explanation.rule, rule);
    assert!(explanation.outcome.unwrap().is_allowed());
}

#[track_caller]
fn refuses(auth: &Authenticator, asked: &AccessRequest, rule: Rule, text: &str, shown: &str) {
    let explanation = explain(auth, asked);
    assert_eq!(explanation.rule, rule);
    match explanation.outcome.as_ref().unwrap() {
        Outcome::Refused { reason, .. } => assert_eq!(*reason, text),
        other => panic!("{other:?}"),
    }
    assert_eq!(explanation.to_string(), shown);
}

#[test]
fn each_rule_is_named_with_the_domain_it_was_made_for() {
    let auth = Authenticator::new();
    auth.configure_curve_keys("*", [key(1)]);
    auth.configure_curve_any("open");
    auth.configure_curve_callback("asks", |_: CurveQuestion| ready(true));
    auth.configure_plain("users", [("ada", "secret")]).unwrap();
    auth.deny(["192.0.2.0/24"]).unwrap();
    auth.addresses_of("local").allow(["127.0.0.1"]).unwrap();

    allows(&auth, &curve("a", 1), Rule::Keys(Domain::ALL));
    allows(&auth, &curve("open", 2), Rule::AnyKey("open".into()));
    allows(
        &auth,
        &plain("users", "ada", "secret"),
        Rule::Passwords("users".into()),
    );
    allows(
        &auth,
        &null("", "::1"),
        Rule::AddressAlone(MechanismKind::Null),
    );
    let principal = Credentials::Gssapi {
        principal: "p".into(),
    };
    let gssapi = Rule::AddressAlone(MechanismKind::Gssapi);
    allows(&auth, &request("", "::1", principal), gssapi);

    let asks = explain(&auth, &curve("asks", 1));
    assert_eq!(asks.outcome, None);
    assert_eq!(
        asks.rule,
        Rule::Provider(MechanismKind::Curve, "asks".into())
    );
    assert_eq!(
        asks.to_string(),
        "undecided: the CURVE provider of domain \"asks\" decides"
    );

    refuses(
        &auth,
        &curve("a", 2),
        Rule::Keys(Domain::ALL),
        "Unknown key",
        "refused with 400 (Unknown key): the keys of domain \"*\"",
    );
    refuses(
        &auth,
        &plain("users", "ada", "wrong"),
        Rule::Passwords("users".into()),
        "Invalid password",
        "refused with 400 (Invalid password): the passwords of domain \"users\"",
    );
    assert_eq!(
        explain(&auth, &plain("a", "ada", "secret")).to_string(),
        "refused with 400 (Invalid domain): PLAIN is not configured for domain \"a\", but admits peers in \"users\""
    );
    refuses(
        &auth,
        &null("", "192.0.2.7"),
        Rule::DenyList(None, "192.0.2.0/24".parse().unwrap()),
        "Address denied",
        "refused with 400 (Address denied): 192.0.2.0/24 on the deny list",
    );
    refuses(
        &auth,
        &null("local", "10.0.0.1"),
        Rule::AllowList(Some("local".into())),
        "Address not allowed",
        "refused with 400 (Address not allowed): the allow list of domain \"local\"",
    );
    let long = "n".repeat(256);
    let credentials = Credentials::Plain {
        username: long.into(),
        password: Password::from(""),
    };
    refuses(
        &auth,
        &request("users", "::1", credentials),
        Rule::Request,
        "Invalid credentials",
        "refused with 400 (Invalid credentials): the form of a request",
    );
    auth.stop();
    refuses(
        &auth,
        &null("", "::1"),
        Rule::Stopped,
        "Authenticator stopped",
        "refused with 300 (Authenticator stopped): the authenticator is stopped",
    );
}

#[test]
fn the_outcome_is_the_whole_admission() {
    let auth = Authenticator::new();
    let dir = tempfile::tempdir().unwrap();
    let metadata = [("role", "admin"), ("not-after", "2999-01-01T00:00:00Z")];
    let (public, _secret) =
        zmtp_auth::cert::create_certificates(dir.path(), "ada", &metadata).unwrap();
    let ada = zmtp_auth::cert::load_certificate(public).unwrap();
    auth.configure_curve("*", dir.path()).unwrap();
    let version = auth.policy_version();
    auth.set_curve_user_id(|_| "ada");
    let asked = request(
        "",
        "::1",
        Credentials::Curve {
            key: ada.public_key(),
        },
    );
    let explanation = explain(&auth, &asked);
    assert_eq!(explanation.policy_version, auth.policy_version());
    assert_eq!(
        explanation.to_string(),
        "allowed as \"ada\": the keys of domain \"*\""
    );
    match explanation.outcome.unwrap() {
        Outcome::Allowed {
            user_id,
            metadata,
            entry_version,
            valid_until,
            ..
        } => {
            assert_eq!(user_id, "ada");
            let mut expected = Metadata::new();
            expected.push("role", "admin").unwrap();
            expected.push("not-after", "2999-01-01T00:00:00Z").unwrap();
            assert_eq!(metadata, expected);
            assert_eq!(entry_version, version);
            assert_eq!(valid_until, ada.validity().unwrap().not_after);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_reply_may_carry_would_be_500() {
    let auth = Authenticator::new();
    auth.configure_curve_any("*");
    auth.set_curve_user_id(|_| vec![b'u'; 256]);
    match explain(&auth, &curve("", 1)).outcome.unwrap() {
        Outcome::Refused { status, reason, .. } => {
            assert_eq!((status, reason), (DenialStatus::Internal, "Internal error"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dry_run_has_no_other_effect() {
    let auth = Authenticator::new();
    auth.configure_curve_callback("asks", |_: CurveQuestion| -> std::future::Ready<bool> {
        panic!("asked");
    });
    auth.configure_curve_any("open");
    let (version, mut events) = (auth.policy_version(), auth.events());
    for asked in [
        curve("asks", 1),
        curve("open", 1),
        curve("", 1),
        plain("", "a", "b"),
    ] {
        let _ = explain(&auth, &asked);
    }
    assert_eq!(auth.policy_version(), version);
    assert_eq!(auth.live_grants(), 0);
    assert_eq!(events.try_next(), None);
}

fn handle(auth: &Authenticator, asked: &AccessRequest) -> zmtp_auth::zap::ZapReply {
    now(auth.handle(ZapRequest::new(RequestId::from(7), asked)))
}

const DOMAINS: [&str; 4] = ["", "*", "a", "b"];
const NAMES: [&str; 3] = ["ada", "bob", ""];
const ADDRESSES: [&str; 4] = ["127.0.0.1", "10.0.0.1", "::1", "localhost:1000:100:1"];

fn pick<const N: usize>(from: [&'static str; N]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(from.to_vec())
}

fn asked() -> impl Strategy<Value = AccessRequest> {
    let credentials = prop_oneof![
        Just(Credentials::Null),
        (pick(NAMES), pick(NAMES)).prop_map(|(name, password)| Credentials::Plain {
            username: name.into(),
            password: Password::from(password),
        }),
        (0_u8..3).prop_map(|number| Credentials::Curve { key: key(number) }),
        Just(Credentials::Gssapi {
            principal: "p".into()
        }),
    ];
    (pick(DOMAINS), pick(ADDRESSES), credentials)
        .prop_map(|(domain, address, credentials)| request(domain, address, credentials))
}

#[derive(Debug, Clone)]
enum Step {
    Keys(&'static str, Vec<u8>),
    AnyKey(&'static str),
    Users(&'static str, Vec<&'static str>),
    Unconfigure(&'static str),
    Allow(Option<&'static str>, &'static str),
    Deny(Option<&'static str>, &'static str),
    Clear(Option<&'static str>),
}

fn step() -> impl Strategy<Value = Step> {
    let scope = || proptest::option::of(pick(DOMAINS));
    let rule = || pick(["127.0.0.1", "10.0.0.0/8", "::/0", "uid:1000"]);
    let vec = proptest::collection::vec::<std::ops::Range<u8>>;
    prop_oneof![
        (pick(DOMAINS), vec(0..3, 0..3)).prop_map(|(domain, keys)| Step::Keys(domain, keys)),
        pick(DOMAINS).prop_map(Step::AnyKey),
        (pick(DOMAINS), proptest::collection::vec(pick(NAMES), 0..3))
            .prop_map(|(domain, names)| Step::Users(domain, names)),
        pick(DOMAINS).prop_map(Step::Unconfigure),
        (scope(), rule()).prop_map(|(scope, rule)| Step::Allow(scope, rule)),
        (scope(), rule()).prop_map(|(scope, rule)| Step::Deny(scope, rule)),
        scope().prop_map(Step::Clear),
    ]
}

fn take(auth: &Authenticator, step: Step) {
    let list = |scope: Option<&'static str>| match scope {
        Some(domain) => auth.addresses_of(domain),
        None => auth.addresses(),
    };
    match step {
        Step::Keys(domain, keys) => {
            auth.configure_curve_keys(domain, keys.into_iter().map(key));
        }
        Step::AnyKey(domain) => _ = auth.configure_curve_any(domain),
        Step::Users(domain, names) => {
            let users = names.into_iter().map(|name| (name, name));
            auth.configure_plain(domain, users).unwrap();
        }
        Step::Unconfigure(domain) => _ = auth.unconfigure(domain),
        // A list of the other kind, which makes the call an error, does not matter here.
        Step::Allow(scope, rule) => drop(list(scope).allow([rule])),
        Step::Deny(scope, rule) => drop(list(scope).deny([rule])),
        Step::Clear(scope) => list(scope).clear(),
    }
}

proptest! {
    /// A dry run, the reply and the grant are three views of one policy.
    #[test]
    fn a_dry_run_says_what_the_reply_says_and_a_grant_stands_as_long_as_it_does(
        before in proptest::collection::vec(step(), 0..8),
        after in proptest::collection::vec(step(), 0..4),
        asked in asked(),
    ) {
        let auth = Authenticator::new();
        for step in before {
            take(&auth, step);
        }
        let explanation = explain(&auth, &asked);
        let reply = handle(&auth, &asked);
        match explanation.outcome.unwrap() {
            Outcome::Allowed { user_id, metadata, entry_version, .. } => {
                prop_assert_eq!(reply.status, Status::Success);
                prop_assert_eq!((&reply.user_id, &reply.metadata), (&user_id, &metadata));
                let grant = reply.grant.unwrap();
                let terms = grant.terms::<zmtp_auth::auth::AdmissionTerms>().unwrap();
                prop_assert_eq!(terms.rule(), &explanation.rule);
                prop_assert_eq!(terms.entry_version(), entry_version);

                // The grant stands exactly as long as the policy admits by the same entry.
                let mut stands = true;
                for step in after {
                    take(&auth, step);
                    stands &= matches!(
                        explain(&auth, &asked).outcome,
                        Some(Outcome::Allowed { entry_version: now, .. }) if now == entry_version
                    );
                }
                prop_assert_eq!(grant.still_valid(), stands);
            }
            Outcome::Refused { status, reason, .. } => {
                prop_assert_eq!(reply.status, Status::from(status));
                prop_assert_eq!(&reply.text, reason);
                prop_assert!(reply.grant.is_none());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_hashed_password_is_verified_and_a_plain_provider_is_not_asked() {
    /// The password `secret`, hashed by the reference implementation of argon2.
    const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5LzeVGGgdolhHzjGHA6qSDNYHLw5RyGqPPxPFSSG6tI";
    let auth = Authenticator::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    std::fs::write(&file, format!("ada={HASH}\n")).unwrap();
    auth.configure_plain_file("users", &file).unwrap();
    auth.configure_plain_callback("asks", |_| -> std::future::Ready<bool> { panic!("asked") });
    for (name, password, reason) in [
        ("ada", "secret", None),
        ("ada", "wrong", Some("Invalid password")),
        ("bob", "secret", Some("Invalid username")),
    ] {
        let explanation = auth.explain(&plain("users", name, password)).await;
        assert_eq!(explanation.rule, Rule::Passwords("users".into()));
        match explanation.outcome.unwrap() {
            Outcome::Allowed { user_id, .. } => assert_eq!((user_id, reason), (name.into(), None)),
            Outcome::Refused { reason: text, .. } => assert_eq!(reason, Some(text)),
            other => panic!("{other:?}"),
        }
    }
    let asks = auth.explain(&plain("asks", "ada", "secret")).await;
    assert_eq!(asks.outcome, None);
    assert_eq!(
        asks.rule,
        Rule::Provider(MechanismKind::Plain, "asks".into())
    );
    assert_eq!(auth.live_grants(), 0);
}

/// A misspelt domain refuses every peer, so the rule says which there are. Neither a long name nor many
/// make it long, and the peer is sent none of it.
#[test]
fn a_domain_that_is_not_configured_is_told_with_those_that_are() {
    let auth = Authenticator::new();
    let told = |asked: &AccessRequest| explain(&auth, asked).rule.to_string();
    let admits_none = |mechanism: &str| {
        format!("{mechanism} is not configured for domain \"biling\", and admits peers in no other")
    };
    assert_eq!(told(&curve("biling", 1)), admits_none("CURVE"));
    // Domains that are configured without a key or a user.
    auth.configure_curve_keys("empty", []);
    auth.configure_plain("empty", [("ada", "secret")]).unwrap();
    auth.remove_plain_users("empty", ["ada"]);
    assert_eq!(told(&curve("biling", 1)), admits_none("CURVE"));
    assert_eq!(
        told(&plain("biling", "ada", "secret")),
        admits_none("PLAIN")
    );
    for domain in ["reports", "billing"] {
        auth.configure_curve_keys(domain, [key(1)]);
    }
    let shown = "CURVE is not configured for domain \"biling\", but admits peers in \"billing\", \
                 \"reports\"";
    assert_eq!(told(&curve("biling", 1)), shown);
    let request = ZapRequest::new(RequestId::from(0), &curve("biling", 1));
    let (reply, rule) = now(auth.handle_explained(&request));
    assert_eq!(rule.to_string(), shown);
    let frames = now(auth.handle_zap_message(request.to_frames().to_vec())).unwrap();
    for sent in [&frames, &reply.to_frames()] {
        assert_eq!(sent[3], "Unknown domain");
        assert!(
            sent.iter()
                .all(|frame| !frame.windows(7).any(|it| it == b"billing"))
        );
    }
    match explain(&auth, &curve("biling", 1)).rule {
        Rule::Unclaimed {
            mechanism,
            domain,
            admitting,
            has_more,
            ..
        } => {
            assert_eq!((mechanism, domain), (MechanismKind::Curve, "biling".into()));
            assert_eq!(admitting, ["billing", "reports"].map(Domain::from));
            assert!(!has_more);
        }
        other => panic!("{other:?}"),
    }
    for number in 0..100 {
        auth.configure_curve_keys(format!("{number:03}{}", "x\n".repeat(200)), [key(1)]);
    }
    let long = told(&curve("biling", 1));
    assert!(
        long.ends_with(" and perhaps in others") && !long.contains('\n'),
        "{long}"
    );
    assert!(long.len() < 1500, "{}", long.len());
    // `*` is configured for every domain.
    auth.configure_curve_keys(Domain::ALL, [key(1)]);
    assert_eq!(told(&curve("biling", 1)), "the keys of domain \"*\"");
}
