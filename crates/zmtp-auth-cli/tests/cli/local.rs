//! Commands that only read and write files: keygen, cert, passwd, policy, generate.

use super::program::{House, command, ends, events, mode, run, texts, unused_endpoint};
use serde_json::json;
use std::fs;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::Certificate;
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
    assert_eq!(pair.public_key().to_z85(), public);
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
        KeyPair::from_secret(secret).public_key().to_z85(),
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

    // A name is not a path, and a date that has passed is warned about.
    let complaint = house.ends(2, "cert new ../x/y");
    assert!(
        complaint.contains("\"../x/y\" is no certificate name: "),
        "{complaint}"
    );
    let late = house.arguments("cert new late --dir @ --not-after 2001-01-01T00:00:00Z");
    let output = run(&texts(&late));
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("not-after has passed already"), "{told}");
    let complaint = house.ends(1, "cert check @nowhere");
    assert!(complaint.contains("certificate directory") && complaint.contains("nowhere"));

    assert!(house.ends(0, "cert check @known").contains("ok: bob.key"));
    fs::write(house.path("known/bad.key"), "public-key = 3").unwrap();
    assert!(house.ends(1, "cert check @known").contains("1 bad"));
    let checked = &house.events(1, "cert check @known --json", "")[0];
    assert_eq!(checked["certificates"].as_array().unwrap().len(), 2);
    assert_eq!(checked["problems"].as_array().unwrap().len(), 1);
    // Existing files are never overwritten.
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
    // These are no names, and the file stays as it is.
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
    // The last line is always the verdict.
    let verdict = |code: i32, line: &str| {
        let arguments = house.arguments(line);
        let output = run(&texts(&arguments));
        assert_eq!(output.status.code(), Some(code));
        let told = String::from_utf8(output.stdout).unwrap();
        told.lines().last().unwrap().to_owned()
    };
    let check = "policy check @policy.toml";
    assert_eq!(verdict(0, check), "ok with 1 warning: 1 domain");
    let strict = verdict(1, "policy check @policy.toml --strict");
    assert_eq!(strict, "not ok, because of --strict: 1 warning, 1 domain");
    // It is told once, and with --json as an error too.
    assert_eq!(house.ends(1, "policy check @policy.toml --strict"), "");
    let told = house.ends(1, "policy check @policy.toml --strict --json");
    assert!(told.contains("because of --strict"), "{told}");
    house.policy("[domain.a]\ncurve.any = true\n[domain.b]\nnull.any = true");
    assert_eq!(verdict(0, check), "ok with 2 warnings: 2 domains");
    house.policy("[domain.a]\ncurves.any = true");
    let complaint = house.ends(1, "policy check @policy.toml");
    assert!(complaint.contains("line 2, column 1"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1);
}

