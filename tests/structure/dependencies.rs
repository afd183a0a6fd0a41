//! Dependencies: no C in the default build, one version of each crypto crate, and only allowed
//! licences.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Crates that exist only to compile, find or bind C.
const C_BUILDERS: &[&str] = &[
    "autotools",
    "bindgen",
    "cc",
    "cmake",
    "pkg-config",
    "system-deps",
    "vcpkg",
];

/// `-sys` crates that only declare the system's interface, and build and link nothing.
const SYS_CRATES: &[&str] = &["inotify-sys", "linux-raw-sys", "windows-sys"];

/// Crates whose two versions would be two implementations of a cipher, or two types for one secret.
const CRYPTO_CRATES: &[&str] = &[
    "aead",
    "argon2",
    "blake2",
    "chacha20",
    "chacha20poly1305",
    "cipher",
    "crypto_secretbox",
    "curve25519-dalek",
    "digest",
    "getrandom",
    "graviola",
    "hmac",
    "poly1305",
    "rand_core",
    "salsa20",
    "sha2",
    "subtle",
    "universal-hash",
    "x25519-dalek",
    "zeroize",
];

/// Cargo's output, from the lock file and downloaded crates only.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every package of a build or a test on this machine's platform.
fn metadata(features: &[&str]) -> Value {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    let metadata = ["metadata", "--format-version=1", "--filter-platform", host];
    let json = cargo(&[&metadata, features].concat());
    serde_json::from_str(&json).unwrap()
}

/// Name and version of each package that a user of the library builds: normal dependencies and
/// their build dependencies. `cargo metadata` would include the features that tests turn on.
fn tree(features: &[&str]) -> BTreeSet<(String, String)> {
    let tree = [
        "tree",
        "--package=zmtp-auth",
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
    ];
    packages(&cargo(&[&tree, features].concat()))
}

/// Reads lines of the form `name v1.2.3 (further text)`.
fn packages(tree: &str) -> BTreeSet<(String, String)> {
    tree.lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| {
            let version = rest.split(' ').next().unwrap_or(rest);
            (name.to_owned(), version.to_owned())
        })
        .collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The reason why a package brings C into the build, or `None`.
fn brings_c(package: &Value) -> Option<String> {
    let name = text(&package["name"]);
    if let Some(library) = package["links"].as_str() {
        return Some(format!("{name} links {library}"));
    }
    if name.ends_with("-sys") && !SYS_CRATES.contains(&name) {
        return Some(format!("{name} is a -sys crate"));
    }
    C_BUILDERS
        .contains(&name)
        .then(|| format!("{name} brings C into a build"))
}

/// The crypto crates that occur in more than one version.
fn doubled(packages: &BTreeSet<(String, String)>) -> Vec<&str> {
    CRYPTO_CRATES
        .iter()
        .filter(|name| packages.iter().filter(|(other, _)| other == *name).count() > 1)
        .copied()
        .collect()
}

/// True if allowed licences satisfy a licence expression (SPDX, or the old form `A/B`).
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = any_of(&words, allowed);
    met && rest.is_empty()
}

fn any_of<'a>(words: &'a [&'a str], allowed: &[&str]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = all_of(words, allowed);
    while let ["OR", right @ ..] = rest {
        let (right, after) = all_of(right, allowed);
        met |= right;
        rest = after;
    }
    (met, rest)
}

fn all_of<'a>(words: &'a [&'a str], allowed: &[&str]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let ["AND", right @ ..] = rest {
        let (right, after) = one(right, allowed);
        met &= right;
        rest = after;
    }
    (met, rest)
}

fn one<'a>(words: &'a [&'a str], allowed: &[&str]) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => match any_of(inner, allowed) {
            (met, [")", rest @ ..]) => (met, rest),
            (_, rest) => (false, rest),
        },
        [licence, "WITH", exception, rest @ ..] => {
            let whole = format!("{licence} WITH {exception}");
            (allowed.contains(&whole.as_str()), rest)
        }
        [licence, rest @ ..] => (allowed.contains(licence), rest),
        [] => (false, words),
    }
}

/// The quoted items of one list in `deny.toml`.
fn list_in<'a>(toml: &'a str, key: &str) -> Vec<&'a str> {
    toml.lines()
        .skip_while(|line| !line.starts_with(&format!("{key} = [")))
        .take_while(|line| *line != "]")
        .filter_map(|line| line.split('"').nth(1))
        .collect()
}

#[test]
fn the_default_build_compiles_and_links_no_c() {
    compiles_and_links_no_c(&[]);
}

/// Only a build with the feature is sure to have downloaded its dependencies.
#[cfg(feature = "reload")]
#[test]
fn reload_compiles_and_links_no_c() {
    compiles_and_links_no_c(&["--features=reload"]);
}

fn compiles_and_links_no_c(features: &[&str]) {
    let tree = tree(features);
    let metadata = metadata(features);
    let built: Vec<_> = list(&metadata["packages"])
        .filter(|package| {
            let of = |key: &str| text(&package[key]).to_owned();
            tree.contains(&(of("name"), of("version")))
        })
        .collect();
    assert_eq!(
        built.len(),
        tree.len(),
        "every package of the tree is described"
    );
    let found: Vec<_> = built.into_iter().filter_map(brings_c).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_portable_build_has_neither_assembly_nor_unsafe_code() {
    let has_graviola = |flags: &str| {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["tree", "--offline", "--locked", "--package=zmtp-auth"])
            .args(["--edges=normal,build", "--prefix=none", "--format={p}"])
            .env("RUSTFLAGS", flags)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let tree = packages(&String::from_utf8(output.stdout).unwrap());
        assert!(tree.iter().any(|(name, _)| name == "x25519-dalek"));
        tree.iter().any(|(name, _)| name == "graviola")
    };
    assert_eq!(has_graviola(""), cfg!(target_arch = "x86_64"));
    assert!(!has_graviola("--cfg zmtp_auth_cipher=\"portable\""));
    // All unsafe code is in `simd`.
    let module = "#[cfg(all(target_arch = \"x86_64\", not(zmtp_auth_cipher = \"portable\")))]
pub(crate) mod simd;";
    assert!(super::read("src/crypto/secretbox/mod.rs").contains(module));
}

