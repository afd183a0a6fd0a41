//! Certificate files are written whole, never overwrite another, and are read whichever program
//! wrote them.

#[cfg(unix)]
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use zmtp_auth::cert::{
    Certificate, CertificateDirectory, CertificateErrorKind, CertificateWarning, FileErrorKind,
    Layout, create_certificates, load_certificate, load_certificates, load_key_pair,
};
use zmtp_auth::{KeyPair, PublicKey, SecretKey, WithCauses};

/// The client's keys of libzmq's manual.
const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

fn public() -> PublicKey {
    PUBLIC.parse().unwrap()
}

fn pair() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_z85(SECRET).unwrap())
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn load_text(text: impl AsRef<[u8]>) -> Certificate {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &text).unwrap();
    load_certificate(file.path())
        .unwrap_or_else(|error| panic!("{error}: {}", text.as_ref().escape_ascii()))
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn owned(metadata: &[(&str, &str)]) -> Vec<(String, String)> {
    metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

// Writing.

#[test]
fn both_files_have_the_form_that_every_reader_takes() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::from(pair())
        .with_metadata("name", "Ada # 'of' Example")
        .unwrap()
        .with_metadata("note", "")
        .unwrap();
    let (public, secret) = certificate.save(dir.path(), "ada").unwrap();
    assert_eq!(public, dir.path().join("ada.key"));
    assert_eq!(secret, dir.path().join("ada.key_secret"));
    assert_eq!(names(dir.path()), ["ada.key", "ada.key_secret"]);
    let body = "metadata\n    name = \"Ada # 'of' Example\"\n    note = \"\"\ncurve\n    \
        public-key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"\n";
    let text = fs::read_to_string(&public).unwrap();
    let (banner, rest) = text.split_once("\n\n").unwrap();
    assert!(banner.lines().all(|line| line.starts_with('#')));
    assert_eq!(rest, body);
    let text = fs::read_to_string(&secret).unwrap();
    let (banner, rest) = text.split_once("\n\n").unwrap();
    assert!(banner.lines().all(|line| line.starts_with('#')));
    assert_eq!(rest, format!("{body}    secret-key = \"{SECRET}\"\n"));
}

#[test]
fn what_is_created_loads_again() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = [
        ("email", "ada@example.org"),
        ("X-role", "größe\tund = mehr"),
    ];
    let (public, secret) = create_certificates(dir.path(), "ada", &metadata).unwrap();
    let (public, secret) = (
        load_certificate(&public).unwrap(),
        load_certificate(&secret).unwrap(),
    );
    assert!(public.key_pair().is_none());
    assert_eq!(secret.key_pair().unwrap().public_key(), public.public_key());
    assert_eq!(public.metadata(), owned(&metadata));
    assert_eq!(secret.metadata(), owned(&metadata));
    assert_eq!(secret.warnings(), []);
    assert_eq!(secret.file(), Some(&*dir.path().join("ada.key_secret")));
}

#[test]
fn a_public_certificate_is_saved_without_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::from(public());
    let path = certificate.save_public(dir.path(), "ada").unwrap();
    assert_eq!(load_certificate(path).unwrap().public_key(), public());
    let error = certificate.save(dir.path(), "eve").unwrap_err();
    assert_eq!(error.reason, CertificateErrorKind::NoSecret);
    let path = Certificate::from(pair())
        .save_public(dir.path(), "bob")
        .unwrap();
    assert!(!fs::read_to_string(path).unwrap().contains(SECRET));
    assert_eq!(names(dir.path()), ["ada.key", "bob.key"]);
}

#[test]
fn nothing_that_exists_is_overwritten_and_nothing_half_stays() {
    for taken in ["ada.key", "ada.key_secret"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(taken), "mine").unwrap();
        let error = create_certificates(dir.path(), "ada", &[]).unwrap_err();
        assert_eq!(error.reason, CertificateErrorKind::Exists);
        assert_eq!(error.file, dir.path().join(taken));
        assert_eq!(names(dir.path()), [taken]);
        assert_eq!(fs::read(dir.path().join(taken)).unwrap(), b"mine");
    }
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, dir.path().join("ada.key_secret")).unwrap();
    let error = create_certificates(dir.path(), "ada", &[]).unwrap_err();
    assert_eq!(error.reason, CertificateErrorKind::Exists);
    assert!(!elsewhere.exists());
    assert_eq!(names(dir.path()), ["ada.key_secret"]);
}

#[test]
fn of_many_concurrent_writers_of_one_name_exactly_one_succeeds() {
    const MANY: usize = 12;
    for _ in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(MANY);
        let wins = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..MANY)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        create_certificates(dir.path(), "ada", &[])
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .filter(|result| match result {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.reason, CertificateErrorKind::Exists);
                        false
                    }
                })
                .count()
        });
        assert_eq!(wins, 1);
        assert_eq!(names(dir.path()), ["ada.key", "ada.key_secret"]);
        let public = load_certificate(dir.path().join("ada.key")).unwrap();
        let secret = load_certificate(dir.path().join("ada.key_secret")).unwrap();
        assert_eq!(public.public_key(), secret.public_key());
    }
}

