//! The differences between our policy and pyzmq's code, each a rule that turns pyzmq's answer into
//! ours.
//!
//! Most rules rewrite the pair into one that pyzmq answers as we answer the original. So pyzmq
//! itself decides, and a rule contains no decision. If no such pair exists, a rule rewrites the
//! answer. A difference that no reply shows names the test that shows it.

use crate::differential::pair::{
    ADDRESS, BOB, CREDENTIALS, Call, DOMAIN, Directory, MECHANISM, METADATA_OF_BOB, Pair, Says,
    Text,
};
use std::net::IpAddr;

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    NoReply,
    /// The exception with which pyzmq's Authenticator ended.
    Raised(String),
    Frames([Text; 6]),
}

/// Positions in a reply (RFC 27).
const STATUS: usize = 2;
const TEXT: usize = 3;
const USER_ID: usize = 4;
const METADATA: usize = 5;

pub struct Rule {
    pub name: &'static str,
    pub kind: Kind,
}

pub enum Kind {
    /// Turns the pair into one that pyzmq decides as we decide this one.
    Pair(fn(&mut Pair)),
    /// Turns pyzmq's answer into ours.
    Answer(fn(&Pair, &mut Answer)),
    /// No reply shows it. This test does: file and function.
    Behaviour(&'static str, &'static str),
}

const fn pair(name: &'static str, rewrite: fn(&mut Pair)) -> Rule {
    Rule {
        name,
        kind: Kind::Pair(rewrite),
    }
}

const fn answer(name: &'static str, rewrite: fn(&Pair, &mut Answer)) -> Rule {
    Rule {
        name,
        kind: Kind::Answer(rewrite),
    }
}

const fn behaviour(name: &'static str, file: &'static str, test: &'static str) -> Rule {
    Rule {
        name,
        kind: Kind::Behaviour(file, test),
    }
}

/// In the order in which they apply: pairs first, then answers.
pub const RULES: &[Rule] = &[
    pair("null-credentials", null_credentials),
    pair("key-length", key_length),
    pair("canonical-key", canonical_key),
    pair("plain-length", plain_length),
    pair("lossy-text", lossy_text),
    pair("addresses", addresses),
    pair("empty-table", empty_table),
    pair("load-failure", load_failure),
    pair("claimed-domains", claimed_domains),
    pair("star-covers-all", star_covers_all),
    pair("allow-any-per-domain", allow_any_per_domain),
    pair("provider-per-domain", provider_per_domain),
    answer("unknown-mechanism", unknown_mechanism),
    answer("principal-bytes", principal_bytes),
    answer("provider-error", provider_error),
    answer("exceptions", exceptions),
    answer("certificate-metadata", certificate_metadata),
    answer("user-id-length", user_id_length),
    behaviour(
        "short-request",
        "tests/policy/table.rs",
        "row_1_fewer_than_two_frames_get_no_reply_and_the_service_goes_on",
    ),
    behaviour(
        "after-stop",
        "tests/policy/table.rs",
        "after_stop_everyone_is_refused_until_the_next_start",
    ),
    behaviour(
        "serial",
        "tests/policy/table.rs",
        "serial_no_more_a_hanging_provider_holds_up_no_other_and_is_bounded",
    ),
    behaviour(
        "user-enumeration",
        "src/auth/policy/plain/table.rs",
        "an_unknown_user_costs_as_much_work_as_the_dearest_hash",
    ),
    behaviour(
        "plaintext-log",
        "tests/policy/table.rs",
        "plaintext_log_no_more_events_show_no_password_and_no_name_of_the_refused",
    ),
];

/// RFC 27: NULL has no credentials. pyzmq's answer is that to a PLAIN request without credentials.
fn null_credentials(pair: &mut Pair) {
    if pair.mechanism() == b"NULL" && !pair.credentials().is_empty() {
        say_invalid_credentials(pair);
    }
}

