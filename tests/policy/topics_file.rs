//! A policy file can limit the topics of each user, and what it says ambiguously is an error.

use crate::poll_once::now;
use zmtp_auth::auth::{
    Authenticator, DomainSettings, NullSettings, PolicyFile, PolicyFileError, PolicyFileErrorKind,
    PolicySettings, PolicyWarning, TopicSettings,
};
use zmtp_auth::{
    AccessRequest, Credentials, PeerAddress, PublicKey, TopicPermissionError, TopicPermissions,
    Topics, Verdict,
};

const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

fn parse(text: &str) -> Result<PolicyFile, PolicyFileError> {
    PolicyFile::parse(text.as_bytes(), "")
}

fn load(auth: &Authenticator, text: &str) -> Result<Vec<PolicyWarning>, PolicyFileError> {
    auth.load_policy(&parse(text)?)
}

/// A domain with a named key and these topics.
fn curve(topics: &str) -> String {
    format!(
        "[domain.x]\ncurve = {{ keys = [{{ key = \"{KEY}\", user = \"alice\" }}] }}\n\
         [domain.x.topics]\n{topics}"
    )
}

/// The same domain with a PLAIN user of the same name.
fn two_mechanisms(topics: &str) -> String {
    curve(topics).replace(
        "[domain.x.topics]",
        "plain = { file = \"users\" }\n[domain.x.topics]",
    )
}

fn alice() -> Credentials {
    let key = PublicKey::from_z85(KEY).unwrap();
    Credentials::Curve { key }
}

#[track_caller]
fn topics(auth: &Authenticator, domain: &'static str, credentials: Credentials) -> Topics {
    let address = PeerAddress::from_zap(b"::1");
    match auth.authorize_blocking(&AccessRequest::new(domain, address, credentials)) {
        Verdict::Allow(approval) => approval.grant.unwrap().topics(),
        Verdict::Deny(denied) => panic!("{denied}"),
    }
}

fn may_subscribe(prefixes: &[&str]) -> TopicPermissions {
    let none = TopicPermissions::none();
    none.with_subscribe(prefixes).unwrap()
}

#[test]
fn a_table_says_what_each_user_may_use() {
    for (text, permissions) in [
        ("", TopicPermissions::none()),
        ("alice = {}", TopicPermissions::none()),
        (
            "alice = { subscribe = [\"weather.\"], publish = [] }",
            may_subscribe(&["weather."]),
        ),
        (
            "\"curve:alice\" = { subscribe = [\"a\"] }",
            may_subscribe(&["a"]),
        ),
        (
            "\"CURVE:alice\" = { subscribe = [\"a\"] }",
            may_subscribe(&["a"]),
        ),
        (
            "\"*\" = { subscribe = [\"b\"] }\nalice = { subscribe = [\"a\"] }",
            may_subscribe(&["a"]),
        ),
        ("\"*\" = { subscribe = [\"b\"] }", may_subscribe(&["b"])),
        (
            "\"*\" = { subscribe = [\"\"], publish = [\"\"] }",
            TopicPermissions::all(),
        ),
    ] {
        let auth = Authenticator::new();
        assert_eq!(load(&auth, &curve(text)).unwrap(), [], "{text}");
        let topics = topics(&auth, "x", alice());
        assert_eq!(topics.permissions(), permissions, "{text}");
    }
}

#[test]
fn a_reload_changes_the_topics_of_connected_peers_and_ends_no_admission() {
    let auth = Authenticator::new();
    let without = curve("").replace("[domain.x.topics]", "");
    load(&auth, &without).unwrap();
    let topics = topics(&auth, "x", alice());
    assert!(topics.permissions().allow_all());
    let mut changes = topics.changes();
    load(&auth, &curve("alice = { subscribe = [\"a\"] }")).unwrap();
    now(changes.changed());
    assert_eq!(topics.permissions(), may_subscribe(&["a"]));
    load(&auth, &without).unwrap();
    now(changes.changed());
    assert!(topics.permissions().allow_all());
    // A file that cannot be used changes nothing.
    let version = topics.version();
    load(&auth, &curve("\"curve:*\" = {}")).unwrap_err();
    assert_eq!(topics.version(), version);
}

#[test]
fn an_explicit_table_takes_precedence_over_a_policy_that_began_to_load_before() {
    let auth = Authenticator::new();
    let policy = parse(&curve("alice = { subscribe = [\"a\"] }")).unwrap();
    auth.load_policy(&policy).unwrap();
    let topics = topics(&auth, "x", alice());
    auth.clear_topics("x");
    assert!(topics.permissions().allow_all());
    auth.load_policy(&policy).unwrap();
    assert_eq!(topics.permissions(), may_subscribe(&["a"]));
}

