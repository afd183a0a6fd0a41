//! A bad certificate file is an error with its line and reason, or a report about a line that is
//! dropped.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use zmtp_auth::WithCauses;
use zmtp_auth::cert::{
    Certificate, CertificateError, CertificateErrorKind, CertificateWarning, Validity,
    load_certificates,
};

/// The client's keys of libzmq's manual.
const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
/// The server's public key of libzmq's manual.
const OTHER: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

struct Case {
    why: &'static str,
    text: Vec<u8>,
    line: Option<usize>,
    reason: &'static str,
}

/// In `text`, `{P}`, `{S}` and `{O}` stand for the public, the secret and another public key.
fn case(
    why: &'static str,
    text: impl AsRef<[u8]>,
    line: impl Into<Option<usize>>,
    reason: &'static str,
) -> Case {
    let mut bytes = text.as_ref().to_vec();
    for (mark, key) in [("{P}", PUBLIC), ("{S}", SECRET), ("{O}", OTHER)] {
        while let Some(at) = bytes.windows(3).position(|part| part == mark.as_bytes()) {
            bytes.splice(at..at + 3, key.bytes());
        }
    }
    Case {
        why,
        text: bytes,
        line: line.into(),
        reason,
    }
}

const NO_KEY: &str = "no public-key found";
const BAD_NAME: &str = "cannot be in a property name";
const BAD_EQUALS: &str = "'=' expected after the property name";
const LEN: &str = "a key has 40 characters of Z85, not ";

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        // Nothing to load.
        case("empty file", "", None, NO_KEY),
        case("blank lines only", "\n \n\t\n", None, NO_KEY),
        case("comments only", "# public-key = \"{P}\"\n", None, NO_KEY),
        case("sections only", "metadata\ncurve\n", None, NO_KEY),
        case("a secret without its public key", "curve\n    secret-key = \"{S}\"\n", None, NO_KEY),
        case("a file over 64 KiB", vec![b'#'; 65_537], None, "is larger than 65536 bytes"),

        // Bytes that no certificate has.
        case("UTF-16", b"\xff\xfec\0u\0r\0", 1, "byte 4 is a control character"),
        case("binary", b"\x7fELF\x02\x01", 1, "byte 1 is a control character"),
        case("a NUL in a comment", "# x\0y\n", 1, "byte 4 is a control character"),
        case("a form feed before a name", "\x0ccurve\n", 1, "byte 1 is a control character"),
        case("old Macintosh line ends", "curve\r    public-key = \"{P}\"\r", 1, "a carriage return inside the line"),
        case("a key hidden behind a carriage return in a comment", "# note\rpublic-key = \"{O}\"\ncurve\n", 1, "a carriage return inside the line"),
        case("a line end doubled by conversion", "curve\r\r\n", 1, "a carriage return inside the line"),
        case("a file cut between CR and LF", "curve\r", 1, "a carriage return inside the line"),

        // Names.
        case("a stray value", "curve\n    = \"{P}\"\n", 2, BAD_NAME),
        case("a quoted name", "curve\n    \"public-key\" = \"{P}\"\n", 2, BAD_NAME),
        case("a colon for an equals sign", "curve\n    public-key: \"{P}\"\n", 2, BAD_NAME),
        case("an INI section", "[curve]\npublic-key = \"{P}\"\n", 1, BAD_NAME),
        case("JSON", "{\"public-key\": \"x\"}", 1, BAD_NAME),
        case("a C++ comment", "; comment\n", 1, BAD_NAME),
        case("a non-breaking blank as indentation", "curve\n\u{a0}public-key = \"{P}\"\n", 2, BAD_NAME),
        case("a bare key on a line", "{P}\n", 1, BAD_NAME),
        case("PEM", "-----BEGIN PUBLIC KEY-----\n", 1, "'=' expected after the property name"),
        case("a name that starts with a slash", "/curve\n", 1, "a property name starts or ends with '/'"),
        case("a blank for the equals sign", "curve\n    public-key \"{P}\"\n", 2, "'=' expected after the property name"),

        // Quotes.
        case("a quote that is not closed", "curve\n    public-key = \"{P}\n", 2, "the quoted value does not end"),
        case("a quote closed by the other kind", "curve\n    public-key = \"{P}'\n", 2, "the quoted value does not end"),
        case("text after a quoted key", "curve\n    public-key = \"{P}\" yes\n", 2, "text follows the quoted value"),
        case("typographic quotes", "curve\n    public-key = \u{201c}{P}\u{201d}\n", 2, "bad public-key: a key has 40 characters of Z85, not 46"),

        // Structure.
        case("a section inside a section", "curve\n    keys\n        public-key = \"{P}\"\n", 3, "properties nest deeper than a section"),
        case("a key at a third level", "curve\n\tpublic-key = \"{P}\"\n\t\tsecret-key = \"{S}\"\n", 3, "properties nest deeper than a section"),


        // Keys.
        case("a public key without a value", "curve\n    public-key\n", 2, "public-key without a value"),
        case("a secret key with a comment for a value", "curve\n    secret-key # {S}\n", 2, "secret-key without a value"),
        case("an empty key", "curve\n    public-key =\n", 2, "bad public-key: a key has 40 characters of Z85, not 0"),
        case("an empty quoted key", "curve\n    public-key = ''\n", 2, "bad public-key: a key has 40 characters of Z85, not 0"),
        case("a short key", "curve\n    public-key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hI\"\n", 2, "bad public-key: a key has 40 characters of Z85, not 39"),
        case("a long key", "curve\n    public-key = \"{P}0\"\n", 2, "bad public-key: a key has 40 characters of Z85, not 41"),
        case("a long bare key", "curve\n    public-key = {P}0\n", 2, "bad public-key: a key has 40 characters of Z85, not 41"),
        case("a bare key that a comment cuts short", "curve\n    public-key = Yne@$w # {P}\n", 2, "bad public-key: a key has 40 characters of Z85, not 6"),
        case("a short secret key", "curve\n    secret-key = \"x\"\n", 2, "bad secret-key: a key has 40 characters of Z85, not 1"),
        case("a key in hexadecimal", "curve\n    public-key = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n", 2, "bad public-key: a key has 40 characters of Z85, not 64"),
        case("a key in base64", "curve\n    public-key = \"U2FsdGVkX1+vupppZksvRf5pq5g5XjFRlipRkwB0K1Y=\"\n", 2, "bad public-key: a key has 40 characters of Z85, not 44"),
        case("blanks inside a quoted key", "curve\n    public-key = \" {P}\"\n", 2, "bad public-key: a key has 40 characters of Z85, not 41"),
        case("a key with a character outside Z85", "curve\n    public-key = \"Yne~$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"\n", 2, "bad public-key: character 4 is not in the Z85 alphabet"),
        case("a secret key with a character outside Z85", "curve\n    secret-key = \"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%c,\"\n", 2, "bad secret-key: character 40 is not in the Z85 alphabet"),
        case("a key with a blank in its midst", "curve\n    public-key = \"Yne@$w-vo<fVvi]a <Y6T1ed:M$fCG*[IaLV{hID\"\n", 2, "bad public-key: character 17 is not in the Z85 alphabet"),
        case("a key of 40 bytes with a letter beyond ASCII", "curve\n    public-key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{h\u{e9}\"\n", 2, "bad public-key: character 39 is not in the Z85 alphabet"),
        case("a group that exceeds 32 bits", "curve\n    public-key = \"#####$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hI\"\n", 2, "bad public-key: characters 1 to 5 exceed 32 bits"),
        case("a secret group that exceeds 32 bits", "curve\n    secret-key = \"D:)Q[%nSc1hhC2ac:9*A}h:p?([4%wOTJ%JR%cs0\"\n", 2, "bad secret-key: characters 6 to 10 exceed 32 bits"),
        case("two words after a bare key", "curve\n    public-key = {P} {O}\n", 2, "text follows the public-key"),
        case("text after a bare secret key", "curve\n    secret-key = {S} ;\n", 2, "text follows the secret-key"),
        case("two public keys", "curve\n    public-key = \"{P}\"\n    public-key = \"{O}\"\n", 3, "given already in line 2"),
        case("the same public key twice", "public-key = \"{P}\"\ncurve\n    public-key = \"{P}\"\n", 3, "given already in line 1"),
        case("a second public key in metadata", "metadata\n    public-key = \"{O}\"\ncurve\n    public-key = \"{P}\"\n", 4, "given already in line 2"),
        case("two secret keys", "curve\n    secret-key = \"{S}\"\n    secret-key = \"{S}\"\n", 3, "given already in line 2"),
        case("a name that starts like a key's", "metadata\n    public-key-old = \"{O}\"\n", 2, "the property name starts with 'public-key' or 'secret-key', but is neither"),
        case("a key's name with a number", "curve\n    secret-key2 = \"{S}\"\n", 2, "the property name starts with 'public-key' or 'secret-key', but is neither"),
        case("a key's name in another case", "curve\n    Public-Key = \"{P}\"\n", 2, "the property name starts with 'public-key' or 'secret-key', but is neither"),
        case("a key's name that is no name, in metadata", "metadata\n    public key: {O}\ncurve\n    public-key = \"{P}\"\n", 2, BAD_EQUALS),
        case("a public key of zeros", "curve\n    public-key = \"0000000000000000000000000000000000000000\"\n", 2, "the public-key is all zeros: there is no key"),
        case("a secret key of zeros", "curve\n    public-key = \"{P}\"\n    secret-key = \"0000000000000000000000000000000000000000\"\n", 3, "the secret-key is all zeros: there is no key"),
        case("another's public key", "curve\n    public-key = \"{O}\"\n    secret-key = \"{S}\"\n", 3, "the public-key does not belong to the secret-key"),
        // This secret's top bit is set, as in every second one.
        case("the keys swapped", "curve\n    public-key = \"{S}\"\n    secret-key = \"{P}\"\n", 2, "bad public-key: the public key is not in canonical form"),
        case("a public key that is the point 1", "curve\n    public-key = \"0rr9100000000000000000000000000000000000\"\n", 2, "bad public-key: the public key is of low order, so it protects nothing"),
        case("a merge conflict", "curve\n<<<<<<< ours\n    public-key = \"{P}\"\n", 2, BAD_NAME),
    ]
}

