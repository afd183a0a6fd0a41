//! A strict parser of the ZeroMQ Property Language (RFC 4), line by line, as far as certificates
//! need it.
//!
//! All values borrow the file's buffer, so a secret is never copied here.
#![forbid(unsafe_code)]

use crate::cert::problem::CertificateErrorKind;

/// A line that defines a property.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub(crate) struct Line<'a> {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The blanks before the name.
    pub(crate) indent: &'a [u8],
    pub(crate) name: &'a str,
    pub(crate) value: Value<'a>,
}

/// What follows a name. It cannot be compared, because it may be a secret.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub(crate) enum Value<'a> {
    /// No `=`: the name of a section.
    Absent,
    /// The text between two quotes of the same kind.
    Quoted(&'a [u8]),
    /// The rest of the line, perhaps with a comment. Whether a `#` begins a comment depends on the
    /// kind of value.
    Bare(&'a [u8]),
}

/// A line that holds more than a comment.
#[derive(Debug, Clone)]
pub(crate) struct Found<'a> {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The whole line.
    pub(crate) text: &'a [u8],
    /// The property, or why the line is not one.
    pub(crate) property: Result<Line<'a>, CertificateErrorKind>,
}

/// All lines that hold more than a comment, in order. A byte order mark before the first line is
/// skipped.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Found<'_>> {
    bytes
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(bytes)
        .split_inclusive(|&byte| byte == b'\n')
        .zip(1..)
        .filter_map(|(text, number)| {
            let property = parse_line(text, number).transpose()?;
            Some(Found {
                number,
                text,
                property,
            })
        })
}

/// `None` for an empty line or one that holds only a comment.
fn parse_line(text: &[u8], number: usize) -> Result<Option<Line<'_>>, CertificateErrorKind> {
    let text = match text.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => text,
    };
    // RFC 4, "Specification": a carriage return alone also ends a line. Most tools and people see
    // no line end there, so a property could hide in a comment. Such lines are refused.
    if text.contains(&b'\r') {
        return Err(CertificateErrorKind::CarriageReturn);
    }
    // Control characters are refused in comments too, because tools do not show them.
    if let Some(at) = text
        .iter()
        .position(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(CertificateErrorKind::ControlCharacter { column: at + 1 });
    }

    let text = trim_end(text);
    let start = blanks(text);
    let (indent, rest) = text.split_at(start);
    if rest.first().is_none_or(|&byte| byte == b'#') {
        return Ok(None);
    }
    let (name, rest) = split_name(rest, start)?;
    let after = trim_start(rest);
    let value = match after.split_first() {
        None | Some((b'#', _)) => Value::Absent,
        Some((b'=', value)) => Value::parse(trim_start(value))?,
        Some(_) => return Err(CertificateErrorKind::EqualsExpected),
    };
    Ok(Some(Line {
        number,
        indent,
        name,
        value,
    }))
}

/// RFC 4, "Specification": names consist of letters, digits and eight other characters. A `/` may
/// only join names. `start` is where `rest` begins in the line.
fn split_name(rest: &[u8], start: usize) -> Result<(&str, &[u8]), CertificateErrorKind> {
    let len = rest.iter().take_while(|&&byte| is_name_byte(byte)).count();
    let strange = CertificateErrorKind::NameCharacter {
        column: start + len + 1,
    };
    let (name, rest) = rest.split_at(len);
    let goes_on = rest
        .first()
        .is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'=' | b'#'));
    if name.is_empty() || goes_on {
        return Err(strange);
    }
    let name = std::str::from_utf8(name).map_err(|_| strange)?;
    check_slashes(name)?;
    Ok((name, rest))
}

/// Checks that `name` can be written as a property name and read back.
///
/// # Errors
/// Returns [`CertificateErrorKind::NameCharacter`] if a character is not allowed, and
/// [`CertificateErrorKind::NameSlash`] if the name starts or ends with a slash.
pub(crate) fn check_name(name: &str) -> Result<(), CertificateErrorKind> {
    match name.bytes().position(|byte| !is_name_byte(byte)) {
        Some(at) => Err(CertificateErrorKind::NameCharacter { column: at + 1 }),
        None => check_slashes(name),
    }
}

fn check_slashes(name: &str) -> Result<(), CertificateErrorKind> {
    if name.starts_with('/') || name.ends_with('/') {
        return Err(CertificateErrorKind::NameSlash);
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'$' | b'-' | b'_' | b'@' | b'.' | b'&' | b'+' | b'/')
}

impl<'a> Value<'a> {
    /// RFC 4, "Specification": quotes of either kind may enclose a value. They are not part of it
    /// and cannot be escaped. Stricter than the RFC, an unclosed quote is an error.
    fn parse(text: &'a [u8]) -> Result<Self, CertificateErrorKind> {
        let (quote, inner) = match text.split_first() {
            Some((quote @ (b'"' | b'\''), inner)) => (quote, inner),
            _ => return Ok(Self::Bare(text)),
        };
        let end = inner
            .iter()
            .position(|byte| byte == quote)
            .ok_or(CertificateErrorKind::UnclosedQuote)?;
        if !is_end(&inner[end + 1..]) {
            return Err(CertificateErrorKind::TextAfterQuote);
        }
        Ok(Self::Quoted(&inner[..end]))
    }

