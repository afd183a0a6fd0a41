//! When a certificate is valid: `not-before` and `not-after` in its metadata, as RFC 3339 dates.
#![forbid(unsafe_code)]

use crate::cert::problem::CertificateErrorKind;
use std::time::{Duration, SystemTime};

const NOT_BEFORE: &str = "not-before";
const NOT_AFTER: &str = "not-after";

/// The time during which a certificate is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validity {
    /// The first moment at which it is valid. `None`: since always.
    pub not_before: Option<SystemTime>,
    /// The first moment at which it is no longer valid. `None`: for ever.
    pub not_after: Option<SystemTime>,
}

impl Validity {
    pub(crate) fn of(metadata: &[(String, String)]) -> Result<Self, CertificateErrorKind> {
        let mut validity = Self::default();
        for (name, value) in metadata {
            let date = if name.eq_ignore_ascii_case(NOT_BEFORE) {
                &mut validity.not_before
            } else if name.eq_ignore_ascii_case(NOT_AFTER) {
                &mut validity.not_after
            } else if is_like_a_validity(name) {
                return Err(CertificateErrorKind::ValidityLikeName);
            } else {
                continue;
            };
            *date = Some(parse(value).ok_or(CertificateErrorKind::Date)?);
        }
        if validity.is_empty() {
            return Err(CertificateErrorKind::NeverValid);
        }
        Ok(validity)
    }

    /// Whether there is no moment in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!((self.not_before, self.not_after), (Some(first), Some(end)) if end <= first)
    }

    /// The moments that are in both.
    #[cfg(any(feature = "policy-file", feature = "reload"))]
    pub(crate) fn within(&self, other: &Self) -> Self {
        let earlier = match (self.not_after, other.not_after) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            // `None` compares less than every date, which is right for a beginning.
            not_before: self.not_before.max(other.not_before),
            not_after: earlier,
        }
    }
}

/// Whether metadata of this name is about validity.
pub(crate) fn is_validity_name(name: &str) -> bool {
    name.eq_ignore_ascii_case(NOT_BEFORE) || name.eq_ignore_ascii_case(NOT_AFTER)
}

/// Our names without case and punctuation.
const MEANT: [&[u8]; 2] = [b"notbefore", b"notafter"];
/// Most letters in which a name may differ and still be taken for one of ours. 2: `nto-after`
/// differs in two.
const MAX_EDITS: usize = 2;
/// Stands for any letter beyond ASCII, which may look like any letter of ours.
const ANY: u8 = b'?';

/// Whether a name is one of ours, or was probably meant to limit a key in time. Only letters and
/// digits count, without case: they contain one of ours, are at most two letters away from it, or
/// speak of validity or expiry. If `not_after`, `not-aftr`, `valid-until` or `expires` were
/// ignored, the key would be valid for ever.
pub(crate) fn is_like_a_validity(name: &str) -> bool {
    is_like(&letters(&folded(name.as_bytes())))
}

/// Whether a dropped line was probably meant to be one of ours, or contains one. The whole text is
/// searched for our names, because a line that swallowed another line has it at its end. Similar
/// names count only where a name may stand, before the last `=` or `:`.
pub(crate) fn may_be_a_validity(line: &[u8]) -> bool {
    let line = folded(line);
    let names = line
        .rsplit_once(['=', ':'])
        .map_or(&*line, |(names, _)| names);
    has_one(&letters(&line)) || names_one(names)
}

/// Whether an unquoted value is followed in its line by one of our properties.
pub(crate) fn swallows_a_validity(value: &str) -> bool {
    let value = folded(value.as_bytes());
    let ahead = |sign| value.rsplit_once(sign).map(|(names, _)| names);
    ahead('=').is_some_and(names_one) || ahead(':').is_some_and(|text| has_one(&letters(text)))
}