#[test]
fn what_is_wrong_with_a_policy_comes_with_what_to_do() {
    let house = House::new();
    for (policy, hint) in [
        ("[domain.a]\ncurve = {}", "curve = { certificates ="),
        (
            "[domain.a]\ncurve = { any = true, keys = [] }",
            "exactly one form",
        ),
        ("[domain.a]\ncurve = 3", "curve = { certificates ="),
        ("[domain.a]\nnull = true", "null = { any = true }"),
        ("[domain.a]\nplain = \"secret\"", "plain = { users ="),
        ("[domain.example.org]\ncurve.any = true", "[domain.\"a.b\"]"),
        ("allow = [\"example.org\"]", "no host name"),
        ("allow = [\"10.0.0.1:5555\"]", "without a port"),
        ("allow = [\"10.0.0.0/x\"]", "such as 10.0.0.0/8"),
    ] {
        house.policy(policy);
        let complaint = house.ends(1, "policy check @policy.toml");
        assert!(complaint.contains(hint), "{policy}\n{complaint}");
        assert!(!complaint.contains("secret"), "{complaint}");
        assert_eq!(complaint.lines().count(), 1);
    }
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
    // The options of every command have a heading of their own.
    let help = ends(0, &["listen", "--help"], "");
    let global = help.split_once("Global options:").unwrap().1;
    assert!(global.contains("--json") && global.contains("--verbose"));
    assert!(!global.contains("--policy"), "{help}");
    assert_eq!(run(&["listen"]).status.code(), Some(2));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    let dir = tempfile::tempdir().unwrap();
    // The directory is made, with its parents, and may be there already.
    let man = dir.path().join("share/man");
    for _ in 0..2 {
        ends(0, &["generate", "man", man.to_str().unwrap()], "");
    }
    let page = fs::read_to_string(man.join("zmtp-auth.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
    assert!(man.join("zmtp-auth-listen.1").exists());
    let file = man.join("zmtp-auth.1");
    let complaint = ends(1, &["generate", "man", file.to_str().unwrap()], "");
    assert!(complaint.contains("cannot write to"), "{complaint}");
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

/// The keys of libzmq's manual.
const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
const ZEROS: &str = "0000000000000000000000000000000000000000";

/// Writes a file that only its owner may read.
fn write_private(house: &House, name: &str, content: &str) {
    fs::write(house.path(name), content).unwrap();
    chmod(house, name, 0o600);
}

fn chmod(house: &House, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(house.path(name), mode).unwrap();
}

/// What `keygen --public` says of a secret key in this form.
#[test]
fn every_form_of_a_secret_key_is_read_and_shows_its_public_key() {
    let house = House::new();
    let printed = format!("public-key {PUBLIC}\nsecret-key {SECRET}\n");
    let forms = [
        SECRET.to_owned(),
        format!("{SECRET}\n"),
        format!("{SECRET}\r\n"),
        format!("\n# of the server\n  {SECRET} \t # since May\n\n"),
        format!("secret-key {SECRET}\n"),
        printed,
        format!("{{\"public_key\":\"{PUBLIC}\",\"secret_key\":\"{SECRET}\"}}\n"),
        format!("curve\n    public-key = \"{PUBLIC}\"\n    secret-key = \"{SECRET}\"\n"),
    ];
    let shown = format!("public-key {PUBLIC}\n");
    for form in &forms {
        write_private(&house, "key", form);
        assert_eq!(house.ends(0, "keygen --public @key"), shown, "{form}");
        for stdin in ["-", "/dev/fd/0"] {
            assert_eq!(
                ends(0, &["keygen", "--public", stdin], form),
                shown,
                "{form}"
            );
        }
        let mut variable = command(&["keygen", "--public", "env:OUR_KEY"]);
        let told = variable.env("OUR_KEY", form).output().unwrap();
        assert_eq!(String::from_utf8(told.stdout).unwrap(), shown, "{form}");
    }
    let told = &house.events(0, "keygen --public @key --json", "")[0];
    assert_eq!(told, &json!({ "public_key": PUBLIC }));
    // What keygen itself prints and writes.
    for arguments in ["keygen", "keygen --json"] {
        let keys = house.ends(0, arguments);
        let public = ends(0, &["keygen", "--public", "-"], &keys);
        assert!(
            keys.contains(public.trim_end().split(' ').nth(1).unwrap()),
            "{keys}"
        );
    }
    let public = house.ends(0, "keygen --secret @new");
    assert_eq!(house.ends(0, "keygen --public @new"), public);
}

#[test]
fn a_secret_key_that_cannot_be_used_says_why_and_is_never_shown() {
    let house = House::new();
    for (content, why) in [
        (ZEROS.to_owned(), "all zeros"),
        (format!("secret-key {ZEROS}\n"), "all zeros"),
        (
            format!("{{\"public_key\":null,\"secret_key\":\"{ZEROS}\"}}"),
            "all zeros",
        ),
        (
            format!("public-key = {PUBLIC}\nsecret-key = {ZEROS}\n"),
            "all zeros",
        ),
        (SECRET[1..].to_owned(), "40 characters"),
        (format!("{SECRET} {SECRET}"), "text follows the key"),
        (format!("{SECRET}\n{SECRET}\n"), "a line follows"),
        (format!("public-key {PUBLIC}\n"), "no secret key"),
        (
            format!("public-key {SECRET}\nsecret-key {SECRET}\n"),
            "does not belong",
        ),
        (String::new(), "no public-key"),
    ] {
        write_private(&house, "key", &content);
        let output = run(&["keygen", "--public", &house.text("key")]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{content}");
        assert!(complaint.contains(why), "{content}\n{complaint}");
        assert!(!complaint.contains(&SECRET[1..]), "{complaint}");
    }
    // In an argument it could be read by every process.
    let complaint = ends(2, &["keygen", "--public", SECRET], "");
    assert!(!complaint.contains(SECRET) && complaint.contains("not taken as an argument"));
}

#[test]
fn a_secret_key_that_others_can_read_is_warned_about_in_every_form() {
    let house = House::new();
    for form in [
        SECRET.to_owned(),
        format!("secret-key {SECRET}\n"),
        format!("public-key = {PUBLIC}\nsecret-key = {SECRET}\n"),
    ] {
        write_private(&house, "key", &form);
        for (mode, told) in [(0o600, false), (0o644, true)] {
            chmod(&house, "key", mode);
            let output = run(&["keygen", "--public", &house.text("key")]);
            let warnings = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{warnings}");
            assert_eq!(warnings.contains("open to others"), told, "{warnings}");
        }
    }
}

/// Runs a client with this server key and no server, and returns what it prints.
#[track_caller]
fn connects(code: i32, key: &str) -> String {
    let (_unused, endpoint) = unused_endpoint();
    let arguments = [
        "connect",
        &endpoint,
        "--type",
        "push",
        "--curve",
        "--server-key",
        key,
    ];
    ends(code, &arguments, "")
}

#[test]
fn every_form_of_a_public_key_is_read_for_a_server() {
    const UNREACHABLE: i32 = 7;
    const NEW_KEYS: &str = "make new keys";
    let house = House::new();
    let key = house.text("key");
    // One key in 85 starts so.
    let hyphen = format!("-{}", &PUBLIC[1..]);
    for text in [PUBLIC, &hyphen] {
        connects(UNREACHABLE, text);
    }
    for form in [
        format!("{PUBLIC}\n"),
        format!("# ours\n\n{PUBLIC}  # since May\n"),
        format!("public-key {PUBLIC}\n"),
        format!("{{\"public_key\":\"{PUBLIC}\"}}\n"),
        format!("curve\n    public-key = \"{PUBLIC}\"\n"),
    ] {
        fs::write(&key, form).unwrap();
        assert!(!connects(UNREACHABLE, &key).contains("WARN"), "no warning");
    }
    for secret in [
        format!("public-key {PUBLIC}\nsecret-key {SECRET}\n"),
        format!("{{\"public_key\":\"{PUBLIC}\",\"secret_key\":\"{SECRET}\"}}\n"),
        format!("public-key = {PUBLIC}\nsecret-key = {SECRET}\n"),
    ] {
        write_private(&house, "key", &secret);
        let told = connects(UNREACHABLE, &key);
        assert!(told.contains(NEW_KEYS) && !told.contains(SECRET), "{told}");
    }
    // A bare key does not say which one it is, but its permissions do.
    write_private(&house, "secret", &format!("{PUBLIC}\n"));
    let told = connects(UNREACHABLE, &house.text("secret"));
    assert!(told.contains("if it is a secret key"), "{told}");
    for (bad, code) in [(ZEROS, 2), ("nowhere", 2), (&*house.text(""), 1)] {
        connects(code, bad);
    }
    fs::write(&key, ZEROS).unwrap();
    assert!(connects(1, &key).contains("low order"));
}

#[test]
fn keys_that_start_with_a_hyphen_are_taken_by_every_option() {
    let house = House::new();
    let hyphen = format!("-{}", &PUBLIC[1..]);
    let zap = "zap --policy @policy.toml --listen tcp://127.0.0.1:* --key @server.key_secret";
    let tunnel = "tunnel client --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:1";
    let client = "listen tcp://127.0.0.1:* --type pull --curve";
    for (line, option) in [
        (zap, "--client-key"),
        (tunnel, "--server-key"),
        (client, "--server-key"),
    ] {
        house.listening(&format!("{line} {option} {hyphen}"));
    }
}

#[test]
fn cert_check_names_what_it_does_not_load_and_secrets_among_public_files() {
    let house = House::new();
    fs::copy(house.path("server.key"), house.path("known/b.txt")).unwrap();
    let checked = house.ends(0, "cert check @known");
    assert!(checked.contains("\"b.txt\""), "{checked}");
    assert!(!checked.contains("make new keys"), "{checked}");
    fs::copy(
        house.path("mallory.key_secret"),
        house.path("known/mallory.key"),
    )
    .unwrap();
    fs::copy(
        house.path("server.key_secret"),
        house.path("known/server.key_secret"),
    )
    .unwrap();
    let checked = house.ends(0, "cert check @known");
    let told = checked
        .lines()
        .filter(|line| line.contains("make new keys"));
    assert_eq!(told.count(), 2, "{checked}");
    let json = &house.events(0, "cert check @known --json", "")[0];
    assert_eq!(
        json["passed_over"],
        json!([{"text": "b.txt"}, {"text": "server.key_secret"}])
    );

    fs::create_dir(house.path("czmq")).unwrap();
    fs::copy(house.path("server.key"), house.path("czmq/server")).unwrap();
    assert!(
        house
            .ends(0, "cert check @czmq")
            .contains("not loaded: \"server\"")
    );
    let checked = house.ends(0, "cert check @czmq --layout czmq");
    assert!(checked.starts_with("ok: server "), "{checked}");
}

#[test]
fn policies_come_from_pipes_and_variables_too() {
    let text = "[domain.a]\ncurve.keys = [\"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"]";
    for stdin in ["-", "/dev/fd/0"] {
        let told = ends(0, &["policy", "check", "--strict", stdin], text);
        assert_eq!(told, "ok: 1 domain\n");
    }
    let mut variable = command(&["policy", "check", "--strict", "env:OUR_POLICY"]);
    assert!(variable.env("OUR_POLICY", text).status().unwrap().success());
    let complaint = ends(1, &["policy", "check", "-"], "alow = []");
    assert!(complaint.contains("line 1, column 1"), "{complaint}");
    ends(2, &["zap", "--policy", "-"], text);
    ends(2, &["policy", "check", "env:NO_SUCH_VARIABLE"], "");
}

#[test]
fn standard_input_has_one_reader_and_a_hyphen_is_no_file() {
    let house = House::new();
    let secret = fs::read_to_string(house.path("server.key_secret")).unwrap();
    let run = |code: i32, line: &str, stdin: &str| {
        ends(code, &super::program::texts(&house.arguments(line)), stdin)
    };
    let curve = "--curve --server-key @server.key";
    for line in [
        "listen tcp://127.0.0.1:* --type pull --curve --key - --policy -".to_owned(),
        "listen tcp://127.0.0.1:* --type pull --curve --key - --policy /dev/stdin".to_owned(),
        "listen tcp://127.0.0.1:* --type push --send --curve --accept-any-peer --key -".to_owned(),
        format!("connect tcp://127.0.0.1:1 --type push {curve} --key -"),
        format!("connect tcp://127.0.0.1:1 --type push {curve} --key /dev/fd/0"),
        "connect tcp://127.0.0.1:1 --type push --plain bob --password-file -".to_owned(),
        "zap --policy /dev/fd/0".to_owned(),
    ] {
        let complaint = run(2, &line, &secret);
        assert!(
            complaint.contains("standard input is"),
            "{line}: {complaint}"
        );
    }
    // A command that sends nothing does not read standard input for lines.
    let (_bound, unused) = unused_endpoint();
    run(
        7,
        &format!("connect {unused} --type pull {curve} --key -"),
        &secret,
    );

    let shown = run(0, "cert show -", &secret);
    let public = Certificate::load(house.path("server.key"))
        .unwrap()
        .public_key();
    assert!(shown.contains(&public.to_z85()), "{shown}");
    let set = run(0, "passwd @passwords bob --password-file -", "secret\n");
    assert_eq!(set, "added\n");
    for arguments in [["keygen", "--secret", "-"], ["passwd", "-", "bob"]] {
        let mut command = command(&arguments);
        command.current_dir(house.dir.path());
        let ended = command
            .env("ZMTP_AUTH_PASSWORD", "secret")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
    }
    assert!(!house.path("-").exists());
}
