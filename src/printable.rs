//! Bytes from a peer, as text for logs and errors.
#![forbid(unsafe_code)]

use std::fmt;

/// Renders bytes from a peer so that they are safe in a log line: at most 64 bytes, printable ASCII
/// as it is, everything else escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const MAX_SHOWN: usize = 64;
    let end = if bytes.len() > MAX_SHOWN { "..." } else { "" };
    format!(
        "{}{end}",
        bytes[..bytes.len().min(MAX_SHOWN)].escape_ascii()
    )
}

/// A text made by [`printable`], for use within a sentence: in quotes unless it is a single word. A
/// peer's words then cannot pass for another field of a log line. Quotes within the text are escaped
/// by [`printable`].
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !self.0.is_empty() && self.0.bytes().all(is_word) {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_cannot_smuggle_control_bytes_or_long_texts_into_logs() {
        assert_eq!(printable(b"NULL\x1b[31m\n"), "NULL\\x1b[31m\\n");
        assert_eq!(printable(&[b'a'; 500]).len(), 67);
    }

    #[test]
    fn only_a_single_word_stands_without_quotes() {
        for word in ["NULL", "400", "X-1_a"] {
            assert_eq!(Quoted(word).to_string(), word);
        }
        for (bytes, quoted) in [
            (&b""[..], "\"\""),
            (b"X status=200", "\"X status=200\""),
            (b"a\" b", "\"a\\\" b\""),
        ] {
            assert_eq!(Quoted(&printable(bytes)).to_string(), quoted);
        }
    }
}
