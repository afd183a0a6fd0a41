//! Prose keeps to plain words. It is searched for words that read badly: comments, documents, and
//! the texts of errors, help and log lines. Code spans and fenced blocks are left out.

use super::source::{block_comment, quoted, raw_string, until};

/// Words and phrases that prose must not contain, whatever their case.
const WORDS: [&str; 16] = [
    "whoever",
    "whomever",
    "whom",
    "nobody",
    "he",
    "him",
    "his",
    "himself",
    "beside",
    "besides",
    "anew",
    "any more",
    "is none",
    "are none",
    "was none",
    "were none",
];

/// Beginnings of sentences that prose must not have.
const BEGINNINGS: [&str; 4] = ["Of", "Those", "So many", "So much"];

/// A paragraph, an item of a list, a row of a table, or a text in quotes.
#[derive(Debug, Default)]
struct Passage {
    text: String,
    /// The line of each piece, by the offset at which it begins.
    pieces: Vec<(usize, usize)>,
}

impl Passage {
    fn push(&mut self, line: usize, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.pieces.push((self.text.len(), line));
        self.text.push_str(text.trim());
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.pieces.partition_point(|(start, _)| *start <= offset);
        self.pieces[before - 1].1
    }

    /// The text with spaces in place of code spans. A backtick without a second one is text.
    fn without_code(&self) -> String {
        let mut prose = String::new();
        let mut rest = self.text.as_str();
        while let Some(start) = rest.find('`') {
            let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
            let mark = &rest[start..start + ticks];
            prose.push_str(&rest[..start]);
            let after = &rest[start + ticks..];
            let span = match after.find(mark) {
                Some(length) => ticks + length + ticks,
                None => ticks,
            };
            prose.push_str(&" ".repeat(span));
            rest = &rest[start + span..];
        }
        prose + rest
    }

    /// The line and the word of each violation.
    fn breaches(&self) -> Vec<(usize, &'static str)> {
        let prose = self.without_code();
        let lower = prose.to_ascii_lowercase();
        let in_any_case = WORDS.iter().map(|word| (&lower, *word));
        let as_written = BEGINNINGS.iter().map(|word| (&prose, *word));
        let mut found: Vec<_> = in_any_case
            .chain(as_written)
            .flat_map(|(text, word)| {
                text.match_indices(word)
                    .filter(|(at, _)| stands_alone(text, *at, word.len()))
                    .map(move |(at, _)| (at, word))
            })
            .collect();
        found.sort_unstable();
        found
            .into_iter()
            .map(|(at, word)| (self.line_at(at), word))
            .collect()
    }
}

/// True if the text at `at` is no part of a longer word.
fn stands_alone(text: &str, at: usize, len: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].ends_with(is_word) && !text[at + len..].starts_with(is_word)
}

/// Builds passages from lines of prose in Markdown, which comments in Rust are too.
#[derive(Debug, Default)]
struct Reader {
    passages: Vec<Passage>,
    /// The last line that belongs to the last passage, if that goes on.
    open: Option<usize>,
    is_fenced: bool,
}

impl Reader {
    fn line(&mut self, line: usize, text: &str) {
        let text = text.trim();
        if text.starts_with("```") {
            self.is_fenced = !self.is_fenced;
            self.open = None;
        } else if self.is_fenced || text.is_empty() {
            self.open = None;
        } else {
            let begins = ["- ", "* ", "#", "|"]
                .iter()
                .any(|mark| text.starts_with(mark));
            if begins || self.open.is_none_or(|last| last + 1 != line) {
                self.passages.push(Passage::default());
            }
            if let Some(passage) = self.passages.last_mut() {
                passage.push(line, text);
            }
            self.open = Some(line);
        }
    }

    /// A text by itself, such as a literal, which may have several lines.
    fn whole(&mut self, line: usize, text: &str) {
        let mut passage = Passage::default();
        for (number, piece) in text.split('\n').enumerate() {
            passage.push(line + number, piece);
        }
        self.passages.push(passage);
        self.open = None;
    }

    /// Ends the current text, since another comment begins.
    fn cut(&mut self) {
        self.open = None;
        self.is_fenced = false;
    }
}

