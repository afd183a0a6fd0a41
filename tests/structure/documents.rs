//! Checks of documents against the code: features, the change log, promises with their tests, and
//! the files that a document names.

use std::collections::BTreeSet;

/// The features that Cargo.toml declares, without `default`.
pub fn features(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[features]")
        .skip(1)
        .take_while(|line| !line.trim_start().starts_with('['))
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
        .filter(|name| *name != "default")
        .collect()
}

/// The features that a README does not name in code style.
pub fn unmentioned<'a>(features: &[&'a str], readme: &str) -> Vec<&'a str> {
    features
        .iter()
        .filter(|feature| !readme.contains(&format!("`{feature}`")))
        .copied()
        .collect()
}

/// True if a change log has the heading for the next release.
pub fn has_unreleased(changelog: &str) -> bool {
    changelog.lines().any(|line| line == "## [Unreleased]")
}

/// The rows of a document's tables whose second cell names the tests behind the first, in code
/// style: `tests/net.rs::the_test`.
pub fn promises(document: &str) -> Vec<Promise<'_>> {
    document
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| ")?
                .strip_suffix(" |")?
                .split_once(" | ")
        })
        .filter(|(promise, _)| *promise != "promise")
        .map(|(promise, tests)| Promise {
            promise,
            tests: tests
                .split('`')
                .skip(1)
                .step_by(2)
                .map(|test| test.split_once("::").unwrap_or((test, "")))
                .collect(),
        })
        .collect()
}

/// The part of a document that begins below this line, which is the head of a table.
pub fn below<'a>(document: &'a str, head: &str) -> &'a str {
    let (_, table) = document.split_once(head).unwrap_or_default();
    let end = table.find("\n\n").unwrap_or(table.len());
    &table[..end]
}

/// Promises that occur more than once. If a test stands for two promises, they say the same in
/// different words.
pub fn repeated(promises: &[Promise<'_>]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut shown = BTreeSet::new();
    let mut breaches = Vec::new();
    for promise in promises {
        if !seen.insert(promise.promise) {
            breaches.push(format!("\"{}\" is promised twice", promise.promise));
        }
        for test in &promise.tests {
            if !shown.insert(test) {
                breaches.push(format!("{}::{} stands for two promises", test.0, test.1));
            }
        }
    }
    breaches
}

/// The folders of the project's Rust files. A document names them from the root.
const FOLDERS: &[&str] = &[
    "benches/",
    "crates/",
    "examples/",
    "fuzz/",
    "src/",
    "tests/",
];

/// The Rust files that a document names by their path from the root.
pub fn paths(document: &str) -> Vec<&str> {
    document
        .split(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.ends_with(".rs"))
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
        .collect()
}

/// The public fields of a struct's body, each with its documentation.
pub fn fields(body: &str) -> Vec<(&str, String)> {
    let mut fields = Vec::new();
    let mut doc = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(':')) {
            fields.push((name, std::mem::take(&mut doc)));
        }
    }
    fields
}

/// The highest number of hops in a story.
const MAX_HOPS: usize = 3;
/// The stories that the architecture must tell.
const STORIES: usize = 5;

/// What the architecture document lacks. A story is a heading of the second level with a numbered
/// list. Each item is a hop and names a file.
pub fn story_breaches(document: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut stories = 0;
    for section in document.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let hops: Vec<_> = section.split("\n\n").flat_map(hops).collect();
        stories += usize::from(!hops.is_empty());
        if hops.len() > MAX_HOPS {
            breaches.push(format!("\"{title}\" takes {} hops", hops.len()));
        }
        if hops.iter().any(|hop| paths(hop).is_empty()) {
            breaches.push(format!("\"{title}\" has a hop that names no file"));
        }
    }
    if stories < STORIES {
        breaches.push(format!("{stories} stories, {STORIES} must be told"));
    }
    breaches
}

/// The items of a numbered list, if the paragraph is one.
fn hops(paragraph: &str) -> Vec<String> {
    let mut hops: Vec<String> = Vec::new();
    for line in paragraph.lines() {
        if line.starts_with(|first: char| first.is_ascii_digit()) && line[1..].starts_with(". ") {
            hops.push(line.to_owned());
        } else if let Some(hop) = hops.last_mut() {
            hop.push_str(line);
        }
    }
    hops
}

/// What a document promises, and the tests that show it: file and function.
pub struct Promise<'a> {
    pub promise: &'a str,
    pub tests: Vec<(&'a str, &'a str)>,
}