#[test]
fn every_bad_file_says_where_and_why_and_gives_no_key() {
    let cases = cases();
    let dir = tempfile::tempdir().unwrap();
    for (number, case) in cases.iter().enumerate() {
        let file = dir.path().join(format!("{number:03}.key"));
        fs::write(&file, &case.text).unwrap();
        let error = Certificate::load(&file).expect_err(case.why);
        assert_eq!(error.line, case.line, "{}: {error}", case.why);
        let reason = WithCauses(&error.reason).to_string();
        let told = if case.reason == BAD_NAME {
            reason.contains(BAD_NAME)
        } else {
            reason == case.reason
        };
        assert!(told, "{}: {reason}", case.why);
        assert_eq!(error.file, file);
        assert!(error.to_string().contains(&format!("{number:03}.key")));
        for secret in [SECRET, PUBLIC, OTHER] {
            assert!(!error.to_string().contains(secret), "{}: {error}", case.why);
        }
    }

    let report = load_certificates(dir.path()).unwrap();
    assert!(report.certificates.is_empty());
    assert_eq!(report.problems.len(), cases.len());
    let files: Vec<PathBuf> = report.problems.into_iter().map(|(file, _)| file).collect();
    assert!(files.is_sorted());
}

/// A name for the case, the text before the key, the reports about unused lines, and the number of
/// properties that remain.
type Unusable = (&'static str, Vec<u8>, Vec<(usize, &'static str)>, usize);