#[test]
fn names_that_are_no_file_of_the_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for name in [
        "", ".", "..", ".ada", "../ada", "a/b", "/tmp/ada", "a\\b", "c:ada", "a\0b", "a\nb",
        "a\u{7f}b",
    ] {
        let error = create_certificates(&inner, name, &[]).unwrap_err();
        assert_eq!(error.reason, CertificateErrorKind::FileName, "{name:?}");
    }
    assert_eq!(names(&inner), [""; 0]);
    assert_eq!(names(dir.path()), ["inner"]);
    for name in ["a.b", "größe", "[a]*", "a b", "key"] {
        create_certificates(&inner, name, &[]).unwrap();
    }
    let report = load_certificates(&inner).unwrap();
    assert_eq!((report.certificates.len(), report.problems.len()), (5, 0));
}

#[test]
fn metadata_that_would_not_read_back_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let long = "v".repeat(1024);
    let name = "n".repeat(256);
    let table: &[(&str, &str, CertificateErrorKind)] = &[
        ("a", "say \"x\"", CertificateErrorKind::ValueQuote),
        ("a", "two\nlines", CertificateErrorKind::ValueCharacter),
        ("a", "two\rlines", CertificateErrorKind::ValueCharacter),
        ("a", "\0", CertificateErrorKind::ValueCharacter),
        ("a", "\u{85}", CertificateErrorKind::ValueCharacter),
        ("a", "\u{2028}", CertificateErrorKind::ValueCharacter),
        ("a", &long, CertificateErrorKind::LineTooLong),
        ("", "x", CertificateErrorKind::NameLength),
        (&name, "x", CertificateErrorKind::NameLength),
        (
            "a b",
            "x",
            CertificateErrorKind::NameCharacter { column: 2 },
        ),
        (
            "a=b",
            "x",
            CertificateErrorKind::NameCharacter { column: 2 },
        ),
        ("#a", "x", CertificateErrorKind::NameCharacter { column: 1 }),
        ("ä", "x", CertificateErrorKind::NameCharacter { column: 1 }),
        ("/a", "x", CertificateErrorKind::NameSlash),
        ("a/", "x", CertificateErrorKind::NameSlash),
        ("identity", "x", CertificateErrorKind::ReservedName),
        ("Socket-Type", "x", CertificateErrorKind::ReservedName),
        ("USER-ID", "x", CertificateErrorKind::ReservedName),
        ("public-key", PUBLIC, CertificateErrorKind::KeyLikeName),
        ("secret-key", SECRET, CertificateErrorKind::KeyLikeName),
        ("public-keys", "x", CertificateErrorKind::KeyLikeName),
    ];
    for (name, value, reason) in table {
        let error = create_certificates(dir.path(), "ada", &[("ok", "1"), (name, value)]);
        let error = error.unwrap_err();
        assert_eq!(error.reason, *reason, "{name:?} {value:?}");
        assert_eq!(error.file, dir.path().join("ada.key"));
    }
    let twice = create_certificates(dir.path(), "ada", &[("a", "1"), ("A", "2")]);
    assert_eq!(twice.unwrap_err().reason, CertificateErrorKind::NameTaken);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_key_pair_is_loaded_from_a_secret_certificate_and_a_public_one_says_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    let (public, secret) = create_certificates(dir.path(), "ada", &[]).unwrap();
    let pair = load_key_pair(secret).unwrap();
    assert_eq!(
        pair.public_key(),
        load_certificate(&public).unwrap().public_key()
    );
    let error = load_key_pair(&public).unwrap_err();
    assert_eq!(error.reason, CertificateErrorKind::PublicOnly);
    assert_eq!(
        error.to_string(),
        format!(
            "certificate {public:?}: holds no secret key: give the secret certificate, NAME.key_secret"
        )
    );
    let missing = load_key_pair(dir.path().join("bob.key_secret")).unwrap_err();
    assert!(matches!(missing.reason, CertificateErrorKind::File(_)));
}

#[test]
fn what_was_read_but_cannot_be_written_is_refused_on_saving() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("metadata\n    a = 'say \"x\"'\npublic-key = {PUBLIC}\n");
    let certificate = load_text(text);
    assert_eq!(certificate.metadata(), owned(&[("a", "say \"x\"")]));
    let error = certificate.save_public(dir.path(), "ada").unwrap_err();
    assert_eq!(error.reason, CertificateErrorKind::ValueQuote);
}

