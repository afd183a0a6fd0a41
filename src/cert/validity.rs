//! When a certificate counts: `not-before` and `not-after` in its metadata, as RFC 3339 has dates.
#![forbid(unsafe_code)]

use crate::cert::certificate::Certificate;
use crate::cert::problem::BadCertificate;
use std::time::{Duration, SystemTime};

const NOT_BEFORE: &str = "not-before";
const NOT_AFTER: &str = "not-after";

/// From when on and up to when a certificate counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validity {
    /// The first moment; `None`: since ever.
    pub not_before: Option<SystemTime>,
    /// The first moment at which it counts no more; `None`: for ever.
    pub not_after: Option<SystemTime>,
}

impl Certificate {
    /// When the certificate counts, by its metadata: `not-before` and `not-after`, both optional,
    /// each a date with time and offset as RFC 3339 has it, `2027-01-31T12:00:00Z` or
    /// `2027-01-31T14:00:00.5+02:00`.
    ///
    /// A certificate is loaded without regard to it;
    /// [`load_certificates`](crate::cert::load_certificates), which loads those of others,
    /// reports one whose dates are bad.
    ///
    /// # Errors
    /// Returns [`BadCertificate::Date`], [`BadCertificate::NeverValid`] or
    /// [`BadCertificate::ValidityLikeName`] if the metadata says none, and
    /// [`BadCertificate::Restriction`] if a line of the file that cannot be used was probably
    /// meant to.
    pub fn validity(&self) -> Result<Validity, BadCertificate> {
        self.validity_or_flaw().map_err(|flaw| flaw.reason)
    }
}

impl Validity {
    pub(crate) fn of(metadata: &[(String, String)]) -> Result<Self, BadCertificate> {
        let mut validity = Self::default();
        for (name, value) in metadata {
            let date = if name.eq_ignore_ascii_case(NOT_BEFORE) {
                &mut validity.not_before
            } else if name.eq_ignore_ascii_case(NOT_AFTER) {
                &mut validity.not_after
            } else if is_like_a_validity(name) {
                return Err(BadCertificate::ValidityLikeName);
            } else {
                continue;
            };
            *date = Some(parse(value).ok_or(BadCertificate::Date)?);
        }
        if validity.is_empty() {
            return Err(BadCertificate::NeverValid);
        }
        Ok(validity)
    }

    /// Whether there is no moment in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!((self.not_before, self.not_after), (Some(first), Some(end)) if end <= first)
    }

    /// The moments that lie in both.
    #[cfg(any(feature = "policy-file", feature = "reload"))]
    pub(crate) fn within(&self, other: &Self) -> Self {
        let earlier = match (self.not_after, other.not_after) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            // `None` is the least of all, as it should be here.
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
/// Letters that a name may differ in and still be taken for one of ours: `nto-after` differs in
/// two.
const MAX_EDITS: usize = 2;

/// Whether a name is one of ours, or was probably meant for one. Its ASCII letters and digits are
/// looked at alone, without case: they contain one of ours, or are at most two letters away from
/// it. Passed over, `not_after`, `NotAfter2` or `not-aftr` would make a key valid for ever.
pub(crate) fn is_like_a_validity(name: &str) -> bool {
    is_like(&letters(name.as_bytes()))
}

/// Whether a line that is no property was probably meant for one of ours: its text before the
/// first `=`, or some first words of it.
pub(crate) fn may_be_a_validity(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b'=').next().unwrap_or_default();
    let mut words = name.split(|byte| !byte.is_ascii_alphanumeric());
    let mut first = Vec::new();
    is_like(&letters(name))
        || words.any(|word| {
            first.extend(letters(word));
            MEANT.iter().any(|meant| is_near(&first, meant))
        })
}

fn letters(text: &[u8]) -> Vec<u8> {
    let letters = text.iter().filter(|byte| byte.is_ascii_alphanumeric());
    letters.map(u8::to_ascii_lowercase).collect()
}

fn is_like(letters: &[u8]) -> bool {
    MEANT.iter().any(|meant| {
        let mut parts = letters.windows(meant.len());
        parts.any(|part| part == *meant) || is_near(letters, meant)
    })
}

/// Whether at most [`MAX_EDITS`] letters must be put in, taken out or replaced (Levenshtein's
/// distance) to make one of the other.
fn is_near(one: &[u8], other: &[u8]) -> bool {
    if one.len().abs_diff(other.len()) > MAX_EDITS {
        return false;
    }
    // Distances of what has been read of `one` from each beginning of `other`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (read, letter) in one.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], read + 1);
        for (at, wanted) in other.iter().enumerate() {
            let replaced = before + usize::from(letter != wanted);
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
    // The parser of the crate takes a point without a fraction, and UTC alone.
    if local.contains(['+', 'Z']) || local.ends_with('.') {
        return None;
    }
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    // A place ahead of UTC reads its clock as later than it is there.
    if offset.ahead {
        local.checked_sub(offset.by)
    } else {
        local.checked_add(offset.by)
    }
}

/// How far local time is from UTC.
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

    fn validity(metadata: &[(&str, &str)]) -> Result<Validity, BadCertificate> {
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
                    Err(BadCertificate::Date),
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
                Err(BadCertificate::NeverValid)
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
        ] {
            assert_eq!(
                validity(&[(name, "2028-01-01T00:00:00Z")]),
                Err(BadCertificate::ValidityLikeName)
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
        ] {
            assert!(may_be_a_validity(line.as_bytes()), "{line}");
        }
        for line in [
            "full name = not after all",
            "note: x",
            "= not-after",
            "",
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
