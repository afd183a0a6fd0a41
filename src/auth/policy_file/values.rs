//! Parsing of single values of a policy file. No error repeats a password.
#![forbid(unsafe_code)]

use crate::access::credentials::MAX_PLAIN_LEN;
use crate::access::topics::TopicPermissions;

use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::curve::row::CurveKey;
use crate::auth::policy::password_file::password_input;
use crate::cert::validity::{Validity, parse};

use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;
use toml::value::Datetime;

/// Parses the value of `any`, which must be `true`.
pub(super) fn only_true<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    if bool::deserialize(from)? {
        return Ok(());
    }
    let expected = &"true; leave the mechanism out to admit no peer";
    Err(Error::invalid_value(Unexpected::Bool(false), expected))
}

/// Parses a table of names and passwords.
pub(super) fn users<'de, D>(from: D) -> Result<BTreeMap<String, Password>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Users;

    impl<'de> Visitor<'de> for Users {
        type Value = BTreeMap<String, Password>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names with their passwords")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut users = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if name.len() > MAX_PLAIN_LEN {
                    let problem = format_args!("the name is longer than {MAX_PLAIN_LEN} bytes");
                    return Err(Error::custom(problem));
                }
                let PasswordInput(password) = map.next_value()?;
                users.insert(name, password);
            }
            Ok(users)
        }
    }

    from.deserialize_map(Users)
}

/// A checked password.
struct PasswordInput(Password);

impl<'de> Deserialize<'de> for PasswordInput {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = PasswordInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a password in quotes")
            }

            // The text is borrowed from the file's bytes, which are wiped. A `String` would not be.
            fn visit_str<E: Error>(self, text: &str) -> Result<PasswordInput, E> {
                password_input(text.as_bytes()).map_err(E::custom)?;
                Ok(PasswordInput(Password::from(text)))
            }
        }

        from.deserialize_str(Text)
    }
}

/// Parses a list of keys, each with or without what is said about it.
pub(super) fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<CurveKey>, D::Error> {
    let rows = Vec::<Row>::deserialize(from)?;
    Ok(rows.into_iter().map(|Row(row)| row).collect())
}

/// A checked row.
struct Row(CurveKey);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            key: PublicKey,
            user: Option<String>,
            #[serde(default)]
            metadata: BTreeMap<String, String>,
            from: Option<Vec<AddressRule>>,
        }

        struct KeyOrTable;

        impl<'de> Visitor<'de> for KeyOrTable {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key in Z85, or a table with a key")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Row, E> {
                let key = PublicKey::from_z85(text).map_err(E::custom)?;
                Ok(Row(key.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Row, A::Error> {
                let parts = Parts::deserialize(MapAccessDeserializer::new(map))?;
                let mut row = CurveKey {
                    user: parts.user.map(Bytes::from),
                    from: parts.from,
                    ..CurveKey::new(parts.key)
                };
                for (name, value) in parts.metadata {
                    row = row.with_metadata(&name, value).map_err(Error::custom)?;
                }
                row.check().map_err(Error::custom)?;
                Ok(Row(row))
            }
        }

        from.deserialize_any(KeyOrTable)
    }
}

/// Parses a list of prefixes of topics.
pub(super) fn prefixes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let prefixes = Vec::<String>::deserialize(from)?;
    let checked = TopicPermissions::none().with_subscribe(&prefixes);
    checked.map_err(Error::custom)?;
    Ok(prefixes)
}

/// Parses `{ not-before = .., not-after = .. }`.
pub(super) fn validity<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Validity>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Dates {
        not_before: Option<Datetime>,
        not_after: Option<Datetime>,
    }

    let date = |date: Option<Datetime>| -> Result<Option<SystemTime>, D::Error> {
        let Some(date) = date else { return Ok(None) };
        // TOML also allows dates without a time, and times without an offset. These are ambiguous.
        let moment = parse(&date.to_string());
        let needed = || Error::custom("a date with time and offset, such as 2027-01-31T12:00:00Z");
        moment.map(Some).ok_or_else(needed)
    };
    let dates = Dates::deserialize(from)?;
    let validity = Validity {
        not_before: date(dates.not_before)?,
        not_after: date(dates.not_after)?,
    };
    if validity.is_empty() {
        return Err(Error::custom("not-after is not later than not-before"));
    }
    Ok(Some(validity))
}