impl Promise<'_> {
    /// The reason why the promise lacks a test, or `None`. `read` returns a file's text if it
    /// exists.
    pub fn breaches(&self, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
        if self.tests.is_empty() {
            return vec![format!("\"{}\" names no test", self.promise)];
        }
        self.tests
            .iter()
            .filter(|(file, test)| {
                let text = read(file).unwrap_or_default();
                !text.contains(&format!("fn {test}("))
            })
            .map(|(file, test)| format!("there is no test {file}::{test}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_the_manifest() {
        let manifest =
            "[features]\ndefault = [\"a\"]\n# about\na = []\nb-c = [\"a\"]\n\n[deps]\nd = \"1\"\n";
        assert_eq!(features(manifest), ["a", "b-c"]);
        assert_eq!(unmentioned(&["a", "b-c"], "with `a` on"), ["b-c"]);
    }

    #[test]
    fn a_change_log_without_a_place_for_the_next_release_is_noticed() {
        assert!(has_unreleased("# Changelog\n\n## [Unreleased]\n"));
        assert!(!has_unreleased("# Changelog\n\n## [0.1.0]\n"));
    }

    #[test]
    fn the_files_that_a_document_names_are_found() {
        let document =
            "See `src/a/b.rs`, (tests/c.rs::a_test) or examples/d.rs. Not a.rs or src/e.py.";
        assert_eq!(
            paths(document),
            ["src/a/b.rs", "tests/c.rs", "examples/d.rs"]
        );
    }

    #[test]
    fn an_architecture_with_few_or_long_stories_is_noticed() {
        let story = |files: &[&str]| {
            let hops: Vec<_> = (1..)
                .zip(files)
                .map(|(at, file)| format!("{at}. `{file}` does\n   it.\n"))
                .collect();
            format!(
                "\n## Life of x\n\nBegins so.\n\n{}\nAlso `src/z.rs`.\n",
                hops.concat()
            )
        };
        let short = story(&["src/a.rs", "src/b.rs", "src/c.rs"]);
        let told = format!("# Architecture\n{}", short.repeat(STORIES));
        assert_eq!(story_breaches(&told), Vec::<String>::new());
        let long = story(&["src/a.rs", "src/b.rs", "src/c.rs", "src/d.rs"]);
        let found = story_breaches(&format!("{told}{long}"));
        assert_eq!(found, ["\"Life of x\" takes 4 hops"]);
        let vague = story(&["src/a.rs", "somewhere"]);
        let found = story_breaches(&format!("{told}{vague}"));
        assert_eq!(found, ["\"Life of x\" has a hop that names no file"]);
        let few = short.repeat(STORIES - 1);
        let found = story_breaches(&format!("{few}\n## Words\n\nNo file.\n"));
        assert_eq!(found, ["4 stories, 5 must be told"]);
    }

    #[test]
    fn each_public_field_has_its_own_documentation() {
        let body = "/// One.\npub a: u8,\n/// Two,\n///\n/// three.\npub b: u8,\npub c: u8,\n";
        let (one, two) = (" One.".to_owned(), " Two, three.".to_owned());
        assert_eq!(fields(body), [("a", one), ("b", two), ("c", String::new())]);
    }

    #[test]
    fn a_promise_without_a_test_is_noticed() {
        let document =
            "| promise | shown by |\n|---|---|\n| a | `x.rs::f`, `x.rs::g` |\n| b | faith |\n";
        let promises = promises(document);
        let found: Vec<_> = promises
            .iter()
            .flat_map(|promise| {
                promise.breaches(|file| (file == "x.rs").then(|| "fn f() {}".into()))
            })
            .collect();
        assert_eq!(found, ["there is no test x.rs::g", "\"b\" names no test"]);
    }

    #[test]
    fn a_table_is_found_by_its_head_and_ends_with_it() {
        let document =
            "| a | b |\n|---|---|\n\n| c | d |\n|---|---|\n| e | `x.rs::f` |\n\n| g | h |\n";
        let rows = promises(below(document, "| c | d |"));
        let names: Vec<_> = rows.iter().map(|row| row.promise).collect();
        assert_eq!(names, ["e"]);
        assert!(promises(below(document, "| i | j |")).is_empty());
    }

    #[test]
    fn a_promise_that_is_made_twice_is_noticed() {
        let once = promises("| a | `x.rs::f`, `y.rs::f` |\n| b | `x.rs::g` |\n");
        assert_eq!(repeated(&once), Vec::<String>::new());
        let again = promises("| a | `x.rs::f` |\n| a | `x.rs::g` |\n");
        assert_eq!(repeated(&again), ["\"a\" is promised twice"]);
        let in_other_words = promises("| a | `x.rs::f` |\n| b | `x.rs::f` |\n");
        let found = repeated(&in_other_words);
        assert_eq!(found, ["x.rs::f stands for two promises"]);
    }
}
