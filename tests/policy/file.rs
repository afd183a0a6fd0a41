//! Policy files admit exactly what they say, report errors with line and column, and never show a
//! password.

#[cfg(unix)]
use crate::log_lines;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use zmtp_auth::auth::{
    Authenticator, CurveSettings, DomainSettings, Outcome, PolicyFile, PolicyFileError,
    PolicyFileErrorKind, PolicySettings, PolicyWarning, Rule,
};
use zmtp_auth::cert::Certificate;
use zmtp_auth::{
    AccessRequest, Credentials, Domain, KeyPair, MechanismKind, PeerAddress, PublicKey, Verdict,
};

const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
const OTHER_KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";

fn write(dir: &TempDir, text: &str) -> std::path::PathBuf {
    let path = dir.path().join("policy.toml");
    fs::write(&path, text).unwrap();
    path
}

fn load(text: &str) -> Authenticator {
    let dir = tempfile::tempdir().unwrap();
    Authenticator::from_policy_file(write(&dir, text)).unwrap()
}

fn error(text: &str) -> PolicyFileError {
    let dir = tempfile::tempdir().unwrap();
    Authenticator::from_policy_file(write(&dir, text)).unwrap_err()
}

fn plain(name: &str, password: &str) -> Credentials {
    Credentials::Plain {
        username: name.as_bytes().to_vec().into(),
        password: password.into(),
    }
}

fn curve(key: &str) -> Credentials {
    let key = PublicKey::from_z85(key).unwrap();
    Credentials::Curve { key }
}

fn gssapi(principal: &'static str) -> Credentials {
    Credentials::Gssapi {
        principal: principal.into(),
    }
}

/// True if the peer is admitted, and the rule.
async fn ask(auth: &Authenticator, domain: &'static str, credentials: Credentials) -> (bool, Rule) {
    let address = PeerAddress::from_zap(b"127.0.0.1");
    ask_from(auth, domain, address, credentials).await
}

async fn ask_from(
    auth: &Authenticator,
    domain: &'static str,
    address: PeerAddress,
    credentials: Credentials,
) -> (bool, Rule) {
    let request = AccessRequest::new(Domain::from(domain), address, credentials);
    let explained = auth.explain(&request).await;
    let allowed = matches!(explained.outcome, Some(Outcome::Allowed { .. }));
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("*", auth.clone()).unwrap();
    let verdict = router.authorize(&request).await;
    assert_eq!(matches!(verdict, Verdict::Allow(_)), allowed);
    (allowed, explained.rule)
}

#[tokio::test]
async fn an_empty_policy_admits_no_peer() {
    for text in ["", "[domain.\"*\"]", "[domain.billing]"] {
        let auth = load(text);
        for domain in ["", "*", "billing", "other"] {
            for credentials in [
                Credentials::Null,
                plain("", ""),
                curve(KEY),
                gssapi("somebody"),
            ] {
                assert!(!ask(&auth, domain, credentials).await.0, "{text} {domain}");
            }
        }
    }
}