#[test]
fn metadata_beyond_64_kib_is_not_written_since_it_would_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut certificate = Certificate::from(pair());
    for number in 0..66 {
        let value = "v".repeat(1000);
        certificate = certificate
            .with_metadata(&format!("n{number}"), &value)
            .unwrap();
    }
    let error = certificate.save(dir.path(), "ada").unwrap_err();
    let too_large = FileErrorKind::TooLarge { limit: 65_536 };
    assert_eq!(error.reason, CertificateErrorKind::File(too_large));
    assert_eq!(names(dir.path()), [""; 0]);
}

// Reading.

#[test]
fn files_of_pyzmq_and_czmq_are_read() {
    let facts = [("name", "Ada Example"), ("email", "ada@example.org")];
    for (public, secret) in [
        ("pyzmq/ada.key", "pyzmq/ada.key_secret"),
        ("pyzmq/plain.key", "pyzmq/plain.key_secret"),
        ("czmq/ada.key", "czmq/ada.key_secret"),
        ("czmq/plain", "czmq/plain_secret"),
    ] {
        let public = load_certificate(data(public)).unwrap();
        let secret = load_certificate(data(secret)).unwrap();
        assert!(public.key_pair().is_none());
        assert_eq!(secret.key_pair().unwrap().public_key(), public.public_key());
        if secret.file().unwrap().ends_with("ada.key_secret") {
            for fact in owned(&facts) {
                assert!(secret.metadata().contains(&fact), "{secret:?}");
            }
        } else {
            assert_eq!(secret.metadata(), []);
        }
    }
    // pyzmq writes values bare, so that a comment ends them.
    let pyzmq = load_certificate(data("pyzmq/ada.key_secret")).unwrap();
    assert!(
        pyzmq
            .metadata()
            .contains(&("motto".to_owned(), "c'est la vie".to_owned()))
    );
    let czmq = load_certificate(data("czmq/ada.key")).unwrap();
    let note = ("note".to_owned(), "with a # and 'quotes'".to_owned());
    assert!(czmq.metadata().contains(&note));
    assert!(
        czmq.metadata()
            .contains(&("empty".to_owned(), String::new()))
    );
}

#[test]
fn the_variations_of_writers_and_of_files_made_by_hand_are_read() {
    for text in [
        "curve\n    public-key = \"{P}\"\n",
        "curve\n    public-key = \"{P}\"",
        "curve\n    public-key = '{P}'\n",
        "curve\n    public-key = {P}\n",
        "curve\n    public-key={P}\n",
        "curve\n    public-key\t=\t{P} \t \n",
        "curve\n    public-key = {P} # comment\n",
        "curve\n    public-key = {P}# comment\n",
        "curve\n    public-key = {P}#\n",
        "curve\n    public-key = \"{P}\" # comment\n",
        "curve\n    public-key = \"{P}\"# \"comment\"\n",
        "curve # comment\n    public-key = \"{P}\"\n",
        "curve  \n\n# comment\n    # \u{e9}\n    public-key = \"{P}\"\n",
        "curve\n\tpublic-key = \"{P}\"\n",
        "curve\n  public-key = \"{P}\"\n",
        "curve\n public-key = \"{P}\"\n",
        "curve\n\t secret-key = {S}\n        public-key = \"{P}\"\n",
        "curve\n    secret-key = {S}\n\tpublic-key = \"{P}\"\n",
        "curve\r\n    public-key = \"{P}\"\r\n",
        "curve\r\n    public-key = {P}\r\n",
        "metadata\r\n\r\n    a = b\r\ncurve\n    public-key = '{P}'\r\n",
        "public-key = \"{P}\"\n",
        "public-key = {P}\nsecret-key = {S}\n",
        "    public-key = \"{P}\"\n",
        "metadata\n    public-key = \"{P}\"\n",
        "metadata\n    a = b\n    public-key = \"{P}\"\n    c = d\n",
        "curve\n    public-key = \"{P}\"\nmetadata\n    a = b\n",
        "secret-key = {S}\ncurve\n    public-key = \"{P}\"\n",
        "metadata\ncurve\npublic-key = {P}\n",
    ] {
        let text = text.replace("{P}", PUBLIC).replace("{S}", SECRET);
        let certificate = load_text(&text);
        assert_eq!(certificate.public_key(), public(), "{text}");
        assert_eq!(
            certificate.key_pair().is_some(),
            text.contains("secret-key"),
            "{text}"
        );
    }
    let mut latin1 = b"# J\xfcrgen\npublic-key = ".to_vec();
    latin1.extend_from_slice(PUBLIC.as_bytes());
    assert_eq!(load_text(latin1).public_key(), public());
}

