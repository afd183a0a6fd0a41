//! An option that would have no effect is refused: a person who gives a key wants it to be used.

use super::program::{House, run, texts};
use std::net::TcpListener;

/// An option, and a value for it.
const VALUES: &[(&str, &str)] = &[
    ("--null", ""),
    ("--curve", ""),
    ("--plain", "admin"),
    ("--plain-server", ""),
    ("--user", "admin"),
    ("--password-file", "@right"),
    ("--server-key", "@server.key"),
    ("--client-key", "@server.key"),
    ("--key", "@server.key_secret"),
    ("--policy", "@open.toml"),
    ("--domain", "billing"),
    ("--accept-any-peer", ""),
    ("--insecure-clear-zap", ""),
    ("--listen", "ipc://@none/sock"),
    ("--explain", ""),
    ("--secret", "@made"),
    ("--public", "@server.key_secret"),
    ("--bind", "tcp://127.0.0.1:1"),
    ("--forward", "tcp://127.0.0.1:1"),
    ("--forward-uid", "1"),
    ("--allow-cleartext", ""),
    ("--identity", "drop"),
    ("--type", "pull"),
    ("--timeout", "1"),
    ("--echo", ""),
    ("--send", ""),
    ("--multipart", ","),
    ("--route-by-user-id", ""),
    ("--subscribe", "news"),
    ("--count", "1"),
    ("--heartbeat", "5"),
    ("--heartbeat-timeout", "5"),
    ("--heartbeat-ttl", "5"),
    ("--max-message", "1K"),
    ("--max-frames", "9"),
    ("--handshake-timeout", "5"),
    ("--ipc-mode", "600"),
    ("--max-connections", "9"),
    ("--max-connections-per-user", "9"),
    ("--max-connections-per-address", "9"),
];

/// A role, and the options that have an effect in it. All others must be refused. `$free` is an
/// endpoint where nothing listens, and `$taken` one that cannot be bound.
const ROLES: &[(&str, &str)] = &[
    (
        "connect $free --type dealer --null",
        "--policy --accept-any-peer --multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type dealer --plain admin --password-file @right",
        "--multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type dealer --curve --server-key @server.key",
        "--key --multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type dealer --null --policy @open.toml",
        "--domain --multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type dealer --plain-server --policy @open.toml",
        "--domain --multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type dealer --curve --key @server.key_secret --policy @open.toml",
        "--domain --multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type dealer --curve --key @server.key_secret --accept-any-peer",
        "--multipart --count --identity LIMITS",
    ),
    (
        "connect $free --type push --null --accept-any-peer",
        "--multipart LIMITS",
    ),
    (
        "connect $free --type pull --null --accept-any-peer",
        "--count LIMITS",
    ),
    (
        "connect $free --type sub --null --accept-any-peer",
        "--count --subscribe LIMITS",
    ),
    (
        "connect $free --type push --null --heartbeat 5",
        "--policy --accept-any-peer --multipart --heartbeat-timeout --heartbeat-ttl LIMITS",
    ),
    (
        "connect $free --type xsub --null --accept-any-peer",
        "--multipart --count --subscribe LIMITS",
    ),
    ("probe $free", "--null --type --timeout"),
    ("probe $free --null", "--type --timeout"),
    (
        "probe $free --plain admin --password-file @right",
        "--type --timeout",
    ),
    (
        "probe $free --curve --server-key @server.key",
        "--key --type --timeout",
    ),
    (
        "listen $taken --type dealer --null --accept-any-peer",
        "--echo --send --identity BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --null --policy @open.toml",
        "--domain --echo --send --identity BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --plain --policy @open.toml",
        "--domain --echo --send --identity --max-connections-per-user BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --curve --key @server.key_secret --policy @open.toml",
        "--domain --echo --send --identity --max-connections-per-user BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --curve --key @server.key_secret --accept-any-peer",
        "--echo --send --identity BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --curve --server-key @server.key",
        "--key --echo --send --identity BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --plain --user admin --password-file @right",
        "--echo --send --identity BOUND LIMITS",
    ),
    (
        "listen $taken --type dealer --null --accept-any-peer --echo",
        "--identity BOUND LIMITS",
    ),
    (
        "listen $taken --type push --null --accept-any-peer --send",
        "--multipart BOUND LIMITS",
    ),
    (
        "listen $taken --type pull --null --accept-any-peer",
        "BOUND LIMITS",
    ),
    (
        "listen $taken --type sub --null --accept-any-peer",
        "--subscribe BOUND LIMITS",
    ),
    (
        "listen $taken --type xsub --null --accept-any-peer",
        "--send --subscribe BOUND LIMITS",
    ),
    (
        "listen ipc://@none/sock --type pull --curve --key @server.key_secret --policy @open.toml",
        "--domain --ipc-mode --max-connections LIMITS",
    ),
    (
        "tunnel server --bind $taken --forward $free --policy @open.toml --key @server.key_secret",
        "--domain --identity --allow-cleartext --max-connections-per-user BOUND LIMITS",
    ),
    (
        "tunnel server --bind $taken --forward $free --policy @open.toml --plain",
        "--domain --identity --allow-cleartext --max-connections-per-user BOUND LIMITS",
    ),
    (
        "tunnel server --bind $taken --forward ipc://@none/sock --policy @open.toml --plain",
        "--domain --identity --allow-cleartext --forward-uid --max-connections-per-user BOUND LIMITS",
    ),
    (
        "tunnel client --bind $taken --forward $free --server-key @server.key",
        "--key --allow-cleartext BOUND LIMITS",
    ),
    (
        "tunnel client --bind $taken --forward $free --plain admin --password-file @right",
        "--allow-cleartext BOUND LIMITS",
    ),
    ("zap --policy @open.toml", "--explain --listen"),
    ("zap --policy @open.toml --explain", ""),
    (
        "zap --policy @open.toml --listen ipc://@none/sock",
        "--insecure-clear-zap",
    ),
    (
        "zap --policy @open.toml --listen $taken --insecure-clear-zap",
        "",
    ),
    (
        "zap --policy @open.toml --listen $taken --key @server.key_secret --client-key @server.key",
        "",
    ),
    ("keygen", "--secret --public"),
    ("keygen --secret @other", ""),
    ("keygen --public @server.key_secret", ""),
];

