//! The content of a certificate, and its text form.
#![forbid(unsafe_code)]

use crate::cert::problem::{
    CertificateErrorKind, Flaw, KeyField, MAX_FILE_LEN, MAX_NAME_LEN, MAX_WRITTEN_LINE,
};
use crate::cert::zpl;
use crate::crypto::keys::{KeyPair, PublicKey, SecretKey};
use crate::secret_file::FileErrorKind;
use zeroize::Zeroizing;

/// Names with a meaning in ZAP and ZMTP (RFC 27; RFC 37, "Metadata").
const RESERVED_NAMES: [&str; 3] = ["Identity", "Socket-Type", "User-Id"];

const PUBLIC_BANNER: &str = "\
#   ZeroMQ CURVE public certificate, written by zmtp-auth.
#   Give it to peers, in a way that keeps others from replacing it.

";
const SECRET_BANNER: &str = "\
#   ZeroMQ CURVE SECRET certificate, written by zmtp-auth.
#   Keep it secret, and leave its permissions as they are.

";

/// The content of a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) keys: Keys,
    /// Names and values, in order. Names are unique without regard to ASCII case.
    pub(crate) metadata: Vec<(String, String)>,
    /// Lines of its file that were dropped.
    pub(crate) dropped: Dropped,
    /// The first dropped line that may have been meant to restrict the key. The certificate is then
    /// never valid.
    pub(crate) restriction: Option<Flaw>,
}

/// Dropped lines, each with its reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dropped {
    /// The first ones.
    pub(crate) lines: Vec<(usize, CertificateErrorKind)>,
    /// How many more there are.
    pub(crate) more: usize,
}

impl Dropped {
    /// Most lines of one certificate that are listed. 16: enough for the owner to see what is
    /// wrong, and a file of 30,000 bad lines costs no more than one of 16.
    const MAX_NAMED: usize = 16;

    pub(crate) fn push(&mut self, line: usize, reason: CertificateErrorKind) {
        if self.lines.len() < Self::MAX_NAMED {
            self.lines.push((line, reason));
        } else {
            self.more += 1;
        }
    }
}

impl From<Keys> for Content {
    fn from(keys: Keys) -> Self {
        Self {
            keys,
            metadata: Vec::new(),
            dropped: Dropped::default(),
            restriction: None,
        }
    }
}

/// A public key, optionally with its secret key.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    Public(PublicKey),
    Pair(KeyPair),
}

impl Content {
    /// The text of `NAME.key`.
    ///
    /// # Errors
    /// Returns the errors of [`check_writable`] if metadata cannot be written, and
    /// [`FileErrorKind::TooLarge`] if the text is too long.
    pub(crate) fn render_public(&self) -> Result<Zeroizing<String>, CertificateErrorKind> {
        self.render(PUBLIC_BANNER, None)
    }

    /// The text of `NAME.key_secret`.
    ///
    /// # Errors
    /// Returns [`CertificateErrorKind::NoSecret`] if there is no secret key, and the errors of
    /// [`Content::render_public`].
    pub(crate) fn render_secret(&self) -> Result<Zeroizing<String>, CertificateErrorKind> {
        match &self.keys {
            Keys::Public(_) => Err(CertificateErrorKind::NoSecret),
            Keys::Pair(pair) => self.render(SECRET_BANNER, Some(pair.secret_key())),
        }
    }

    /// Writes the form that `pyzmq` and `czmq` both read: four blanks, values in double quotes,
    /// newlines.
    fn render(
        &self,
        banner: &str,
        secret: Option<&SecretKey>,
    ) -> Result<Zeroizing<String>, CertificateErrorKind> {
        // Without the dropped line, the written key would be valid without a limit.
        if let Some(flaw) = &self.restriction {
            return Err(flaw.reason.clone());
        }
        const AROUND_A_VALUE: usize = "     = \"\"\n".len();
        const KEYS_AND_SECTIONS: usize = 256;
        let metadata: usize = self
            .metadata
            .iter()
            .map(|(name, value)| name.len() + AROUND_A_VALUE + value.len())
            .sum();
        // The buffer is allocated at once, because a buffer that grows leaves copies of the secret
        // key behind.
        let capacity = banner.len() + KEYS_AND_SECTIONS + metadata;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        text.push_str(banner);
        text.push_str("metadata\n");
        for (name, value) in &self.metadata {
            check_writable(name, value)?;
            push_property(&mut text, name, value);
        }
        text.push_str("curve\n");
        let public = self.keys.public_key().to_z85();
        push_property(&mut text, KeyField::Public.name(), &public);
        if let Some(secret) = secret {
            push_property(&mut text, KeyField::Secret.name(), &secret.to_z85());
        }
        debug_assert!(text.len() <= capacity, "the text must not have grown");
        if text.len() > MAX_FILE_LEN {
            return Err(FileErrorKind::TooLarge {
                limit: MAX_FILE_LEN,
            }
            .into());
        }
        Ok(text)
    }
}

impl Keys {
    pub(crate) fn public_key(&self) -> PublicKey {
        match self {
            Self::Public(key) => *key,
            Self::Pair(pair) => pair.public_key(),
        }
    }
}

fn push_property(text: &mut String, name: &str, value: &str) {
    for part in ["    ", name, " = \"", value, "\"\n"] {
        text.push_str(part);
    }
}

/// Checks that a metadata property can be written so that every reader reads it back.
pub(crate) fn check_writable(name: &str, value: &str) -> Result<(), CertificateErrorKind> {
    zpl::check_name(name)?;
    check_metadata_name(name)?;
    if KeyField::of(name).is_some() {
        return Err(CertificateErrorKind::KeyLikeName);
    }
    if value.contains('"') {
        return Err(CertificateErrorKind::ValueQuote);
    }
    check_characters(value)?;
    if "     = \"\"".len() + name.len() + value.len() > MAX_WRITTEN_LINE {
        return Err(CertificateErrorKind::LineTooLong);
    }
    Ok(())
}

/// Checks that a metadata name can become a ZAP metadata name (RFC 27, "The Reply"), and that a
/// lenient reader cannot take it for the name of a key.
fn check_metadata_name(name: &str) -> Result<(), CertificateErrorKind> {
    if !(1..=MAX_NAME_LEN).contains(&name.len()) {
        return Err(CertificateErrorKind::NameLength);
    }
    check_reserved(name)?;
    check_key_like(name)
}

pub(crate) fn check_reserved(name: &str) -> Result<(), CertificateErrorKind> {
    let mut reserved = RESERVED_NAMES.iter();
    if reserved.any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(CertificateErrorKind::ReservedName);
    }
    Ok(())
}

pub(crate) fn check_key_like(name: &str) -> Result<(), CertificateErrorKind> {
    let folded = name.to_ascii_lowercase();
    let key_like = [KeyField::Public, KeyField::Secret]
        .iter()
        .any(|field| folded.starts_with(field.name()) && name != field.name());
    if key_like {
        return Err(CertificateErrorKind::KeyLikeName);
    }
    Ok(())
}

pub(crate) fn check_characters(value: &str) -> Result<(), CertificateErrorKind> {
    let strange = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    if value.contains(strange) {
        return Err(CertificateErrorKind::ValueCharacter);
    }
    Ok(())
}

impl KeyField {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Public, Self::Secret]
            .into_iter()
            .find(|field| field.name() == name)
    }
}