/// Metadata that `pyzmq` ignores.
#[rustfmt::skip]
fn unusable() -> Vec<Unusable> {
    const UNKNOWN: &str = "a section other than 'metadata' and 'curve'";
    const MISPLACED: &str = "a property other than the keys outside 'metadata'";
    const RESERVED: &str = "Identity, Socket-Type and User-Id cannot be metadata names";
    const TWICE: &str = "given already in line 2";
    const VALUE: &str = "the value holds a control character or a line break";
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("a byte order mark", text("\u{feff}metadata\n    a = 1\n"), vec![], 1),
        ("an escape sequence in a value", text("metadata\n    a = \"\x1b[31m\"\n    b = 2\n"), vec![(2, "byte 10 is a control character")], 1),
        ("a name with a letter beyond ASCII", text("metadata\n    größe = 1\n"), vec![(2, BAD_NAME)], 0),
        ("a name with a colon", text("metadata\n    org:unit = 1\n    b = 2\n"), vec![(2, BAD_NAME)], 1),
        ("a colon for an equals sign", text("metadata\n    name: Ada\n"), vec![(2, BAD_NAME)], 0),
        ("a name that ends with a slash", text("metadata\n    a/ = 1\n"), vec![(2, "a property name starts or ends with '/'")], 0),
        ("a name of two words", text("metadata\n    full name = Ada\n    b = 2\n"), vec![(2, BAD_EQUALS)], 1),
        ("a value over two lines", text("metadata\n    a = \"one\n    two\"\n"), vec![(2, "the quoted value does not end"), (3, BAD_NAME)], 0),
        ("an escaped quote", text("metadata\n    a = \"say \\\"x\\\"\"\n"), vec![(2, "text follows the quoted value")], 0),
        ("a section with a value", text("curve = yes\n"), vec![(1, "a section name with a value")], 0),
        ("metadata with a value", text("metadata =\n    a = 1\n"), vec![(1, "a section name with a value"), (2, MISPLACED)], 0),
        ("an unknown section", text("owner\n    name = x\n    full name = y\nmetadata\n    a = 1\n"), vec![(1, UNKNOWN), (2, MISPLACED), (3, BAD_EQUALS)], 1),
        ("a section in another case", text("Metadata\n    a = 1\n"), vec![(1, UNKNOWN), (2, MISPLACED)], 0),
        ("two sections of each kind", text("metadata\n    a = 1\ncurve\nmetadata\n    b = 2\n"), vec![], 2),
        ("a section inside a section", text("metadata\n    a = 1\n    b\n        c = 2\n"), vec![(3, "a metadata name without a value"), (4, "properties nest deeper than a section")], 1),
        ("a third level", text("metadata\n    a = 1\n        b = x\n"), vec![(3, "properties nest deeper than a section")], 1),
        ("metadata at the top", text("name = Ada\n"), vec![(1, MISPLACED)], 0),
        ("metadata in curve", text("curve\n    name = x\n"), vec![(2, MISPLACED)], 0),
        ("metadata before any section", text("    name = Ada\n"), vec![(1, MISPLACED)], 0),
        ("metadata without a value", text("metadata\n    name\n"), vec![(2, "a metadata name without a value")], 0),
        ("a metadata name of 256 bytes", text(&format!("metadata\n    {} = x\n", "n".repeat(256))), vec![(2, "a metadata name must have 1 to 255 bytes")], 0),
        ("a metadata name given twice", text("metadata\n    a = 1\n    b = 2\n    a = 1\n"), vec![(4, TWICE)], 1),
        ("a name three times in other cases", text("metadata\n    Name = 1\n    nAME = 1\n    b = 2\n    NAME = 3\n"), vec![(3, TWICE), (5, TWICE)], 1),
        ("a name twice, one without use", b"metadata\n    a = J\xfcrgen\n    a = ok\n".to_vec(), vec![(2, "the value is not UTF-8"), (3, TWICE)], 0),
        ("reserved names", text("metadata\n    Identity = x\n    SOCKET-TYPE = REP\n    user-id = admin\n    b = 2\n"), vec![(2, RESERVED), (3, RESERVED), (4, RESERVED)], 1),
        ("a value in Latin-1", b"metadata\n    name = J\xfcrgen\n    b = 2\n".to_vec(), vec![(2, "the value is not UTF-8")], 1),
        ("a control character beyond ASCII", text("metadata\n    name = \"a\u{85}b\"\n"), vec![(2, VALUE)], 0),
        ("a line separator of Unicode", text("metadata\n    name = \"a\u{2028}b\"\n"), vec![(2, VALUE)], 0),
    ]
}

