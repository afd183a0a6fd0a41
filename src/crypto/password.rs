//! Passwords: wiped on drop, never shown, compared in constant time.
#![forbid(unsafe_code)]

use std::fmt;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A password, as bytes. It is wiped on drop, and `Debug` shows nothing of it, not even its length.
///
/// There is no `PartialEq`, on purpose: use [`Password::ct_eq`], whose time depends only on the
/// lengths.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(Box<[u8]>);

impl Password {
    /// Copies the bytes. The caller wipes the original; `From<String>` and `From<Vec<u8>>` wipe
    /// theirs.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The bytes. Do not copy them into anything that is not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Compares without revealing where two passwords of equal length differ.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&[u8]> for Password {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for Password {
    /// Copies the bytes, and wipes `bytes` with all its capacity.
    fn from(bytes: Vec<u8>) -> Self {
        // Taking over the buffer would have to shrink it, which may leave a copy behind.
        let bytes = Zeroizing::new(bytes);
        Self::new(&bytes[..])
    }
}

impl From<String> for Password {
    /// Copies the bytes, and wipes `text` with all its capacity.
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Password::from("hunter2")), "Password(..)");
    }

    #[test]
    fn equal_only_if_equal() {
        let password = Password::from("secret");
        assert!(bool::from(password.ct_eq(&Password::from("secret"))));
        assert!(!bool::from(password.ct_eq(&Password::from("secreT"))));
        assert!(!bool::from(password.ct_eq(&Password::from("secre"))));
    }

    #[test]
    fn every_conversion_takes_the_same_bytes() {
        for password in [
            Password::new("secret"),
            "secret".into(),
            b"secret"[..].into(),
            "secret".to_owned().into(),
            b"secret".to_vec().into(),
        ] {
            assert_eq!(password.expose(), b"secret");
        }
    }

    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_where_passwords_of_one_length_differ() {
        use crate::timing::{assert_same_time, of_class};
        let own = Password::from("correct horse battery staple");
        assert_same_time(
            "passwords, first or last byte",
            100_000,
            |class, _| {
                Password::from(of_class(
                    class,
                    "Correct horse battery staple",
                    "correct horse battery staplE",
                ))
            },
            |given| bool::from(own.ct_eq(given)),
        );
    }
}
