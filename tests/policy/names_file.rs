//! A policy file can give a key a user, metadata and addresses, and errors about them have a place.

use crate::poll_once::now;
use std::fs;
use std::path::Path;
use zmtp_auth::auth::{
    Authenticator, CurveKey, CurveKeyErrorKind, CurveSettings, DomainSettings, Outcome, PolicyFile,
    PolicyFileError, PolicyFileErrorKind, PolicySettings, PolicyWarning, UserNameError,
};
use zmtp_auth::{AccessRequest, Credentials, Grant, PeerAddress, PublicKey, Verdict};

const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
const OTHER_KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";

fn parse(text: &str) -> Result<PolicyFile, PolicyFileError> {
    PolicyFile::parse(text.as_bytes(), "")
}

/// The policy of domain `x` with these rows.
fn rows(rows: &str) -> String {
    format!("[domain.x]\ncurve = {{ keys = [{rows}] }}")
}

fn key(key: &str) -> PublicKey {
    PublicKey::from_z85(key).unwrap()
}

fn request(address: &str, of: &str) -> AccessRequest {
    let address = PeerAddress::from_zap(address.as_bytes());
    AccessRequest::new("x", address, Credentials::Curve { key: key(of) })
}

/// The user id and the role of the peer; `None` if it is refused.
fn identity(auth: &Authenticator, address: &str, of: &str) -> Option<(String, Option<String>)> {
    match now(auth.explain(&request(address, of))).outcome.unwrap() {
        Outcome::Allowed {
            user_id, metadata, ..
        } => {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let role = metadata.get("role").map(|role| text(role));
            Some((text(&user_id), role))
        }
        _ => None,
    }
}

