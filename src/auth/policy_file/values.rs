//! How single values of a policy file are read. No error repeats a password.
#![forbid(unsafe_code)]

use crate::access::credentials::MAX_PLAIN_LEN;
use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::password_file::given;
use crate::cert::validity::{Validity, parse};
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;
use toml::value::Datetime;

/// `true`: what `any` must be.
pub(super) fn yes<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    if bool::deserialize(from)? {
        return Ok(());
    }
    let expected = &"true; leave the mechanism out to admit nobody";
    Err(Error::invalid_value(Unexpected::Bool(false), expected))
}

/// Address rules by their texts.
pub(super) fn addresses<'de, D>(from: D) -> Result<Option<Vec<AddressRule>>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Rule(AddressRule);

    impl<'de> Deserialize<'de> for Rule {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let text = String::deserialize(from)?;
            text.parse().map(Self).map_err(Error::custom)
        }
    }

    let rules = Option::<Vec<Rule>>::deserialize(from)?;
    Ok(rules.map(|rules| rules.into_iter().map(|Rule(rule)| rule).collect()))
}

/// Public keys in Z85.
pub(super) fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PublicKey>, D::Error> {
    struct Key(PublicKey);

    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let text = String::deserialize(from)?;
            PublicKey::from_z85(&text).map(Self).map_err(Error::custom)
        }
    }

    let keys = Vec::<Key>::deserialize(from)?;
    Ok(keys.into_iter().map(|Key(key)| key).collect())
}

/// Names and passwords.
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

/// A password that makes an entry of a table.
struct PasswordInput(Password);

impl<'de> Deserialize<'de> for PasswordInput {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = PasswordInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a password in quotes")
            }

            // Borrowed from the file's bytes, which are wiped: no String in between.
            fn visit_str<E: Error>(self, text: &str) -> Result<PasswordInput, E> {
                given(text.as_bytes()).map_err(E::custom)?;
                Ok(PasswordInput(Password::from(text)))
            }
        }

        from.deserialize_str(Text)
    }
}

/// `{ not-before = .., not-after = .. }`.
pub(super) fn validity<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Validity>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Dates {
        not_before: Option<Datetime>,
        not_after: Option<Datetime>,
    }

    let date = |date: Option<Datetime>| -> Result<Option<SystemTime>, D::Error> {
        let Some(date) = date else { return Ok(None) };
        // TOML also has dates without a time, and times without an offset: they are no moment.
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
        return Err(Error::custom("not-after does not lie behind not-before"));
    }
    Ok(Some(validity))
}