#[test]
fn a_bare_key_may_hold_and_end_with_hashes() {
    // No key starts with '#': five characters that begin with it exceed 32 bits.
    for (at, hashes) in [(2, "#"), (2, "###"), (37, "###"), (39, "#")] {
        let mut text = PUBLIC.to_owned();
        text.replace_range(at..at + hashes.len(), hashes);
        let key = PublicKey::from_z85(&text).unwrap();
        for tail in ["", " ", " # x", "# x", "#"] {
            let certificate = load_text(format!("public-key = {text}{tail}\n"));
            assert_eq!(certificate.public_key(), key, "{text}{tail}");
        }
    }
}

#[test]
fn metadata_is_read_in_order_with_and_without_quotes() {
    let certificate = load_text(format!(
        "metadata\n\tb = two words # comment\n\ta = \"# \"\n\tempty =\n\tc/d = it's\n\
         \te = ''\n\tf = x=y\ncurve\n\tpublic-key = {PUBLIC}\n"
    ));
    assert_eq!(
        certificate.metadata(),
        owned(&[
            ("b", "two words"),
            ("a", "# "),
            ("empty", ""),
            ("c/d", "it's"),
            ("e", ""),
            ("f", "x=y"),
        ])
    );
}

#[test]
fn a_file_of_exactly_64_kib_is_read() {
    let key = format!("\npublic-key = {PUBLIC}\n");
    let mut text = "#".repeat(65_536 - key.len());
    text.push_str(&key);
    assert_eq!(load_text(&text).public_key(), public());
    text.push('\n');
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &text).unwrap();
    let error = load_certificate(file.path()).unwrap_err();
    let too_large = FileErrorKind::TooLarge { limit: 65_536 };
    assert_eq!(error.reason, CertificateErrorKind::File(too_large));
}

#[test]
fn many_properties_are_read_in_time_that_grows_with_their_number() {
    let mut text = format!("public-key = {PUBLIC}\nmetadata\n");
    for number in 0..8000 {
        text.push_str(&format!(" {number:x}=\n"));
    }
    assert!(text.len() < 65_536);
    assert_eq!(load_text(&text).metadata().len(), 8000);
}

#[test]
fn a_secret_is_never_shown() {
    let certificate = load_text(format!("public-key = {PUBLIC}\nsecret-key = {SECRET}\n"));
    assert!(certificate.key_pair().is_some());
    let shown = format!("{certificate:?} {:?}", certificate.clone().into_public());
    assert!(
        !shown.contains(SECRET) && !shown.contains(&SECRET[..8]),
        "{shown}"
    );
    assert!(certificate.into_public().key_pair().is_none());
}

// Directories.

fn write_public(path: impl AsRef<Path>, seed: u8) -> PublicKey {
    let key = PublicKey::from_bytes([seed; 32]).unwrap();
    fs::write(path, format!("curve\n    public-key = \"{key}\"\n")).unwrap();
    key
}

fn keys(certificates: &[Certificate]) -> Vec<PublicKey> {
    certificates.iter().map(Certificate::public_key).collect()
}

#[test]
fn a_directory_gives_its_good_files_and_reports_the_bad() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let bob = write_public(path("bob.key"), 2);
    let ada = write_public(path("ada.key"), 1);
    write_public(path(".hidden.key"), 3);
    write_public(path("notes.txt"), 4);
    write_public(path("eve.key_secret"), 5);
    fs::create_dir(path("sub")).unwrap();
    write_public(path("sub/inner.key"), 6);
    fs::create_dir(path("dir.key")).unwrap();
    write_public(path("dir.key/inner.key"), 7);
    fs::write(path("bad.key"), "curve\n    public-key = \"short\"\n").unwrap();
    let report = load_certificates(dir.path()).unwrap();
    assert_eq!(keys(&report.certificates), [ada, bob]);
    assert_eq!(report.certificates[0].file(), Some(&*path("ada.key")));
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|(file, error)| {
            (
                file.clone(),
                error.line,
                WithCauses(&error.reason).to_string(),
            )
        })
        .collect();
    assert_eq!(
        problems,
        [
            (
                path("bad.key"),
                Some(2),
                "bad public-key: a key has 40 characters of Z85, not 5".to_owned()
            ),
            (path("dir.key"), None, "is not a regular file".to_owned()),
        ]
    );
    assert_eq!(report.warnings, []);
    let passed_over = [".hidden.key", "eve.key_secret", "notes.txt", "sub"];
    assert_eq!(report.passed_over, passed_over.map(path));
}

#[test]
fn a_renamed_certificate_is_withdrawn_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let alice = write_public(path("alice.key"), 1);
    let bob = write_public(path("bob.key"), 2);
    let report = load_certificates(dir.path()).unwrap();
    assert_eq!(keys(&report.certificates), [alice, bob]);
    assert_eq!(report.passed_over, [""; 0].map(path));
    fs::rename(path("alice.key"), path("alice.key.revoked")).unwrap();
    let report = load_certificates(dir.path()).unwrap();
    assert_eq!(keys(&report.certificates), [bob]);
    assert_eq!(report.passed_over, [path("alice.key.revoked")]);
}

