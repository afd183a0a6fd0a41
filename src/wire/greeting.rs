//! The 64-byte greeting (RFC 37, "Greeting" and "Version Negotiation").
#![forbid(unsafe_code)]

use crate::error::Incompatible;
use crate::printable::printable;

/// Bytes in a greeting.
pub const GREETING_LEN: usize = 64;

/// Bytes of the greeting that show which version a peer speaks: the signature and the major
/// version.
pub const VERSION_LEN: usize = 11;

/// A mechanism's name as in the greeting: 20 bytes, padded with zeros.
pub type MechanismName = [u8; 20];

const SIGNATURE_FIRST: u8 = 0xFF;
const SIGNATURE_LAST: u8 = 0x7F;
const MAJOR: u8 = 3;
const MINOR: u8 = 1;

/// Pads a mechanism name of at most 20 bytes.
#[must_use]
pub const fn mechanism_name(name: &str) -> MechanismName {
    let mut padded = [0; 20];
    let (padded_prefix, _) = padded.split_at_mut(name.len());
    padded_prefix.copy_from_slice(name.as_bytes());
    padded
}

/// The content of a peer's greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Greeting {
    /// Major version, 3 or more.
    pub major: u8,
    /// Minor version: 1 for RFC 37, 0 for RFC 23.
    pub minor: u8,
    /// The mechanism's name.
    pub mechanism: MechanismName,
    /// The as-server byte. Nothing depends on it, because libzmq always sends 0.
    pub as_server: u8,
}

impl Greeting {
    /// Writes our greeting: version 3.1, padding and filler zero (RFC 37, "Greeting").
    #[must_use]
    pub fn encode(mechanism: MechanismName, as_server: bool) -> [u8; GREETING_LEN] {
        Self::encode_minor(MINOR, mechanism, as_server)
    }

    /// As [`Greeting::encode`], for another minor version: 0 is RFC 23.
    #[must_use]
    pub fn encode_minor(
        minor: u8,
        mechanism: MechanismName,
        as_server: bool,
    ) -> [u8; GREETING_LEN] {
        let mut bytes = [0; GREETING_LEN];
        bytes[0] = SIGNATURE_FIRST;
        bytes[9] = SIGNATURE_LAST;
        bytes[10] = MAJOR;
        bytes[11] = minor;
        bytes[12..32].copy_from_slice(&mechanism);
        bytes[32] = u8::from(as_server);
        bytes
    }

    /// Parses the bytes received so far. `Ok(None)` means that they are good but incomplete. An
    /// older peer is refused as soon as its bytes show it, because it may never send 64 bytes.
    ///
    /// # Errors
    /// Returns [`Incompatible::NotZmtp3`] if the bytes are not a ZMTP 3 signature, and
    /// [`Incompatible::OldVersion`] if the major version is below 3.
    pub fn parse(received: &[u8]) -> Result<Option<Self>, Incompatible> {
        // RFC 37, "Version Negotiation": a ZMTP 1 peer starts with a length. Bit 0 of byte 9
        // tells a signature from an old 8-byte length that happens to begin with 0xFF.
        if received
            .first()
            .is_some_and(|&first| first != SIGNATURE_FIRST)
        {
            return Err(Incompatible::NotZmtp3);
        }
        if received.get(9).is_some_and(|&last| last & 1 == 0) {
            return Err(Incompatible::NotZmtp3);
        }
        if let Some(&revision) = received.get(10)
            && revision < MAJOR
        {
            return Err(old_version(revision));
        }
        let Some(bytes) = received.first_chunk::<GREETING_LEN>() else {
            return Ok(None);
        };
        let mut mechanism = [0; 20];
        mechanism.copy_from_slice(&bytes[12..32]);
        Ok(Some(Self {
            major: bytes[10],
            minor: bytes[11],
            mechanism,
            as_server: bytes[32],
        }))
    }

    /// Checks that the peer's mechanism is exactly ours in all 20 bytes (RFC 37, "Authentication
    /// and Confidentiality").
    ///
    /// # Errors
    /// Returns [`Incompatible::OldVersion`] if the version is below 3, and
    /// [`Incompatible::Mechanism`] if the mechanism differs.
    pub fn require(&self, ours: &'static str) -> Result<(), Incompatible> {
        if self.major < MAJOR {
            return Err(old_version(self.major));
        }
        if self.mechanism != mechanism_name(ours) {
            let padding = self
                .mechanism
                .iter()
                .rev()
                .take_while(|&&byte| byte == 0)
                .count();
            let peer = printable(&self.mechanism[..20 - padding]);
            return Err(Incompatible::Mechanism { peer, ours });
        }
        Ok(())
    }

    /// Whether the peer speaks ZMTP 3.0 (RFC 23). Its subscriptions are then messages, and we send
    /// it no PING.
    #[must_use]
    pub fn is_zmtp_3_0(&self) -> bool {
        self.major == 3 && self.minor == 0
    }
}

/// RFC 23 and 37, "Version Negotiation": before ZMTP 3 the byte is a revision. 0 is ZMTP 1, and 1 and
/// 2 are ZMTP 2.0 and 2.1.
const fn old_version(revision: u8) -> Incompatible {
    let major = if revision == 0 { 1 } else { 2 };
    Incompatible::OldVersion { major }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_parses_at_its_last_byte_and_not_before() {
        let bytes = Greeting::encode(mechanism_name("CURVE"), true);
        for len in 0..GREETING_LEN {
            assert_eq!(Greeting::parse(&bytes[..len]), Ok(None), "{len}");
        }
        let greeting = Greeting::parse(&bytes).unwrap().unwrap();
        assert_eq!((greeting.major, greeting.minor), (3, 1));
        assert_eq!(greeting.require("CURVE"), Ok(()));
    }

    #[test]
    fn any_padding_minor_as_server_and_filler_is_accepted() {
        let mut bytes = Greeting::encode(mechanism_name("NULL"), false);
        bytes[1..9].fill(0xA5);
        bytes[9] = 0x01;
        bytes[11] = 0xFE;
        bytes[32..].fill(0x77);
        let greeting = Greeting::parse(&bytes).unwrap().unwrap();
        assert_eq!(greeting.require("NULL"), Ok(()));
        bytes[10] = 4;
        assert!(Greeting::parse(&bytes).unwrap().is_some());
    }

    #[test]
    fn older_peers_are_refused_at_the_byte_that_shows_it() {
        assert_eq!(Greeting::parse(&[0x01]), Err(Incompatible::NotZmtp3));
        let mut v1 = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7E];
        assert_eq!(Greeting::parse(&v1[..9]), Ok(None));
        assert_eq!(Greeting::parse(&v1), Err(Incompatible::NotZmtp3));
        v1[9] = 0x7F;
        for (revision, major) in [(0, 1), (1, 2), (2, 2)] {
            let bytes = [&v1[..], &[revision]].concat();
            assert_eq!(
                Greeting::parse(&bytes),
                Err(Incompatible::OldVersion { major })
            );
        }
    }

    #[test]
    fn every_byte_of_the_mechanism_counts() {
        let bytes = Greeting::encode(mechanism_name("NULL"), false);
        for at in 12..32 {
            let mut changed = bytes;
            changed[at] ^= 1;
            let greeting = Greeting::parse(&changed).unwrap().unwrap();
            assert!(
                matches!(
                    greeting.require("NULL"),
                    Err(Incompatible::Mechanism { .. })
                ),
                "{at}"
            );
        }
    }
}
