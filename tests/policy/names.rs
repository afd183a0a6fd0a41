//! A key can have a user, metadata and addresses of its own, and what is said about the peer says
//! the user.

use crate::log_lines;
use crate::poll_once::now;
use std::fs;
use std::path::Path;
use tracing::Level;
use zmtp_auth::auth::{
    Audited, Authenticator, Change, CurveKey, CurveKeyErrorKind, Outcome, Rule, UserNameError,
};
use zmtp_auth::cert::{
    Certificate, CertificateDirectory, CertificateErrorKind, CertificateWarning,
};
use zmtp_auth::{
    AccessRequest, Approval, Credential, Credentials, Domain, Grant, MechanismKind, PeerAddress,
    PublicKey, Verdict,
};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32]).unwrap()
}

fn alice() -> CurveKey {
    CurveKey::new(key(1)).with_user("alice")
}

fn from(row: CurveKey, rules: &[&str]) -> CurveKey {
    row.with_from(rules.iter().map(|rule| rule.parse().unwrap()))
}

fn request(address: &str, key: PublicKey) -> AccessRequest {
    let address = PeerAddress::from_zap(address.as_bytes());
    AccessRequest::new("d", address, Credentials::Curve { key })
}

fn ask(auth: &Authenticator, address: &str, key: PublicKey) -> Verdict {
    auth.authorize_blocking(&request(address, key))
}