#[test]
fn the_layout_of_czmq_is_a_choice_and_takes_plain_names_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let ada = write_public(path("ada"), 1);
    let key = write_public(path("bob.key"), 2);
    for (name, seed) in [
        ("ada_secret", 3),
        ("eve~", 4),
        ("eve.revoked", 5),
        (".eve", 6),
    ] {
        write_public(path(name), seed);
    }
    fs::write(
        path("carol"),
        format!("curve\n    public-key = {PUBLIC}\n    secret-key = {SECRET}\n"),
    )
    .unwrap();
    fs::create_dir(path("sub")).unwrap();
    let all = [
        ".eve",
        "ada_secret",
        "bob.key",
        "eve.revoked",
        "eve~",
        "sub",
    ];
    let czmq = CertificateDirectory::new(dir.path()).with_layout(Layout::Czmq);
    let report = load_certificates(czmq).unwrap();
    assert_eq!(keys(&report.certificates), [ada]);
    let [(file, error)] = &report.problems[..] else {
        panic!("{:?}", report.problems);
    };
    assert_eq!(
        (file, &error.reason),
        (&path("carol"), &CertificateErrorKind::HoldsSecret)
    );
    assert!(error.to_string().contains("make new keys"), "{error}");
    assert_eq!(report.passed_over, all.map(path));
    // It is never detected.
    let report = load_certificates(dir.path()).unwrap();
    assert_eq!(keys(&report.certificates), [key]);
    assert!(report.passed_over.contains(&path("ada")));
}

#[test]
fn brackets_and_stars_in_a_path_mean_themselves() {
    let dir = tempfile::tempdir().unwrap();
    for (name, seed) in [("keys[ab]", 1), ("keysa", 2), ("keys*", 3), ("keys?", 4)] {
        let inner = dir.path().join(name);
        fs::create_dir(&inner).unwrap();
        let key = write_public(inner.join("[x]*.key"), seed);
        let report = load_certificates(&inner).unwrap();
        assert_eq!(keys(&report.certificates), [key], "{name}");
    }
}

#[test]
fn a_path_that_is_not_a_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = load_certificates(&missing).unwrap_err();
    assert_eq!(error.file, missing);
    assert!(matches!(
        error.reason,
        CertificateErrorKind::Directory(failure) if failure.kind == std::io::ErrorKind::NotFound
    ));
    let expected = format!("directory of certificates {missing:?}: cannot be read");
    assert_eq!(error.to_string(), expected);
    let file = dir.path().join("ada.key");
    write_public(&file, 1);
    let error = load_certificates(&file).unwrap_err();
    assert!(matches!(
        error.reason,
        CertificateErrorKind::Directory(failure) if failure.kind == std::io::ErrorKind::NotADirectory
    ));
    let empty = tempfile::tempdir().unwrap();
    let report = load_certificates(empty.path()).unwrap();
    assert!(report.certificates.is_empty() && report.problems.is_empty());
}

#[test]
fn of_two_files_with_one_key_the_last_by_name_counts_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [("10.key", "old"), ("20.key", "newer"), ("30.key", "newest")] {
        let text = format!("metadata\n    v = {value}\ncurve\n    public-key = {PUBLIC}\n");
        fs::write(dir.path().join(name), text).unwrap();
    }
    let other = write_public(dir.path().join("15.key"), 9);
    let report = load_certificates(dir.path()).unwrap();
    assert!(report.problems.is_empty());
    assert_eq!(keys(&report.certificates), [other, public()]);
    assert_eq!(report.certificates[1].metadata(), owned(&[("v", "newest")]));
    let warning = |file: &str, replaced: &str| CertificateWarning::SameKey {
        file: dir.path().join(file),
        replaced: dir.path().join(replaced),
    };
    assert_eq!(
        report.warnings,
        [warning("20.key", "10.key"), warning("30.key", "20.key")]
    );
}

#[test]
fn secrets_among_public_files_are_checked_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("ada.key"),
        format!("public-key = {PUBLIC}\nsecret-key = {SECRET}\n"),
    )
    .unwrap();
    fs::write(
        dir.path().join("eve.key"),
        format!("public-key = rq:rM>}}U?@Lns47E1%kR.o@n%FcmmsL/@{{H8]yf7\nsecret-key = {SECRET}\n"),
    )
    .unwrap();
    let report = load_certificates(dir.path()).unwrap();
    assert_eq!(keys(&report.certificates), [public()]);
    assert!(report.certificates[0].key_pair().is_none());
    assert_eq!(
        report.problems[0].1.reason,
        CertificateErrorKind::KeysDiffer
    );
    let found = CertificateWarning::SecretInPublic {
        file: dir.path().join("ada.key"),
    };
    assert!(report.warnings.contains(&found), "{:?}", report.warnings);
    assert!(found.to_string().contains("make new keys"), "{found}");
}