fn say_invalid_credentials(pair: &mut Pair) {
    pair.frames[MECHANISM] = "PLAIN".into();
    pair.frames.truncate(CREDENTIALS);
}

/// A CURVE key has 32 bytes.
fn key_length(pair: &mut Pair) {
    if pair.mechanism() == b"CURVE" && matches!(pair.credentials(), [key] if key.len() != 32) {
        say_invalid_credentials(pair);
    }
}

/// A key has one encoding, and a second one is refused. pyzmq asks its tables and providers about
/// the encoding that the client chose.
fn canonical_key(pair: &mut Pair) {
    let refuses = |key: &Text| {
        let bytes = <[u8; 32]>::try_from(&key[..]);
        bytes.is_ok_and(|bytes| zmtp_auth::PublicKey::from_bytes(bytes).is_err())
    };
    if pair.mechanism() == b"CURVE" && matches!(pair.credentials(), [key] if refuses(key)) {
        say_invalid_credentials(pair);
    }
}

/// RFC 24: a HELLO carries at most 255 bytes of name and of password.
fn plain_length(pair: &mut Pair) {
    if pair.mechanism() == b"PLAIN" && pair.credentials().iter().any(|text| text.len() > 255) {
        say_invalid_credentials(pair);
    }
}

/// The prefix of bytes in hexadecimal form that are not text.
const ESCAPE: char = '\u{E000}';

fn escape(bytes: &mut Text) {
    if std::str::from_utf8(bytes).is_err() {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        *bytes = format!("{ESCAPE}{digits}").into();
    }
}

/// The bytes behind an escaped user id.
pub fn unescape(answer: &mut Answer) {
    if let Answer::Frames(frames) = answer
        && let Ok(text) = std::str::from_utf8(&frames[USER_ID])
        && let Some(digits) = text.strip_prefix(ESCAPE)
    {
        frames[USER_ID] = crate::differential::oracle::from_hex(digits);
    }
}

/// Different bytes are different names, even if they are not text.
fn lossy_text(pair: &mut Pair) {
    for call in &mut pair.calls {
        match call {
            Call::Allow(addresses) | Call::Deny(addresses) => {
                addresses.iter_mut().for_each(escape);
            }
            Call::Plain(domain, users) => {
                escape(domain);
                for (name, password) in users {
                    escape(name);
                    escape(password);
                }
            }
            Call::Directory(domain, _) | Call::AnyKey(domain) | Call::Callback(domain, ..) => {
                escape(domain);
            }
            Call::Gssapi(_) | Call::UserIds(_) => {}
        }
    }
    if pair.is_whole() {
        escape(&mut pair.frames[DOMAIN]);
        escape(&mut pair.frames[ADDRESS]);
        if pair.mechanism() == b"PLAIN" {
            pair.frames[CREDENTIALS..].iter_mut().for_each(escape);
        }
    }
}

/// Addresses are compared as addresses. If that makes a difference, the rule replaces the list by
/// one with the request's own address, or with another.
fn addresses(pair: &mut Pair) {
    if !pair.is_whole() {
        return;
    }
    let asked = pair.frames[ADDRESS].clone();
    for call in &mut pair.calls {
        // A deny list refuses an address that it cannot read.
        let denied =
            matches!(call, Call::Deny(rules) if !rules.is_empty() && is_unreadable(&asked));
        if let Call::Allow(rules) | Call::Deny(rules) = call {
            let ours = denied || rules.iter().any(|rule| is_same_origin(rule, &asked));
            if ours && !rules.contains(&asked) {
                rules.push(asked.clone());
            }
            if !ours && rules.contains(&asked) {
                *rules = vec!["elsewhere".into()];
            }
        }
    }
}

/// True if the address, escaped if it is not text, has none of the forms that libzmq sends.
fn is_unreadable(address: &[u8]) -> bool {
    let text = String::from_utf8(Vec::from(address)).unwrap();
    let ip = text.split('%').next().unwrap_or_default();
    ip.parse::<IpAddr>().is_err() && !text.starts_with("localhost:")
}