#[tokio::test]
async fn each_mechanism_admits_the_peers_in_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::generate().unwrap();
    let certified = certificate.public_key().to_z85();
    fs::create_dir(dir.path().join("public_keys")).unwrap();
    let keys = dir.path().join("public_keys");
    certificate.save_public(&keys, "alice").unwrap();
    fs::write(dir.path().join("passwords"), "bob=secret of bob\n").unwrap();
    let path = write(
        &dir,
        &format!(
            r#"
            [domain.inline]
            plain = {{ users = {{ admin = "secret", "with space" = "x" }} }}
            curve = {{ keys = ["{KEY}"] }}
            null = {{ any = true }}
            gssapi = {{ principals = ["alice@EXAMPLE"] }}
            [domain.files]
            plain = {{ file = "passwords" }}
            curve = {{ certificates = "public_keys" }}
            gssapi = {{ any = true }}
            [domain.open]
            curve.any = true
            "#
        ),
    );
    let auth = Authenticator::from_policy_file(path).unwrap();
    for (domain, credentials, admitted) in [
        ("inline", plain("admin", "secret"), true),
        ("inline", plain("with space", "x"), true),
        ("inline", plain("admin", "guess"), false),
        ("inline", plain("bob", "secret of bob"), false),
        ("inline", curve(KEY), true),
        ("inline", curve(OTHER_KEY), false),
        ("inline", curve(&certified), false),
        ("inline", Credentials::Null, true),
        ("inline", gssapi("alice@EXAMPLE"), true),
        ("inline", gssapi("bob@EXAMPLE"), false),
        ("files", plain("bob", "secret of bob"), true),
        ("files", curve(&certified), true),
        ("files", curve(KEY), false),
        ("files", gssapi("bob@EXAMPLE"), true),
        ("files", Credentials::Null, false),
        ("open", curve(OTHER_KEY), true),
        ("open", plain("admin", "secret"), false),
    ] {
        let shown = format!("{domain} {credentials:?}");
        assert_eq!(ask(&auth, domain, credentials).await.0, admitted, "{shown}");
    }
    let (_, rule) = ask(&auth, "inline", Credentials::Null).await;
    assert_eq!(rule, Rule::Null(Domain::from("inline")));
}

#[tokio::test]
async fn a_named_domain_rules_itself_unless_it_inherits() {
    let rest = format!(
        r#"
        [domain."*"]
        plain = {{ users = {{ admin = "secret" }} }}
        null = {{ any = true }}
        gssapi = {{ any = true }}
        [domain.billing]
        curve = {{ keys = ["{KEY}"] }}
        "#
    );
    let alone = load(&rest);
    let heir = load(&format!("{rest}\ninherit = true"));
    for credentials in [plain("admin", "secret"), Credentials::Null, gssapi("a")] {
        let star = ask(&alone, "elsewhere", credentials.clone()).await;
        assert!(star.0);
        assert!(!ask(&alone, "billing", credentials.clone()).await.0);
        assert_eq!(ask(&heir, "billing", credentials).await, star);
    }
    for auth in [&alone, &heir] {
        assert!(ask(auth, "billing", curve(KEY)).await.0);
        assert!(!ask(auth, "billing", curve(OTHER_KEY)).await.0);
        assert!(!ask(auth, "elsewhere", curve(KEY)).await.0);
    }
}

#[tokio::test]
async fn address_lists_hold_for_all_and_for_one_domain() {
    let auth = load(
        r#"
        allow = ["127.0.0.0/8", "10.0.0.0/8"]
        [domain."*"]
        null = { any = true }
        deny = ["10.6.6.6"]
        [domain.inside]
        null = { any = true }
        allow = ["10.0.0.0/8"]
        "#,
    );
    for (domain, address, admitted) in [
        ("any", "127.0.0.1", true),
        ("any", "10.6.6.6", false),
        ("any", "192.0.2.1", false),
        ("inside", "10.6.6.6", true),
        ("inside", "127.0.0.1", false),
    ] {
        let address = PeerAddress::from_zap(address.as_bytes());
        let asked = ask_from(&auth, domain, address, Credentials::Null).await;
        assert_eq!(asked.0, admitted, "{domain} {asked:?}");
    }
}

#[tokio::test]
async fn keys_count_only_within_the_validity_of_their_domain() {
    for (validity, admitted) in [
        ("{ not-after = 2001-01-01T00:00:00Z }", false),
        ("{ not-before = 2999-01-01T00:00:00Z }", false),
        (
            "{ not-before = 2001-01-01T00:00:00+01:00, not-after = 2999-01-01T00:00:00Z }",
            true,
        ),
    ] {
        let auth = load(&format!(
            "[domain.d]\ncurve.keys = [\"{KEY}\"]\nvalidity = {validity}"
        ));
        assert_eq!(ask(&auth, "d", curve(KEY)).await.0, admitted, "{validity}");
    }
}