    /// Whether there is no value.
    pub(crate) const fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value as text of any kind, without a comment after an unquoted value. `None` if absent.
    pub(crate) fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Absent => None,
            Self::Quoted(text) => Some(text),
            Self::Bare(text) => {
                let end = text.iter().position(|&byte| byte == b'#');
                Some(trim_end(&text[..end.unwrap_or(text.len())]))
            }
        }
    }

    /// The value as a word of `len` bytes that may itself contain `#`, as Z85 does. `None` if
    /// absent. The caller checks its length and characters.
    ///
    /// An unquoted word ends at the first blank, or after `len` bytes where a `#` follows.
    ///
    /// # Errors
    /// Returns the reason `after` if an unquoted word is followed by more than a comment.
    pub(crate) fn word(
        self,
        len: usize,
        after: CertificateErrorKind,
    ) -> Result<Option<&'a [u8]>, CertificateErrorKind> {
        let text = match self {
            Self::Absent => return Ok(None),
            Self::Quoted(text) => return Ok(Some(text)),
            Self::Bare(text) => text,
        };
        let end = if text.get(len) == Some(&b'#') && blanks_free(&text[..len]) {
            len
        } else {
            text.iter()
                .position(|&byte| is_blank(byte))
                .unwrap_or(text.len())
        };
        if !is_end(&text[end..]) {
            return Err(after);
        }
        Ok(Some(&text[..end]))
    }
}

impl std::fmt::Debug for Value<'_> {
    /// Shows no content, because it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Quoted(_) => "Quoted(..)",
            Self::Bare(_) => "Bare(..)",
        })
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// How many blanks a text starts with.
pub(crate) fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| is_blank(byte)).count()
}

fn blanks_free(text: &[u8]) -> bool {
    !text.iter().any(|&byte| is_blank(byte))
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[blanks(text)..]
}

fn trim_end(text: &[u8]) -> &[u8] {
    let tail = text.iter().rev().take_while(|&&byte| is_blank(byte));
    &text[..text.len() - tail.count()]
}

/// Whether only blanks and a comment are left.
fn is_end(text: &[u8]) -> bool {
    trim_start(text).first().is_none_or(|&byte| byte == b'#')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Line<'_>, CertificateErrorKind> {
        parse_line(text.as_bytes(), 1).map(|line| line.expect("a property"))
    }

    fn text(line: &str) -> &str {
        std::str::from_utf8(one(line).unwrap().value.text().unwrap()).unwrap()
    }

    #[test]
    fn a_property_has_an_indent_a_name_and_perhaps_a_value() {
        let line = one("\t  a/b.c = x").unwrap();
        assert_eq!(line.indent, b"\t  ");
        assert_eq!(line.name, "a/b.c");
        assert_eq!(line.value, Value::Bare(b"x"));
        assert_eq!(one("curve").unwrap().value, Value::Absent);
        assert_eq!(one("curve# comment").unwrap().value, Value::Absent);
    }

    #[test]
    fn values_end_where_their_quotes_or_a_comment_say() {
        assert_eq!(text("a = b c # d"), "b c");
        assert_eq!(text("a=b#c"), "b");
        assert_eq!(text("a ="), "");
        assert_eq!(text("a = # nothing"), "");
        assert_eq!(text("a = \"b # 'c'\" # d"), "b # 'c'");
        assert_eq!(text("a = 'say \"b\"'#d"), "say \"b\"");
        assert_eq!(text("a = it's\r\n"), "it's");
        assert_eq!(text("a = ''"), "");
    }

    #[test]
    fn lines_without_a_property_are_counted_and_left_out() {
        let numbers: Vec<_> = lines(b"# one\n\n  # three\r\nfour\n \t\nsix = 6")
            .map(|line| line.property.unwrap().number)
            .collect();
        assert_eq!(numbers, [4, 6]);
    }

    #[test]
    fn a_hash_belongs_to_a_word_until_the_word_is_complete() {
        let after = || CertificateErrorKind::NameSlash;
        let word = |line| one(line).unwrap().value.word(5, after());
        assert_eq!(word("k = a#b#c"), Ok(Some(&b"a#b#c"[..])));
        assert_eq!(word("k = a#b#c # d"), Ok(Some(&b"a#b#c"[..])));
        assert_eq!(word("k = a#b#c#d"), Ok(Some(&b"a#b#c"[..])));
        assert_eq!(word("k = #####"), Ok(Some(&b"#####"[..])));
        assert_eq!(word("k = a#b #c"), Ok(Some(&b"a#b"[..])));
        assert_eq!(word("k = a # b"), Ok(Some(&b"a"[..])));
        assert_eq!(word("k = abcdefg"), Ok(Some(&b"abcdefg"[..])));
        assert_eq!(word("k = abcde f"), Err(after()));
        assert_eq!(word("k = 'a b'"), Ok(Some(&b"a b"[..])));
        assert_eq!(word("k ="), Ok(Some(&b""[..])));
        assert_eq!(word("k"), Ok(None));
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", one("secret-key = hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for line in lines(&bytes).filter_map(|line| line.property.ok()) {
                let _ = (line.value.text(), line.value.word(40, CertificateErrorKind::NameSlash));
            }
        }

        #[test]
        fn lines_of_zpl_never_panic(text in "[ \t\r\nab#='\"/\u{e9}]{0,80}") {
            for line in lines(text.as_bytes()).filter_map(|line| line.property.ok()) {
                let _ = (line.value.text(), line.value.word(3, CertificateErrorKind::NameSlash));
            }
        }
    }
}
