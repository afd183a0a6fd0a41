//! Our Authenticator answers generated requests as pyzmq's own does, in all six frames of each
//! reply. A named rule explains each difference.
//!
//! A run compares 5,000 pairs of configuration and request. All 60,000, and the table of rules with
//! their counts, come from `ZMTP_AUTH_FULL=1 cargo test --features live-interop --test interop
//! differential -- --nocapture` where `ZMTP_AUTH_PYTHON` names a Python that has pyzmq.

mod oracle;
mod pair;
mod rules;

use crate::differential::oracle::{Outcome, Task, to_hex};
use crate::differential::pair::{
    BOB, Call, Dice, Directory, Pair, Says, Text, UserIds, configuration, request,
};
use crate::differential::rules::{Answer, Kind, RULES, unescape};
use std::future::{Future, ready};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use zmtp_auth::auth::{AddressRule, AddressRuleError, Authenticator, CurveQuestion};
use zmtp_auth::{Domain, PeerAddress, PublicKey};

const SEED: u64 = 27;
const PAIRS: usize = 5_000;
const ALL_PAIRS: usize = 60_000;
const REQUESTS_OF_ONE_CONFIGURATION: usize = 8;

fn domain(bytes: &Text) -> Domain {
    Domain::new(bytes.clone())
}

/// The address as a user would write it. One of unknown form is compared byte by byte, as pyzmq
/// does.
fn address_rule(bytes: &Text) -> AddressRule {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| AddressRule::exactly(PeerAddress::from_zap(bytes)))
}

/// Makes one call to our Authenticator. Returns true if it is an error for pyzmq too.
fn configure(auth: &Authenticator, call: &Call, base: &Path) -> bool {
    let mut listed: Result<(), AddressRuleError> = Ok(());
    match call {
        Call::Allow(rules) => listed = auth.allow(rules.iter().map(address_rule)),
        Call::Deny(rules) => listed = auth.deny(rules.iter().map(address_rule)),
        Call::Plain(name, users) => {
            let users = users.iter().map(|(name, password)| (name, password));
            auth.configure_plain(domain(name), users).unwrap();
        }
        Call::Directory(name, directory) => {
            let loaded = auth.configure_curve(domain(name), directory.path(base));
            assert_eq!(loaded.is_err(), *directory == Directory::Absent);
        }
        Call::AnyKey(name) => _ = auth.configure_curve_any(domain(name)),
        // For us a synchronous provider is one whose future is ready at once.
        Call::Callback(name, says, _) => provide(auth, domain(name), *says),
        Call::Gssapi(name) => auth.configure_gssapi(domain(name)),
        Call::UserIds(user_ids) => {
            let user_ids = *user_ids;
            auth.set_curve_user_id(move |key: &PublicKey| match user_ids {
                UserIds::Hexadecimal => to_hex(key.as_bytes()),
                UserIds::Long => to_hex(key.as_bytes()).repeat(5),
                UserIds::Fails => panic!("deliberate"),
            });
        }
    }
    listed.is_err()
}

fn provide(auth: &Authenticator, name: Domain, says: Says) {
    auth.configure_curve_callback(name, move |question: CurveQuestion| {
        ready(match says {
            Says::Yes => Ok(true),
            Says::OnlyToBob => Ok(question.key.as_bytes() == &BOB),
            Says::Fails => Err("deliberate"),
        })
    });
}

fn ask(auth: &Authenticator, frames: &[Text]) -> Answer {
    let mut asked = pin!(auth.handle_zap_message(frames.to_vec()));
    match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(None) => Answer::NoReply,
        Poll::Ready(Some(frames)) => Answer::Frames(frames),
        Poll::Pending => panic!("not decided"),
    }
}

/// The steps by which rules rewrite a pair, each with its rule.
fn rewritten(pair: &Pair) -> Vec<(usize, Pair)> {
    let mut steps: Vec<(usize, Pair)> = Vec::new();
    for (at, rule) in RULES.iter().enumerate() {
        if let Kind::Pair(rewrite) = rule.kind {
            let last = steps.last().map_or(pair, |(_, pair)| pair);
            let mut next = last.clone();
            rewrite(&mut next);
            if next != *last {
                steps.push((at, next));
            }
        }
    }
    steps
}