#[test]
fn secrets_under_any_name_are_reported_up_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let secret = format!("curve\n    public-key = {PUBLIC}\n    secret-key = {SECRET}\n");
    fs::create_dir(dir.path().join("a.sub")).unwrap();
    write_public(dir.path().join("ada.key"), 1);
    let names = ["ada.key_secret", "b.txt", "key~", ".hidden.key"];
    for name in names {
        fs::write(dir.path().join(name), &secret).unwrap();
    }
    let told = || -> Vec<_> {
        let warnings = load_certificates(dir.path()).unwrap().warnings;
        let files = warnings.into_iter().filter_map(|warning| match warning {
            CertificateWarning::SecretInPublic { file } => Some(file),
            _ => None,
        });
        files.collect()
    };
    let mut expected = names.map(|name| dir.path().join(name));
    expected.sort();
    assert_eq!(told(), expected);
    for number in 0..100 {
        fs::write(dir.path().join(format!("more{number}")), &secret).unwrap();
    }
    // At most 64 files are searched, and one of these is a directory.
    assert_eq!(told().len(), 63);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use crate::unprivileged::{child, chmod, is_child, unprivileged};
    use std::io::ErrorKind;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn denied(reason: &CertificateErrorKind) -> bool {
        matches!(
            reason,
            CertificateErrorKind::File(FileErrorKind::Unreadable(failure))
                | CertificateErrorKind::Directory(failure)
                | CertificateErrorKind::Unwritable(failure)
                if failure.kind == ErrorKind::PermissionDenied
        )
    }

    #[test]
    fn an_unreadable_file_is_reported_and_the_others_load() {
        unprivileged(
            "certificates::unix::an_unreadable_file_is_reported_and_the_others_load",
            || {
                let dir = tempfile::tempdir().unwrap();
                let ada = write_public(dir.path().join("ada.key"), 1);
                write_public(dir.path().join("bob.key"), 2);
                chmod(dir.path().join("bob.key"), 0o000);
                let report = load_certificates(dir.path()).unwrap();
                assert_eq!(keys(&report.certificates), [ada]);
                assert_eq!(report.problems[0].0, dir.path().join("bob.key"));
                assert!(denied(&report.problems[0].1.reason));
            },
        );
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_an_error() {
        unprivileged(
            "certificates::unix::a_directory_that_cannot_be_listed_is_an_error",
            || {
                let dir = tempfile::tempdir().unwrap();
                let ada = write_public(dir.path().join("ada.key"), 1);
                chmod(dir.path(), 0o300);
                let error = load_certificates(dir.path()).unwrap_err();
                assert!(denied(&error.reason), "{error}");
                let certificate = load_certificate(dir.path().join("ada.key")).unwrap();
                assert_eq!(certificate.public_key(), ada);
                chmod(dir.path(), 0o700);
            },
        );
    }

    #[test]
    fn a_directory_that_cannot_be_entered_gives_no_key() {
        unprivileged(
            "certificates::unix::a_directory_that_cannot_be_entered_gives_no_key",
            || {
                let dir = tempfile::tempdir().unwrap();
                write_public(dir.path().join("ada.key"), 1);
                let inner = dir.path().join("inner");
                fs::create_dir(&inner).unwrap();
                write_public(inner.join("bob.key"), 2);
                chmod(dir.path(), 0o600);
                let report = load_certificates(dir.path()).unwrap();
                assert!(report.certificates.is_empty());
                assert!(denied(&report.problems[0].1.reason));
                assert!(denied(&load_certificates(&inner).unwrap_err().reason));
                let error = load_certificate(inner.join("bob.key")).unwrap_err();
                assert!(denied(&error.reason));
                chmod(dir.path(), 0o700);
            },
        );
    }

    #[test]
    fn a_write_without_permission_leaves_no_file() {
        unprivileged(
            "certificates::unix::a_write_without_permission_leaves_no_file",
            || {
                let dir = tempfile::tempdir().unwrap();
                chmod(dir.path(), 0o555);
                let error = create_certificates(dir.path(), "ada", &[]).unwrap_err();
                assert!(denied(&error.reason), "{error}");
                chmod(dir.path(), 0o755);
                assert_eq!(names(dir.path()), [""; 0]);
                let missing = dir.path().join("missing");
                let error = create_certificates(&missing, "ada", &[]).unwrap_err();
                assert!(matches!(
                    error.reason,
                    CertificateErrorKind::Unwritable(failure) if failure.kind == ErrorKind::NotFound
                ));
                assert!(!missing.exists());
            },
        );
    }

    #[test]
    fn whatever_the_umask_the_secret_is_for_its_owner_only() {
        unprivileged(
            "certificates::unix::whatever_the_umask_the_secret_is_for_its_owner_only",
            || {
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join("probe"), "").unwrap();
                assert_eq!(mode(dir.path().join("probe")), 0o666, "umask must be 000");
                let (public, secret) = create_certificates(dir.path(), "ada", &[]).unwrap();
                assert_eq!(mode(public), 0o644);
                assert_eq!(mode(&secret), 0o600);
                assert_eq!(load_certificate(secret).unwrap().warnings(), []);
            },
        );
    }

    #[test]
    fn at_no_moment_is_a_secret_open_to_others() {
        unprivileged(
            "certificates::unix::at_no_moment_is_a_secret_open_to_others",
            || {
                let dir = tempfile::tempdir().unwrap();
                let done = std::sync::atomic::AtomicBool::new(false);
                let seen = std::thread::scope(|scope| {
                    let watcher = scope.spawn(|| {
                        let mut seen = 0;
                        while !done.load(std::sync::atomic::Ordering::Relaxed) {
                            for entry in fs::read_dir(dir.path()).unwrap().flatten() {
                                let Ok(file) = fs::File::open(entry.path()) else {
                                    continue;
                                };
                                let mode = file.metadata().unwrap().mode() & 0o777;
                                let text = std::io::read_to_string(&file).unwrap_or_default();
                                if text.contains("SECRET") {
                                    assert_eq!(mode, 0o600, "{:?}", entry.path());
                                    seen += 1;
                                }
                            }
                        }
                        seen
                    });
                    for number in 0..100 {
                        let name = format!("ada{number}");
                        let (public, secret) = create_certificates(dir.path(), &name, &[]).unwrap();
                        fs::remove_file(public).unwrap();
                        fs::remove_file(secret).unwrap();
                    }
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                    watcher.join().unwrap()
                });
                assert!(seen > 0);
            },
        );
    }

    #[test]
    fn a_killed_writer_leaves_whole_files_only() {
        const NAME: &str = "certificates::unix::a_killed_writer_leaves_whole_files_only";
        if is_child() {
            let dir = std::env::temp_dir();
            for number in 0.. {
                create_certificates(&dir, &format!("ada{number}"), &[]).unwrap();
            }
        }
        for delay in [60, 110, 170] {
            let (mut command, dir) = child(NAME);
            let tmp = dir.path().join("tmp");
            let mut writer = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while names(&tmp).len() < 2 {
                assert!(writer.try_wait().unwrap().is_none(), "the writer ended");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(delay));
            writer.kill().unwrap();
            writer.wait().unwrap();
            let names = names(&tmp);
            let mut secrets = 0;
            for name in names.iter().filter(|name| !name.starts_with('.')) {
                let certificate = load_certificate(tmp.join(name)).unwrap();
                secrets += usize::from(certificate.key_pair().is_some());
                assert_eq!(certificate.key_pair().is_some(), name.ends_with("_secret"));
            }
            let report = load_certificates(&tmp).unwrap();
            assert!(report.problems.is_empty());
            assert!(secrets - report.certificates.len() <= 1, "{names:?}");
            let left = names.iter().filter(|name| name.ends_with(".tmp")).count();
            assert!(left <= 2, "{names:?}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_loaded_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let (_, secret) = create_certificates(dir.path(), "ada", &[]).unwrap();
        let as_key = dir.path().join("copy.key");
        fs::copy(&secret, &as_key).unwrap();
        for loose in [0o644, 0o640, 0o604, 0o620, 0o601] {
            chmod(&secret, loose);
            let certificate = load_certificate(&secret).unwrap();
            assert!(certificate.key_pair().is_some());
            assert_eq!(
                certificate.warnings(),
                [CertificateWarning::LoosePermissions {
                    file: secret.clone(),
                    mode: loose,
                }]
            );
        }
        for tight in [0o600, 0o400, 0o700] {
            chmod(&secret, tight);
            assert_eq!(load_certificate(&secret).unwrap().warnings(), []);
        }
        chmod(&as_key, 0o644);
        let report = load_certificates(dir.path()).unwrap();
        assert!(
            report
                .warnings
                .contains(&CertificateWarning::LoosePermissions {
                    file: as_key,
                    mode: 0o644,
                })
        );
    }

    #[test]
    fn a_public_file_that_others_may_write_to_is_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ada.key");
        write_public(&file, 1);
        for (mode, told) in [(0o666, true), (0o664, true), (0o602, true), (0o644, false)] {
            chmod(&file, mode);
            let file = file.clone();
            let warning = CertificateWarning::WritableByOthers { file, mode };
            let report = load_certificates(dir.path()).unwrap();
            assert_eq!(report.warnings.contains(&warning), told, "{mode:o}");
            assert_eq!(report.certificates.len(), 1);
        }
    }

    #[test]
    fn pipes_sockets_and_devices_are_reported_and_never_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let made = Command::new("mkfifo").arg(path("fifo.key")).status();
        assert!(made.unwrap().success());
        let _listener = UnixListener::bind(path("socket.key")).unwrap();
        symlink("/dev/zero", path("zero.key")).unwrap();
        symlink("/dev/tty", path("tty.key")).unwrap();
        symlink(path("fifo.key"), path("to-fifo.key")).unwrap();
        symlink("loop.key", path("loop.key")).unwrap();
        symlink("nowhere", path("dangling.key")).unwrap();
        let good = write_public(path("zz.key"), 1);
        let (send, receive) = std::sync::mpsc::channel();
        let root = dir.path().to_owned();
        std::thread::spawn(move || send.send(load_certificates(root)));
        let report = receive
            .recv_timeout(Duration::from_secs(30))
            .expect("the load must not hang")
            .unwrap();
        assert_eq!(keys(&report.certificates), [good]);
        let mut problems = report.problems.iter().map(|(file, error)| {
            let name = file.file_name().unwrap().to_str().unwrap();
            (
                name,
                error.reason == CertificateErrorKind::File(FileErrorKind::NotAFile),
            )
        });
        assert!(
            problems
                .by_ref()
                .take(2)
                .eq([("dangling.key", false), ("fifo.key", true),])
        );
        assert_eq!(problems.next(), Some(("loop.key", false)));
        assert_eq!(problems.next(), Some(("socket.key", true)));
        assert_eq!(problems.next(), Some(("to-fifo.key", true)));
        // Where there is no terminal device file, the link dangles.
        assert_eq!(problems.next().unwrap().0, "tty.key");
        assert_eq!(problems.next(), Some(("zero.key", true)));
        assert_eq!(problems.next(), None);
    }

    #[test]
    fn a_file_of_unknown_size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/proc/self/status", dir.path().join("proc.key")).unwrap();
        let report = load_certificates(dir.path()).unwrap();
        assert!(report.certificates.is_empty());
        assert_eq!(report.problems.len(), 1);
    }

    #[test]
    fn links_as_kubernetes_mounts_them_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let version = dir.path().join("..2026_01_01");
        fs::create_dir(&version).unwrap();
        let ada = write_public(version.join("ada.key"), 1);
        symlink("..2026_01_01", dir.path().join("..data")).unwrap();
        symlink("..data/ada.key", dir.path().join("ada.key")).unwrap();
        let report = load_certificates(dir.path()).unwrap();
        assert_eq!(keys(&report.certificates), [ada]);
        assert!(report.problems.is_empty() && report.warnings.is_empty());
        let mounted = dir.path().join("mounted");
        symlink(&version, &mounted).unwrap();
        assert_eq!(
            keys(&load_certificates(mounted).unwrap().certificates),
            [ada]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_name_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"\xff\xfe.key");
        let key = write_public(dir.path().join(name), 1);
        assert_eq!(
            keys(&load_certificates(dir.path()).unwrap().certificates),
            [key]
        );
    }
}

