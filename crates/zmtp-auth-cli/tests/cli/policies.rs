//! `policy`: what `check` finds, and what `explain` says.

use super::program::{House, command, ends, run, run_with, texts};
use serde_json::{Value, json};
use std::fs;

/// Runs the program to its end. Returns stdout.
#[track_caller]
fn told(house: &House, code: i32, line: &str) -> String {
    let output = run(&texts(&house.arguments(line)));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json_of(house: &House, code: i32, line: &str) -> Value {
    serde_json::from_str(&told(house, code, &format!("{line} --json"))).unwrap()
}

#[test]
fn check_names_every_path_that_is_missing_in_one_run() {
    let house = House::new();
    house.policy(
        r#"
        deny = []
        allow = ["127.0.0.1"]
        [domain.a]
        curve.certificates = "nowhere"
        plain.file = "no-users"
        [domain.b]
        curve.certificates = "not-there"
        validity = { not-after = 2027-01-01T00:00:00Z }
        [domain.c]
        reload = true
        null.any = true
        topics = { "gssapi:*" = { publish = [] } }
        "#,
    );
    let output = run(&texts(&house.arguments("policy check @policy.toml")));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = stderr.lines().collect();
    for (line, parts) in lines.iter().zip([
        ["either allow or deny", "policy.toml"],
        ["domain.a.plain", "no-users"],
        ["domain.a.curve", "nowhere"],
        ["domain.b.curve", "not-there"],
        ["domain.c.reload", "reload needs"],
        ["domain.c.topics", "gssapi:*"],
    ]) {
        for part in parts {
            assert!(line.contains(part), "{part}\n{stderr}");
        }
    }
    assert_eq!(lines.len(), 6, "{stderr}");
    let output = run(&texts(&house.arguments("policy check @policy.toml --json")));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for line in stderr.lines() {
        let error: Value = serde_json::from_str(line).unwrap();
        assert_eq!(error["exit"], 1);
    }
    assert_eq!(stderr.lines().count(), 6);
}

#[test]
fn what_stands_in_a_policy_twice_is_not_called_a_key() {
    let house = House::new();
    for (policy, at, what) in [
        (
            "[domain.a]\ncurve.any = true\n[domain.a]",
            "line 3, column 9",
            "this table",
        ),
        (
            "[domain.a]\ncurve.any = true\ncurve.any = true",
            "line 3, column 7",
            "this name",
        ),
        (
            "[domain.a]\nplain.users = { ada = \"x\", ada = \"secret\" }",
            "line 2, column 28",
            "this name",
        ),
    ] {
        house.policy(policy);
        let complaint = house.ends(1, "policy check @policy.toml");
        for part in [at, what, "twice"] {
            assert!(complaint.contains(part), "{part}\n{complaint}");
        }
        assert!(
            !complaint.contains("key") && !complaint.contains("secret"),
            "{complaint}"
        );
    }
}

const POLICY: &str = r#"
    deny = ["192.0.2.0/24"]
    [domain.billing]
    curve.certificates = "known"
    names = true
    [domain.billing.topics]
    alice = { subscribe = ["weather.", "news"], publish = [] }
    [domain.old]
    curve.certificates = "known"
    names = true
    validity = { not-after = 2001-01-01T00:00:00Z }
    [domain.new]
    curve.certificates = "known"
    names = true
    validity = { not-before = 2999-01-01T00:00:00Z }
    [domain.office]
    allow = ["10.0.0.0/8"]
    plain.users = { admin = "secret" }
    [domain.open]
    null.any = true
"#;

/// A house in which alice's certificate has her name.
fn house() -> House {
    let house = House::new();
    fs::remove_file(house.path("known/alice.key")).unwrap();
    house.ends(
        0,
        "cert new alice2 --meta name=alice --meta role=ops --dir @",
    );
    fs::rename(house.path("alice2.key"), house.path("known/alice.key")).unwrap();
    house.policy(POLICY);
    house
}

#[test]
fn explain_says_who_is_admitted_as_whom_and_who_is_not_and_what_to_do() {
    let house = house();
    let explain = "policy explain @policy.toml";
    for (code, line, lines) in [
        (
            0,
            "--domain billing --key @known/alice.key",
            &[
                "admitted as \"alice\"",
                "rule: the keys of domain \"billing\"",
                "metadata: name = \"alice\"",
                "metadata: role = \"ops\"",
                "topics: may subscribe to \"news\", \"weather.\" and publish nothing",
            ][..],
        ),
        (
            3,
            "--domain billing --key @mallory.key",
            &[
                "refused with 400: Unknown key",
                "rule: the keys of domain \"billing\"",
                "to admit it: add the key to curve of [domain.\"billing\"], or its certificate to the \
                 directory there",
            ],
        ),
        (
            3,
            "--domain biling --key @known/alice.key",
            &[
                "refused with 400: Unknown domain",
                "rule: CURVE is not configured for domain \"biling\", but admits peers in \"billing\", \
                 \"new\", \"old\"",
                "to admit it: write curve = { .. } into [domain.\"biling\"], or choose a domain that has \
                 it with --domain",
            ],
        ),
        (
            3,
            "--domain billing --key @known/alice.key --address 192.0.2.7",
            &[
                "refused with 400: Address denied",
                "rule: 192.0.2.0/24 on the deny list",
                "to admit it: take 192.0.2.0/24 off deny at the beginning of the file",
            ],
        ),
        (
            3,
            "--domain old --key @known/alice.key",
            &[
                "refused with 400: Key expired, although the key is that of \"alice\"",
                "rule: the keys of domain \"old\"",
                "to admit it: renew the certificate, or set a later end in its validity or that of the \
                 domain",
            ],
        ),
        (
            4,
            "--domain new --key @known/alice.key",
            &[
                "refused with 300: Key not valid yet, although the key is that of \"alice\"",
                "rule: the keys of domain \"new\"",
                "to admit it: wait, or set an earlier beginning in the validity of the certificate or \
                 the domain",
            ],
        ),
        (
            0,
            "--domain office --user admin --password-file @right --address 10.1.2.3",
            &[
                "admitted as \"admin\"",
                "rule: the passwords of domain \"office\"",
                "topics: may subscribe to everything and publish everything",
            ],
        ),
        (
            3,
            "--domain office --user admin --password-file @wrong --address 10.1.2.3",
            &[
                "refused with 400: Invalid password",
                "rule: the passwords of domain \"office\"",
                "to admit it: give the password that plain of [domain.\"office\"] has for the user, or \
                 set another one",
            ],
        ),
        (
            3,
            "--domain office --user bob --password-file @right --address 10.1.2.3",
            &[
                "refused with 400: Invalid username",
                "rule: the passwords of domain \"office\"",
                "to admit it: add the user to plain of [domain.\"office\"]: see zmtp-auth passwd",
            ],
        ),
        (
            3,
            "--domain office --user admin --password-file @right",
            &[
                "refused with 400: Address not allowed",
                "rule: the allow list of domain \"office\"",
                "to admit it: add 127.0.0.1 to allow of [domain.\"office\"]",
            ],
        ),
        (
            0,
            "--domain open",
            &[
                "admitted as \"anonymous\"",
                "rule: NULL in domain \"open\"",
                "topics: may subscribe to everything and publish everything",
            ],
        ),
        (
            3,
            "--domain billing",
            &[
                "refused with 400: NULL not allowed",
                "rule: NULL in domain \"billing\"",
                "to admit it: give --key or --user, or write null = { any = true } into \
                 [domain.\"billing\"], which admits everyone without proof",
            ],
        ),
    ] {
        let told = told(&house, code, &format!("{explain} {line}"));
        assert_eq!(told.lines().collect::<Vec<_>>(), lines, "{line}");
    }
}

#[test]
fn explain_has_a_form_for_programs() {
    let house = house();
    let explain = "policy explain @policy.toml --domain billing --key";
    let alice = json_of(&house, 0, &format!("{explain} @known/alice.key"));
    assert_eq!(
        alice,
        json!({
            "domain": {"text": "billing"},
            "address": "127.0.0.1",
            "mechanism": "CURVE",
            "status": "200",
            "user_id": {"text": "alice"},
            "rule": "the keys of domain \"billing\"",
            "metadata": {"name": {"text": "alice"}, "role": {"text": "ops"}},
            "valid_until": null,
            "subscribe": [{"text": "news"}, {"text": "weather."}],
            "publish": [],
        })
    );
    let mallory = json_of(&house, 3, &format!("{explain} @mallory.key"));
    assert_eq!(mallory["status"], "400");
    assert_eq!(mallory["reason"], "Unknown key");
    assert!(mallory["advice"].as_str().unwrap().contains("certificate"));
    assert!(mallory.get("subscribe").is_none(), "{mallory}");
    // A key by its characters is the same, also behind a space.
    let key = house.events(0, "cert show @known/alice.key --json", "")[0]["public_key"].clone();
    let arguments = [
        &house.text("policy.toml"),
        "--domain=billing",
        "--key",
        key.as_str().unwrap(),
    ];
    let arguments = [&["policy", "explain"], &arguments[..]].concat();
    assert!(ends(0, &arguments, "").starts_with("admitted as \"alice\""));
}

#[test]
fn explain_takes_a_password_as_the_other_commands_do_and_never_as_an_argument() {
    let house = house();
    let line = "policy explain @policy.toml --domain office --address 10.1.2.3 --user admin";
    let arguments = house.arguments(line);
    let mut with_variable = command(&texts(&arguments));
    let output = with_variable.env("ZMTP_AUTH_PASSWORD", "secret").output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let arguments = house.arguments(&format!("{line} --password-file -"));
    let output = run_with(&texts(&arguments), "secret\n");
    assert_eq!(output.status.code(), Some(0));
    let help = ends(0, &["policy", "explain", "--help"], "");
    assert!(!help.contains("--password "), "{help}");
    for line in [
        "policy explain @policy.toml --user admin --key @mallory.key",
        "policy explain @policy.toml --password-file @right",
        "policy explain @policy.toml --address example.org",
        "policy explain - --user admin --password-file -",
    ] {
        house.ends(2, line);
    }
    house.ends(1, "policy explain @nowhere.toml");
}

/// What `explain` says is what happens.
#[test]
fn explain_decides_as_listen_does() {
    let house = house();
    let listen = "listen tcp://127.0.0.1:* --type pull --curve --key @server.key_secret \
                  --policy @policy.toml --domain billing";
    let (_listening, endpoint) = house.listening(listen);
    for (name, public) in [("alice2", "known/alice.key"), ("mallory", "mallory.key")] {
        let explain = format!("policy explain @policy.toml --domain billing --key @{public}");
        let code = run(&texts(&house.arguments(&explain)))
            .status
            .code()
            .unwrap();
        let connect = format!(
            "connect {endpoint} --type push --curve --server-key @server.key --key \
             @{name}.key_secret"
        );
        house.events(code, &connect, "hello\n");
    }
}