fn is_same_origin(rule: &[u8], address: &[u8]) -> bool {
    let text = |bytes| String::from_utf8(Vec::from(bytes)).unwrap();
    let (rule, address) = (text(rule), text(address));
    let ip = |text: &str| {
        let ip = text.split('%').next()?.parse::<IpAddr>().ok()?;
        Some(ip.to_canonical())
    };
    match rule.as_str() {
        "uid:1000" => address.starts_with("localhost:1000:"),
        "gid:7" => false,
        "10.0.0.0/8" => matches!(ip(&address), Some(IpAddr::V4(v4)) if v4.octets()[0] == 10),
        "192.0.2.0/25" => address == "192.0.2.7",
        "::/0" => matches!(ip(&address), Some(IpAddr::V6(_))),
        rule if rule.contains('%') => rule == address,
        rule => rule == address || (ip(rule).is_some() && ip(rule) == ip(&address)),
    }
}

/// A table without users still rules its domain, like a table whose only user does not exist.
fn empty_table(pair: &mut Pair) {
    for call in &mut pair.calls {
        if let Call::Plain(_, users) = call
            && users.is_empty()
        {
            users.push((vec![b'n'; 256].into(), Text::new()));
        }
    }
}

/// The domain whose CURVE peers a call configures.
fn curve_domain(call: &Call) -> Option<&Text> {
    match call {
        Call::Directory(domain, _) | Call::AnyKey(domain) | Call::Callback(domain, ..) => {
            Some(domain)
        }
        _ => None,
    }
}

/// A bad file is left out. A directory that cannot be read leaves the domain's keys unchanged.
fn load_failure(pair: &mut Pair) {
    let mut had: Vec<Text> = Vec::new();
    pair.calls.retain_mut(|call| {
        let Some(domain) = curve_domain(call).cloned() else {
            return true;
        };
        match call {
            Call::Directory(_, directory @ Directory::AdaAndABadFile) => {
                *directory = Directory::Ada;
            }
            Call::Directory(_, Directory::Absent) if had.contains(&domain) => return false,
            _ => {}
        }
        had.push(domain);
        true
    });
}

/// A directory that cannot be read, and is the domain's first, counts as empty.
fn claimed_domains(pair: &mut Pair) {
    for call in &mut pair.calls {
        if let Call::Directory(_, directory @ Directory::Absent) = call {
            *directory = Directory::Empty;
        }
    }
}

/// A configured domain, even the empty one, follows its own configuration. Every other follows `*`.
fn star_covers_all(pair: &mut Pair) {
    if !pair.is_whole() {
        return;
    }
    let asked = pair.frames[DOMAIN].clone();
    let is_curve = pair.mechanism() == b"CURVE";
    let configured: Vec<&mut Text> = pair
        .calls
        .iter_mut()
        .filter_map(|call| match call {
            Call::Plain(domain, _) if !is_curve => Some(domain),
            Call::Directory(domain, _) | Call::AnyKey(domain) | Call::Callback(domain, ..)
                if is_curve =>
            {
                Some(domain)
            }
            _ => None,
        })
        .collect();
    if !configured.iter().any(|domain| **domain == asked) {
        // pyzmq treats an empty domain as `*`, configured or not.
        if configured.iter().any(|domain| **domain == "*") {
            pair.frames[DOMAIN] = "*".into();
        }
    } else if asked.is_empty() {
        let renamed = Text::from(ESCAPE.to_string());
        for domain in configured {
            if domain.is_empty() {
                domain.clone_from(&renamed);
            }
        }
        pair.frames[DOMAIN] = renamed;
    }
}

/// The position of the call that rules the request's domain under CURVE.
fn ruling(pair: &Pair) -> Option<usize> {
    let asked = pair.frames.get(DOMAIN)?;
    let asked = if asked.is_empty() { b"*" } else { &asked[..] };
    pair.calls
        .iter()
        .rposition(|call| curve_domain(call).is_some_and(|domain| domain == asked))
}

