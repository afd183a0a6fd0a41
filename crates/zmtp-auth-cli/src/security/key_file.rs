//! Reads keys from files, pipes and variables, and public keys also from arguments. Every form that
//! `keygen` and `cert new` write is accepted.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::security::argument_source::{self, ArgumentSource};
use serde::Deserialize;
use std::path::Path;
use std::str;
use zmtp_auth::cert::{Certificate, CertificateWarning};
use zmtp_auth::{KeyPair, PublicKey, SecretKey};

/// The length of a key in Z85, in characters.
const KEY_LEN: usize = 40;
/// The most bytes that are read for a key: 64 KiB, the limit of a certificate file.
const MAX_LEN: usize = 64 * 1024;
/// The words that `keygen` prints before a key.
const PUBLIC: &str = "public-key";
const SECRET: &str = "secret-key";

/// The forms in which a key is written.
#[derive(Debug)]
enum Form<'a> {
    /// A key only.
    Bare(&'a str),
    /// The output of `keygen`.
    Printed(Printed<'a>),
    /// A bare key with something after it; the text says what.
    Wrong(&'static str),
    /// Anything else.
    Certificate,
}

/// The output of `keygen --json`. It borrows, so that no secret is copied.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Printed<'a> {
    public_key: Option<&'a str>,
    secret_key: Option<&'a str>,
}

impl<'a> Form<'a> {
    /// Finds the form. A line that starts with `#` is a comment: no key starts so, since the value of
    /// its first five characters would exceed 32 bits.
    fn of(content: &'a [u8]) -> Self {
        let Ok(text) = str::from_utf8(content) else {
            return Self::Certificate;
        };
        if let Ok(printed) = serde_json::from_str(text) {
            return Self::Printed(printed);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut printed = Printed::default();
        while let Some(line) = lines.next() {
            let mut words = line.split_ascii_whitespace();
            let word = words.next().unwrap_or_default();
            let place = match word {
                PUBLIC => &mut printed.public_key,
                SECRET => &mut printed.secret_key,
                _ if printed.public_key.is_some() || printed.secret_key.is_some() => {
                    return Self::Certificate;
                }
                key => {
                    let is_key = key.len() == KEY_LEN;
                    let is_end = words.next().is_none_or(|word| word.starts_with('#'));
                    return match (is_key, is_end, lines.next()) {
                        (_, true, None) => Self::Bare(key),
                        (true, false, _) => Self::Wrong("text follows the key"),
                        (true, true, Some(_)) => Self::Wrong("a line follows the one with the key"),
                        (false, ..) => Self::Certificate,
                    };
                }
            };
            let key = words.next().filter(|key| key.len() == KEY_LEN);
            let is_end = words.next().is_none_or(|word| word.starts_with('#'));
            match key {
                Some(key) if is_end && place.is_none() => *place = Some(key),
                _ => return Self::Certificate,
            }
        }
        match printed.public_key.or(printed.secret_key) {
            Some(_) => Self::Printed(printed),
            None => Self::Certificate,
        }
    }
}

/// Reads a key pair from a secret certificate or from the output of `keygen`.
pub(crate) fn load_key_pair(from: &Path) -> Result<KeyPair, Failure> {
    if !from.exists()
        && from
            .to_str()
            .is_some_and(|text| SecretKey::from_z85(text).is_ok())
    {
        return Err(Failure::usage(
            "a secret key is not taken as an argument, since every process on this machine can read \
             arguments: name a file, standard input (-) or a variable (env:NAME)",
        ));
    }
    let given = argument_source::read(from, MAX_LEN)?;
    let bad = |error: &dyn std::fmt::Display| Failure::new(format_args!("key {from:?}: {error}"));
    let secret = |key: &str| -> Result<KeyPair, Failure> {
        let secret = SecretKey::from_z85(key).map_err(|error| bad(&error))?;
        Ok(KeyPair::from_secret(secret))
    };
    let pair = match Form::of(&given.content) {
        Form::Bare(key) => secret(key)?,
        Form::Printed(Printed {
            public_key,
            secret_key: Some(key),
        }) => {
            let pair = secret(key)?;
            if public_key.is_some_and(|public| pair.public_key().to_z85() != public) {
                return Err(bad(&"the public key does not belong to the secret key"));
            }
            pair
        }
        Form::Printed(_) => return Err(no_secret(from)),
        Form::Wrong(why) => return Err(bad(&why)),
        Form::Certificate => {
            let certificate = parse(&given, from)?;
            let pair = certificate.key_pair().cloned();
            pair.ok_or_else(|| no_secret(from))?
        }
    };
    if let Some(mode) = given.mode.filter(|mode| mode & 0o077 != 0) {
        let file = from.to_owned();
        warn(&CertificateWarning::LoosePermissions { file, mode });
    }
    Ok(pair)
}

fn no_secret(from: &Path) -> Failure {
    let hint = "give the secret certificate, NAME.key_secret";
    Failure::usage(format_args!("{from:?} holds no secret key: {hint}"))
}

fn parse(given: &ArgumentSource, from: &Path) -> Result<Certificate, Failure> {
    let certificate = Certificate::parse(&given.content, from)?;
    for warning in certificate.warnings() {
        warn(warning);
    }
    Ok(certificate)
}

/// Reads a certificate from a file, standard input or a variable.
pub(crate) fn load_certificate(from: &Path) -> Result<Certificate, Failure> {
    if argument_source::is_lasting(from) {
        return Ok(Certificate::load(from)?);
    }
    Ok(Certificate::parse(
        &argument_source::read(from, MAX_LEN)?.content,
        from,
    )?)
}

fn warn(warning: &CertificateWarning) {
    tracing::warn!("{warning}");
}

/// A public key: the argument itself, or the content of what it names.
pub(crate) fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let of_text = PublicKey::from_z85(text);
    let from = Path::new(text);
    match of_text {
        Ok(key) => return Ok(key),
        Err(error) if text.len() == KEY_LEN && !from.exists() => {
            return Err(Failure::usage(format_args!(
                "{text:?} is not a key: {error}"
            )));
        }
        Err(_) if argument_source::is_lasting(from) && !from.exists() => {
            return Err(Failure::usage(format_args!(
                "{text:?} is neither a key of {KEY_LEN} characters nor a file"
            )));
        }
        Err(_) => {}
    }
    let given = argument_source::read(from, MAX_LEN)?;
    let bad = |error: &dyn std::fmt::Display| Failure::new(format_args!("key {from:?}: {error}"));
    let (key, holds_secret) = match Form::of(&given.content) {
        Form::Bare(key) => {
            if given.mode.is_some_and(|mode| mode & 0o077 == 0) {
                tracing::warn!(
                    "{from:?} is used as a public key, but only its owner can read the file: if it \
                     is a secret key, the handshake will fail"
                );
            }
            (PublicKey::from_z85(key), false)
        }
        Form::Printed(Printed {
            public_key: Some(key),
            secret_key,
        }) => (PublicKey::from_z85(key), secret_key.is_some()),
        Form::Printed(_) => return Err(bad(&"it holds a secret key and no public key")),
        Form::Wrong(why) => return Err(bad(&why)),
        Form::Certificate => {
            let certificate = parse(&given, from)?;
            (
                Ok(certificate.public_key()),
                certificate.key_pair().is_some(),
            )
        }
    };
    if holds_secret {
        let file = from.to_owned();
        warn(&CertificateWarning::SecretInPublic { file });
    }
    key.map_err(|error| bad(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    const OTHER: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

    fn form(text: &str) -> String {
        let text = text.replace("{K}", KEY).replace("{O}", OTHER);
        let shown = match Form::of(text.as_bytes()) {
            Form::Bare(key) => format!("bare {key}"),
            Form::Printed(printed) => format!(
                "{} {}",
                printed.public_key.unwrap_or("-"),
                printed.secret_key.unwrap_or("-")
            ),
            Form::Wrong(why) => why.to_owned(),
            Form::Certificate => "certificate".to_owned(),
        };
        shown.replace(KEY, "{K}").replace(OTHER, "{O}")
    }

    #[test]
    fn each_form_of_keys_is_told_from_the_others() {
        for (text, expected) in [
            ("{K}", "bare {K}"),
            ("{K}\n", "bare {K}"),
            ("\u{feff}{K}\r\n", "bare {K}"),
            ("\n\n  {K} \t\n \n", "bare {K}"),
            ("# ours\n{K} # since May\n# end", "bare {K}"),
            ("short", "bare short"),
            ("{K}{K}", "bare {K}{K}"),
            ("{K} {O}", "text follows the key"),
            ("{K}\n{O}\n", "a line follows the one with the key"),
            ("public-key {K}\nsecret-key {O}\n", "{K} {O}"),
            (
                "# both\nsecret-key {O} # mine\n\npublic-key  {K}",
                "{K} {O}",
            ),
            ("public-key {K}\n", "{K} -"),
            ("secret-key {O}\n", "- {O}"),
            (
                "{\"public_key\":\"{K}\",\"secret_key\":\"{O}\"}\n",
                "{K} {O}",
            ),
            ("{\"public_key\":\"{K}\"}", "{K} -"),
            ("public-key {K}\npublic-key {K}\n", "certificate"),
            ("public-key {K}\n{O}\n", "certificate"),
            ("public-key = \"{K}\"", "certificate"),
            ("public-key = {K}", "certificate"),
            ("curve\n    public-key = \"{K}\"", "certificate"),
            ("", "certificate"),
            ("# nothing", "certificate"),
        ] {
            assert_eq!(form(text), expected, "{text}");
        }
    }
}