fn dropped(certificate: &Certificate) -> Vec<(usize, String)> {
    let lines = certificate
        .warnings()
        .iter()
        .flat_map(|warning| match warning {
            CertificateWarning::Dropped { lines, .. } => lines.clone(),
            other => panic!("{other}"),
        });
    lines
        .map(|(line, reason)| (line, WithCauses(&reason).to_string()))
        .collect()
}

#[test]
fn metadata_that_cannot_be_used_is_dropped_with_a_report_and_the_key_loads() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ada.key");
    for (why, mut text, expected, left) in unusable() {
        text.extend_from_slice(format!("\ncurve\n    public-key = \"{PUBLIC}\"\n").as_bytes());
        fs::write(&file, &text).unwrap();
        let report = load_certificates(dir.path()).unwrap();
        assert!(report.problems.is_empty(), "{why}: {:?}", report.problems);
        let [ada] = &report.certificates[..] else {
            panic!("{why}");
        };
        assert_eq!(ada.public_key().to_z85(), PUBLIC, "{why}");
        assert_eq!(ada.metadata().len(), left, "{why}: {:?}", ada.metadata());
        assert_eq!(report.warnings, ada.warnings(), "{why}");
        let found = dropped(ada);
        assert_eq!(found.len(), expected.len(), "{why}: {found:?}");
        for ((line, reason), (at, told)) in found.iter().zip(&expected) {
            assert_eq!(line, at, "{why}");
            assert!(reason.contains(told), "{why}: {reason}");
        }
    }
}