/// "Any key" of another domain, or of an earlier call, has no effect. A domain's own admits any
/// key, whatever was configured for other domains since.
fn allow_any_per_domain(pair: &mut Pair) {
    let ruling = ruling(pair).map(|at| pair.calls[at].clone());
    if let Some(any @ Call::AnyKey(_)) = ruling {
        pair.calls.push(any);
    } else {
        pair.calls.retain(|call| !matches!(call, Call::AnyKey(_)));
    }
}

/// Only the last call for a domain counts.
fn provider_per_domain(pair: &mut Pair) {
    if let Some(at) = ruling(pair) {
        let mut index = 0;
        pair.calls.retain(|call| {
            index += 1;
            index == at + 1 || curve_domain(call).is_none()
        });
    }
}

fn admitted(answer: &mut Answer) -> Option<&mut [Text; 6]> {
    match answer {
        Answer::Frames(frames) if frames[STATUS] == "200" => Some(frames),
        _ => None,
    }
}

fn refuse(frames: &mut [Text; 6], status: &'static str, text: &'static str) {
    frames[STATUS] = status.into();
    frames[TEXT] = text.into();
    frames[USER_ID].clear();
    frames[METADATA].clear();
}

/// An unknown mechanism is refused, even if an address list admits the peer.
fn unknown_mechanism(pair: &Pair, answer: &mut Answer) {
    let known: [&[u8]; 4] = [b"NULL", b"PLAIN", b"CURVE", b"GSSAPI"];
    if !known.contains(&pair.mechanism())
        && let Some(frames) = admitted(answer)
    {
        refuse(frames, "400", "NO ACCESS");
    }
}

fn reply(pair: &Pair, status: &'static str, text: &'static str, user_id: Text) -> Answer {
    let id = pair.frames[1].clone();
    Answer::Frames([
        "1.0".into(),
        id,
        status.into(),
        text.into(),
        user_id,
        Text::new(),
    ])
}

/// A principal is compared and returned as bytes.
fn principal_bytes(pair: &Pair, answer: &mut Answer) {
    if pair.mechanism() == b"GSSAPI" && *answer == Answer::Raised("UnicodeDecodeError".into()) {
        *answer = reply(pair, "200", "OK", pair.credentials()[0].clone());
    }
}

/// A failing provider refuses that one request, and its peer may try again.
fn provider_error(pair: &Pair, answer: &mut Answer) {
    let asked = ruling(pair).map(|at| &pair.calls[at]);
    if *answer == Answer::Raised("Deliberate".into())
        && let Some(Call::Callback(_, Says::Fails, _)) = asked
    {
        *answer = reply(pair, "300", "Provider failed", Text::new());
    }
}

/// A failing mapping of user ids refuses that one request.
fn exceptions(pair: &Pair, answer: &mut Answer) {
    if *answer == Answer::Raised("Deliberate".into()) {
        *answer = reply(pair, "500", "Internal error", Text::new());
    }
}

/// The metadata of a certificate becomes that of the peer.
fn certificate_metadata(pair: &Pair, answer: &mut Answer) {
    if pair.mechanism() == b"CURVE"
        && pair.credentials() == [&BOB[..]]
        && let Some(at) = ruling(pair)
        && let Call::Directory(_, Directory::AdaAndBob) = pair.calls[at]
        && let Some(frames) = admitted(answer)
    {
        frames[METADATA] = Text::from_static(METADATA_OF_BOB);
    }
}

/// A user id has at most 255 bytes, like every short string of ZMTP.
fn user_id_length(_: &Pair, answer: &mut Answer) {
    if let Some(frames) = admitted(answer)
        && frames[USER_ID].len() > 255
    {
        refuse(frames, "500", "Internal error");
    }
}
