//! Commands that touch files alone: keygen, cert, passwd, policy, generate.

use super::program::{House, command, ends, events, mode, run};
use serde_json::json;
use std::fs;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::{AccessRequest, Credentials, Domain, KeyPair, PeerAddress, PublicKey, SecretKey};

#[test]
fn keygen_makes_keys_that_belong_together() {
    let text = ends(0, &["keygen"], "");
    let keys: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let [("public-key", public), ("secret-key", secret)] = keys[..] else {
        panic!("{text}");
    };
    let pair = KeyPair::from_secret(SecretKey::from_z85(secret).unwrap());
    assert_eq!(pair.public().to_z85(), public);
    let json = &events(0, &["keygen", "--json"], "")[0];
    assert_eq!(json["secret_key"].as_str().unwrap().len(), 40);
}

#[test]
fn keygen_keeps_a_secret_in_a_new_file_of_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let arguments = ["keygen", "--json", "--secret", path.to_str().unwrap()];
    let told = &events(0, &arguments, "")[0];
    assert_eq!(told.get("secret_key"), None);
    let secret = fs::read_to_string(&path).unwrap();
    let secret = SecretKey::from_z85(secret.trim_end()).unwrap();
    assert_eq!(
        KeyPair::from_secret(secret).public().to_z85(),
        told["public_key"]
    );
    assert_eq!(mode(&path), 0o600);
    let complaint = ends(1, &arguments, "");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(serde_json::from_str::<serde_json::Value>(&complaint).unwrap()["exit"] == 1);
}

#[test]
fn cert_makes_shows_and_checks() {
    let house = House::new();
    let made = &house.events(
        0,
        "cert new bob --dir @known --meta role=clerk --not-after 2999-01-01T00:00:00Z --json",
        "",
    )[0];
    assert_eq!(mode(&house.path("known/bob.key_secret")), 0o600);
    let shown = &house.events(0, "cert show @known/bob.key_secret --json", "")[0];
    assert_eq!(shown["public_key"], made["public_key"]);
    assert_eq!(
        (&shown["has_secret"], &shown["valid"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(shown["metadata"]["role"], "clerk");
    let secret = fs::read_to_string(house.path("known/bob.key_secret")).unwrap();
    let secret = secret
        .split("secret-key")
        .nth(1)
        .unwrap()
        .split('"')
        .nth(1)
        .unwrap();
    assert!(
        !house
            .ends(0, "cert show @known/bob.key_secret")
            .contains(secret)
    );
    assert!(!shown.to_string().contains(secret));

    assert!(house.ends(0, "cert check @known").contains("ok: bob.key"));
    fs::write(house.path("known/bad.key"), "public-key = 3").unwrap();
    assert!(house.ends(1, "cert check @known").contains("1 bad"));
    let checked = &house.events(1, "cert check @known --json", "")[0];
    assert_eq!(checked["certificates"].as_array().unwrap().len(), 2);
    assert_eq!(checked["problems"].as_array().unwrap().len(), 1);
    // What is there is never overwritten.
    assert!(
        house
            .ends(1, "cert new bob --dir @known")
            .contains("exists")
    );
    house.ends(2, "cert new carol --meta not-a-pair --dir @known");
}

#[tokio::test]
async fn passwd_sets_one_password_and_leaves_the_rest() {
    let house = House::new();
    let file = house.path("passwords");
    house.ends(0, "passwd @passwords bob --password-file @right");
    assert_eq!(mode(&file), 0o600);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("# ours\n{text}eve=clear")).unwrap();
    house.ends(0, "passwd @passwords carol --password-file @right");
    let mut environment = command(&["passwd", &house.text("passwords"), "bob"]);
    let environment = environment.env("ZMTP_AUTH_PASSWORD", "another");
    assert!(environment.status().unwrap().success());

    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# ours\nbob=$argon2id$v=19$"), "{text}");
    assert!(!text.contains("another") && !text.contains("secret"));
    let auth = Authenticator::new();
    auth.configure_plain_file("*", &file).unwrap();
    for (name, password, right) in [
        ("bob", "another", true),
        ("bob", "secret", false),
        ("carol", "secret", true),
        ("eve", "clear", true),
    ] {
        let credentials = Credentials::Plain {
            username: name.into(),
            password: password.into(),
        };
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let request = AccessRequest::new(Domain::EMPTY, address, credentials);
        let outcome = auth.explain(&request).await.outcome.unwrap();
        assert_eq!(outcome.is_allowed(), right, "{name}");
    }
    // Nobody can be called so, and the file stays as it is.
    for (name, code) in [
        ("a=b", 2),
        ("#bob", 2),
        ("", 2),
        ("bob\neve", 2),
        (" bob", 1),
    ] {
        let (file, password) = (house.text("passwords"), house.text("right"));
        ends(
            code,
            &["passwd", &file, name, "--password-file", &password],
            "",
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let left: Vec<_> = fs::read_dir(house.dir.path()).unwrap().collect();
    let is_temporary = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "tmp");
    assert!(!left.iter().flatten().any(is_temporary));
}

#[test]
fn policy_check_says_what_is_wrong_and_what_should_be_looked_at() {
    let house = House::new();
    house.policy("[domain.a]\ncurve = { keys = [\"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"] }");
    assert_eq!(
        house.ends(0, "policy check @policy.toml --strict"),
        "ok: 1 domain\n"
    );
    house.policy("[domain.a]\ncurve.any = true");
    let warnings = house.ends(0, "policy check @policy.toml");
    assert!(warnings.contains("admits anyone by CURVE"), "{warnings}");
    house.ends(1, "policy check @policy.toml --strict");
    house.policy("[domain.a]\ncurves.any = true");
    let complaint = house.ends(1, "policy check @policy.toml");
    assert!(complaint.contains("line 2, column 1"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1);
}

#[test]
fn help_manual_and_completions_say_the_same() {
    let help = ends(0, &["--help"], "");
    for part in [
        "Exit codes:",
        "refused by the peer",
        "unreachable",
        "listen",
        "keygen",
    ] {
        assert!(help.contains(part), "{help}");
    }
    assert_eq!(run(&["listen"]).status.code(), Some(2));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    let dir = tempfile::tempdir().unwrap();
    ends(0, &["generate", "man", dir.path().to_str().unwrap()], "");
    let page = fs::read_to_string(dir.path().join("zmtp-auth.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
    assert!(dir.path().join("zmtp-auth-listen.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let script = ends(0, &["generate", "completions", shell], "");
        assert!(script.contains("keygen") && script.contains("policy"));
    }
}

#[test]
fn keys_are_taken_from_certificates_and_from_bare_files() {
    let house = House::new();
    let public = &house.events(0, "keygen --secret @bare --json", "")[0]["public_key"];
    assert!(PublicKey::from_z85(public.as_str().unwrap()).is_ok());
    let (_running, _) = house
        .listening("listen tcp://127.0.0.1:* --type pull --curve --key @bare --accept-any-peer");
    let complaint = house.ends(
        2,
        "listen tcp://127.0.0.1:* --type pull --curve --key @server.key --accept-any-peer",
    );
    assert!(complaint.contains("no secret key"), "{complaint}");
}
