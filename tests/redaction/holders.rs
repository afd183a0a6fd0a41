//! Which public types can hold a secret, read from the sources, so that none is forgotten.

use crate::source;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Types that hold a secret by themselves.
pub const ROOTS: [&str; 6] = [
    "SecretKey",
    "KeyPair",
    "Password",
    "SharedKey",
    "CookieKey",
    "HashKey",
];

/// Declared `pub` inside modules that are private: no user can name them. What shows of them shows
/// in the types around them.
pub const OUT_OF_REACH: [&str; 4] = ["SharedKey", "CookieKey", "Role", "Approved"];

/// Every `pub` type of the crate in whose fields, at any depth, stands a type that holds a secret.
pub fn public_types_that_can_hold_a_secret() -> Vec<String> {
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut public = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let tokens = source::tokens(&fs::read_to_string(&path).unwrap());
                let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
                declared(&texts, &mut fields, &mut public);
            }
        }
    }
    let mut holders: BTreeSet<String> = ROOTS.map(str::to_owned).into();
    loop {
        let before = holders.len();
        for (name, inside) in &fields {
            if !inside.is_disjoint(&holders) {
                holders.insert(name.clone());
            }
        }
        if holders.len() == before {
            break;
        }
    }
    assert!(
        holders.len() > 20,
        "the sources were not understood: {holders:?}"
    );
    holders
        .into_iter()
        .filter(|name| public.contains(name) && !OUT_OF_REACH.contains(&name.as_str()))
        .collect()
}

/// Collects from one file each type's name with all that stands in its declaration.
fn declared(
    texts: &[&str],
    fields: &mut BTreeMap<String, BTreeSet<String>>,
    public: &mut BTreeSet<String>,
) {
    for (at, text) in texts.iter().enumerate() {
        if !matches!(*text, "struct" | "enum") {
            continue;
        }
        let Some(name) = texts.get(at + 1) else {
            return;
        };
        if at > 0 && texts[at - 1] == "pub" {
            public.insert((*name).to_owned());
        }
        // What stands at the first depth of an enum are its variants' names.
        let first = if *text == "enum" { 2 } else { 0 };
        let mut depth = 0_usize;
        let inside = fields.entry((*name).to_owned()).or_default();
        for text in &texts[at + 2..] {
            match *text {
                "{" | "(" => depth += 1,
                "}" | ")" => {
                    depth -= 1;
                    if depth == 0 && *text == "}" {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                word if depth >= first => {
                    inside.insert(word.to_owned());
                }
                _ => {}
            }
        }
    }
}