fn markdown(text: &str) -> Vec<Passage> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        reader.line(number + 1, line);
    }
    reader.passages
}

/// The comments of Rust text and, if `with_literals`, the texts in quotes.
fn rust(text: &str, with_literals: bool) -> Vec<Passage> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader::default();
    let (mut at, mut line) = (0, 1);
    let mut last = (0, String::new());
    while at < chars.len() {
        let rest = &chars[at..];
        let taken = match rest {
            ['/', '/', ..] => {
                let length = until(rest, |c| c == '\n');
                let comment: String = rest[..length].iter().collect();
                let prose = comment.trim_start_matches('/').trim_start_matches('!');
                let mark = comment[..comment.len() - prose.len()].to_owned();
                if last != (line - 1, mark.clone()) {
                    reader.cut();
                }
                reader.line(line, prose);
                last = (line, mark);
                length
            }
            ['/', '*', ..] => {
                let length = block_comment(rest);
                reader.whole(line, &rest[..length].iter().collect::<String>());
                length
            }
            ['"', ..] => {
                let length = quoted(rest, '"');
                if with_literals {
                    reader.whole(line, &unescaped(&rest[..length]));
                }
                length
            }
            ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let length = until(rest, |c| !c.is_alphanumeric() && c != '_');
                let word: String = rest[..length].iter().collect();
                match raw_string(&word, &rest[length..]) {
                    Some(raw) => {
                        if with_literals {
                            let literal = &rest[length..length + raw];
                            reader.whole(line, &literal.iter().collect::<String>());
                        }
                        length + raw
                    }
                    None => length,
                }
            }
            _ => 1,
        };
        line += rest[..taken].iter().filter(|c| **c == '\n').count();
        at += taken;
    }
    reader.passages
}

/// A literal's text with a space in place of each escape.
fn unescaped(literal: &[char]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < literal.len() {
        if literal[at] == '\\' {
            let is_newline = literal.get(at + 1) == Some(&'\n');
            text.push(if is_newline { '\n' } else { ' ' });
            at += 2;
        } else {
            text.push(literal[at]);
            at += 1;
        }
    }
    text
}

/// The comments of a script or of TOML, with the texts in double quotes if `with_literals`, and the
/// texts in Python's triple quotes.
fn script(text: &str, with_literals: bool) -> Vec<Passage> {
    let mut reader = Reader::default();
    let mut in_text = false;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let quotes = line.matches("\"\"\"").count();
        if in_text || quotes > 0 {
            reader.line(number, &line.replace("\"\"\"", " "));
            in_text ^= quotes % 2 == 1;
            continue;
        }
        let comment = match line.trim_start().strip_prefix('#') {
            Some(comment) => Some(("", comment)),
            None => line.split_once(" # "),
        };
        let (code, comment) = comment.unwrap_or((line, ""));
        if with_literals {
            for quoted in code.split('"').skip(1).step_by(2) {
                reader.whole(number, quoted);
            }
        }
        reader.line(number, comment);
    }
    reader.passages
}

/// Every violation in one file, as text. The path is relative to the project's root.
pub fn breaches(path: &str, text: &str) -> Vec<String> {
    let passages = match path.rsplit_once('.') {
        Some((_, "md")) => markdown(text),
        Some((_, "rs")) => rust(text, speaks_to_users(path)),
        Some((_, "py")) => script(text, false),
        _ => script(text, true),
    };
    passages
        .iter()
        .flat_map(Passage::breaches)
        .map(|(line, word)| format!("{path}:{line}: \"{word}\""))
        .collect()
}

/// True if the texts in quotes are for users: errors, help, log lines, output. In tests they are data.
fn speaks_to_users(path: &str) -> bool {
    path.starts_with("src/") || path.starts_with("examples/") || path.contains("/src/")
}

/// Scripts without an extension.
const SCRIPTS: [&str; 3] = ["test", "fuzz-all", ".ci/run"];

