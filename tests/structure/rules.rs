//! Rules for single files: length, no unsafe code, no code that the other checks cannot see, and
//! where cipher crates may be named.

use super::source::{Token, lines_without_tests, starts_with, tokens};
use std::collections::BTreeMap;

/// The highest number of lines of a file without its tests.
const MAX_LINES: usize = 400;

/// Crates that encrypt, hash keys or make them. Only `crypto/` may name them.
const CIPHER_CRATES: &[&str] = &[
    "x25519_dalek",
    "curve25519_dalek",
    "crypto_secretbox",
    "crypto_box",
    "salsa20",
    "chacha20",
    "chacha20poly1305",
    "poly1305",
    "aead",
    "getrandom",
    "graviola",
    "argon2",
    "blake2",
];

/// The one file that may hold unsafe code. A comment above each piece says why it is sound.
const UNSAFE: &str = "crypto/secretbox/simd.rs";

/// Names that say nothing about a file's content.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "manager", "helper", "helpers", "misc",
];

/// What is said of a file that is too long.
pub fn length(file: &str, source: &str) -> Option<String> {
    let lines = lines_without_tests(source);
    let is_long = lines > MAX_LINES && !file.ends_with("/tests.rs");
    is_long.then(|| format!("{file}: {lines} lines without tests, {MAX_LINES} allowed"))
}

/// Every violation in one file of `src/`, as text. The path is relative to `src/`.
pub fn breaches(file: &str, source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let is_facade = matches!(file.rsplit('/').next(), Some("mod.rs" | "lib.rs"));
    let may_be_unsafe = file == UNSAFE;
    if !is_facade && !may_be_unsafe && !forbids_unsafe(&tokens) {
        found.push(format!("{file}: no #![forbid(unsafe_code)] at its head"));
    }
    for (at, token) in tokens.iter().enumerate() {
        let here = &tokens[at..];
        let complaint = match token.text.as_str() {
            "unsafe" if !may_be_unsafe => "unsafe code",
            "unsafe" if !is_explained(source, token.line) => "unsafe code without SAFETY",
            "unsafe" if !starts_with(here, &["unsafe", "{"]) => "unsafe but not a block",
            "allow" | "expect" if !may_be_unsafe && allows_unsafe(here) => "allows unsafe code",
            "include" if starts_with(here, &["include", "!"]) => "includes text no check reads",
            "#" if starts_with(here, &["#", "[", "path"]) => "a module at another path",
            name if CIPHER_CRATES.contains(&name) && !file.starts_with("crypto/") => {
                "names a cipher crate outside crypto/"
            }
            _ => continue,
        };
        found.push(format!("{file}:{}: {complaint}", token.line));
    }
    found
}

/// True if the comment right above a line begins with SAFETY.
fn is_explained(source: &str, line: usize) -> bool {
    let above: Vec<&str> = source.lines().take(line - 1).map(str::trim).collect();
    above
        .iter()
        .rev()
        .take_while(|line| line.starts_with("//"))
        .last()
        .is_some_and(|line| line.starts_with("// SAFETY: "))
}

/// True if `#![forbid(unsafe_code)]` is among the attributes before the first item.
fn forbids_unsafe(tokens: &[Token]) -> bool {
    const FORBID: &[&str] = &["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"];
    let mut rest = tokens;
    while starts_with(rest, &["#", "!", "["]) {
        if starts_with(rest, FORBID) {
            return true;
        }
        let end = rest.iter().position(|token| token.text == "]");
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
    }
    false
}

/// True if `unsafe_code` is in the list after `allow` or `expect`.
fn allows_unsafe(tokens: &[Token]) -> bool {
    starts_with(&tokens[1..], &["("])
        && tokens
            .iter()
            .take_while(|token| token.text != ")")
            .any(|token| token.text == "unsafe_code")
}

/// The paths in a file that begin at the folder of its package: what is joined to it, or stands behind
/// it in `concat!`. A path that is put together at run time, or that a build makes, is left out.
pub fn paths_from_the_package(source: &str) -> Vec<&str> {
    source
        .split("env!(\"CARGO_MANIFEST_DIR\")")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(';').unwrap_or(rest.len());
            let rest =
                rest[..end].trim_start_matches(|c: char| ",)".contains(c) || c.is_whitespace());
            let literal = rest.strip_prefix(".join(").unwrap_or(rest);
            let (path, _) = literal.strip_prefix('"')?.split_once('"')?;
            Some(path.trim_start_matches('/'))
        })
        .filter(|path| !path.contains('{') && !path.split('/').any(|part| part == "target"))
        .collect()
}

/// The highest number of files in a folder, without facades.
const MAX_FILES: usize = 12;

/// Every folder with too many files, as text.
pub fn drawers<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        if !matches!(name, "mod.rs" | "lib.rs" | "main.rs") {
            *folders.entry(folder).or_default() += 1;
        }
    }
    folders
        .into_iter()
        .filter(|(_, files)| *files > MAX_FILES)
        .map(|(folder, files)| format!("{folder}: {files} files, {MAX_FILES} allowed"))
        .collect()
}