/// A restriction that cannot be read withdraws its key, even if an earlier file admits the key.
#[test]
fn what_may_restrict_a_key_is_never_just_dropped() {
    const DATE: &str = "2001-01-01T00:00:00Z";
    let dir = tempfile::tempdir().unwrap();
    let key = format!("curve\n    public-key = \"{PUBLIC}\"\n");
    fs::write(dir.path().join("a.key"), &key).unwrap();
    for (line, text) in [
        (2, format!("metadata\n    not-after = yesterday\n{key}")),
        (2, format!("metadata\n    not_after = {DATE}\n{key}")),
        (2, format!("metadata\n    NotAfter2 = {DATE}\n{key}")),
        (2, format!("metadata\n    nto-after = {DATE}\n{key}")),
        (2, format!("metadata\n    not after = {DATE}\n{key}")),
        (2, format!("metadata\n    not-after: {DATE}\n{key}")),
        (2, format!("metadata\n    not-after {DATE}\n{key}")),
        (2, format!("metadata\n    \"not-after\" = {DATE}\n{key}")),
        (2, format!("metadata\n    not\u{2010}after = {DATE}\n{key}")),
        (2, format!("metadata\n    not-after = \"{DATE}\n{key}")),
        (2, format!("metadata\n    not-after\n{key}")),
        (2, format!("metadata\n    not-before = \"\x1b\"\n{key}")),
        (
            3,
            format!(
                "metadata\n    not-after = 2999-01-01T00:00:00Z\n    Not-After = {DATE}\n{key}"
            ),
        ),
        (
            3,
            format!("metadata\n    a = 1\n        not-after = {DATE}\n{key}"),
        ),
        (2, format!("Metadata\n    not-after = {DATE}\n{key}")),
        (
            3,
            format!("owner\n    name = x\n    Not Before = {DATE}\n{key}"),
        ),
        (1, format!("not-after = {DATE}\n{key}")),
        (1, format!("not-after\n{key}")),
        (1, format!("not after = {DATE}\n{key}")),
        (3, format!("{key}    not-after = {DATE}\n")),
        (3, format!("{key}    not after = {DATE}\n")),
        // Lines that run into the next.
        (
            2,
            format!("metadata\n    name = \"alice\"    not-after = \"{DATE}\"\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = \"alice\"; not-after = \"{DATE}\"\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = \"alice;    not-after = \"{DATE}\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = alice    not-after = \"{DATE}\"\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = alice, not-after: {DATE}\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = alice    expires = {DATE}\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = alice\u{2028}    not-after = \"{DATE}\"\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = \"alice\"\u{2029}    not-after = \"{DATE}\"\n{key}"),
        ),
        (
            2,
            format!("metadata\n    name = \"alice\u{85}    not-after = {DATE}\"\n{key}"),
        ),
        (
            2,
            format!("metadata\n    User-Id = alice not-after = {DATE}\n{key}"),
        ),
        (1, format!("metadata = not-after = {DATE}\n{key}")),
        // Names that other software uses for the date.
        (2, format!("metadata\n    Not Valid After = {DATE}\n{key}")),
        (2, format!("metadata\n    not_valid_after = {DATE}\n{key}")),
        (2, format!("metadata\n    valid-until = {DATE}\n{key}")),
        (2, format!("metadata\n    valid-to = {DATE}\n{key}")),
        (2, format!("metadata\n    expires = {DATE}\n{key}")),
        (2, format!("metadata\n    expiry: {DATE}\n{key}")),
        (2, format!("metadata\n    \u{ff4e}ot-after = {DATE}\n{key}")),
        (
            2,
            format!(
                "metadata\n    \u{ff4e}\u{ff2f}\u{ff54}\u{ff0d}\u{ff41}\u{ff46}\u{ff54}\u{ff45}\u{ff52} = {DATE}\n{key}"
            ),
        ),
    ] {
        let file = dir.path().join("b.key");
        fs::write(&file, &text).unwrap();
        let certificate = Certificate::load(&file).unwrap();
        assert!(certificate.validity().is_err(), "{text}");
        // Saved again without this line, the key would be valid for ever.
        let left = certificate.save_public(dir.path(), "copy");
        if let Ok(copy) = left {
            let copied = Certificate::load(&copy).unwrap();
            assert!(copied.validity().is_err(), "{text}");
            fs::remove_file(copy).unwrap();
        }
        let report = load_certificates(dir.path()).unwrap();
        assert!(report.certificates.is_empty(), "{text}");
        let [(bad, error)] = &report.problems[..] else {
            panic!("{text}");
        };
        assert_eq!(*bad, file);
        assert!(error.line.is_none_or(|at| at == line), "{text} {error}");
    }
}

