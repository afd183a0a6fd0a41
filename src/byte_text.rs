//! Bytes as text that reads back, for serde (feature `serde`).
//!
//! UTF-8 stays as it is, except that a backslash is written twice. Each other byte is written as
//! `\x` and two hexadecimal digits.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// The text of `bytes`.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes of `text`; `None` if a backslash is followed by anything else than a backslash, or `x`
/// and two hexadecimal digits.
pub(crate) fn from_text(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = if let Some(after) = escape.strip_prefix('\\') {
            bytes.push(b'\\');
            after
        } else {
            let (digits, after) = escape.strip_prefix('x')?.split_at_checked(2)?;
            // `from_str_radix` would also accept a sign.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
            after
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_readable_and_other_bytes_are_escaped() {
        assert_eq!(to_text("billing-ü".as_bytes()), "billing-ü");
        assert_eq!(to_text(b"a\\b\xFF\n"), "a\\\\b\\xff\n");
        assert_eq!(from_text("\\x61\\xFF").unwrap(), b"a\xFF");
        for bad in [
            "\\", "a\\n", "\\x", "\\x1", "\\x+1", "\\xü", "\\x1ü", "\\X11",
        ] {
            assert_eq!(from_text(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn all_bytes_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(from_text(&to_text(&bytes)), Some(bytes));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[\\\\xa-fA-F0-9é+]{0,12}") {
            let _ = from_text(&text);
        }
    }
}
