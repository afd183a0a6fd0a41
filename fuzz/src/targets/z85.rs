//! Z85 (RFC 32), text to bytes and bytes to text.
#![forbid(unsafe_code)]

use zmtp_auth::wire::z85;
use zmtp_auth::{KeyError, PublicKey, SecretKey};

/// `data` is tried as text and as bytes.
pub fn run(data: &[u8]) {
    match z85::decode(data) {
        Ok(bytes) => {
            assert_eq!(bytes.len() / 4 * 5, data.len());
            let text = z85::encode(&bytes).expect("the length fits");
            assert_eq!(text.as_bytes(), data, "two texts for the same bytes");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match z85::encode(data) {
        Ok(text) => assert_eq!(z85::decode(text.as_bytes()).expect("our own text"), data),
        Err(_) => assert_ne!(data.len() % 4, 0),
    }
    let key = z85::decode_key(data).map(|key| *key);
    let is_key = data.len() == 40 && z85::decode(data).is_ok();
    assert_eq!(key.is_ok(), is_key);
    if let Ok(text) = std::str::from_utf8(data) {
        let public = PublicKey::from_z85(text).map(|key| *key.as_bytes());
        let secret = SecretKey::from_z85(text).map(|key| *key.expose());
        match (public, secret) {
            // Some keys in Z85 are not usable.
            (Err(KeyError::LowOrder | KeyError::NotCanonical), _)
            | (_, Err(KeyError::NoSecret)) => {
                assert!(key.is_ok());
            }
            (public, secret) => {
                assert_eq!(public, key.map_err(KeyError::from));
                assert_eq!(secret, key.map_err(KeyError::from));
            }
        }
        if let Ok(key) = PublicKey::from_z85(text) {
            assert_eq!(key.to_z85(), text);
        }
    }
}