/// The text in lower case, with the special forms of Latin letters in Unicode (fullwidth,
/// mathematical, circled) as plain letters.
fn folded(text: &[u8]) -> String {
    let letter = |at: u32| char::from(b'a' + u8::try_from(at % 26).unwrap_or_default());
    let text = String::from_utf8_lossy(text);
    let plain = text.chars().map(|c| match u32::from(c) {
        wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(c),
        mathematical @ 0x1_D400..=0x1_D6A3 => letter(mathematical - 0x1_D400),
        circled @ 0x24B6..=0x24E9 => letter(circled - 0x24B6),
        _ => c,
    });
    plain.map(|c| c.to_ascii_lowercase()).collect()
}

fn letters(folded: &str) -> Vec<u8> {
    let letter = |c: char| match u8::try_from(c) {
        Ok(byte) if byte.is_ascii_alphanumeric() => Some(byte),
        _ => (c.is_alphabetic() || c == char::REPLACEMENT_CHARACTER).then_some(ANY),
    };
    folded.chars().filter_map(letter).collect()
}

/// Whether some consecutive words are similar to one of ours.
fn names_one(folded: &str) -> bool {
    let words = folded.split(|c: char| !c.is_alphanumeric() && c != char::REPLACEMENT_CHARACTER);
    let words: Vec<_> = words.map(letters).filter(|word| !word.is_empty()).collect();
    is_like(&words.concat())
        || (0..words.len()).any(|first| {
            let mut row = Vec::new();
            let longest = MEANT[0].len() + MAX_EDITS;
            words[first..]
                .iter()
                .map_while(|word| {
                    row.extend(word);
                    (row.len() <= longest).then(|| MEANT.iter().any(|meant| is_near(&row, meant)))
                })
                .any(|is_near| is_near)
        })
}

fn is_like(letters: &[u8]) -> bool {
    has_one(letters) || limits(letters) || MEANT.iter().any(|meant| is_near(letters, meant))
}

/// Whether the letters contain one of ours.
fn has_one(letters: &[u8]) -> bool {
    let is_same = |(one, other): (&u8, &u8)| one == other || *one == ANY;
    MEANT.iter().any(|meant| {
        let mut parts = letters.windows(meant.len());
        parts.any(|part| is_mostly_known(part) && part.iter().zip(*meant).all(is_same))
    })
}

/// Whether the letters speak of validity or expiry: `valid-until`, `Not Valid After`, `expires`,
/// `expiry`.
fn limits(letters: &[u8]) -> bool {
    let find = |text: &[u8], word: &[u8]| {
        let mut parts = text.windows(word.len());
        parts.position(|part| part == word)
    };
    let bounds: [&[u8]; 6] = [b"ity", b"after", b"before", b"from", b"until", b"till"];
    let is_bounded = |at: usize| {
        let behind = &letters[at + b"valid".len()..];
        // `valid-to`, but not `validator`.
        behind.ends_with(b"to") || bounds.iter().any(|word| find(behind, word).is_some())
    };
    find(letters, b"expir").is_some() || find(letters, b"valid").is_some_and(is_bounded)
}

/// Whether at least half of the letters are known, so that a comparison means something.
fn is_mostly_known(letters: &[u8]) -> bool {
    let any = letters.iter().filter(|&&letter| letter == ANY);
    any.count() * 2 <= letters.len()
}

/// Whether the Levenshtein distance of the two is at most [`MAX_EDITS`]: letters inserted, removed
/// or replaced.
fn is_near(one: &[u8], other: &[u8]) -> bool {
    if one.len().abs_diff(other.len()) > MAX_EDITS || !is_mostly_known(one) {
        return false;
    }
    // The distance of the part of `one` that has been read from each prefix of `other`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (read, letter) in one.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], read + 1);
        for (at, wanted) in other.iter().enumerate() {
            let replaced = before + usize::from(letter != wanted && *letter != ANY);
            before = row[at + 1];
            row[at + 1] = replaced.min(before + 1).min(row[at] + 1);
        }
    }
    row[other.len()] <= MAX_EDITS
}

/// RFC 3339, section 5.6: date, `T`, time, fraction if any, and `Z` or an offset.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    // Section 5.6 also takes the two letters in lower case.
    let text = text.to_ascii_uppercase();
    let (local, offset) = match text.strip_suffix('Z') {
        Some(local) => (local, Offset::default()),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (local, Offset::parse(offset)?)
        }
    };
    // The crate's parser accepts a point without a fraction, and only UTC.
    if local.contains(['+', 'Z']) || local.ends_with('.') {
        return None;
    }
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    // A clock ahead of UTC shows a later time than UTC.
    if offset.ahead {
        local.checked_sub(offset.by)
    } else {
        local.checked_add(offset.by)
    }
}