// For all inputs.

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(
        secret in any::<[u8; 32]>(),
        metadata in proptest::collection::vec(("\\PC{0,12}|[a-zA-Z0-9$_@.&+/-]{1,12}", "\\PC{0,40}|[ -~\t]{0,40}"), 0..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut certificate = Certificate::from(KeyPair::from_secret(SecretKey::from_bytes(&secret).unwrap()));
        for (name, value) in &metadata {
            // Metadata that is refused is not written. All other must survive the round trip.
            if let Ok(with) = certificate.clone().with_metadata(name, value) {
                certificate = with;
            }
        }
        let (public_path, secret_path) = certificate.save(dir.path(), "ada").unwrap();
        let public = load_certificate(public_path).unwrap();
        let secret_side = load_certificate(secret_path).unwrap();
        prop_assert_eq!(public.public_key(), certificate.public_key());
        prop_assert!(public.key_pair().is_none());
        prop_assert_eq!(public.metadata(), certificate.metadata());
        prop_assert_eq!(secret_side.metadata(), certificate.metadata());
        prop_assert_eq!(secret_side.key_pair().unwrap().secret_key().expose(), &secret);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        prop_assert!(load_certificate(file.path()).is_err());
    }

    #[test]
    fn a_damaged_secret_certificate_gives_its_own_key_or_none(
        at in 0_usize..400, with in any::<u8>(), kind in 0..3,
    ) {
        let mut bytes = format!(
            "# banner\n\nmetadata\n    name = \"Ada\"\n    note = x # y\ncurve\n    \
             public-key = \"{PUBLIC}\"\n    secret-key = '{SECRET}'\n"
        ).into_bytes();
        let at = at % bytes.len();
        match kind {
            0 => bytes[at] = with,
            1 => bytes.insert(at, with),
            _ => bytes.truncate(at),
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        if let Ok(certificate) = load_certificate(file.path()) {
            prop_assert_eq!(certificate.public_key(), public());
        }
    }
}
