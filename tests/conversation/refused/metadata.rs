//! Metadata that must be refused, in whatever command or box it stands.

use crate::conversation::derive::Scene;
use crate::conversation::forge::property;

/// Metadata that its receiver must refuse in every command: slug, word, description, bytes.
pub fn broken(scene: &Scene<'_>) -> Vec<(&'static str, &'static str, String, Vec<u8>)> {
    let type_name = &scene.base.side(scene.forger()).socket_type;
    let socket_type = property(b"Socket-Type", type_name.as_bytes());
    let identity = property(b"Identity", b"me");
    let after_type = |bytes: &[u8]| [&socket_type, bytes].concat();
    [
        (
            "metadata-empty",
            "no-socket-type",
            "no property at all",
            vec![],
        ),
        (
            "no-socket-type",
            "no-socket-type",
            "only an identity",
            identity.clone(),
        ),
        (
            "socket-type-twice",
            "duplicate",
            "Socket-Type twice",
            after_type(&socket_type),
        ),
        (
            "name-twice-in-two-cases",
            "duplicate",
            "Identity and identity",
            after_type(&[identity, property(b"identity", b"you")].concat()),
        ),
        (
            "name-empty",
            "empty-name",
            "a property without a name",
            after_type(&property(b"", b"value")),
        ),
        (
            "name-control",
            "name-bytes",
            "a property name with an escape character",
            after_type(&property(b"X-\x1b", b"value")),
        ),
        (
            "name-not-ascii",
            "name-bytes",
            "a property name that is not ASCII",
            after_type(&property("X-é".as_bytes(), b"value")),
        ),
        (
            "name-truncated",
            "truncated",
            "metadata that ends within a name",
            after_type(b"\x08Ident"),
        ),
        (
            "length-truncated",
            "truncated",
            "metadata that ends within a value's length",
            after_type(b"\x08Identity\0\0\0"),
        ),
        (
            "value-truncated",
            "truncated",
            "metadata that ends within a value",
            after_type(b"\x08Identity\0\0\0\x03me"),
        ),
        (
            "value-lying",
            "truncated",
            "a value that claims 2^32 - 1 bytes",
            after_type(b"\x08Identity\xff\xff\xff\xffme"),
        ),
        (
            "identity-256",
            "identity-length",
            "an identity of 256 bytes",
            after_type(&property(b"Identity", &[0x41; 256])),
        ),
        (
            "socket-type-unknown",
            "other-socket-type",
            "a socket type that does not exist",
            property(b"Socket-Type", b"PUPIL"),
        ),
        (
            "socket-type-case",
            "other-socket-type",
            "a socket type in lower case",
            property(b"Socket-Type", type_name.to_lowercase().as_bytes()),
        ),
        (
            "socket-type-unfit",
            "other-socket-type",
            "a socket type that the other side's does not talk to",
            property(b"Socket-Type", b"SUB"),
        ),
    ]
    .map(|(slug, word, about, bytes)| (slug, word, format!("metadata: {about}"), bytes))
    .into()
}
