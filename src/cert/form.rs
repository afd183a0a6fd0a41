//! What a certificate's text means, and how it is written.
#![forbid(unsafe_code)]

use crate::cert::problem::{
    BadCertificate, Flaw, KeyField, MAX_FILE_LEN, MAX_NAME_LEN, MAX_WRITTEN_LINE,
};
use crate::cert::zpl::{self, Line};
use crate::crypto::keys::{KeyPair, PublicKey, SecretKey};
use crate::wire::z85;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Characters in a key's Z85 text (RFC 32).
const KEY_LEN: usize = 40;
/// Names that ZAP and ZMTP give a meaning of their own (RFC 27; RFC 37, "Metadata").
const RESERVED_NAMES: [&str; 3] = ["Identity", "Socket-Type", "User-Id"];

const PUBLIC_BANNER: &str = "\
#   ZeroMQ CURVE public certificate, written by zmtp-auth.
#   Hand it to peers on a way where nobody can replace it.

";
const SECRET_BANNER: &str = "\
#   ZeroMQ CURVE SECRET certificate, written by zmtp-auth.
#   Show it to nobody, and leave its permissions as they are.

";

/// The content of a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) keys: Keys,
    /// Names, unique without regard to ASCII case, and values, in order.
    pub(crate) metadata: Vec<(String, String)>,
}

/// A public key, and perhaps its secret.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    Public(PublicKey),
    Pair(KeyPair),
}

impl Content {
    /// Reads the text of a certificate file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let mut parser = Parser::default();
        for line in zpl::lines(bytes) {
            let line = line?;
            parser
                .take(&line)
                .map_err(|reason| Flaw::at(line.number, reason))?;
        }
        parser.finish()
    }

    /// The text of `NAME.key`.
    ///
    /// # Errors
    /// Metadata that cannot be written, or [`BadCertificate::TooLarge`].
    pub(crate) fn render_public(&self) -> Result<Zeroizing<String>, BadCertificate> {
        self.render(PUBLIC_BANNER, None)
    }

    /// The text of `NAME.key_secret`.
    ///
    /// # Errors
    /// [`BadCertificate::NoSecret`], and as [`Content::render_public`].
    pub(crate) fn render_secret(&self) -> Result<Zeroizing<String>, BadCertificate> {
        match &self.keys {
            Keys::Public(_) => Err(BadCertificate::NoSecret),
            Keys::Pair(pair) => self.render(SECRET_BANNER, Some(pair.secret())),
        }
    }

    /// The form that `pyzmq` and `czmq` both read: four blanks, values in double quotes, newlines.
    fn render(
        &self,
        banner: &str,
        secret: Option<&SecretKey>,
    ) -> Result<Zeroizing<String>, BadCertificate> {
        const AROUND_A_VALUE: usize = "     = \"\"\n".len();
        const KEYS_AND_SECTIONS: usize = 256;
        let metadata: usize = self
            .metadata
            .iter()
            .map(|(name, value)| name.len() + AROUND_A_VALUE + value.len())
            .sum();
        // All at once: a text that grew would leave copies of the secret behind.
        let capacity = banner.len() + KEYS_AND_SECTIONS + metadata;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        text.push_str(banner);
        text.push_str("metadata\n");
        for (name, value) in &self.metadata {
            check_writable(name, value)?;
            push_property(&mut text, name, value);
        }
        text.push_str("curve\n");
        let public = self.keys.public().to_z85();
        push_property(&mut text, KeyField::Public.name(), &public);
        if let Some(secret) = secret {
            push_property(&mut text, KeyField::Secret.name(), &secret.to_z85());
        }
        debug_assert!(text.len() <= capacity, "the text must not have grown");
        if text.len() > MAX_FILE_LEN {
            return Err(BadCertificate::TooLarge);
        }
        Ok(text)
    }
}

impl Keys {
    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Public(key) => *key,
            Self::Pair(pair) => pair.public(),
        }
    }
}

fn push_property(text: &mut String, name: &str, value: &str) {
    for part in ["    ", name, " = \"", value, "\"\n"] {
        text.push_str(part);
    }
}

/// Whether a metadata property can be written so that every reader reads it back.
pub(crate) fn check_writable(name: &str, value: &str) -> Result<(), BadCertificate> {
    zpl::check_name(name)?;
    check_metadata_name(name)?;
    if KeyField::of(name).is_some() {
        return Err(BadCertificate::KeyLikeName);
    }
    if value.contains('"') {
        return Err(BadCertificate::ValueQuote);
    }
    check_characters(value)?;
    if "     = \"\"".len() + name.len() + value.len() > MAX_WRITTEN_LINE {
        return Err(BadCertificate::LineTooLong);
    }
    Ok(())
}

/// A metadata name must be able to become a ZAP metadata name (RFC 27, "The Reply"), and must
/// not be one that a lenient reader may take for a key's.
fn check_metadata_name(name: &str) -> Result<(), BadCertificate> {
    if !(1..=MAX_NAME_LEN).contains(&name.len()) {
        return Err(BadCertificate::NameLength);
    }
    if RESERVED_NAMES
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        return Err(BadCertificate::ReservedName);
    }
    check_key_like(name)
}

fn check_key_like(name: &str) -> Result<(), BadCertificate> {
    let key_like = [KeyField::Public, KeyField::Secret]
        .iter()
        .any(|field| name.starts_with(field.name()) && name != field.name());
    if key_like {
        return Err(BadCertificate::KeyLikeName);
    }
    Ok(())
}