#[test]
fn with_two_mechanisms_an_entry_says_which_one_it_means() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users"), "alice=secret\n").unwrap();
    let auth = Authenticator::new();
    let load = |topics: &str| {
        let text = two_mechanisms(topics);
        auth.load_policy(&PolicyFile::parse(text.as_bytes(), dir.path()).unwrap())
    };
    load("\"curve:alice\" = { subscribe = [\"c\"] }\n\"plain:alice\" = { subscribe = [\"p\"] }")
        .unwrap();
    assert_eq!(
        topics(&auth, "x", alice()).permissions(),
        may_subscribe(&["c"])
    );
    let plain = Credentials::Plain {
        username: "alice".into(),
        password: "secret".into(),
    };
    assert_eq!(
        topics(&auth, "x", plain).permissions(),
        may_subscribe(&["p"])
    );
    let error = load("alice = { subscribe = [\"a\"] }").unwrap_err();
    let reason = PolicyFileErrorKind::TopicMechanism("alice".into());
    assert_eq!((&*error.place, error.reason), ("domain.x.topics", reason));
}

#[test]
fn what_an_entry_cannot_say_is_an_error_with_its_place() {
    let long = "a".repeat(256);
    for (topics, reason) in [
        (
            "\"curve:*\" = {}",
            PolicyFileErrorKind::TopicUser("curve:*".into()),
        ),
        ("\"\" = {}", PolicyFileErrorKind::TopicUser(String::new())),
        (
            "\"curve:\" = {}",
            PolicyFileErrorKind::TopicUser("curve:".into()),
        ),
        (
            &*format!("{long} = {{}}"),
            PolicyFileErrorKind::TopicUser(long.clone()),
        ),
        (
            "alice = {}\n\"curve:alice\" = {}",
            PolicyFileErrorKind::SameTopicUser("curve:alice".into()),
        ),
        (
            "\"CURVE:alice\" = {}\n\"curve:alice\" = {}",
            PolicyFileErrorKind::SameTopicUser("curve:alice".into()),
        ),
    ] {
        let error = parse(&curve(topics)).unwrap().lint().unwrap_err();
        assert_eq!((&*error.place, error.reason), ("domain.x.topics", reason));
    }
    for (topics, part) in [
        (
            "alice = { subscribe = \"a\" }".to_owned(),
            "subscribe = [\"..\"]",
        ),
        ("alice = { read = [] }".to_owned(), "unknown field `read`"),
        (format!("alice = {{ publish = [\"{long}\"] }}"), "255 bytes"),
    ] {
        let error = parse(&curve(&topics)).unwrap_err();
        assert_eq!(error.at.unwrap().0, 4, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn topics_can_be_made_in_rust() {
    let settings = |topics| {
        let domain = DomainSettings::default()
            .with_null(NullSettings::Any)
            .with_topics("anonymous", topics);
        let settings = PolicySettings::default().with_domain("x", domain);
        PolicyFile::from_settings(settings, "")
    };
    let auth = Authenticator::new();
    let reader = TopicSettings::default().with_subscribe(["a"]);
    auth.load_policy(&settings(reader.clone())).unwrap();
    let null = topics(&auth, "x", Credentials::Null);
    assert_eq!(null.permissions(), may_subscribe(&["a"]));
    let error = auth.load_policy(&settings(reader.with_publish(["a".repeat(256)])));
    let long = TopicPermissionError::PrefixTooLong(256);
    assert_eq!(
        error.unwrap_err().reason,
        PolicyFileErrorKind::TopicPermissions("anonymous".into(), long)
    );
}

#[test]
fn lint_tells_of_entries_without_a_user_and_of_prefixes_without_effect() {
    let unknown = |name: &str| PolicyWarning::UnknownTopicUser("x".into(), name.into());
    let covered =
        |prefix: &str| PolicyWarning::CoveredPrefix("x".into(), "alice".into(), prefix.into());
    for (topics, expected) in [
        (
            "alice = { subscribe = [\"a\", \"b\"], publish = [\"a\"] }",
            vec![],
        ),
        ("bob = {}", vec![unknown("bob")]),
        ("\"plain:alice\" = {}", vec![unknown("plain:alice")]),
        (&*format!("\"{KEY}\" = {{}}"), vec![unknown(KEY)]),
        (
            "alice = { subscribe = [\"weather.\", \"weather.london\", \"weather.\"] }",
            vec![covered("weather."), covered("weather.london")],
        ),
        ("alice = { publish = [\"b\", \"\"] }", vec![covered("b")]),
    ] {
        let lint = |text: String| parse(&text).unwrap().lint().unwrap();
        assert_eq!(lint(curve(topics)), expected, "{topics}");
    }
    let heir = format!(
        "[domain.\"*\"]\nnull.any = true\nplain = {{ users = {{ bob = \"secret\" }} }}\n{}",
        curve("\"plain:bob\" = {}\n\"plain:eve\" = {}\n\"null:anonymous\" = {}")
            .replace("\n[domain.x.topics]", "\ninherit = true\n[domain.x.topics]")
    );
    let warnings = parse(&heir).unwrap().lint().unwrap();
    let about_topics: Vec<_> = warnings
        .iter()
        .filter(|warning| matches!(warning, PolicyWarning::UnknownTopicUser(..)))
        .collect();
    assert_eq!(about_topics, [&unknown("plain:eve")]);
    assert!(unknown("eve").to_string().contains("\"eve\""));
}