#[track_caller]
fn grant(auth: &Authenticator, address: &str) -> Grant {
    match auth.authorize_blocking(&request(address, KEY)) {
        Verdict::Allow(approval) => approval.grant.unwrap(),
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

#[test]
fn rows_with_and_without_a_user_stand_side_by_side() {
    let auth = Authenticator::new();
    let policy = parse(&rows(&format!(
        "\"{OTHER_KEY}\", {{ key = \"{KEY}\", user = \"alice\", metadata = {{ role = \"ops\" }}, \
         from = [\"10.0.0.0/8\"] }}"
    )));
    assert_eq!(auth.load_policy(&policy.unwrap()).unwrap(), []);
    let alice = ("alice".to_owned(), Some("ops".to_owned()));
    assert_eq!(identity(&auth, "10.0.0.1", KEY), Some(alice));
    assert_eq!(identity(&auth, "192.0.2.1", KEY), None);
    let other = (OTHER_KEY.to_owned(), None);
    assert_eq!(identity(&auth, "192.0.2.1", OTHER_KEY), Some(other));
}

#[test]
fn a_reload_ends_what_a_changed_row_had_admitted() {
    let alice = |rest: &str| rows(&format!("{{ key = \"{KEY}\", user = \"alice\"{rest} }}"));
    let until = |date: &str| format!("\nvalidity = {{ not-after = {date} }}");
    let before = alice("") + &until("2998-01-01T00:00:00Z");
    for (after, stands) in [
        (alice("") + &until("2999-01-01T00:00:00Z"), true),
        (alice(""), true),
        (alice(", from = [\"10.0.0.0/8\"]"), true),
        (alice(", from = [\"192.0.2.1\"]"), false),
        (alice("") + "\ndeny = [\"10.0.0.1\"]", false),
        (alice("") + &until("2001-01-01T00:00:00Z"), false),
        (alice(", metadata = { role = \"ops\" }"), false),
        (before.replace("alice", "bob"), false),
        (rows(&format!("\"{KEY}\"")), false),
    ] {
        let auth = Authenticator::new();
        auth.load_policy(&parse(&before).unwrap()).unwrap();
        let grant = grant(&auth, "10.0.0.1");
        auth.load_policy(&parse(&after).unwrap()).unwrap();
        assert_eq!(grant.still_valid(), stands, "{after}");
    }
}

#[test]
fn a_row_that_is_not_valid_by_itself_is_an_error_at_its_line_and_column() {
    let alice = |rest: &str| format!("\n{{ key = \"{KEY}\"{rest} }}");
    let long = "a".repeat(256);
    for (row, part) in [
        (alice(", user = \"\""), "leave the user out"),
        (alice(&format!(", user = \"{long}\"")), "255 bytes"),
        (alice(", user = \"anonymous\""), "anonymous"),
        (alice(&format!(", user = \"{OTHER_KEY}\"")), "another key"),
        (alice(", from = []"), "empty from"),
        (alice(", metadata = { user-id = \"bob\" }"), "reserved"),
        (alice(", metadata = { a = \"1\", A = \"2\" }"), "twice"),
        (alice(", metadata = { \"\" = \"1\" }"), "property name"),
        ("\n{ user = \"alice\" }".to_owned(), "missing field `key`"),
    ] {
        let error = parse(&rows(&row)).unwrap_err();
        let shown = error.to_string();
        assert_eq!(error.at, Some((3, 1)), "{row}\n{shown}");
        assert!(shown.contains(part), "{row}\n{shown}");
    }
    for (row, part) in [
        (alice(", from = [\"10.0.0.1/8\"]"), "10.0.0.0/8"),
        (alice(", user = 1"), "expected a string"),
        (alice(", users = \"alice\""), "unknown field `users`"),
        ("\n{ key = \"short\" }".to_owned(), "40"),
        ("\n1".to_owned(), "a key in Z85, or a table with a key"),
    ] {
        let error = parse(&rows(&row)).unwrap_err();
        let shown = error.to_string();
        assert_eq!(error.at.unwrap().0, 3, "{row}\n{shown}");
        assert!(shown.contains(part), "{row}\n{shown}");
    }
}

#[test]
fn two_rows_that_give_a_key_different_users_are_an_error_with_their_places() {
    let alice = format!("{{ key = \"{KEY}\", user = \"alice\" }}");
    let plain = format!("\"{KEY}\"");
    let other = format!("\"{OTHER_KEY}\"");
    for (text, row, reason) in [
        (
            format!("{alice}, {other}, {}", alice.replace("alice", "bob")),
            3,
            CurveKeyErrorKind::TwoUsers(1),
        ),
        (
            format!("{other}, {plain}, {alice}"),
            3,
            CurveKeyErrorKind::TwoUsers(2),
        ),
        (
            format!("{alice}, {}", alice.replace(" }", ", from = [\"::1\"] }")),
            2,
            CurveKeyErrorKind::Differs(1),
        ),
    ] {
        let policy = parse(&rows(&text)).unwrap();
        let error = policy.lint().unwrap_err();
        assert_eq!(error.place, "domain.x.curve");
        let PolicyFileErrorKind::CurveKeys(wrong) = &error.reason else {
            panic!("{error}");
        };
        assert_eq!(
            (wrong.row, &wrong.reason, wrong.key),
            (row, &reason, key(KEY))
        );
        assert!(
            error
                .to_string()
                .contains(&format!("row {row} of the keys"))
        );
        // Nothing of it comes into force.
        let auth = Authenticator::new();
        assert_eq!(auth.load_policy(&policy).unwrap_err(), error);
        assert_eq!(identity(&auth, "::1", KEY), None);
    }
}

#[test]
fn rows_made_in_rust_are_checked_when_they_are_loaded() {
    let policy = |rows: Vec<CurveKey>| {
        let domain = DomainSettings::default().with_curve(CurveSettings::Keys(rows));
        let settings = PolicySettings::default().with_domain("x", domain);
        PolicyFile::from_settings(settings, "")
    };
    let auth = Authenticator::new();
    let alice = CurveKey::new(key(KEY)).with_user("alice");
    auth.load_policy(&policy(vec![alice.clone()])).unwrap();
    assert_eq!(identity(&auth, "::1", KEY).unwrap().0, "alice");
    let error = auth.load_policy(&policy(vec![alice.with_user("")]));
    let PolicyFileErrorKind::CurveKeys(wrong) = error.unwrap_err().reason else {
        panic!("another error");
    };
    assert_eq!(wrong.reason, CurveKeyErrorKind::User(UserNameError::Empty));
}

#[test]
fn the_names_of_certificates_are_user_ids_where_the_policy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let certificate = format!("metadata\n    name = alice\ncurve\n    public-key = {KEY}\n");
    fs::write(dir.path().join("keys/a.key"), certificate).unwrap();
    let load = |text: &str| {
        let auth = Authenticator::new();
        let policy = PolicyFile::parse(text.as_bytes(), dir.path()).unwrap();
        let loaded = auth.load_policy(&policy);
        (auth, loaded)
    };
    let section = "[domain.x]\ncurve.certificates = \"keys\"";
    for (names, user) in [
        ("", KEY),
        ("\nnames = true", "alice"),
        ("\nnames = false", KEY),
    ] {
        let (auth, loaded) = load(&format!("{section}{names}"));
        assert_eq!(loaded.unwrap(), []);
        assert_eq!(identity(&auth, "::1", KEY).unwrap().0, user, "{names}");
    }
    let (_, loaded) = load(&format!("{}\nnames = true", rows(&format!("\"{KEY}\""))));
    let error = loaded.unwrap_err();
    assert_eq!(error.place, "domain.x.names");
    assert_eq!(error.reason, PolicyFileErrorKind::NamesWithoutDirectory);

    let nameless = format!("curve\n    public-key = {OTHER_KEY}\n");
    fs::write(dir.path().join("keys/b.key"), nameless).unwrap();
    let (auth, loaded) = load(&format!("{section}\nnames = true"));
    let shown: Vec<_> = loaded.unwrap().iter().map(ToString::to_string).collect();
    assert!(shown[0].contains("b.key\" has no name"), "{shown:?}");
    assert_eq!(identity(&auth, "::1", OTHER_KEY).unwrap().0, OTHER_KEY);
}

/// The directory is watched with its names.
#[cfg(feature = "reload")]
#[tokio::test]
async fn a_name_that_changes_in_a_watched_directory_ends_the_admission() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let write = |name: &str| {
        let text = format!("metadata\n    name = {name}\ncurve\n    public-key = {KEY}\n");
        fs::write(keys.join("new"), text).unwrap();
        fs::rename(keys.join("new"), keys.join("a.key")).unwrap();
    };
    write("alice");
    let text = "[domain.x]\ncurve.certificates = \"keys\"\nnames = true\nreload = true";
    let auth = Authenticator::new();
    let policy = PolicyFile::parse(text.as_bytes(), dir.path()).unwrap();
    auth.load_policy(&policy).unwrap();
    let grant = grant(&auth, "::1");
    write("bob");
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, grant.revoked())
        .await
        .unwrap();
    assert_eq!(identity(&auth, "::1", KEY).unwrap().0, "bob");
}

