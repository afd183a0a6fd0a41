//! From the lines of a certificate to its content.
//!
//! Keys are read strictly. Metadata that cannot be used is dropped, because `pyzmq` loads such keys
//! too. The exception is metadata that may have been meant to restrict the key.
#![forbid(unsafe_code)]

use crate::cert::form::{Content, Dropped, Keys, check_characters, check_key_like, check_reserved};
use crate::cert::problem::{CertificateErrorKind, Flaw, KeyField, MAX_NAME_LEN};
use crate::cert::validity::{may_be_a_validity, swallows_a_validity};
use crate::cert::zpl::{self, Line, Value};
use crate::crypto::keys::{KeyPair, PublicKey, SecretKey};
use crate::wire::z85;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use subtle::ConstantTimeEq;

/// Characters in a key's Z85 text (RFC 32).
const KEY_LEN: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Metadata,
    Curve,
    /// A section that we do not use.
    Other,
}

/// A property's value and its line.
struct Found<T> {
    line: usize,
    value: T,
}

/// Reads the text of a certificate file.
pub(crate) fn parse(text: &[u8]) -> Result<Content, Flaw> {
    let mut parser = Parser::default();
    for line in zpl::lines(text) {
        let number = line.number;
        let taken = parser.take(line);
        taken.map_err(|reason| Flaw::at(number, reason))?;
    }
    parser.finish()
}

#[derive(Default)]
struct Parser<'a> {
    section: Option<Section>,
    /// Indentation of the section's first property.
    indent: Option<&'a [u8]>,
    public: Option<Found<PublicKey>>,
    secret: Option<Found<SecretKey>>,
    /// `None` if it was dropped since.
    metadata: Vec<Option<(String, String)>>,
    /// Lower-case metadata names, with the line of the first occurrence and the place in
    /// `metadata`.
    names: BTreeMap<String, (usize, Option<usize>)>,
    dropped: Dropped,
    restriction: Option<Flaw>,
}

impl<'a> Parser<'a> {
    fn take(&mut self, line: zpl::Found<'a>) -> Result<(), CertificateErrorKind> {
        match line.property {
            Ok(property) => self.take_property(&property, line.text),
            Err(reason) => self.take_broken(line.number, line.text, reason),
        }
    }

    fn take_property(&mut self, line: &Line<'a>, text: &[u8]) -> Result<(), CertificateErrorKind> {
        let is_too_deep = self.enter(line);
        check_key_like(line.name)?;
        // A key counts in every place, as for pyzmq, except in places where readers disagree.
        if let Some(field) = KeyField::of(line.name) {
            return match is_too_deep {
                true => Err(CertificateErrorKind::TooDeep),
                false => self.take_key(field, line),
            };
        }
        let taken = match self.section {
            _ if line.indent.is_empty() => self.take_section(line),
            _ if is_too_deep => Err(CertificateErrorKind::TooDeep),
            Some(Section::Metadata) => self.take_metadata(line),
            _ if line.value.is_absent() => Err(CertificateErrorKind::TooDeep),
            _ => Err(CertificateErrorKind::MisplacedProperty),
        };
        if let Err(reason) = taken {
            self.drop_line(line.number, reason, may_be_a_validity(text));
        }
        Ok(())
    }

    /// Handles a line that is not a property. In metadata it is dropped, and also where it
    /// restricts the key, which is then never valid. Anywhere else, or if it may be a key, the file
    /// is bad.
    fn take_broken(
        &mut self,
        number: usize,
        text: &[u8],
        reason: CertificateErrorKind,
    ) -> Result<(), CertificateErrorKind> {
        let is_metadata = matches!(self.section, Some(Section::Metadata | Section::Other))
            && zpl::blanks(text) > 0;
        let restricts = may_be_a_validity(text);
        let letters = text.iter().filter(|byte| byte.is_ascii_alphanumeric());
        let letters = letters.map(u8::to_ascii_lowercase).take(9);
        let is_key = [b"publickey", b"secretkey"]
            .iter()
            .any(|key| letters.clone().eq(key.iter().copied()));
        // Some readers take the text after a carriage return for a line of its own.
        let is_unsafe = is_key || reason == CertificateErrorKind::CarriageReturn;
        if is_unsafe || !(is_metadata || restricts) {
            return Err(reason);
        }
        self.drop_line(number, reason, restricts);
        Ok(())
    }

