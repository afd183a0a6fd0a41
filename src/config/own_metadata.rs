//! The metadata that a socket sends.
#![forbid(unsafe_code)]

use crate::config::config_error::ConfigError;
use crate::wire::metadata::{IDENTITY, MAX_IDENTITY_LEN, Metadata, SOCKET_TYPE};
use crate::wire::socket_type::SocketType;
use bytes::Bytes;

/// The metadata in the order in which libzmq sends it: `Socket-Type`, then `Identity` for the types
/// that send one, then `properties`, which are sorted by name.
pub(crate) fn own_metadata(
    socket_type: SocketType,
    identity: Option<Bytes>,
    properties: &[(String, Bytes)],
) -> Result<Metadata, ConfigError> {
    let mut metadata = Metadata::new();
    metadata.push(SOCKET_TYPE, socket_type.name())?;
    if socket_type.sends_identity() {
        let identity = identity.unwrap_or_default();
        if identity.len() > MAX_IDENTITY_LEN {
            return Err(ConfigError::IdentityTooLong(identity.len()));
        }
        metadata.push(IDENTITY, identity)?;
    } else if identity.is_some() {
        return Err(ConfigError::IdentityNotSent(socket_type));
    }
    for (name, value) in properties {
        if !name.starts_with("X-") {
            return Err(ConfigError::PropertyPrefix(name.clone()));
        }
        metadata.push(name, value.clone())?;
    }
    Ok(metadata)
}
