//! Certificate files: what loads is written and loaded again, and errors show no secret.
#![forbid(unsafe_code)]

use crate::targets::file::Scratch;
use zmtp_auth::cert::{Certificate, CertificateWarning, load_certificates};

/// All of `data` is the content of a file.
pub fn run(data: &[u8]) {
    Scratch::with(|scratch| {
        let path = scratch.write("input.key", data);
        let loaded = match Certificate::load(&path) {
            Ok(loaded) => loaded,
            Err(error) => {
                let shown = format!("{error} {error:?}");
                let shows_secret = secret_text(data).is_some_and(|secret| shown.contains(secret));
                assert!(!shows_secret, "an error shows a secret");
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
                let report = load_certificates(scratch.path()).expect("a good directory");
                assert_eq!((report.certificates.len(), report.problems.len()), (0, 1));
                return;
            }
        };
        let drops_a_limit = loaded.warnings().iter().any(|warning| match warning {
            CertificateWarning::Dropped { lines, .. } => {
                lines.iter().any(|(number, _)| holds_a_limit(data, *number))
            }
            _ => false,
        });
        assert!(
            !drops_a_limit || loaded.validity().is_err(),
            "a line that limits the key is only dropped"
        );
        if let Some(pair) = loaded.key_pair() {
            let secret = pair.secret_key().to_z85();
            // An author who also writes the secret into the metadata has published it.
            let occurrences = data
                .windows(secret.len())
                .filter(|window| *window == secret.as_bytes());
            let shows_secret = format!("{loaded:?}").contains(&*secret);
            assert!(
                !shows_secret || occurrences.count() > 1,
                "Debug shows a secret"
            );
        }
        let saved = match loaded.key_pair() {
            Some(_) => loaded
                .save(scratch.path(), "copy")
                .map(|(_, secret)| secret),
            None => loaded.save_public(scratch.path(), "copy"),
        };
        if let Ok(saved) = saved {
            let again = Certificate::load(saved).expect("what was written");
            assert_eq!(again.public_key(), loaded.public_key());
            assert_eq!(again.metadata(), loaded.metadata());
            assert_eq!(again.key_pair().is_some(), loaded.key_pair().is_some());
        }
        scratch.clear(&["copy.key", "copy.key_secret"]);
    });
}

/// Whether the line contains `not-before` or `not-after`, with anything around and inside it.
fn holds_a_limit(data: &[u8], number: usize) -> bool {
    let line = data.split(|&byte| byte == b'\n').nth(number - 1);
    let text = String::from_utf8_lossy(line.unwrap_or_default()).to_ascii_lowercase();
    let letters = text.replace(|c: char| !c.is_alphanumeric() && c != '\u{fffd}', "");
    letters.contains("notbefore") || letters.contains("notafter")
}

/// The text after `secret-key`, if it has the length of a key.
fn secret_text(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let (_, behind) = text.split_once("secret-key")?;
    let value = behind.trim_start_matches([' ', '\t', '=', '"', '\'']);
    value.get(..40)
}