#[test]
fn what_a_file_cannot_say_is_an_error_at_its_line_and_column() {
    for (text, at, part) in [
        (
            "[domain.x]\ncurve = { any = true }\nplan = 1",
            (3, 1),
            "unknown field `plan`",
        ),
        ("alow = []", (1, 1), "unknown field `alow`"),
        ("[domain.x]\ncurve = { any = false }", (2, 9), "true"),
        (
            "[domain.x]\nnull = { any = true, some = 1 }",
            (2, 8),
            "null takes exactly one form",
        ),
        (
            "[domain.x]\nnull = { none = true }",
            (2, 10),
            "null takes exactly one form",
        ),
        ("[domain.x]\ncurve = { keys = [\n\"short\"] }", (3, 1), "40"),
        (
            "allow = [\"127.0.0.1\",\n \"10.0.0.0/33\"]",
            (1, 9),
            "10.0.0.0/33",
        ),
        (
            "[domain.x]\nvalidity = { not-after = 2027-01-01 }",
            (2, 12),
            "date with time",
        ),
        (
            "[domain.x]\nplain = { users = { admin = \"$2b$x\" } }",
            (2, 29),
            "argon2id",
        ),
        ("a = ", (1, 5), ""),
        ("[domain.x]\n[domain.x]", (2, 9), "this table stands"),
    ] {
        let error = error(text);
        let shown = error.to_string();
        assert_eq!(error.at, Some(at), "{text}\n{shown}");
        assert!(shown.contains(part), "{text}\n{shown}");
        assert!(
            matches!(error.reason, PolicyFileErrorKind::Toml(_)),
            "{shown}"
        );
    }
}

#[test]
fn what_values_say_together_is_an_error_with_its_place() {
    for (text, place, reason) in [
        (
            "allow = [\"::1\"]\ndeny = []",
            "",
            PolicyFileErrorKind::BothLists,
        ),
        ("allow = []", "", PolicyFileErrorKind::EmptyAllowList),
        (
            "[domain.x]\nallow = []",
            "domain.x",
            PolicyFileErrorKind::EmptyAllowList,
        ),
        (
            "[domain.\"*\"]\ninherit = true",
            "domain.\"*\".inherit",
            PolicyFileErrorKind::NothingToInherit,
        ),
        (
            "[domain.x]\ncurve.any = true\nvalidity = { not-after = 2027-01-01T00:00:00Z }",
            "domain.x.validity",
            PolicyFileErrorKind::ValidityWithoutKeys,
        ),
        (
            "[domain.x]\nlayout = \"czmq\"\ncurve.any = true",
            "domain.x.layout",
            PolicyFileErrorKind::LayoutWithoutDirectory,
        ),
        (
            "[domain.x]\nreload = true\ncurve.any = true",
            "domain.x.reload",
            PolicyFileErrorKind::ReloadWithoutFiles,
        ),
    ] {
        let error = error(text);
        assert_eq!((error.place.as_str(), &error.reason), (place, &reason));
        assert!(error.to_string().contains(place));
    }
    let gone = error("[domain.x]\ncurve.certificates = \"nowhere\"");
    assert_eq!(gone.place, "domain.x.curve");
    assert!(matches!(gone.reason, PolicyFileErrorKind::Certificates(_)));
    let gone = error("[domain.\"x y\"]\nplain.file = \"nowhere\"");
    assert_eq!(gone.place, "domain.\"x y\".plain");
    assert!(matches!(gone.reason, PolicyFileErrorKind::PasswordFile(_)));
}

#[test]
fn one_run_tells_what_is_wrong_with_each_value_of_a_section() {
    let dir = TempDir::new().unwrap();
    let path = write(
        &dir,
        "[domain.'*']\ninherit = true\nlayout = 'czmq'\nnames = true\nreload = true\n\
         validity = { not-after = 2027-01-01T00:00:00Z }\nnull.any = true\nplain.users = {}\n\
         [domain.'*'.topics]\nada = { publish = [] }\n'plain:*' = { publish = [] }",
    );
    let errors = PolicyFile::load(&path).unwrap().lint_all().unwrap_err();
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let parts = [
        "inherit", "validity", "layout", "names", "reload", "\"ada\"", "plain:*",
    ];
    assert_eq!(told.len(), parts.len(), "{told:?}");
    for (told, part) in told.iter().zip(parts) {
        assert!(told.contains(part), "{told}");
    }
}