/// Applies the rules to pyzmq's answer and counts those that change it.
fn explain(
    pair: &Pair,
    theirs: Answer,
    steps: &[(usize, Pair)],
    answers: impl Iterator<Item = Answer>,
    fired: &mut [usize],
) -> Answer {
    let mut answer = theirs;
    for ((at, _), mut next) in steps.iter().zip(answers) {
        unescape(&mut next);
        fired[*at] += usize::from(next != answer);
        answer = next;
    }
    let last = steps.last().map_or(pair, |(_, pair)| pair);
    for (at, rule) in RULES.iter().enumerate() {
        if let Kind::Answer(rewrite) = rule.kind {
            let mut next = answer.clone();
            rewrite(last, &mut next);
            fired[at] += usize::from(next != answer);
            answer = next;
        }
    }
    answer
}

/// Pairs that share a configuration.
struct Group {
    calls: Vec<Call>,
    pairs: Vec<(Pair, Vec<(usize, Pair)>)>,
}

fn generate(pairs: usize) -> Vec<Group> {
    let mut dice = Dice(SEED);
    (0..pairs.div_ceil(REQUESTS_OF_ONE_CONFIGURATION))
        .map(|_| {
            let calls = configuration(&mut dice);
            let pairs = (0..REQUESTS_OF_ONE_CONFIGURATION)
                .map(|_| {
                    let frames = request(&calls, &mut dice);
                    let calls = calls.clone();
                    let pair = Pair { calls, frames };
                    let steps = rewritten(&pair);
                    (pair, steps)
                })
                .collect();
            Group { calls, pairs }
        })
        .collect()
}

/// The group as it is, followed by each rewritten pair.
fn tasks(group: &Group) -> impl Iterator<Item = Task<'_>> {
    let whole = Task {
        calls: &group.calls,
        requests: group
            .pairs
            .iter()
            .map(|(pair, _)| &pair.frames[..])
            .collect(),
    };
    let steps = group.pairs.iter().flat_map(|(_, steps)| steps);
    std::iter::once(whole).chain(steps.map(|(_, pair)| Task {
        calls: &pair.calls,
        requests: vec![&pair.frames],
    }))
}

#[test]
fn every_reply_is_that_of_pyzmq_but_for_the_named_divergences() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    Directory::make_all(base);
    let is_full = std::env::var_os("ZMTP_AUTH_FULL").is_some();
    let groups = generate(if is_full { ALL_PAIRS } else { PAIRS });
    let tasks: Vec<Task<'_>> = groups.iter().flat_map(tasks).collect();
    let mut outcomes = oracle::ask(&tasks, base).into_iter();

    std::panic::set_hook(Box::new(|info| {
        if info.payload_as_str() != Some("deliberate") {
            eprintln!("{info}");
        }
    }));
    let mut fired = vec![0; RULES.len()];
    let (mut compared, mut different, mut admitted) = (0, 0, 0);
    for group in &groups {
        let auth = Authenticator::new();
        let errors: Vec<usize> = (group.calls.iter().enumerate())
            .filter(|(_, call)| configure(&auth, call, base))
            .map(|(at, _)| at)
            .collect();
        let theirs = outcomes.next().unwrap();
        assert_eq!(errors, theirs.errors, "{:#?}", group.calls);
        for ((pair, steps), theirs) in group.pairs.iter().zip(theirs.answers) {
            let answers = outcomes.by_ref().take(steps.len()).map(single);
            let ours = ask(&auth, &pair.frames);
            let explained = explain(pair, theirs.clone(), steps, answers, &mut fired);
            assert_eq!(ours, explained, "pyzmq: {theirs:?}\n{pair:#?}\n{steps:#?}");
            compared += 1;
            different += usize::from(ours != theirs);
            admitted += usize::from(matches!(&ours, Answer::Frames(f) if f[2] == "200"));
        }
    }
    let _ = std::panic::take_hook();
    println!("{compared} pairs, {admitted} admitted, {different} answered differently from pyzmq:");
    for (rule, fired) in RULES.iter().zip(&fired) {
        match rule.kind {
            Kind::Behaviour(file, test) => println!("{:>22}  {file}::{test}", rule.name),
            _ => println!("{:>22}  {fired}", rule.name),
        }
    }
    for (rule, fired) in RULES.iter().zip(fired) {
        let shows = matches!(rule.kind, Kind::Behaviour(..)) || fired > 0;
        assert!(shows, "the rule {} applies to no pair", rule.name);
    }
}

fn single(outcome: Outcome) -> Answer {
    let [answer] = <[Answer; 1]>::try_from(outcome.answers).unwrap();
    answer
}

#[test]
fn divergences_that_no_reply_shows_are_shown_by_a_test() {
    for rule in RULES {
        if let Kind::Behaviour(file, test) = rule.kind {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let source = std::fs::read_to_string(path).unwrap();
            assert!(
                source.contains(&format!("fn {test}(")),
                "{}: {file}::{test}",
                rule.name
            );
        }
    }
}