/// What `LIMITS` and `BOUND` stand for.
const LIMITS: &str = "--heartbeat --max-message --max-frames --handshake-timeout";
const BOUND: &str = "--max-connections --max-connections-per-address";

/// The options that the help of a command lists, except those of every command.
fn options_of(role: &str) -> Vec<String> {
    let words = role.split_whitespace();
    let words = words.take(if role.starts_with("tunnel") { 2 } else { 1 });
    let help = run(&[&words.collect::<Vec<_>>()[..], &["-h"]].concat());
    let help = String::from_utf8(help.stdout).unwrap();
    // Lines of an option's text are indented further.
    let options = help
        .lines()
        .filter_map(|line| line.strip_prefix("      --"));
    let names = options.filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|&name| name != "json");
    names.map(|name| format!("--{name}")).collect()
}

#[test]
fn an_option_without_effect_is_refused_in_every_role() {
    let house = House::new();
    let open = "[domain.\"*\"]\nnull.any = true\nplain.users = { admin = \"secret\" }\n\
                curve.any = true\n";
    std::fs::write(house.path("open.toml"), open).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp://{}", taken.local_addr().unwrap());
    let (_unused, free) = super::program::unused_endpoint();
    let line = |text: &str| -> Vec<String> {
        let text = text.replace("$taken", &taken).replace("$free", &free);
        let text = text.replace("ipc://@none", &format!("ipc://{}", house.text("none")));
        house.arguments(&text)
    };
    let mut wrong = Vec::new();
    for (role, effective) in ROLES {
        let effective = effective.replace("LIMITS", LIMITS).replace("BOUND", BOUND);
        let effective: Vec<_> = effective.split_whitespace().collect();
        let options = options_of(role);
        assert!(options.len() > 1, "{role}: {options:?}");
        for option in &options {
            if role.split_whitespace().any(|word| word == option) {
                continue;
            }
            let known = VALUES.iter().find(|(name, _)| name == option);
            let (_, value) = known.unwrap_or_else(|| panic!("{option} has no value here"));
            // The user's name is an argument of a client only.
            let value = match (option.as_str(), role.split(' ').next()) {
                ("--plain", Some("listen")) => "",
                ("--plain", _) if role.starts_with("tunnel server") => "",
                ("--identity", Some("connect" | "listen")) => "worker",
                _ => value,
            };
            let _ = std::fs::remove_file(house.path("made"));
            let _ = std::fs::remove_file(house.path("other"));
            let output = run(&texts(&line(&format!("{role} {option} {value}"))));
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_refused = output.status.code() == Some(2);
            if is_refused == effective.contains(&option.as_str()) {
                wrong.push(format!(
                    "{role} {option}: {:?} {told}",
                    output.status.code()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