/// The distance of local time from UTC.
#[derive(Default)]
struct Offset {
    ahead: bool,
    by: Duration,
}

impl Offset {
    /// Section 5.6: sign, two digits of hours, a colon, two of minutes.
    fn parse(text: &str) -> Option<Self> {
        let [sign, tens, hours, b':', ten_minutes, minutes] = *text.as_bytes() else {
            return None;
        };
        let ahead = match sign {
            b'+' => true,
            b'-' => false,
            _ => return None,
        };
        let digit = |byte: u8| char::from(byte).to_digit(10).map(u64::from);
        let hours = digit(tens)? * 10 + digit(hours)?;
        let minutes = digit(ten_minutes)? * 10 + digit(minutes)?;
        (hours < 24 && minutes < 60).then(|| Self {
            ahead,
            by: Duration::from_secs(hours * 3600 + minutes * 60),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> f64 {
        let time = parse(text).unwrap_or_else(|| panic!("{text}"));
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    }

    fn validity(metadata: &[(&str, &str)]) -> Result<Validity, CertificateErrorKind> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Validity::of(&metadata.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn dates_are_moments_wherever_they_are_written() {
        // Judged by `date -u -d ... +%s`; the examples of RFC 3339, section 5.8, among them.
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("1985-04-12T23:20:50.52Z", 482_196_050.52),
            ("1996-12-19T16:39:57-08:00", 851_042_397.0),
            ("1996-12-20T00:39:57Z", 851_042_397.0),
            ("2000-02-29T12:00:00+00:00", 951_825_600.0),
            ("2000-02-29T12:00:00-00:00", 951_825_600.0),
            ("2027-01-31T14:00:00.5+02:00", 1_801_396_800.5),
            ("2027-01-31t12:00:00.5z", 1_801_396_800.5),
            ("1970-01-01T05:30:00+05:30", 0.0),
            ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ] {
            assert!((seconds(text) - expected).abs() < 1e-6, "{text}");
        }
        // A leap second is the end of the second before it.
        assert_eq!(parse("1990-12-31T23:59:60Z"), parse("1990-12-31T23:59:59Z"));
        assert!(parse("1970-01-01T00:00:00+01:00").is_some_and(|t| t < SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn what_is_no_date_with_time_and_offset_is_an_error() {
        for text in [
            "",
            "Z",
            "tomorrow",
            "2027-01-31",
            "2027-01-31T12:00:00",
            "2027-01-31 12:00:00Z",
            "2027-01-31T12:00Z",
            "2027-1-31T12:00:00Z",
            "2027-02-29T12:00:00Z",
            "2027-13-01T12:00:00Z",
            "2027-00-01T12:00:00Z",
            "2027-01-00T12:00:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T12:60:00Z",
            "2027-01-31T12:00:61Z",
            "2027-01-31T12:00:00.Z",
            "2027-01-31T12:00:00,5Z",
            "2027-01-31T12:00:00ZZ",
            "2027-01-31T12:00:00Z+00:00",
            "2027-01-31T12:00:00+00:00Z",
            "2027-01-31T12:00:00.+01:00",
            "2027-01-31T12:00:00+0100",
            "2027-01-31T12:00:00+01",
            "2027-01-31T12:00:00+24:00",
            "2027-01-31T12:00:00+01:60",
            "2027-01-31T12:00:00 01:00",
            "2027-01-31T12:00:00\u{2212}01:00",
            " 2027-01-31T12:00:00Z",
            "2027-01-31T12:00:00Z ",
            "+02027-01-31T12:00:00Z",
            "1801396800",
            "0000-00-00T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
            for name in ["not-before", "Not-After"] {
                assert_eq!(
                    validity(&[(name, text)]),
                    Err(CertificateErrorKind::Date),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_validity_has_two_ends_and_either_may_be_open() {
        let (first, end) = ("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
        assert_eq!(validity(&[("name", "ada")]), Ok(Validity::default()));
        let both = validity(&[("NOT-BEFORE", first), ("not-after", end)]).unwrap();
        assert_eq!(
            (both.not_before, both.not_after),
            (parse(first), parse(end))
        );
        let open = validity(&[("not-after", end)]).unwrap();
        assert_eq!((open.not_before, open.not_after), (None, parse(end)));
        for (first, end) in [(end, first), (end, end)] {
            assert_eq!(
                validity(&[("not-before", first), ("not-after", end)]),
                Err(CertificateErrorKind::NeverValid)
            );
        }
    }

    #[test]
    fn a_name_that_was_meant_for_a_validity_is_not_passed_over() {
        for name in [
            "notAfter",
            "not_before",
            "NotBefore",
            "not.after",
            "-not-after",
            "not-after-all",
            "x509.notAfter",
            "NotAfter2",
            "nto-after",
            "not-aftr",
            "no-before",
            "not-befroe",
            "not_valid_after",
            "valid-until",
            "ValidFrom",
            "valid-to",
            "validity",
            "expires",
            "key.expiry",
            "Expiration-Date",
        ] {
            assert_eq!(
                validity(&[(name, "2028-01-01T00:00:00Z")]),
                Err(CertificateErrorKind::ValidityLikeName)
            );
        }
        for name in [
            "not",
            "after",
            "before",
            "note",
            "notable",
            "not-bob",
            "afternoon",
            "valid",
            "validator",
            "valid-token",
            "until",
        ] {
            assert!(validity(&[(name, "x")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_line_that_was_meant_for_a_validity_is_known_however_broken_it_is() {
        for line in [
            "not after = 2027-01-01T00:00:00Z",
            "  Not Before = x",
            "not-after: 2027-01-01T00:00:00Z",
            "not-after 2027-01-01T00:00:00Z",
            "nto after 2027",
            "nto-after: 2027",
            "\"not-after\" = 2027",
            "not\u{2013}after = 2027",
            "n\u{f6}t-after = 2027",
            "the not-after = 2027",
            "not-\0after = 2027",
            "full name = not after all",
            "= not-after",
            "name = \"alice\" not-after = \"2001\"",
            "name = \"alice\"; nto-after: 2001",
            "name = \"alice\"\u{2028}not-after 2001",
            "Not Valid After = 2001",
            "valid until: 2001",
            "\u{ff4e}\u{ff4f}\u{ff54}-after = 2001",
            "\u{1d427}\u{1d428}\u{1d42d}-\u{24d0}\u{24d5}\u{24e3}\u{24d4}\u{24e1} = 2001",
            // Three letters of Cyrillic.
            "n\u{43e}t-\u{430}ft\u{435}r = 2001",
        ] {
            assert!(may_be_a_validity(line.as_bytes()), "{line}");
        }
        for line in [
            "full name = Ada",
            "full name = valid until further notice",
            "note: x",
            "",
            "gr\u{f6}\u{df}e = 1",
            "\u{434}\u{43e}\u{43b}\u{436}\u{43d}\u{43e}\u{441}\u{442}\u{44c} = 1",
            "a b c d e f",
        ] {
            assert!(!may_be_a_validity(line.as_bytes()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn at_most_two_slips_are_seen_through(
            slips in proptest::collection::vec((0_usize..8, 0_u8..3, b'a'..=b'z'), 0..=2),
        ) {
            let mut name = b"notafter".to_vec();
            for (at, kind, letter) in slips {
                let at = at.min(name.len() - 1);
                match kind {
                    0 => name[at] = letter,
                    1 => name.insert(at, letter),
                    _ => drop(name.remove(at)),
                }
            }
            prop_assert!(is_near(&name, b"notafter"));
        }

        #[test]
        fn arbitrary_dates_never_panic(
            text in "[0-9TZtz:.+-]{0,30}|.{0,30}|[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9:.]{8,14}(Z|[+-][0-9:]{5})",
        ) {
            let _ = parse(&text);
        }
    }
}