#[test]
fn a_limit_that_cannot_be_used_is_reported_with_what_to_write() {
    for line in ["name = \"alice\" not-after = \"x\"", "expires = x"] {
        let text = format!("metadata\n    {line}\ncurve\n    public-key = {PUBLIC}\n");
        let certificate = Certificate::parse(text.as_bytes(), "ada.key").unwrap();
        let told = certificate.validity().unwrap_err().to_string();
        let wanted = "such as not-after = \"2027-01-31T12:00:00Z\"";
        assert!(told.contains(wanted), "{line}: {told}");
    }
}

#[test]
fn a_value_or_comment_that_only_speaks_of_a_limit_withdraws_no_key() {
    for line in [
        "note = \"not-after is not set\"",
        "note = 'not-after = 2001-01-01T00:00:00Z'",
        "note = not-after is not set",
        "note = \"expires: never\"",
        "note = valid until revoked",
        "note = x # not-after = 2001-01-01T00:00:00Z",
        "# not-after = 2001-01-01T00:00:00Z",
    ] {
        let text = format!("metadata\n    {line}\ncurve\n    public-key = {PUBLIC}\n");
        let certificate = Certificate::parse(text.as_bytes(), "ada.key").unwrap();
        assert!(certificate.warnings().is_empty(), "{line}");
        let validity = certificate.validity().unwrap();
        assert_eq!(validity, Validity::default(), "{line}");
    }
}

#[test]
fn of_many_lines_that_are_not_used_the_first_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ada.key");
    let text = format!("public-key = {PUBLIC}\nmetadata\n{}", " ü\n".repeat(15_000));
    fs::write(&file, text).unwrap();
    let certificate = Certificate::load(&file).unwrap();
    let [CertificateWarning::Dropped { lines, more, .. }] = certificate.warnings() else {
        panic!("{:?}", certificate.warnings());
    };
    assert_eq!((lines.len(), *more), (16, 14_984));
    assert!(
        certificate.warnings()[0]
            .to_string()
            .ends_with(", 14984 more")
    );
}

#[test]
fn the_table_is_as_long_as_it_claims() {
    let cases = cases();
    let unusable = unusable();
    let causes: BTreeSet<_> = cases.iter().map(|case| case.why).collect();
    let files: BTreeSet<_> = cases.iter().map(|case| &case.text).collect();
    let answers: BTreeSet<_> = cases.iter().map(|case| case.reason).collect();
    assert_eq!(causes.len(), cases.len(), "a cause is listed twice");
    assert_eq!(files.len(), cases.len(), "a file is listed twice");
    let count = cases.len() + unusable.len();
    assert!(count >= 85, "{count} causes");
    assert!(answers.len() >= 35, "{} answers", answers.len());
    assert!(cases.iter().any(|case| case.reason.contains(LEN)));
}

#[test]
fn an_error_can_be_matched_and_its_path_cannot_forge_a_log_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a\nERROR all keys leaked.key");
    fs::write(&file, "curve\n    public-key\n").unwrap();
    let error: CertificateError = Certificate::load(&file).unwrap_err();
    assert!(matches!(error.reason, CertificateErrorKind::KeyMissing(_)));
    assert!(!error.to_string().contains('\n'), "{error}");
}
