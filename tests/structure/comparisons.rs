//! Secrets are compared only in constant time, and only in the files listed here.

use crate::holders;
use crate::source;

use holders::{holders, sources};
use std::collections::BTreeMap;

/// Every file that compares in constant time, how often, and what. SECURITY.md
/// says what is public and compared as usual.
const COMPARISONS: [(&str, usize, &str); 11] = [
    (
        "auth/policy/plain/table.rs",
        3,
        "the keyed hashes of two passwords: given and stored, stored before and after, and stored \
         and empty",
    ),
    (
        "auth/policy_file/reload.rs",
        1,
        "the text of a policy file, read twice",
    ),
    ("cert/parser.rs", 1, "a key with the zeros that mean none"),
    (
        "crypto/constant_time.rs",
        1,
        "for boxes.rs: a shared secret with zero, HELLO's signature, and the keys in a vouch",
    ),
    (
        "crates/zmtp-auth-cli/src/security/password_input.rs",
        1,
        "a new password, typed twice",
    ),
    ("crypto/keyed_hash.rs", 1, "two keyed hashes"),
    (
        "crypto/keys.rs",
        2,
        "two secret keys, and one with the zeros that mean none",
    ),
    ("crypto/password.rs", 1, "two passwords"),
    ("crypto/password_hash.rs", 1, "two argon2id hashes"),
    ("crypto/secretbox/poly1305.rs", 1, "two tags"),
    (
        "crypto/secretbox/simd/columns.rs",
        1,
        "the tags of eight boxes, computed and given",
    ),
];

/// Methods that compare, or that branch on their arguments.
const COMPARE: [&str; 10] = [
    "eq",
    "ne",
    "cmp",
    "partial_cmp",
    "starts_with",
    "ends_with",
    "contains",
    "strip_prefix",
    "position",
    "assert_eq",
];

/// Traits of comparison.
const COMPARING_TRAITS: [&str; 5] = ["PartialEq", "Eq", "PartialOrd", "Ord", "Hash"];

/// The places in a file where an exposed secret is compared, as the text around them.
fn comparisons_of_exposed(tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for statement in tokens.split(|token| matches!(token.as_str(), ";" | "{" | "}")) {
        let exposes = statement
            .windows(2)
            .any(|pair| pair[0] == "expose" && pair[1] == "(");
        let operator = statement
            .windows(2)
            .any(|pair| matches!(&*pair[0], "=" | "!") && pair[1] == "=");
        let method = statement
            .windows(2)
            .any(|pair| COMPARE.contains(&&*pair[0]) && matches!(&*pair[1], "(" | "!"));
        if exposes && (operator || method || statement.iter().any(|token| token == "match")) {
            found.push(statement.join(" "));
        }
    }
    found
}

/// The types that one file makes comparable, by a derive or by hand.
fn comparable(tokens: &[String]) -> Vec<String> {
    let compares = |tokens: &[String]| {
        tokens
            .iter()
            .any(|token| COMPARING_TRAITS.contains(&token.as_str()))
    };
    let mut found = Vec::new();
    let mut derived = false;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            // `cfg_attr(test, derive(..))` affects tests only.
            "derive" if tokens[at - 1] == "[" => {
                let end = tokens[at..].iter().position(|token| token == "]");
                derived |= compares(&tokens[at..at + end.unwrap_or(0)]);
            }
            "struct" | "enum" if std::mem::take(&mut derived) => {
                found.extend(tokens.get(at + 1).cloned());
            }
            "impl" => {
                let head: Vec<_> = tokens[at..]
                    .iter()
                    .take_while(|token| *token != "{")
                    .cloned()
                    .collect();
                let mut halves = head.splitn(2, |token| token == "for");
                let (of, what) = (halves.next().unwrap_or(&[]), halves.next().unwrap_or(&[]));
                if compares(of) {
                    found.extend(what.first().cloned());
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn nothing_that_was_exposed_is_compared_by_an_operator() {
    let mut exposing = 0;
    for (file, tokens) in sources() {
        exposing += tokens.iter().filter(|token| *token == "expose").count();
        let found = comparisons_of_exposed(&tokens);
        assert!(found.is_empty(), "src/{file}: {found:#?}");
    }
    assert!(exposing > 5, "the sources were not understood");
}

#[test]
fn no_type_that_can_hold_a_secret_is_comparable() {
    let sources = sources();
    let holders = holders(&sources);
    for (file, tokens) in &sources {
        let secret: Vec<_> = comparable(tokens)
            .into_iter()
            .filter(|name| holders.contains_key(name))
            .collect();
        assert!(secret.is_empty(), "src/{file}: {secret:?}");
    }
}

#[test]
fn the_comparisons_in_constant_time_are_all_on_the_list() {
    let mut found = BTreeMap::new();
    for (file, tokens) in sources() {
        let calls = tokens
            .windows(3)
            .filter(|three| {
                let is_call = three[0] == "." && three[2] == "(";
                is_call && three[1] == "ct_eq" || three[1] == "_mm512_test_epi64_mask"
            })
            .count();
        if calls > 0 {
            found.insert(file, calls);
        }
    }
    let listed: BTreeMap<_, _> = COMPARISONS
        .into_iter()
        .filter(|(file, _, _)| holders::is_built(file))
        .map(|(file, calls, _)| (file.to_owned(), calls))
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn comparisons_and_comparable_types_are_recognised() {
    let tokens = |text: &str| -> Vec<String> {
        let tokens = source::tokens(text).into_iter();
        tokens.map(|token| token.text).collect()
    };
    for bad in [
        "if key.expose() == other {}",
        "let right = given != self.password.expose();",
        "a.expose().eq(b)",
        "b.starts_with(a.expose())",
        "match password.expose() { _ => {} }",
        "assert_eq!(a.expose(), b);",
    ] {
        assert_eq!(comparisons_of_exposed(&tokens(bad)).len(), 1, "{bad}");
    }
    for good in [
        "text.copy_from_slice(key.expose()); if a == b {}",
        "a.expose().ct_eq(b.expose())",
        "// a.expose() == b",
    ] {
        assert!(comparisons_of_exposed(&tokens(good)).is_empty(), "{good}");
    }
    for comparable_type in [
        "#[derive(Clone, PartialEq)] pub struct Key([u8; 32]);",
        "#[derive(Hash)] #[must_use] enum Key { A }",
        "impl PartialEq<[u8]> for Key { }",
        "impl<T> std::cmp::Ord for Key<T> {}",
    ] {
        assert_eq!(comparable(&tokens(comparable_type)), ["Key"]);
    }
    for other in [
        "#[derive(Clone)] struct Key; #[derive(PartialEq)] struct Other;",
        "#[cfg_attr(test, derive(PartialEq))] struct Key;",
        "impl ConstantTimeEq for Key {}",
    ] {
        assert!(!comparable(&tokens(other)).contains(&"Key".to_owned()));
    }
}
