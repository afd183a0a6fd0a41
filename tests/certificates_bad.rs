//! Every way in which a certificate file can be bad, each with the line and the reason it gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use zmtp_auth::cert::{BadCertificate, Certificate, CertificateError, load_certificates};

/// The client's keys of libzmq's manual.
const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
/// The server's public key there.
const OTHER: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

struct Case {
    why: &'static str,
    text: Vec<u8>,
    line: Option<usize>,
    reason: &'static str,
}

/// In `text`, `{P}`, `{S}` and `{O}` stand for the keys.
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
        case("a byte order mark", "\u{feff}curve\n    public-key = \"{P}\"\n", 1, "starts with a byte order mark; save it as plain UTF-8"),
        case("UTF-16", b"\xff\xfec\0u\0r\0", 1, "byte 4 is a control character"),
        case("binary", b"\x7fELF\x02\x01", 1, "byte 1 is a control character"),
        case("a NUL in a comment", "# x\0y\n", 1, "byte 4 is a control character"),
        case("an escape sequence in a value", "metadata\n    a = \"\x1b[31m\"\n", 2, "byte 10 is a control character"),
        case("a form feed before a name", "\x0ccurve\n", 1, "byte 1 is a control character"),
        case("old Macintosh line ends", "curve\r    public-key = \"{P}\"\r", 1, "a carriage return inside the line"),
        case("a key hidden behind a carriage return in a comment", "# note\rpublic-key = \"{O}\"\ncurve\n", 1, "a carriage return inside the line"),
        case("a line end doubled by conversion", "curve\r\r\n", 1, "a carriage return inside the line"),
        case("a file cut between CR and LF", "curve\r", 1, "a carriage return inside the line"),

        // Names.
        case("a stray value", "curve\n    = \"{P}\"\n", 2, BAD_NAME),
        case("a quoted name", "curve\n    \"public-key\" = \"{P}\"\n", 2, BAD_NAME),
        case("a colon for an equals sign", "curve\n    public-key: \"{P}\"\n", 2, BAD_NAME),
        case("a name with a letter beyond ASCII", "metadata\n    größe = 1\n", 2, BAD_NAME),
        case("an INI section", "[curve]\npublic-key = \"{P}\"\n", 1, BAD_NAME),
        case("JSON", "{\"public-key\": \"x\"}", 1, BAD_NAME),
        case("a C++ comment", "; comment\n", 1, BAD_NAME),
        case("a non-breaking blank as indentation", "curve\n\u{a0}public-key = \"{P}\"\n", 2, BAD_NAME),
        case("a bare key on a line", "{P}\n", 1, BAD_NAME),
        case("PEM", "-----BEGIN PUBLIC KEY-----\n", 1, "'=' expected after the property name"),
        case("a name that starts with a slash", "/curve\n", 1, "a property name starts or ends with '/'"),
        case("a name that ends with a slash", "metadata\n    a/ = 1\n", 2, "a property name starts or ends with '/'"),
        case("a name of two words", "metadata\n    full name = Ada\n", 2, "'=' expected after the property name"),
        case("a blank for the equals sign", "curve\n    public-key \"{P}\"\n", 2, "'=' expected after the property name"),

        // Quotes.
        case("a quote that is not closed", "curve\n    public-key = \"{P}\n", 2, "the quoted value does not end"),
        case("a quote closed by the other kind", "curve\n    public-key = \"{P}'\n", 2, "the quoted value does not end"),
        case("a value over two lines", "metadata\n    a = \"one\n    two\"\n", 2, "the quoted value does not end"),
        case("text after a quoted key", "curve\n    public-key = \"{P}\" yes\n", 2, "text follows the quoted value"),
        case("an escaped quote", "metadata\n    a = \"say \\\"x\\\"\"\n", 2, "text follows the quoted value"),
        case("typographic quotes", "curve\n    public-key = \u{201c}{P}\u{201d}\n", 2, "public-key: a key has 40 characters of Z85, not 46"),

        // Structure.
        case("a section with a value", "curve = yes\n", 1, "a section name with a value"),
        case("metadata with an empty value", "metadata =\n", 1, "a section name with a value"),
        case("an unknown section", "owner\n    name = x\n", 1, "a section other than 'metadata' and 'curve'"),
        case("a section in another case", "Curve\n    public-key = \"{P}\"\n", 1, "a section other than 'metadata' and 'curve'"),
        case("two curve sections", "curve\n    public-key = \"{P}\"\ncurve\n", 3, "given already in line 1"),
        case("two metadata sections", "metadata\n    a = 1\n\nmetadata\n", 4, "given already in line 1"),
        case("a section inside a section", "curve\n    keys\n        public-key = \"{P}\"\n", 2, "properties nest deeper than a section"),
        case("a third level", "metadata\n    a = 1\n        not-after = x\n", 3, "properties nest deeper than a section"),
        case("a key at a third level", "curve\n\tpublic-key = \"{P}\"\n\t\tsecret-key = \"{S}\"\n", 3, "properties nest deeper than a section"),
        case("metadata at the top", "name = Ada\n", 1, "a property other than the keys outside 'metadata'"),
        case("metadata in curve", "curve\n    not-after = x\n", 2, "a property other than the keys outside 'metadata'"),
        case("metadata before any section", "    name = Ada\n", 1, "a property other than the keys outside 'metadata'"),
        case("metadata under a key", "metadata\n    a = 1\npublic-key = \"{P}\"\n    b = 2\n", 4, "a property other than the keys outside 'metadata'"),

        // Metadata.
        case("metadata without a value", "metadata\n    name\n", 2, "a metadata name without a value"),
        case("a metadata name of 256 bytes", format!("metadata\n    {} = x\n", "n".repeat(256)), 2, "a metadata name must have 1 to 255 bytes"),
        case("a metadata name given twice", "metadata\n    a = 1\n    b = 2\n    a = 1\n", 4, "given already in line 2"),
        case("a metadata name given twice in other cases", "metadata\n    Name = 1\n    nAME = 1\n", 3, "given already in line 2"),
        case("Identity as a name", "metadata\n    Identity = x\n", 2, "Identity, Socket-Type and User-Id cannot be metadata names"),
        case("Socket-Type as a name", "metadata\n    SOCKET-TYPE = REP\n", 2, "Identity, Socket-Type and User-Id cannot be metadata names"),
        case("User-Id as a name", "metadata\n    user-id = admin\n", 2, "Identity, Socket-Type and User-Id cannot be metadata names"),
        case("a value in Latin-1", b"metadata\n    name = J\xfcrgen\n", 2, "the value is not UTF-8"),
        case("a control character beyond ASCII", "metadata\n    name = \"a\u{85}b\"\n", 2, "the value holds a control character or a line break"),
        case("a line separator of Unicode", "metadata\n    name = \"a\u{2028}b\"\n", 2, "the value holds a control character or a line break"),

        // Keys.
        case("a public key without a value", "curve\n    public-key\n", 2, "public-key without a value"),
        case("a secret key with a comment for a value", "curve\n    secret-key # {S}\n", 2, "secret-key without a value"),
        case("an empty key", "curve\n    public-key =\n", 2, "public-key: a key has 40 characters of Z85, not 0"),
        case("an empty quoted key", "curve\n    public-key = ''\n", 2, "public-key: a key has 40 characters of Z85, not 0"),
        case("a short key", "curve\n    public-key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hI\"\n", 2, "public-key: a key has 40 characters of Z85, not 39"),
        case("a long key", "curve\n    public-key = \"{P}0\"\n", 2, "public-key: a key has 40 characters of Z85, not 41"),
        case("a long bare key", "curve\n    public-key = {P}0\n", 2, "public-key: a key has 40 characters of Z85, not 41"),
        case("a bare key that a comment cuts short", "curve\n    public-key = Yne@$w # {P}\n", 2, "public-key: a key has 40 characters of Z85, not 6"),
        case("a short secret key", "curve\n    secret-key = \"x\"\n", 2, "secret-key: a key has 40 characters of Z85, not 1"),
        case("a key in hexadecimal", "curve\n    public-key = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n", 2, "public-key: a key has 40 characters of Z85, not 64"),
        case("a key in base64", "curve\n    public-key = \"U2FsdGVkX1+vupppZksvRf5pq5g5XjFRlipRkwB0K1Y=\"\n", 2, "public-key: a key has 40 characters of Z85, not 44"),
        case("blanks inside a quoted key", "curve\n    public-key = \" {P}\"\n", 2, "public-key: a key has 40 characters of Z85, not 41"),
        case("a key with a character outside Z85", "curve\n    public-key = \"Yne~$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"\n", 2, "public-key: character 3 is not in the Z85 alphabet"),
        case("a secret key with a character outside Z85", "curve\n    secret-key = \"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%c,\"\n", 2, "secret-key: character 39 is not in the Z85 alphabet"),
        case("a key with a blank in its midst", "curve\n    public-key = \"Yne@$w-vo<fVvi]a <Y6T1ed:M$fCG*[IaLV{hID\"\n", 2, "public-key: character 16 is not in the Z85 alphabet"),
        case("a key of 40 bytes with a letter beyond ASCII", "curve\n    public-key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{h\u{e9}\"\n", 2, "public-key: character 38 is not in the Z85 alphabet"),
        case("a group that exceeds 32 bits", "curve\n    public-key = \"#####$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hI\"\n", 2, "public-key: the five characters at 0 exceed 32 bits"),
        case("a secret group that exceeds 32 bits", "curve\n    secret-key = \"D:)Q[%nSc1hhC2ac:9*A}h:p?([4%wOTJ%JR%cs0\"\n", 2, "secret-key: the five characters at 5 exceed 32 bits"),
        case("two words after a bare key", "curve\n    public-key = {P} {O}\n", 2, "text follows the public-key"),
        case("text after a bare secret key", "curve\n    secret-key = {S} ;\n", 2, "text follows the secret-key"),
        case("two public keys", "curve\n    public-key = \"{P}\"\n    public-key = \"{O}\"\n", 3, "given already in line 2"),
        case("the same public key twice", "public-key = \"{P}\"\ncurve\n    public-key = \"{P}\"\n", 3, "given already in line 1"),
        case("a second public key in metadata", "metadata\n    public-key = \"{O}\"\ncurve\n    public-key = \"{P}\"\n", 4, "given already in line 2"),
        case("two secret keys", "curve\n    secret-key = \"{S}\"\n    secret-key = \"{S}\"\n", 3, "given already in line 2"),
        case("a name that starts like a key's", "metadata\n    public-key-old = \"{O}\"\n", 2, "the property name starts with 'public-key' or 'secret-key', but is neither"),
        case("a key's name with a number", "curve\n    secret-key2 = \"{S}\"\n", 2, "the property name starts with 'public-key' or 'secret-key', but is neither"),
        case("a key's name in another case", "curve\n    Public-Key = \"{P}\"\n", 2, "a property other than the keys outside 'metadata'"),
        case("a public key of zeros", "curve\n    public-key = \"0000000000000000000000000000000000000000\"\n", 2, "the public-key is all zeros: there is no key"),
        case("a secret key of zeros", "curve\n    public-key = \"{P}\"\n    secret-key = \"0000000000000000000000000000000000000000\"\n", 3, "the secret-key is all zeros: there is no key"),
        case("another's public key", "curve\n    public-key = \"{O}\"\n    secret-key = \"{S}\"\n", 3, "the public-key does not belong to the secret-key"),
        // This secret's top bit is set, as in every second one.
        case("the keys swapped", "curve\n    public-key = \"{S}\"\n    secret-key = \"{P}\"\n", 2, "public-key: the public key is not in canonical form"),
        case("a public key that is the point 1", "curve\n    public-key = \"0rr9100000000000000000000000000000000000\"\n", 2, "public-key: the public key is of low order, so it protects nothing"),
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
        let reason = error.reason.to_string();
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

#[test]
fn the_table_is_as_long_as_it_claims() {
    let cases = cases();
    let causes: BTreeSet<_> = cases.iter().map(|case| case.why).collect();
    let files: BTreeSet<_> = cases.iter().map(|case| &case.text).collect();
    let answers: BTreeSet<_> = cases.iter().map(|case| case.reason).collect();
    assert_eq!(causes.len(), cases.len(), "a cause is listed twice");
    assert_eq!(files.len(), cases.len(), "a file is listed twice");
    assert!(cases.len() >= 85, "{} causes", cases.len());
    assert!(answers.len() >= 45, "{} answers", answers.len());
    assert!(cases.iter().any(|case| case.reason.contains(LEN)));
}

#[test]
fn an_error_can_be_matched_and_its_path_cannot_forge_a_log_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a\nERROR all keys leaked.key");
    fs::write(&file, "curve\n    public-key\n").unwrap();
    let error: CertificateError = Certificate::load(&file).unwrap_err();
    assert!(matches!(error.reason, BadCertificate::KeyMissing(_)));
    assert!(!error.to_string().contains('\n'), "{error}");
}