    fn drop_line(&mut self, number: usize, reason: CertificateErrorKind, restricts: bool) {
        if restricts && self.restriction.is_none() {
            let reason = CertificateErrorKind::Restriction(Box::new(reason.clone()));
            self.restriction = Some(Flaw::at(number, reason));
        }
        self.dropped.push(number, reason);
    }

    /// Whether the line is deeper than a property of a section.
    ///
    /// RFC 4, "Specification": indentation of four blanks makes each level. A certificate has two
    /// levels, so any indentation counts as the second, unless it shows that a third is meant.
    fn enter(&mut self, line: &Line<'a>) -> bool {
        if line.indent.is_empty() {
            self.section = None;
            self.indent = None;
            return false;
        }
        let first = *self.indent.get_or_insert(line.indent);
        line.indent.len() > first.len() && line.indent.starts_with(first)
    }

    fn take_section(&mut self, line: &Line<'_>) -> Result<(), CertificateErrorKind> {
        let (section, taken) = match (line.name, line.value.is_absent()) {
            ("metadata", true) => (Section::Metadata, Ok(())),
            ("curve", true) => (Section::Curve, Ok(())),
            ("metadata" | "curve", false) => {
                (Section::Other, Err(CertificateErrorKind::SectionWithValue))
            }
            (_, true) => (Section::Other, Err(CertificateErrorKind::UnknownSection)),
            (_, false) => return Err(CertificateErrorKind::MisplacedProperty),
        };
        self.section = Some(section);
        taken
    }

    fn take_metadata(&mut self, line: &Line<'_>) -> Result<(), CertificateErrorKind> {
        if !(1..=MAX_NAME_LEN).contains(&line.name.len()) {
            return Err(CertificateErrorKind::NameLength);
        }
        let place = match self.names.entry(line.name.to_ascii_lowercase()) {
            Entry::Vacant(vacant) => vacant.insert((line.number, None)),
            // No reader can tell which of them is meant.
            Entry::Occupied(mut known) => {
                let (first, place) = known.get_mut();
                if let Some(property) = place.take().and_then(|at| self.metadata.get_mut(at)) {
                    *property = None;
                }
                return Err(CertificateErrorKind::Duplicate { first: *first });
            }
        };
        check_reserved(line.name)?;
        let value = line
            .value
            .text()
            .ok_or(CertificateErrorKind::ValueMissing)?;
        let value = std::str::from_utf8(value).map_err(|_| CertificateErrorKind::NotUtf8)?;
        check_characters(value)?;
        if matches!(line.value, Value::Bare(_)) && swallows_a_validity(value) {
            return Err(CertificateErrorKind::TwoProperties);
        }
        place.1 = Some(self.metadata.len());
        let property = (line.name.to_owned(), value.to_owned());
        self.metadata.push(Some(property));
        Ok(())
    }

    fn take_key(&mut self, field: KeyField, line: &Line<'_>) -> Result<(), CertificateErrorKind> {
        let text = line
            .value
            .word(KEY_LEN, CertificateErrorKind::TextAfterKey(field))?
            .ok_or(CertificateErrorKind::KeyMissing(field))?;
        let bad = |problem| CertificateErrorKind::Key { field, problem };
        let bytes = z85::decode_key(text).map_err(|problem| bad(problem.into()))?;
        // czmq writes this where it has no key.
        if bool::from(bytes.ct_eq(&[0; 32])) {
            return Err(CertificateErrorKind::NullKey(field));
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
        first.map_or(Ok(()), |first| {
            Err(CertificateErrorKind::Duplicate { first })
        })
    }

    fn finish(self) -> Result<Content, Flaw> {
        let public = self.public.ok_or(CertificateErrorKind::NoPublicKey)?;
        let keys = match self.secret {
            None => Keys::Public(public.value),
            Some(secret) => {
                let pair = KeyPair::from_secret(secret.value);
                if pair.public_key() != public.value {
                    return Err(Flaw::at(secret.line, CertificateErrorKind::KeysDiffer));
                }
                Keys::Pair(pair)
            }
        };
        Ok(Content {
            keys,
            metadata: self.metadata.into_iter().flatten().collect(),
            dropped: self.dropped,
            restriction: self.restriction,
        })
    }
}