#[track_caller]
fn admit(auth: &Authenticator, address: &str, key: PublicKey) -> Approval {
    match ask(auth, address, key) {
        Verdict::Allow(approval) => approval,
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

#[track_caller]
fn grant(auth: &Authenticator, address: &str) -> Grant {
    admit(auth, address, key(1)).grant.unwrap()
}

#[track_caller]
fn configure(auth: &Authenticator, rows: impl IntoIterator<Item = CurveKey>) {
    auth.configure_curve_users("d", rows).unwrap();
}

#[test]
fn a_row_gives_its_key_a_user_and_metadata_and_a_key_alone_stays_its_z85() {
    let auth = Authenticator::new();
    let row = alice().with_metadata("role", "ops").unwrap();
    configure(&auth, [row, key(2).into()]);
    let named = admit(&auth, "10.0.0.1", key(1));
    assert_eq!(named.user_id, "alice");
    assert_eq!(named.metadata.get("role").unwrap(), "ops");
    let alone = admit(&auth, "10.0.0.1", key(2));
    assert_eq!(alone.user_id, key(2).to_z85());
    assert!(alone.metadata.is_empty());
    assert!(matches!(ask(&auth, "10.0.0.1", key(3)), Verdict::Deny(_)));
    // The mapping is about keys without a user.
    auth.set_curve_user_id(|_| "mapped");
    assert_eq!(admit(&auth, "10.0.0.1", key(1)).user_id, "alice");
    assert_eq!(admit(&auth, "10.0.0.1", key(2)).user_id, "mapped");
}

#[test]
fn a_change_of_user_or_metadata_ends_the_admissions_of_the_row() {
    let with = |role: &str| alice().with_metadata("role", role.to_owned()).unwrap();
    for (changed, stands) in [
        (vec![with("ops")], true),
        (vec![key(2).into(), with("ops"), with("ops")], true),
        (vec![from(with("ops"), &["10.0.0.0/8"])], true),
        (vec![from(with("ops"), &["192.0.2.0/24"])], false),
        (vec![with("ops").with_user("bob")], false),
        (vec![with("dev")], false),
        (vec![alice()], false),
        (vec![with("ops").with_metadata("team", "a").unwrap()], false),
        (vec![key(1).into()], false),
        (vec![], false),
    ] {
        let auth = Authenticator::new();
        configure(&auth, [with("ops")]);
        let grant = grant(&auth, "10.0.0.1");
        let shown = format!("{changed:?}");
        configure(&auth, changed);
        assert_eq!(grant.still_valid(), stands, "{shown}");
    }
}

#[test]
fn a_user_that_is_taken_away_and_given_back_does_not_revive_an_admission() {
    let auth = Authenticator::new();
    configure(&auth, [alice()]);
    let before = grant(&auth, "10.0.0.1");
    auth.configure_curve_keys("d", [key(1)]);
    configure(&auth, [alice()]);
    assert!(!before.still_valid());
    assert!(grant(&auth, "10.0.0.1").still_valid());
}

#[test]
fn a_key_may_be_used_from_its_addresses_alone_and_the_lists_hold_too() {
    let auth = Authenticator::new();
    configure(&auth, [from(alice(), &["10.0.0.0/8", "::1"])]);
    let kept = grant(&auth, "10.0.0.1");
    let moved = grant(&auth, "10.1.0.1");
    for (address, text) in [
        ("192.0.2.1", "Address not allowed"),
        ("unreadable", "Address not allowed"),
    ] {
        let explained = now(auth.explain(&request(address, key(1))));
        assert_eq!(explained.rule, Rule::KeyAddresses(Domain::from("d")));
        match explained.outcome.unwrap() {
            Outcome::Refused {
                reason, user_id, ..
            } => {
                assert_eq!(reason, text);
                assert_eq!(user_id.unwrap(), "alice");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(ask(&auth, address, key(1)), Verdict::Deny(_)));
    }
    // It is judged again with each change.
    configure(&auth, [from(alice(), &["10.0.0.0/16"])]);
    assert!(kept.still_valid() && !moved.still_valid());
    configure(&auth, [alice()]);
    assert!(kept.still_valid() && !moved.still_valid());
    // The lists of the domain hold as well.
    configure(&auth, [from(alice(), &["10.0.0.0/8"])]);
    auth.addresses_of("d").deny(["10.0.0.1"]).unwrap();
    assert!(!kept.still_valid());
    assert!(matches!(ask(&auth, "10.0.0.1", key(1)), Verdict::Deny(_)));
    assert!(grant(&auth, "10.0.0.2").still_valid());
}

#[test]
fn rows_that_cannot_be_used_are_errors_with_their_place_and_change_nothing() {
    let long = "a".repeat(256);
    let reserved = alice().with_metadata("User-Id", "bob").unwrap();
    for (rows, row, reason) in [
        (
            vec![key(2).into(), alice(), alice().with_user("bob")],
            3,
            CurveKeyErrorKind::TwoUsers(2),
        ),
        (
            vec![key(1).into(), alice()],
            2,
            CurveKeyErrorKind::TwoUsers(1),
        ),
        (
            vec![alice(), from(alice(), &["::1"])],
            2,
            CurveKeyErrorKind::Differs(1),
        ),
        (
            vec![alice().with_user("")],
            1,
            CurveKeyErrorKind::User(UserNameError::Empty),
        ),
        (
            vec![alice().with_user(long)],
            1,
            CurveKeyErrorKind::User(UserNameError::TooLong),
        ),
        (
            vec![alice().with_user("anonymous")],
            1,
            CurveKeyErrorKind::User(UserNameError::Anonymous),
        ),
        (
            vec![alice().with_user(key(2).to_z85())],
            1,
            CurveKeyErrorKind::User(UserNameError::OtherKey),
        ),
        (
            vec![reserved],
            1,
            CurveKeyErrorKind::ReservedProperty("User-Id"),
        ),
        (vec![from(alice(), &[])], 1, CurveKeyErrorKind::EmptyFrom),
    ] {
        let auth = Authenticator::new();
        configure(&auth, [alice()]);
        let standing = grant(&auth, "10.0.0.1");
        let error = auth.configure_curve_users("d", rows.clone()).unwrap_err();
        assert_eq!((error.row, &error.reason), (row, &reason), "{error}");
        assert!(standing.still_valid(), "{error}");

        // Without an earlier configuration the domain is claimed, and `*` does not rule it.
        let claimed = Authenticator::new();
        claimed.configure_curve_any("*");
        claimed.configure_curve_users("d", rows).unwrap_err();
        assert!(matches!(
            ask(&claimed, "10.0.0.1", key(1)),
            Verdict::Deny(_)
        ));
    }
    assert!(alice().with_metadata("", "x").is_err());
}

#[test]
fn admissions_of_a_user_end_by_the_name() {
    let auth = Authenticator::new();
    let bob = CurveKey::new(key(2)).with_user("bob");
    let other = CurveKey::new(key(3)).with_user("alice");
    configure(&auth, [alice(), bob, other]);
    let grants = [1, 2, 3].map(|number| admit(&auth, "::1", key(number)).grant.unwrap());
    assert_eq!(auth.end_admissions(MechanismKind::Curve, "d", "alice"), 2);
    let standing = grants.map(|grant| grant.still_valid());
    assert_eq!(standing, [false, true, false]);
}

#[test]
fn audit_events_and_log_lines_say_the_user() {
    let auth = Authenticator::new();
    let mut events = auth.events();
    configure(&auth, [from(alice(), &["10.0.0.0/8"]), key(2).into()]);
    log_lines::listen();
    let admitted = grant(&auth, "10.0.0.1");
    let _refused = ask(&auth, "192.0.2.1", key(1));
    auth.configure_curve_keys("d", [key(2)]);
    assert!(!admitted.still_valid());
    let lines = log_lines::take(Level::TRACE);
    for text in ["peer allowed", "request denied", "admission ended"] {
        let line = lines.iter().find(|line| line.contains(text)).unwrap();
        assert!(line.contains("alice"), "{line}");
    }
    let told: Vec<_> = std::iter::from_fn(|| events.try_next())
        .map(|next| next.event.what.clone())
        .collect();
    let users = |event: &Audited| match event {
        Audited::Change(Change::Ruled { users, .. }) => users.clone(),
        _ => Vec::new(),
    };
    let named = vec![(key(1), "alice".into())];
    let with_users: Vec<_> = told.iter().map(users).filter(|u| !u.is_empty()).collect();
    assert_eq!(with_users, [named.clone(), named], "added, then removed");
    let decisions = told.iter().filter_map(|event| match event {
        Audited::Decision(decision) => Some(&decision.outcome),
        _ => None,
    });
    for outcome in decisions {
        match outcome {
            Outcome::Allowed { user_id, .. } => assert_eq!(user_id, "alice"),
            Outcome::Refused { user_id, .. } => assert_eq!(user_id.as_ref().unwrap(), "alice"),
            other => panic!("{other:?}"),
        }
    }
    assert!(told.iter().any(|event| match event {
        Audited::Ended(ended) => {
            ended.user_id == "alice" && ended.credential == Credential::Key(key(1))
        }
        _ => false,
    }));
}

#[test]
fn an_explanation_says_the_user() {
    let auth = Authenticator::new();
    configure(&auth, [from(alice(), &["10.0.0.0/8"])]);
    let explained = |address| now(auth.explain(&request(address, key(1)))).to_string();
    assert_eq!(
        explained("10.0.0.1"),
        "allowed as \"alice\": the keys of domain \"d\""
    );
    assert_eq!(
        explained("::1"),
        "\"alice\" refused with 400 (Address not allowed): the addresses of a key of domain \"d\""
    );
}

/// Writes a certificate of that key.
fn write(dir: &Path, file: &str, key: PublicKey, metadata: &str) {
    let text = format!(
        "metadata\n{metadata}curve\n    public-key = \"{}\"\n",
        key.to_z85()
    );
    fs::write(dir.join(file), text).unwrap();
}

#[test]
fn the_name_of_a_certificate_is_the_user_id_by_choice_alone() {
    let dir = tempfile::tempdir().unwrap();
    let named = Certificate::from(key(1)).with_metadata("name", "alice");
    named.unwrap().save_public(dir.path(), "a").unwrap();
    write(dir.path(), "b.key", key(2), "");
    let auth = Authenticator::new();
    auth.configure_curve("d", dir.path()).unwrap();
    let by_key = admit(&auth, "::1", key(1));
    assert_eq!(by_key.user_id, key(1).to_z85());

    let directory = CertificateDirectory::new(dir.path()).with_names(true);
    let report = auth.configure_curve("d", directory.clone()).unwrap();
    assert!(!by_key.grant.unwrap().still_valid(), "it is another user");
    let [CertificateWarning::NoName { file }] = &report.warnings[..] else {
        panic!("{report:?}");
    };
    assert_eq!(*file, dir.path().join("b.key"));
    let alice = admit(&auth, "::1", key(1));
    assert_eq!(alice.user_id, "alice");
    assert_eq!(alice.metadata.get("name").unwrap(), "alice");
    assert_eq!(admit(&auth, "::1", key(2)).user_id, key(2).to_z85());

    // A renewed certificate of the same user keeps the admission, one of another user ends it.
    let grant = alice.grant.unwrap();
    let later = "    name = \"alice\"\n    not-after = \"2999-01-01T00:00:00Z\"\n";
    write(dir.path(), "a.key", key(1), later);
    auth.configure_curve("d", directory.clone()).unwrap();
    assert!(grant.still_valid());
    write(dir.path(), "a.key", key(1), "    name = \"bob\"\n");
    auth.configure_curve("d", directory).unwrap();
    assert!(!grant.still_valid());
}

#[test]
fn a_key_with_two_names_or_a_bad_one_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let alice = "    name = \"alice\"\n";
    for (file, number, metadata) in [
        ("a.key", 1, alice),
        ("b.key", 1, "    name = \"bob\"\n"),
        ("c.key", 1, alice),
        ("d.key", 2, alice),
        ("e.key", 2, ""),
        ("f.key", 3, "    name = \"anonymous\"\n"),
        ("g.key", 4, "    Name = \"carol\"\n"),
        ("h.key", 4, "    NAME = \"carol\"\n"),
    ] {
        write(dir.path(), file, key(number), metadata);
    }
    let auth = Authenticator::new();
    let directory = CertificateDirectory::new(dir.path()).with_names(true);
    let report = auth.configure_curve("d", directory).unwrap();
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|(file, error)| (file.strip_prefix(dir.path()).unwrap(), &error.reason))
        .collect();
    let two = |other: &str| CertificateErrorKind::TwoNames(dir.path().join(other));
    assert_eq!(
        problems,
        [
            (Path::new("a.key"), &two("b.key")),
            (Path::new("b.key"), &two("a.key")),
            (Path::new("c.key"), &two("a.key")),
            (Path::new("d.key"), &two("e.key")),
            (Path::new("e.key"), &two("d.key")),
            (
                Path::new("f.key"),
                &CertificateErrorKind::UserName(UserNameError::Anonymous)
            ),
        ]
    );
    for number in [1, 2, 3] {
        let verdict = ask(&auth, "::1", key(number));
        assert!(matches!(verdict, Verdict::Deny(_)), "{number}");
    }
    assert_eq!(admit(&auth, "::1", key(4)).user_id, "carol");
    // Without names nothing is wrong with them.
    let report = auth.configure_curve("d", dir.path()).unwrap();
    assert!(report.problems.is_empty());
}
