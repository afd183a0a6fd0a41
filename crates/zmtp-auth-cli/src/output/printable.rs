//! Makes text safe for a terminal and keeps it on its line. All output can contain names of files and
//! users, and texts from peers.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Write as _;

/// The longest line of the log or of a failure in bytes; a longer line is cut. 16 KiB is more than
/// names and reasons can have by their own limits.
const MAX_LINE: usize = 16 * 1024;

/// Whether the character is safe on a terminal. Controls (C0, DEL, C1) command the terminal,
/// separators end a line, and bidirectional and invisible characters disguise text.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The name as it is if it is harmless, otherwise quoted and escaped.
pub(crate) fn name(name: &OsStr) -> String {
    let plain = |text: &&str| {
        text.chars()
            .all(|one| is_harmless(one) && !matches!(one, '\\' | '"'))
    };
    match name.to_str().filter(plain) {
        Some(text) => text.to_owned(),
        None => format!("{name:?}"),
    }
}

/// A number with its noun, such as `1 domain` or `2 domains`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// The text as one line: line ends are escaped too, and a long line is cut.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = escaped(text, is_harmless);
    if line.len() > MAX_LINE {
        let mut end = MAX_LINE;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str(" ..");
    }
    line
}

/// The text with its line ends, and everything else that is not harmless escaped.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, |character| {
        character == '\n' || is_harmless(character)
    })
}

/// Escapes the JSON of serde_json further. serde_json has escaped C0. All other characters that are
/// not harmless are inside strings, where a `\u` escape means the same.
pub(crate) fn json(text: String) -> String {
    if text.chars().all(is_harmless) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmless(character) {
            safe.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    safe
}

fn escaped(text: &str, harmless: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if harmless(character) {
            safe.push(character);
        } else {
            safe.extend(character.escape_default());
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        let text = "a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}b\r\n\u{e9}\u{e0041}";
        assert_eq!(
            one_line(text),
            "a\\u{1b}[2J\\u{9b}1m\\u{7f}\\u{202e}b\\r\\n\u{e9}\\u{e0041}"
        );
        assert_eq!(lines("a\nb\u{9b}\n"), "a\nb\\u{9b}\n");
    }

    #[test]
    fn json_means_the_same_and_shows_none_of_it() {
        let text = "a\u{1b}\u{9b}\u{7f}\u{2066}\u{e0041}\u{e9}";
        let line = json(serde_json::to_string(text).unwrap());
        assert!(line.chars().all(is_harmless), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn a_long_line_is_cut() {
        let line = one_line(&"\u{e9}".repeat(MAX_LINE));
        assert!(line.len() <= MAX_LINE + 3);
    }
}
