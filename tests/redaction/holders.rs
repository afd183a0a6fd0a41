//! Reads from the sources which types can hold a secret, so that the test covers all.

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

/// True if a file of `src/` belongs to the library with the current features.
pub fn is_built(file: &str) -> bool {
    [
        ("net/", cfg!(feature = "tokio")),
        ("crypto/judged", cfg!(feature = "test-ciphers")),
        // It is shown over the streams of tokio.
        ("host/stream", cfg!(feature = "tokio")),
        ("auth/reload", cfg!(feature = "reload")),
        ("auth/policy_file", cfg!(feature = "policy-file")),
    ]
    .iter()
    .all(|(start, is_on)| *is_on || !file.starts_with(start))
}

/// The program's source folder.
const PROGRAM: &str = "crates/zmtp-auth-cli/src";

/// Every file of the library as it is built, by its path in `src/`, and of the program, by its
/// whole path, as tokens without the tests.
pub fn sources() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    read(&root.join("src"), &root.join("src"), &mut found);
    read(root, &root.join(PROGRAM), &mut found);
    found
}

fn read(base: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(base).unwrap().to_str().unwrap();
        if path.is_dir() {
            read(base, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && is_built(name) {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let tokens = source::tokens(text).into_iter();
            found.insert(name.to_owned(), tokens.map(|token| token.text).collect());
        }
    }
}

/// Every type with a secret in its fields at any depth, and whether it is `pub`.
pub fn holders(sources: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, bool> {
    let mut fields = BTreeMap::new();
    let mut public = BTreeSet::new();
    for tokens in sources.values() {
        declared(tokens, &mut fields, &mut public);
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
        .map(|name| {
            let public = public.contains(&name);
            (name, public)
        })
        .collect()
}

/// Collects each type's name and its declaration from one file.
fn declared(
    texts: &[String],
    fields: &mut BTreeMap<String, BTreeSet<String>>,
    public: &mut BTreeSet<String>,
) {
    for (at, text) in texts.iter().enumerate() {
        if !matches!(text.as_str(), "struct" | "enum") {
            continue;
        }
        let Some(name) = texts.get(at + 1) else {
            return;
        };
        if at > 0 && texts[at - 1] == "pub" {
            public.insert(name.clone());
        }
        // The names at an enum's first depth are its variants.
        let first = if text == "enum" { 2 } else { 0 };
        let mut depth = 0_usize;
        let inside = fields.entry(name.clone()).or_default();
        for text in &texts[at + 2..] {
            match text.as_str() {
                "{" | "(" => depth += 1,
                "}" | ")" => {
                    depth -= 1;
                    if depth == 0 && text == "}" {
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