/// True if a part of a path has a name that says nothing.
pub fn has_empty_name(path: &str) -> bool {
    path.split('/').any(|part| {
        let stem = part.split('.').next().unwrap_or(part);
        EMPTY_NAMES.contains(&stem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "//! A file.\n#![forbid(unsafe_code)]\n\n";

    #[track_caller]
    fn allowed(file: &str, source: &str) {
        assert_eq!(breaches(file, source), Vec::<String>::new());
    }

    #[track_caller]
    fn breach(file: &str, source: &str, what: &str) {
        let found = breaches(file, source);
        assert!(
            found.len() == 1 && found[0].contains(what),
            "{found:?} should be one breach with {what:?}"
        );
    }

    #[test]
    fn four_hundred_lines_are_enough_and_tests_do_not_count() {
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "// test\n".repeat(500)
        );
        let longest = format!("{HEAD}{}", "// line\n".repeat(MAX_LINES - 3));
        assert_eq!(length("seal.rs", &longest), None);
        assert_eq!(length("seal.rs", &format!("{longest}{tests}")), None);
        let long = length("seal.rs", &format!("{longest}//\n{tests}"));
        assert!(long.is_some_and(|it| it.contains("401 lines")));
    }

    #[test]
    fn paths_are_found_from_the_folder_of_a_package() {
        let source = concat!(
            "let a = Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"x/a.py\");\n",
            "let b = concat!(\n    env!(\"CARGO_MANIFEST_DIR\"),\n    \"/x/b.py\"\n);\n",
            "let c = Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(file);\n",
            "let d = Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"../target/d\");\n",
        );
        assert_eq!(paths_from_the_package(source), ["x/a.py", "x/b.py"]);
    }

    #[test]
    fn a_dozen_files_side_by_side_are_enough() {
        let mut files: Vec<_> = (0..MAX_FILES).map(|at| format!("a/{at}.rs")).collect();
        files.extend(["a/mod.rs".to_owned(), "a/b/c.rs".to_owned()]);
        let drawers = |files: &[String]| super::drawers(files.iter().map(String::as_str));
        assert_eq!(drawers(&files), Vec::<String>::new());
        files.push("a/one_more.rs".to_owned());
        assert_eq!(drawers(&files), ["a: 13 files, 12 allowed"]);
    }

    #[test]
    fn every_file_but_a_facade_forbids_unsafe_code_at_its_head() {
        allowed("traffic/seal.rs", HEAD);
        allowed(
            "traffic/seal.rs",
            &format!("#![allow(missing_docs)]\n{HEAD}"),
        );
        allowed("wire/mod.rs", "pub mod frame;");
        breach("traffic/seal.rs", "//! A file.\nstruct X;", "no #![forbid");
        breach(
            "traffic/seal.rs",
            "// #![forbid(unsafe_code)]\nstruct X;",
            "no #![forbid",
        );
        breach(
            "traffic/seal.rs",
            "struct X;\nmod m { #![forbid(unsafe_code)] }",
            "no #![forbid",
        );
    }

    #[test]
    fn unsafe_code_is_found_wherever_it_hides() {
        breach("wire/mod.rs", "fn f() { unsafe { g() } }", "unsafe code");
        breach(
            "wire/mod.rs",
            "#![allow(unused, unsafe_code)]",
            "allows unsafe",
        );
        breach(
            "wire/mod.rs",
            "#[path = \"../x.rs\"]\nmod x;",
            "another path",
        );
        breach("wire/mod.rs", "include!(\"x.in\");", "includes");
        allowed("wire/mod.rs", "// unsafe\nconst X: &str = \"unsafe\";");
    }

    #[test]
    fn one_file_holds_explained_unsafe_blocks_and_nothing_else_unsafe() {
        let block = "fn f() {\n    // SAFETY: why\n    // it is sound.\n    unsafe { g() }\n}";
        allowed(UNSAFE, &format!("#![allow(unsafe_code)]\n{block}"));
        breach(UNSAFE, "fn f() { unsafe { g() } }", "without SAFETY");
        breach(UNSAFE, "// What it does.\nunsafe { g() }", "without SAFETY");
        breach(UNSAFE, "// SAFETY: why.\nunsafe fn f() {}", "not a block");
    }

    #[test]
    fn cipher_crates_are_named_in_crypto_alone() {
        allowed(
            "crypto/boxes.rs",
            &format!("{HEAD}use x25519_dalek::StaticSecret;"),
        );
        breach(
            "traffic/seal.rs",
            &format!("{HEAD}use x25519_dalek::StaticSecret;"),
            "cipher crate",
        );
    }

    #[test]
    fn names_that_say_nothing_are_found_in_files_and_folders() {
        assert!(has_empty_name("src/net/utils.rs"));
        assert!(has_empty_name("tests/common/mod.rs"));
        assert!(!has_empty_name("src/net/listener/handle.rs"));
    }
}