#[test]
fn every_crypto_crate_comes_in_one_version() {
    let tree = tree(&[]);
    assert!(tree.iter().any(|(name, _)| name == "x25519-dalek"));
    assert_eq!(doubled(&tree), Vec::<&str>::new());
}

/// Only a build with all features is sure to have downloaded all dependencies.
#[cfg(feature = "live-interop")]
#[test]
fn every_crypto_crate_comes_in_one_version_with_all_features() {
    assert_eq!(doubled(&tree(&["--all-features"])), Vec::<&str>::new());
}

/// Fuzzing has a lock file of its own. It must test the released versions.
#[test]
fn fuzzing_locks_what_the_crate_locks() {
    let ours = locked(include_str!("../../Cargo.lock"));
    let fuzzed = locked(include_str!("../../fuzz/Cargo.lock"));
    assert!(fuzzed.iter().any(|(name, _)| *name == "x25519-dalek"));
    assert_eq!(strays(&fuzzed, &ours), Vec::<&(&str, &str)>::new());
}

/// Name and version of each package of a lock file.
fn locked(lock: &str) -> BTreeSet<(&str, &str)> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let value = |key| package.split_once(key)?.1.split('"').next();
            Some((value("name = \"")?, value("version = \"")?))
        })
        .collect()
}

/// The packages that the other lock file has in another version.
fn strays<'a>(
    fuzzed: &'a BTreeSet<(&'a str, &'a str)>,
    ours: &BTreeSet<(&str, &str)>,
) -> Vec<&'a (&'a str, &'a str)> {
    let is_stray = |(name, version): &&(&str, &str)| {
        ours.iter().any(|(other, _)| other == name) && !ours.contains(&(*name, *version))
    };
    fuzzed.iter().filter(is_stray).collect()
}

#[test]
fn every_licence_was_chosen_on_purpose() {
    let deny = include_str!("../../deny.toml");
    let allowed = list_in(deny, "allow");
    assert!(allowed.contains(&"MIT"), "the list was not read");
    let metadata = metadata(&[]);
    let strangers: Vec<_> = list(&metadata["packages"])
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or("none"), &allowed))
        .map(|package| format!("{} {}", package["name"], package["license"]))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

#[test]
fn everything_comes_from_one_registry() {
    let metadata = metadata(&[]);
    let ours: BTreeSet<_> = list(&metadata["workspace_members"]).map(text).collect();
    let sources: BTreeSet<_> = list(&metadata["packages"])
        .filter(|package| !ours.contains(text(&package["id"])))
        .map(|package| package["source"].as_str().unwrap_or("a path"))
        .collect();
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(
        sources.iter().all(|source| source.starts_with("registry+")),
        "{sources:?}"
    );
}

mod planted {
    use super::*;
    use serde_json::json;

    fn package(name: &str) -> Value {
        json!({ "name": name, "links": null })
    }

    #[test]
    fn a_crate_that_brings_c_is_noticed() {
        assert_eq!(brings_c(&package("libc")), None);
        assert!(brings_c(&package("libsodium-sys")).is_some());

        let mut links = package("ring");
        links["links"] = json!("ring_core");
        assert!(brings_c(&links).is_some());

        assert!(brings_c(&package("cc")).is_some());
    }

    #[test]
    fn a_crypto_crate_in_two_versions_is_noticed() {
        let tree = packages("subtle v1.0.0\nsubtle v1.0.0 (proc-macro) (*)\nbytes v1.2.3\n");
        assert_eq!(tree.len(), 2);
        assert!(doubled(&tree).is_empty());
        let tree = packages("subtle v1.0.0\nsubtle v2.0.0\nbytes v1.2.3\n");
        assert_eq!(doubled(&tree), ["subtle"]);
    }

    #[test]
    fn a_lock_file_that_went_its_own_way_is_noticed() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\ndependencies = [\n \"a\",\n]\n";
        let fuzzed = locked(lock);
        assert_eq!(fuzzed, BTreeSet::from([("a", "1.0.0"), ("b", "2.0.0")]));
        assert!(strays(&fuzzed, &fuzzed).is_empty());
        assert!(strays(&fuzzed, &BTreeSet::from([("c", "1.0.0")])).is_empty());
        let ours = BTreeSet::from([("a", "1.0.1"), ("b", "2.0.0")]);
        assert_eq!(strays(&fuzzed, &ours), [&("a", "1.0.0")]);
    }

    #[test]
    fn a_licence_counts_only_if_it_can_be_met() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "none",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT OR GPL-3.0",
            "MIT MIT",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn the_list_of_licences_is_read_from_its_place() {
        let toml =
            "[licenses]\nallow = [\n    \"MIT\", # why\n]\n[bans]\ndeny = [\n    \"cc\",\n]\n";
        assert_eq!(list_in(toml, "allow"), ["MIT"]);
    }
}