fn check_characters(value: &str) -> Result<(), BadCertificate> {
    let strange = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    if value.contains(strange) {
        return Err(BadCertificate::ValueCharacter);
    }
    Ok(())
}

impl KeyField {
    fn of(name: &str) -> Option<Self> {
        [Self::Public, Self::Secret]
            .into_iter()
            .find(|field| field.name() == name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Metadata,
    Curve,
}

/// A property's value and the line it came from.
struct Found<T> {
    line: usize,
    value: T,
}

#[derive(Default)]
struct Parser<'a> {
    section: Option<Section>,
    /// Indentation of the section's first property.
    indent: Option<&'a [u8]>,
    metadata_line: Option<usize>,
    curve_line: Option<usize>,
    public: Option<Found<PublicKey>>,
    secret: Option<Found<SecretKey>>,
    metadata: Vec<(String, String)>,
    /// Lower-cased metadata names and their lines.
    names: BTreeMap<String, usize>,
}

impl<'a> Parser<'a> {
    fn take(&mut self, line: &Line<'a>) -> Result<(), BadCertificate> {
        self.enter(line)?;
        check_key_like(line.name)?;
        // A key counts wherever it stands, as for pyzmq.
        if let Some(field) = KeyField::of(line.name) {
            return self.take_key(field, line);
        }
        if line.indent.is_empty() {
            return self.take_section(line);
        }
        match self.section {
            Some(Section::Metadata) => self.take_metadata(line),
            Some(Section::Curve) | None if line.value.is_absent() => Err(BadCertificate::TooDeep),
            // Ignoring it would be dangerous: it may be meant to restrict the key.
            Some(Section::Curve) | None => Err(BadCertificate::MisplacedProperty),
        }
    }

    /// RFC 4, "Specification": indentation makes the hierarchy, four blanks a level. A
    /// certificate has two levels, so any indentation is read as the second, unless it shows
    /// that a third is meant.
    fn enter(&mut self, line: &Line<'a>) -> Result<(), BadCertificate> {
        if line.indent.is_empty() {
            self.section = None;
            self.indent = None;
            return Ok(());
        }
        let first = *self.indent.get_or_insert(line.indent);
        if line.indent.len() > first.len() && line.indent.starts_with(first) {
            return Err(BadCertificate::TooDeep);
        }
        Ok(())
    }

    fn take_section(&mut self, line: &Line<'_>) -> Result<(), BadCertificate> {
        let (section, seen) = match line.name {
            "metadata" => (Section::Metadata, &mut self.metadata_line),
            "curve" => (Section::Curve, &mut self.curve_line),
            _ if line.value.is_absent() => return Err(BadCertificate::UnknownSection),
            _ => return Err(BadCertificate::MisplacedProperty),
        };
        if !line.value.is_absent() {
            return Err(BadCertificate::SectionWithValue);
        }
        if let Some(first) = seen.replace(line.number) {
            return Err(BadCertificate::Duplicate { first });
        }
        self.section = Some(section);
        Ok(())
    }

    fn take_metadata(&mut self, line: &Line<'_>) -> Result<(), BadCertificate> {
        check_metadata_name(line.name)?;
        let value = line.value.text().ok_or(BadCertificate::ValueMissing)?;
        let value = std::str::from_utf8(value).map_err(|_| BadCertificate::NotUtf8)?;
        check_characters(value)?;
        let folded = line.name.to_ascii_lowercase();
        if let Some(first) = self.names.insert(folded, line.number) {
            return Err(BadCertificate::Duplicate { first });
        }
        self.metadata.push((line.name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn take_key(&mut self, field: KeyField, line: &Line<'_>) -> Result<(), BadCertificate> {
        let text = line
            .value
            .word(KEY_LEN, BadCertificate::TextAfterKey(field))?
            .ok_or(BadCertificate::KeyMissing(field))?;
        let bad = |problem| BadCertificate::Key { field, problem };
        let bytes = z85::decode_key(text).map_err(|problem| bad(problem.into()))?;
        // What czmq writes where it has no key.
        if bool::from(bytes.ct_eq(&[0; 32])) {
            return Err(BadCertificate::NullKey(field));
        }
        let line = line.number;
        let first = match field {
            KeyField::Public => {
                let value = PublicKey::from_bytes(*bytes).map_err(bad)?;
                let found = self.public.replace(Found { line, value });
                found.map(|found| found.line)
            }
            KeyField::Secret => {
                let value = SecretKey::from_bytes(&bytes).map_err(bad)?;
                let found = self.secret.replace(Found { line, value });
                found.map(|found| found.line)
            }
        };
        first.map_or(Ok(()), |first| Err(BadCertificate::Duplicate { first }))
    }

    fn finish(self) -> Result<Content, Flaw> {
        let public = self.public.ok_or(BadCertificate::NoPublicKey)?;
        let keys = match self.secret {
            None => Keys::Public(public.value),
            Some(secret) => {
                let pair = KeyPair::from_secret(secret.value);
                if pair.public() != public.value {
                    return Err(Flaw::at(secret.line, BadCertificate::KeysDiffer));
                }
                Keys::Pair(pair)
            }
        };
        Ok(Content {
            keys,
            metadata: self.metadata,
        })
    }
}
