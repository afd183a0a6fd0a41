//! Keys as arguments name them: by file, or a public one by its text.
#![forbid(unsafe_code)]

use crate::cli::exit::Failure;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str;
use zeroize::Zeroizing;
use zmtp_auth::cert::Certificate;
use zmtp_auth::{KeyPair, PublicKey, SecretKey};

/// Characters of a key in Z85.
const KEY_LEN: usize = 40;

/// Our key pair: a certificate file with the secret key in it, as `cert new` writes it, or a file
/// with nothing but the secret key, as `keygen --secret` does.
pub(crate) fn load_key_pair(path: &Path) -> Result<KeyPair, Failure> {
    if let Some(secret) = bare_secret(path) {
        return Ok(KeyPair::from_secret(secret));
    }
    let certificate = Certificate::load(path)?;
    certificate.key_pair().cloned().ok_or_else(|| {
        let hint = "give the secret certificate, NAME.key_secret";
        Failure::usage(format_args!("{path:?} holds no secret key: {hint}"))
    })
}

/// The secret key of a file that holds nothing else. What cannot be read is for the certificate
/// loader to complain of.
fn bare_secret(path: &Path) -> Option<SecretKey> {
    if !path.is_file() {
        return None;
    }
    // One byte more than a key with a line end shows that there is more.
    let mut content = Zeroizing::new([0; KEY_LEN + 3]);
    let mut file = File::open(path).ok()?;
    let mut len = 0;
    while len < content.len() {
        match file.read(&mut content[len..]).ok()? {
            0 => break,
            count => len += count,
        }
    }
    let line = str::from_utf8(&content[..len]).ok()?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    SecretKey::from_z85(line.strip_suffix('\r').unwrap_or(line)).ok()
}

/// A public key: its 40 characters, or the certificate file that holds it.
pub(crate) fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = PublicKey::from_z85(text) {
        return Ok(key);
    }
    match Certificate::load(text) {
        Ok(certificate) => Ok(certificate.public_key()),
        Err(_) if !Path::new(text).exists() => Err(Failure::usage(format_args!(
            "{text:?} is neither a key of {KEY_LEN} characters nor a file"
        ))),
        Err(error) => Err(error.into()),
    }
}
