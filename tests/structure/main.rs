//! The structure of the project: layers, file sizes, no unsafe code, names, and documents that
//! match the code. Each check is a function over text, with tests next to it that plant a
//! violation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod approval;
mod benchmarks;
mod bounds;
mod comparisons;
mod dependencies;
mod documents;
mod embedding;
#[path = "../redaction/holders.rs"]
mod holders;
mod layers;
mod prose;
mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below `folder`, relative to it, with `/` between the parts.
fn rust_files(folder: &Path) -> Vec<String> {
    let mut found = files(folder);
    found.retain(|file| file.ends_with(".rs"));
    found
}

/// Every file below `folder` outside `target` and `.git`, relative to it, with `/` between the
/// parts.
fn files(folder: &Path) -> Vec<String> {
    fn walk(base: &Path, folder: &Path, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with(".git") {
                    walk(base, &path, found);
                }
            } else {
                let parts: Vec<_> = path
                    .strip_prefix(base)
                    .unwrap()
                    .components()
                    .map(|part| part.as_os_str().to_str().unwrap())
                    .collect();
                found.push(parts.join("/"));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_file_stays_in_its_layer() {
    let files = rust_files(&root().join("src"));
    assert!(files.len() > 10, "the sources were not found");
    let tree = layers::Tree::new(files.iter().map(String::as_str));
    let breaches: Vec<_> = files
        .iter()
        .flat_map(|file| tree.breaches(file, &read(&format!("src/{file}"))))
        .collect();
    assert_none(&breaches);
}

/// The source folders of the library, the sockets and the program.
const SOURCES: [&str; 3] = ["src", "crates/zmtp-sockets/src", "crates/zmtp-auth-cli/src"];

/// The source folders of what tests and measures them.
const INSTRUMENTS: [&str; 3] = ["crates/judges/src", "benches/compare", "fuzz/src"];

/// The files of a folder, relative to it, and what is in them.
fn sources(folder: &str) -> Vec<(String, String)> {
    let files = rust_files(&root().join(folder));
    assert!(files.len() > 3, "the sources of {folder} were not found");
    let with_text = |file: String| {
        let text = read(&format!("{folder}/{file}"));
        (file, text)
    };
    files.into_iter().map(with_text).collect()
}

#[test]
fn no_files_import_each_other() {
    for folder in SOURCES.iter().chain(&INSTRUMENTS) {
        // The one file with unsafe code dispatches to safe ones: a second such file would be worse.
        assert_none(&layers::circles(
            &sources(folder),
            &["crypto/secretbox/simd"],
        ));
    }
}

#[test]
fn no_folder_has_too_many_files() {
    let mut files = Vec::new();
    for folder in SOURCES.iter().chain(&INSTRUMENTS) {
        let of_folder = sources(folder).into_iter();
        files.extend(of_folder.map(|(file, _)| format!("{folder}/{file}")));
    }
    // There is one for each target of a fuzzer.
    let is_target = |file: &String| {
        let rest = file.strip_prefix("fuzz/src/targets/");
        rest.is_some_and(|rest| !rest.contains('/'))
    };
    files.retain(|file| !is_target(file));
    assert_none(&rules::drawers(files.iter().map(String::as_str)));
}

#[test]
fn every_file_is_small() {
    let folders = SOURCES.iter().chain(&INSTRUMENTS);
    let files = folders.flat_map(|folder| sources(folder));
    let long = files.filter_map(|(file, text)| rules::length(&file, &text));
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn every_file_is_safe() {
    let files = SOURCES.iter().flat_map(|folder| sources(folder));
    let breaches = files.flat_map(|(file, text)| rules::breaches(&file, &text));
    assert_none(&breaches.collect::<Vec<_>>());
}

#[test]
fn every_file_is_named_after_its_job() {
    let breaches: Vec<_> = ["src", "crates", "tests", "examples", "benches", "fuzz"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .filter(|file| rules::has_empty_name(file))
        .collect();
    assert_none(&breaches);
}

#[test]
fn every_path_from_a_package_leads_to_a_file() {
    let mut seen = 0;
    let mut breaches = Vec::new();
    for file in rust_files(root()) {
        let folders = Path::new(&file).ancestors().skip(1);
        let mut folders = folders.map(|folder| root().join(folder));
        let package = folders.find(|folder| folder.join("Cargo.toml").is_file());
        for path in rules::paths_from_the_package(&read(&file)) {
            seen += 1;
            if !package.as_ref().unwrap().join(path).exists() {
                breaches.push(format!("{file}: its package has no {path}"));
            }
        }
    }
    assert!(seen > 5, "the paths were not found");
    assert_none(&breaches);
}

#[test]
fn prose_keeps_to_plain_words() {
    let files = files(root());
    let prose: Vec<_> = files.iter().filter(|file| prose::is_prose(file)).collect();
    assert!(prose.len() > 100, "the files were not found");
    let breaches: Vec<_> = prose
        .iter()
        .flat_map(|file| prose::breaches(file, &read(file)))
        .collect();
    assert_none(&breaches);
}

#[test]
fn the_readme_names_every_feature() {
    let manifest = read("Cargo.toml");
    let features = documents::features(&manifest);
    assert!(features.contains(&"tokio"), "the features were not found");
    assert_eq!(
        documents::unmentioned(&features, &read("README.md")),
        Vec::<&str>::new()
    );
}

/// Every document that names files.
fn documents() -> Vec<String> {
    let fixed = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "benches/README.md",
        "crates/zmtp-auth-cli/README.md",
        "examples/README.md",
        "fuzz/README.md",
    ];
    let docs = fs::read_dir(root().join("docs")).into_iter().flatten();
    docs.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .chain(fixed.map(str::to_owned))
        .collect()
}

#[test]
fn every_file_that_a_document_names_exists() {
    let breaches: Vec<_> = documents()
        .iter()
        .flat_map(|document| {
            let text = read(document);
            let missing: Vec<_> = documents::paths(&text)
                .into_iter()
                .filter(|path| !root().join(path).is_file())
                .map(|path| format!("{document}: there is no {path}"))
                .collect();
            missing
        })
        .collect();
    assert_none(&breaches);
}

#[test]
fn every_limit_says_where_it_is_enforced() {
    let text = read("src/limits.rs");
    let (_, fields) = text.split_once("pub struct Limits {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let breaches: Vec<_> = documents::fields(fields)
        .into_iter()
        .filter(|(field, doc)| {
            let places = doc
                .rsplit_once("Enforced in")
                .map_or("", |(_, places)| places);
            let places = documents::paths(places);
            let names_it = |path: &&str| {
                let text = fs::read_to_string(root().join(path)).unwrap_or_default();
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .any(|word| word == *field)
            };
            places.is_empty() || !places.iter().all(names_it)
        })
        .map(|(field, _)| format!("Limits::{field} names no file that enforces it"))
        .collect();
    assert_none(&breaches);
}

#[test]
fn the_architecture_tells_its_stories_in_few_hops_each() {
    assert_none(&documents::story_breaches(&read("docs/ARCHITECTURE.md")));
}

#[test]
fn the_change_log_has_a_place_for_the_next_release() {
    assert!(documents::has_unreleased(&read("CHANGELOG.md")));
}

#[test]
fn every_promise_of_the_security_policy_names_a_test_that_exists() {
    let document = read("SECURITY.md");
    let promises = documents::promises(&document);
    assert!(!promises.is_empty(), "the promises were not found");
    let breaches: Vec<_> = promises
        .iter()
        .flat_map(|promise| promise.breaches(|file| fs::read_to_string(root().join(file)).ok()))
        .chain(documents::repeated(&promises))
        .collect();
    assert_none(&breaches);
}

#[test]
fn every_implementation_that_was_met_names_a_test_that_exists() {
    let readme = read("README.md");
    let head = "| implementation | version | mechanisms | shown by |";
    let met = documents::promises(documents::below(&readme, head));
    assert!(met.len() >= 2, "the implementations were not found");
    let breaches: Vec<_> = met
        .iter()
        .flat_map(|row| row.breaches(|file| fs::read_to_string(root().join(file)).ok()))
        .collect();
    assert_none(&breaches);
}

#[test]
fn the_guide_for_embedding_counts_the_lines_of_its_host() {
    let guide = read("docs/EMBEDDING.md");
    let files = ["codec", "plain", "wrapped", "conducted"];
    let files = files.map(|file| read(&format!("tests/tiny/{file}.rs")));
    let missing: Vec<_> = embedding::rows(files.each_ref().map(String::as_str))
        .into_iter()
        .filter(|row| !guide.contains(row))
        .collect();
    assert_none(&missing);
}