/// True if the file is checked. Recorded conversations are not.
pub fn is_prose(path: &str) -> bool {
    let kinds = ["md", "py", "rs", "sh", "toml"];
    let is_kind = path
        .rsplit_once('.')
        .is_some_and(|(_, kind)| kinds.contains(&kind));
    is_kind || SCRIPTS.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_found(path: &str, text: &str, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|at| format!("{path}:{at}")).collect();
        assert_eq!(breaches(path, text), expected, "{text}");
    }

    #[test]
    fn a_planted_word_is_found_with_its_line() {
        assert_found("a.md", "One.\nTwo, Nobody.\n", &["2: \"nobody\""]);
        assert_found(
            "a.md",
            "# Whoever\n\n- besides",
            &["1: \"whoever\"", "3: \"besides\""],
        );
        assert_found("a.rs", "let a = 1; // he is\n", &["1: \"he\""]);
        assert_found("a.rs", "//! a\n//!\n//! anew\n", &["3: \"anew\""]);
        assert_found("a.rs", "/* a\n whom */", &["2: \"whom\""]);
        assert_found(
            "a.toml",
            "a = 1 # his\n# him\n",
            &["1: \"his\"", "2: \"him\""],
        );
        assert_found(
            "a.py",
            "\"\"\"One.\n\nhimself\n\"\"\"\n# besides",
            &["3: \"himself\"", "5: \"besides\""],
        );
        assert_found("test", "echo \"for nobody\" >&2\n", &["1: \"nobody\""]);
    }

    #[test]
    fn a_phrase_is_found_across_lines() {
        assert_found(
            "a.rs",
            "/// There is not any\n/// more.\n",
            &["1: \"any more\""],
        );
        assert_found("a.md", "of which there is\nnone", &["1: \"is none\""]);
        assert_found("a.md", "any\n\nmore", &[]);
        assert_found("a.rs", "// any\nlet a;\n// more\n", &[]);
        assert_found("a.rs", "// any\n/// more\n", &[]);
    }

    #[test]
    fn a_beginning_is_found_and_the_word_within_a_sentence_is_not() {
        assert_found("a.md", "It ends. Of these two: one.", &["1: \"Of\""]);
        assert_found("a.rs", "/// Those that wait.\n", &["1: \"Those\""]);
        assert_found("a.md", "| So many |", &["1: \"So many\""]);
        assert_found("a.md", "One of those.", &[]);
    }

    #[test]
    fn parts_of_words_and_code_are_not_prose() {
        assert_found("a.md", "the, she, history, whom_it, thesis", &[]);
        assert_found("a.md", "run `whoami nobody` and ``a ` whom``", &[]);
        assert_found("a.md", "a `span over\nnobody` here", &[]);
        assert_found("a.md", "```rust\n// nobody\n```\nwhom", &["4: \"whom\""]);
        assert_found("a.md", "one tick ` and nobody", &["1: \"nobody\""]);
        assert_found("src/a.rs", "/// ```\n/// he();\n/// ```\nfn he() {}\n", &[]);
        assert_found(
            "src/a.rs",
            "/// ```\n/// he();\nfn f() {}\n// him\n",
            &["4: \"him\""],
        );
    }

    #[test]
    fn texts_in_quotes_count_where_users_read_them() {
        let text = "fn f() { let a = \"by\\nnobody\"; let b = r#\"his \"own\"\"#; }";
        assert_found("src/a.rs", text, &["1: \"nobody\"", "1: \"his\""]);
        assert_found("crates/x/src/a.rs", text, &["1: \"nobody\"", "1: \"his\""]);
        assert_found("tests/a.rs", text, &[]);
        let lines = "const A: &str = \"one \\\n    besides\";";
        assert_found("src/a.rs", lines, &["2: \"besides\""]);
        assert_found("src/a.rs", "const A: char = '\"'; // he\n", &["1: \"he\""]);
    }

    #[test]
    fn recorded_vectors_and_other_files_are_left_out() {
        assert!(is_prose("docs/a.md") && is_prose("a.sh") && is_prose("vectors/README.md"));
        assert!(is_prose("test") && is_prose("fuzz-all") && is_prose(".ci/run"));
        assert!(!is_prose("vectors/libzmq/a.txt") && !is_prose("Cargo.lock"));
    }
}
