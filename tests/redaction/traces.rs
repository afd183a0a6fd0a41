//! The secrets of this test, and every form in which one could be printed.

use bytes::Bytes;
use crypto_secretbox::{Kdf, XSalsa20Poly1305};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zmtp_auth::wire::z85;
use zmtp_auth::{KeyPair, SecretKey};

pub const CLIENT: &[u8; 32] = b"Kq7vXzW3pLr9TbN5mYc2JhG8dFs4QwZk";
pub const SERVER: &[u8; 32] = b"Bx4nRtH8vQm2WjZ6kPc9LdS3fGy7TqXw";
pub const PASSWORD: &[u8] = b"Zw9#kQ2!vX7_tR4$nM6%hJ3&";
/// The random bytes that each side draws for its keys.
pub const CLIENT_RANDOM: &[u8; 32] = b"Vt3kXq8mZr5wNp2hJc7yLb4gSd9fQvKx";
pub const SERVER_RANDOM: &[u8; 32] = b"Hn6wQx9tKz2vMr7pJb4cYd8gLs3fTqWk";

/// Pieces of every secret in every form. No output may contain one.
pub struct Traces(Vec<(&'static str, String)>);

impl Traces {
    pub fn of_all_secrets() -> Self {
        let public = |secret: &[u8; 32]| x25519(*secret, X25519_BASEPOINT_BYTES);
        let hello = x25519(*CLIENT_RANDOM, public(SERVER));
        let traffic = x25519(*CLIENT_RANDOM, public(SERVER_RANDOM));
        let derived =
            |shared: [u8; 32]| XSalsa20Poly1305::kdf(&shared.into(), &Default::default()).to_vec();
        let mut traces = Vec::new();
        for (name, secret) in [
            ("c", CLIENT.to_vec()),
            ("s", SERVER.to_vec()),
            ("c'", CLIENT_RANDOM.to_vec()),
            ("s' and the cookie key", SERVER_RANDOM.to_vec()),
            ("the password", PASSWORD.to_vec()),
            ("C'->S", derived(hello)),
            ("C'->S'", derived(traffic)),
        ] {
            // Four bytes from the beginning, the middle and the end, since even a part of a secret
            // must not show.
            let middle = secret.len() / 2;
            for part in [
                &secret[..4],
                &secret[middle..middle + 4],
                &secret[secret.len() - 4..],
            ] {
                traces.extend(writings(part).map(|writing| (name, writing)));
            }
            if let Ok(text) = z85::encode(&secret[..secret.len() & !3]) {
                traces.push((name, text[..10].to_owned()));
                traces.push((name, text[text.len() - 10..].to_owned()));
            }
        }
        Self(traces)
    }

    #[track_caller]
    pub fn assert_absent(&self, what: &str, text: &str) {
        // Pretty-printed lists have one number on a line.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (secret, trace) in &self.0 {
            assert!(
                !text.contains(trace),
                "{what} shows {secret} as {trace}: {text}"
            );
        }
    }
}

fn writings(part: &[u8]) -> impl Iterator<Item = String> {
    let list = |number: &dyn Fn(&u8) -> String, between: &str| {
        part.iter().map(number).collect::<Vec<_>>().join(between)
    };
    [
        part.escape_ascii().to_string(),
        String::from_utf8_lossy(part).into_owned(),
        list(&|byte| format!("{byte}"), ", "),
        list(&|byte| format!("{byte:x}"), ", "),
        list(&|byte| format!("{byte:X}"), ", "),
        list(&|byte| format!("{byte:#x}"), ", "),
        list(&|byte| format!("{byte:02x}"), ""),
        list(&|byte| format!("{byte:02X}"), ""),
        list(&|byte| format!("{byte:02x}"), ":"),
        list(&|byte| format!("{byte:02x}"), " "),
    ]
    .into_iter()
}

#[test]
fn the_search_for_traces_finds_every_writing() {
    let keys = KeyPair::from_secret(SecretKey::from_bytes(SERVER).unwrap());
    let traces = Traces::of_all_secrets();
    for text in [
        String::from_utf8_lossy(PASSWORD).into_owned(),
        format!("{PASSWORD:?}"),
        format!("{PASSWORD:#?}"),
        format!("{PASSWORD:x?}"),
        format!("{PASSWORD:#X?}").to_lowercase(),
        format!("{:?}", Bytes::from_static(PASSWORD)),
        SecretKey::from_bytes(SERVER).unwrap().to_z85().to_string(),
        keys.secret_key()
            .expose()
            .map(|byte| format!("{byte:02x}"))
            .concat(),
    ] {
        let found = std::panic::catch_unwind(|| traces.assert_absent("it", &text));
        assert!(found.is_err(), "{text}");
    }
    traces.assert_absent("it", &format!("{:?}", keys.public_key()));
}