/// What follows a bad line of a password file, or a bad entry among keys, is not looked at.
#[test]
fn each_value_of_a_section_has_one_error_the_first() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("passwords"), "ada\n=secret\n").unwrap();
    let path = write(
        &dir,
        &format!(
            "[domain.a]\nplain.file = 'passwords'\ncurve.keys = [{{ key = '{KEY}', user = 'a' }}, \
             {{ key = '{KEY}', user = 'b' }}, {{ key = '{KEY}', user = 'c' }}]\n[domain.b]\n\
             plain.file = 'passwords'"
        ),
    );
    let errors = PolicyFile::load(&path).unwrap().lint_all().unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| &error.place[..]).collect();
    assert_eq!(
        places,
        ["domain.a.plain", "domain.a.curve", "domain.b.plain"]
    );
    assert!(errors[0].to_string().contains("line 1"), "{}", errors[0]);
}

/// A section without CURVE has an empty rule for it. Rules beyond those that are looked at may admit peers.
#[tokio::test]
async fn a_refusal_does_not_say_that_no_domain_admits_if_it_has_not_looked_at_all() {
    let sections = |number: usize| {
        let sections = 0..number;
        let sections = sections.map(|it| format!("[domain.d{it:04}]\nnull.any = true\n"));
        sections.collect::<String>()
    };
    let key = "curve.any = true\n";
    let last = format!("[domain.z]\n{key}");
    for (policy, end, are_all_looked_at) in [
        (sections(1024), "and admits peers in no other", true),
        (sections(1023) + &last, "but admits peers in \"z\"", true),
        (
            sections(1024) + &last,
            "but perhaps admits peers in others",
            false,
        ),
        (
            format!("[domain.a]\n{key}{}{last}", sections(1023)),
            "but admits peers in \"a\" and perhaps in others",
            false,
        ),
    ] {
        let auth = load(&policy);
        let (admitted, rule) = ask(&auth, "biling", curve(KEY)).await;
        assert!(!admitted);
        let shown = format!("CURVE is not configured for domain \"biling\", {end}");
        assert_eq!(rule.to_string(), shown);
        match rule {
            Rule::Unclaimed { has_more, .. } => assert_eq!(has_more, !are_all_looked_at),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn errors_of_the_parser_say_what_to_write() {
    for (text, hint) in [
        ("[domain.*]\nnull.any = true", "[domain.\"*\"]"),
        ("[domain.a.b]\nnull.any = true", "[domain.\"a.b\"]"),
        ("allow = \"127.0.0.1\"", "allow = [\"..\"]"),
        ("[domain.x]\ncurve.keys = \"abc\"", "keys = [\"..\"]"),
        ("[domain.x]\ncurve = { keys = \"abc\" }", "keys = [\"..\"]"),
        (
            "[domain.x]\nvalidity.not-after = \"soon\"",
            "not-after = 2027-01-31T12:00:00Z",
        ),
        (
            "[domain.x]\nvalidity = { not-after = soon }",
            "not-after = 2027-01-31T12:00:00Z",
        ),
        ("allow = [\"10.0.0.1/8\"]", "write 10.0.0.0/8"),
        ("[domain.x]\nlayout = \"zmq\"", "\"pyzmq\" or \"czmq\""),
        ("[domain.x]\nlayout = 3", "\"pyzmq\" or \"czmq\""),
    ] {
        let told = error(text).to_string();
        assert!(told.contains(hint), "{text}: {told}");
    }
    let told = error("[domains.x]\nnull.any = true").to_string();
    assert!(!told.contains("dot"), "{told}");
}

#[test]
fn no_error_and_no_debug_shows_a_password() {
    const SECRET: &str = "hunter2hunter2";
    for text in [
        format!("[domain.x]\nplain = \"{SECRET}\""),
        format!("[domain.x]\nplain = {{ users = \"{SECRET}\" }}"),
        format!("[domain.x]\nplain = {{ users = {{ admin = {{ a = \"{SECRET}\" }} }} }}"),
        format!("[domain.x]\nplain = {{ users = {{ admin = [\"{SECRET}\"] }} }}"),
        format!("[domain.x]\nplain = {{ users = {{ admin = \"{SECRET} }} }}"),
        format!("[domain.x]\nnull = \"{SECRET}\""),
        format!("[domain.x]\nreload = \"{SECRET}\""),
        format!("[domain.x]\nplain = {{ users = {{ admin = \"$argon2id${SECRET}\" }} }}"),
    ] {
        let error = error(&text);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let number = error("[domain.x]\nplain.users.admin = 123456");
    assert!(!format!("{number} {number:?}").contains("123456"));

    let dir = tempfile::tempdir().unwrap();
    let path = write(
        &dir,
        &format!("[domain.x]\nplain.users.admin = \"{SECRET}\""),
    );
    let policy = PolicyFile::load(&path).unwrap();
    let auth = Authenticator::from_policy_file(&path).unwrap();
    let shown = format!("{policy:?} {:?} {auth:?}", policy.lint().unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn loading_again_ends_exactly_the_admissions_that_it_withdraws() {
    let dir = tempfile::tempdir().unwrap();
    let text = |keys: &str, null: bool| {
        format!("[domain.d]\ncurve.keys = [{keys}]\n[domain.n]\nnull.any = {null}")
            .replace("null.any = false", "")
    };
    let both = format!("\"{KEY}\", \"{OTHER_KEY}\"");
    let path = write(&dir, &text(&both, true));
    let auth = Authenticator::from_policy_file(&path).unwrap();
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("*", auth.clone()).unwrap();
    let mut grants = Vec::new();
    for (domain, credentials) in [
        ("d", curve(KEY)),
        ("d", curve(OTHER_KEY)),
        ("n", Credentials::Null),
    ] {
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let request = AccessRequest::new(Domain::from(domain), address, credentials);
        let Verdict::Allow(approval) = router.authorize(&request).await else {
            panic!("{request:?}");
        };
        grants.push(approval.grant.unwrap());
    }
    let standing = || {
        grants
            .iter()
            .map(|grant| grant.still_valid())
            .collect::<Vec<_>>()
    };
    let version = auth.policy_version();
    auth.load_policy(&PolicyFile::load(&path).unwrap()).unwrap();
    assert_eq!(auth.policy_version(), version + 1, "one change");
    assert_eq!(standing(), [true, true, true]);

    // A file that cannot be used changes nothing.
    write(&dir, "[domain.d]\ncurve.certificates = \"nowhere\"");
    auth.load_policy(&PolicyFile::load(&path).unwrap())
        .unwrap_err();
    assert_eq!(standing(), [true, true, true]);

    write(&dir, &text(&format!("\"{KEY}\""), true));
    auth.load_policy(&PolicyFile::load(&path).unwrap()).unwrap();
    assert_eq!(standing(), [true, false, true]);

    write(&dir, &text(&both, false));
    auth.load_policy(&PolicyFile::load(&path).unwrap()).unwrap();
    assert_eq!(
        standing(),
        [true, false, false],
        "an ended grant stays ended"
    );
}

#[tokio::test]
async fn a_policy_can_be_made_in_rust() {
    let key = KeyPair::generate().unwrap().public_key();
    let mut domain = DomainSettings::default();
    domain.curve = Some(CurveSettings::Keys(vec![key.into()]));
    let mut settings = PolicySettings::default();
    settings.domain.insert("billing".into(), domain);
    let auth = Authenticator::new();
    let policy = PolicyFile::from_settings(settings, Path::new(""));
    assert_eq!(auth.load_policy(&policy).unwrap(), []);
    assert_eq!(policy.lint().unwrap(), []);
    assert!(ask(&auth, "billing", curve(&key.to_z85())).await.0);
    assert!(!ask(&auth, "billing", Credentials::Null).await.0);
}

#[test]
fn lint_warns_about_each_suspicious_setting() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("keys/bad.key"), "nonsense").unwrap();
    let path = write(
        &dir,
        r#"
        [domain.a]
        curve.any = true
        null.any = true
        [domain.b]
        curve.certificates = "keys"
        [domain.c]
        [domain.d]
        plain.users = { admin = "secret" }
        "#,
    );
    let domain = |name: &'static str| Domain::from(name);
    let lint = |path: &Path| PolicyFile::load(path).unwrap().lint().unwrap();
    let found = lint(&path);
    for warning in [
        PolicyWarning::AdmitsAnyone(domain("a"), MechanismKind::Curve),
        PolicyWarning::AdmitsAnyone(domain("a"), MechanismKind::Null),
        PolicyWarning::NoKeys(domain("b")),
        PolicyWarning::AdmitsNoPeer(domain("c")),
        PolicyWarning::PasswordsInTheClear(domain("d")),
    ] {
        assert!(found.contains(&warning), "{warning} is not in {found:?}");
    }
    assert!(
        found
            .iter()
            .any(|warning| matches!(warning, PolicyWarning::LeftOut(..)))
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for (mode, told) in [(0o600, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let open =
                |warning: &PolicyWarning| matches!(warning, PolicyWarning::OpenToOthers(_, 0o644));
            assert_eq!(lint(&path).iter().any(open), told);
        }
    }
}

/// The warnings of the lint, which loading must report too.
fn lint(text: &str, files: &[(&str, &str)]) -> Vec<PolicyWarning> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let policy = PolicyFile::load(write(&dir, text)).unwrap();
    let found = policy.lint().unwrap();
    assert_eq!(Authenticator::new().load_policy(&policy).unwrap(), found);
    found
}

#[track_caller]
fn told(text: &str, files: &[(&str, &str)], part: &str) {
    let found = lint(text, files);
    let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
    let is_told = |warning: &String| warning.contains(part) && warning.contains("domain \"x\"");
    assert!(shown.iter().any(is_told), "{text}\n{shown:?}");
}

fn certificate_until(date: &str) -> String {
    format!("metadata\n    not-after = {date}\ncurve\n    public-key = {KEY}\n")
}

#[test]
fn a_policy_that_lets_in_fewer_than_it_seems_is_told() {
    let over = "2001-01-01T00:00:00Z";
    let keys = format!("curve.keys = [\"{KEY}\"]");
    let section = |rest: &str| format!("[domain.x]\n{keys}\n{rest}");
    let counts = "no key that is valid now";
    told(
        &section(&format!("validity = {{ not-after = {over} }}")),
        &[],
        counts,
    );
    told(
        &section("validity = { not-before = 2999-01-01T00:00:00Z }"),
        &[],
        counts,
    );
    let directory = "[domain.x]\ncurve.certificates = \"keys\"";
    told(
        directory,
        &[("keys/a.key", &certificate_until(over))],
        counts,
    );
    let good = format!("public-key = {OTHER_KEY}\n");
    let one_counts = [
        ("keys/a.key", &*certificate_until(over)),
        ("keys/b.key", &*good),
    ];
    assert_eq!(lint(directory, &one_counts), []);
    told(&section("validity = {}"), &[], "empty validity");
    told(&section("inherit = true"), &[], "inherits from \"*\"");
    let star = "\n[domain.\"*\"]\n";
    assert_eq!(
        lint(&section(&format!("inherit = true{star}{keys}")), &[]),
        []
    );

    let no_address = "no address passes both";
    for (all, own) in [
        (
            "allow = [\"10.0.0.0/8\"]",
            "allow = [\"192.0.2.1\", \"uid:1\"]",
        ),
        (
            "allow = [\"10.1.0.0/16\", \"10.2.0.1\"]",
            "deny = [\"10.0.0.0/8\"]",
        ),
        ("deny = [\"10.0.0.0/8\"]", "allow = [\"10.2.0.1\"]"),
    ] {
        told(&format!("{all}\n{}", section(own)), &[], no_address);
        // The list of `*` applies to a domain without a list of its own.
        told(
            &format!("{all}\n{}{star}{keys}\n{own}", section("")),
            &[],
            no_address,
        );
    }
    for (all, own) in [
        (
            "allow = [\"10.0.0.0/8\"]",
            "allow = [\"192.0.2.1\", \"10.0.0.1\"]",
        ),
        ("allow = [\"10.0.0.0/8\"]", "deny = [\"10.0.0.0/16\"]"),
        ("deny = [\"10.0.0.0/8\"]", "deny = [\"10.0.0.0/8\"]"),
    ] {
        assert_eq!(lint(&format!("{all}\n{}", section(own)), &[]), [], "{own}");
    }
    told(&section("deny = [\"gid:100\"]"), &[], "effective group");
    let everywhere = lint(&format!("allow = [\"gid:100\"]\n{}", section("")), &[]);
    assert_eq!(everywhere, [PolicyWarning::GroupRule(None)]);
}

#[test]
fn an_empty_password_is_told_with_its_user() {
    let inline = "[domain.x]\nplain.users = { admin = \"\", bob = \"secret\" }";
    told(inline, &[], "admits \"admin\"");
    let file = "[domain.x]\nplain.file = \"passwords\"";
    told(
        file,
        &[("passwords", "bob=\ncarol=\nada=x\n")],
        "admits \"bob\" and 1 more",
    );
}

#[cfg(unix)]
#[test]
fn a_certificate_that_others_may_change_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let file = dir.path().join("keys/a.key");
    fs::write(&file, format!("public-key = {KEY}\n")).unwrap();
    let policy = write(&dir, "[domain.x]\ncurve.certificates = \"keys\"");
    for (mode, told) in [(0o644, 0), (0o666, 1)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let found = PolicyFile::load(&policy).unwrap().lint().unwrap();
        assert_eq!(found.len(), told, "{found:?}");
    }
}

#[tokio::test]
async fn the_layout_of_czmq_is_said_in_the_policy_and_what_is_passed_over_is_told() {
    let certificate = format!("curve\n    public-key = {KEY}\n");
    let directory = "[domain.x]\ncurve.certificates = \"keys\"";
    let files = [
        ("keys/alice", &*certificate),
        ("keys/alice_secret", "not looked at"),
        ("keys/.hidden", ""),
        ("keys/bob.key.revoked", &*certificate),
    ];
    let not_named = "differently: \"alice\", \"bob.key.revoked\"";
    told(directory, &files, not_named);
    told(directory, &files, "no keys");
    told(directory, &files[3..], "differently: \"bob.key.revoked\"");
    let czmq = format!("{directory}\nlayout = \"czmq\"");
    told(&czmq, &files, "differently: \"bob.key.revoked\"");
    assert_eq!(lint(&czmq, &files[..3]), []);

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("keys/alice"), &certificate).unwrap();
    for (text, admitted) in [(directory, false), (&*czmq, true)] {
        let auth = Authenticator::from_policy_file(write(&dir, text)).unwrap();
        assert_eq!(ask(&auth, "x", curve(KEY)).await.0, admitted, "{text}");
    }
    assert!(
        error(&format!("{directory}\nlayout = \"auto\""))
            .to_string()
            .contains("czmq")
    );
}

#[test]
fn keys_that_no_peer_can_hold_are_errors_where_they_stand() {
    for key in ["0".repeat(40), format!("0rr91{}", "0".repeat(35))] {
        let error = error(&format!("[domain.x]\ncurve.keys = [\"{key}\"]"));
        assert_eq!(error.at, Some((2, 15)), "{error}");
        assert!(error.to_string().contains("low order"), "{error}");
    }
}

/// Neither the reloading thread nor the Authenticator itself may keep the Authenticator alive.
#[cfg(feature = "reload")]
#[test]
fn a_policy_that_reloads_ends_with_its_authenticator() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let path = write(
        &dir,
        "[domain.a]\ncurve.certificates = \"keys\"\nreload = true",
    );
    let auth = Authenticator::from_policy_file(path).unwrap();
    let mut events = auth.events();
    drop(auth);
    // Closes with the last owner, which may be the thread for a moment.
    while !events.is_closed() {
        events.next_timeout(std::time::Duration::from_secs(1));
    }
}

#[cfg(feature = "reload")]
#[tokio::test]
async fn a_policy_that_reloads_sees_a_new_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let path = write(
        &dir,
        "[domain.a]\ncurve.certificates = \"keys\"\nreload = true",
    );
    let auth = Authenticator::from_policy_file(path).unwrap();
    let mut changes = auth.changes();
    let certificate = Certificate::generate().unwrap();
    certificate.save_public(&keys, "alice").unwrap();
    let key = certificate.public_key().to_z85();
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, changes.next())
        .await
        .unwrap();
    assert!(ask(&auth, "a", curve(&key)).await.0);
}

