//! Names of users as user ids of keys.
#![forbid(unsafe_code)]

use crate::crypto::keys::PublicKey;
use thiserror::Error;

/// Maximum length in bytes of the name of a key's user. 255, as for every user id in a ZAP reply.
const MAX_USER_NAME_LEN: usize = 255;

/// The user id of NULL peers, and of everyone else who has no name.
const NO_NAME: &[u8] = b"anonymous";

/// Why a name cannot be the user id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UserNameError {
    /// The name is empty. An empty user id stands for no user.
    #[error("an empty name cannot be a user id: leave the user out")]
    Empty,
    /// The name has more than 255 bytes.
    #[error("a user id has at most {MAX_USER_NAME_LEN} bytes")]
    TooLong,
    /// The name is `anonymous`, the user id of peers without a name.
    #[error("\"anonymous\" is the user id of peers without a name")]
    Anonymous,
    /// The name is another key in Z85, which is the default user id of that key.
    #[error("the name is another key, and the default user id of that key")]
    OtherKey,
}

/// Checks that `name` can be the user id of the holders of `key`, and cannot be mistaken for the user
/// id of a peer without a name.
///
/// # Errors
/// Returns [`UserNameError`] if it cannot.
pub(crate) fn check_user_name(name: &[u8], key: &PublicKey) -> Result<(), UserNameError> {
    if name.is_empty() {
        return Err(UserNameError::Empty);
    }
    if name.len() > MAX_USER_NAME_LEN {
        return Err(UserNameError::TooLong);
    }
    if name == NO_NAME {
        return Err(UserNameError::Anonymous);
    }
    let named = std::str::from_utf8(name).ok().map(PublicKey::from_z85);
    match named {
        Some(Ok(named)) if named != *key => Err(UserNameError::OtherKey),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_meaning() {
        let key = PublicKey::from_bytes([7; 32]).unwrap();
        let other = PublicKey::from_bytes([8; 32]).unwrap().to_z85();
        let long = "a".repeat(256);
        for (name, checked) in [
            ("alice", Ok(())),
            ("Anonymous", Ok(())),
            (&long[1..], Ok(())),
            (&key.to_z85(), Ok(())),
            ("", Err(UserNameError::Empty)),
            (&long, Err(UserNameError::TooLong)),
            ("anonymous", Err(UserNameError::Anonymous)),
            (&other, Err(UserNameError::OtherKey)),
        ] {
            assert_eq!(check_user_name(name.as_bytes(), &key), checked, "{name}");
        }
        assert_eq!(check_user_name(b"\xFF", &key), Ok(()));
    }
}