#[test]
fn lint_tells_of_rows_that_admit_nobody_and_of_rows_that_repeat() {
    let dir = Path::new("");
    let lint = |text: String| {
        let policy = PolicyFile::parse(text.as_bytes(), dir).unwrap();
        policy.lint().unwrap()
    };
    let alice = |from: &str| {
        rows(&format!(
            "{{ key = \"{KEY}\", user = \"alice\", from = [\"{from}\"] }}"
        ))
    };
    let nowhere = || PolicyWarning::NoAddressForKey("x".into(), key(KEY), Some("alice".into()));
    for (text, warnings) in [
        (alice("10.0.0.1"), vec![]),
        (alice("10.0.0.1") + "\nallow = [\"10.0.0.0/8\"]", vec![]),
        (
            alice("10.0.0.1") + "\nallow = [\"10.0.0.2\"]",
            vec![nowhere()],
        ),
        (
            alice("10.0.0.1") + "\ndeny = [\"10.0.0.0/8\"]",
            vec![nowhere()],
        ),
        (
            "deny = [\"10.0.0.0/8\"]\n".to_owned() + &alice("10.0.0.1"),
            vec![nowhere()],
        ),
        (
            alice("gid:100"),
            vec![PolicyWarning::GroupRule(Some("x".into()))],
        ),
        (
            rows(&format!("\"{KEY}\", \"{KEY}\"")),
            vec![PolicyWarning::SameKey("x".into(), key(KEY))],
        ),
    ] {
        assert_eq!(lint(text.clone()), warnings, "{text}");
    }
    assert!(nowhere().to_string().contains("alice"));
}