#[cfg(feature = "reload")]
#[test]
fn a_watch_of_a_policy_goes_on_with_the_same_policy_and_ends_with_another_or_by_a_call() {
    use std::time::Duration;
    use zmtp_auth::{Domain, MechanismKind};
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::generate().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    certificate
        .save_public(dir.path().join("keys"), "alice")
        .unwrap();
    let text = "[domain.a]\ncurve.certificates = \"keys\"\n";
    let path = write(&dir, &format!("{text}reload = true"));
    let auth = Authenticator::from_policy_file(&path).unwrap();
    let again = || auth.reload_policy(&path, Duration::ZERO).unwrap();
    assert_eq!(again(), []);
    let keys = dir.path().join("keys");
    assert!(!auth.configure_curve("a", keys).unwrap().ended_watch);
    assert!(auth.configure_curve_keys("a", []).ended_watch);
    assert!(!auth.configure_curve_keys("a", []).ended_watch);

    assert_eq!(again(), []);
    write(&dir, text);
    let ended = PolicyWarning::WatchEnded(Domain::from("a"), MechanismKind::Curve);
    assert_eq!(again(), [ended]);
    assert_eq!(again(), []);
    // An explicit call does not take over the validity that the policy has given to keys.
    write(
        &dir,
        &format!("{text}reload = true\nvalidity.not-after = 2099-01-01T00:00:00Z"),
    );
    assert_eq!(again(), []);
    let keys = dir.path().join("keys");
    assert!(auth.configure_curve("a", keys).unwrap().ended_watch);
}

#[cfg(unix)]
#[test]
fn an_open_password_file_is_warned_of_once_however_it_is_loaded() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    fs::write(&users, "ada=one\n").unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).unwrap();
    let section = |name: &str| format!("[domain.{name}]\nplain = {{ file = \"users\" }}\n");
    let policy = write(&dir, &(section("a") + &section("b")));
    let warnings = |load: &dyn Fn()| {
        log_lines::listen();
        load();
        let lines = log_lines::take(tracing::Level::WARN);
        lines
            .into_iter()
            .filter(|line| line.contains("open to others"))
            .collect::<Vec<_>>()
    };
    let by_policy = warnings(&|| drop(Authenticator::from_policy_file(&policy).unwrap()));
    let by_call = warnings(&|| {
        let auth = Authenticator::new();
        auth.configure_plain_file("a", &users).unwrap();
    });
    assert_eq!(by_policy.len(), 1, "{by_policy:?}");
    assert_eq!(by_policy, by_call);
}
