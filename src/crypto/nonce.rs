//! Nonces of CurveZMQ (RFC 26): a text prefix, followed by a counter or by random bytes.
#![forbid(unsafe_code)]

use crate::error::{CryptoError, Error, LocalError};

/// A nonce of XSalsa20 or XChaCha20, 24 bytes.
pub(crate) type Nonce = [u8; 24];

/// Prefix of HELLO's nonce.
pub(crate) const HELLO: &[u8; 16] = b"CurveZMQHELLO---";
/// Prefix of INITIATE's nonce.
pub(crate) const INITIATE: &[u8; 16] = b"CurveZMQINITIATE";
/// Prefix of READY's nonce.
pub(crate) const READY: &[u8; 16] = b"CurveZMQREADY---";
/// Prefix of the nonces of a client's MESSAGEs.
pub(crate) const CLIENT_MESSAGE: &[u8; 16] = b"CurveZMQMESSAGEC";
/// Prefix of the nonces of a server's MESSAGEs.
pub(crate) const SERVER_MESSAGE: &[u8; 16] = b"CurveZMQMESSAGES";
/// Prefix of WELCOME's nonce.
pub(crate) const WELCOME: &[u8; 8] = b"WELCOME-";
/// Prefix of the cookie's nonce.
pub(crate) const COOKIE: &[u8; 8] = b"COOKIE--";
/// Prefix of the vouch's nonce.
pub(crate) const VOUCH: &[u8; 8] = b"VOUCH---";

/// A nonce that ends with an 8-byte big-endian counter (RFC 26: "short nonce").
#[must_use]
pub(crate) fn counted(prefix: &[u8; 16], counter: u64) -> Nonce {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// A nonce that ends with 16 random bytes (RFC 26: "long nonce").
#[must_use]
pub(crate) fn random(prefix: &[u8; 8], bytes: &[u8; 16]) -> Nonce {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(prefix);
    nonce[8..].copy_from_slice(bytes);
    nonce
}

/// A nonce's first 16 bytes, which go into the key, and its last 8, which go into the stream
/// (XSalsa20).
#[must_use]
pub(crate) fn split(nonce: &Nonce) -> ([u8; 16], [u8; 8]) {
    let (mut prefix, mut rest) = ([0; 16], [0; 8]);
    prefix.copy_from_slice(&nonce[..16]);
    rest.copy_from_slice(&nonce[16..]);
    (prefix, rest)
}

/// The counter of what we send. Each value is used once, starting with 1.
#[derive(Debug)]
pub(crate) struct SendCounter(u64);

impl SendCounter {
    /// Continues after `last`.
    #[must_use]
    pub(crate) const fn after(last: u64) -> Self {
        Self(last)
    }

    /// The next value.
    ///
    /// # Errors
    /// Returns [`LocalError::NonceExhausted`] if the next value would be 2^64 - 1.
    pub(crate) fn next(&mut self) -> Result<u64, LocalError> {
        match self.0.checked_add(1) {
            Some(next) if next != u64::MAX => {
                self.0 = next;
                Ok(next)
            }
            _ => Err(LocalError::NonceExhausted),
        }
    }
}

/// The counter of what the peer sends. Only greater values are accepted: RFC 26 allows gaps, but no
/// repeats.
#[derive(Debug, Clone)]
pub(crate) struct ReceiveCounter(u64);

impl ReceiveCounter {
    /// Expects values greater than `last`.
    #[must_use]
    pub(crate) const fn after(last: u64) -> Self {
        Self(last)
    }

    /// Checks that `counter` may be used now. It changes nothing, because a frame that an attacker
    /// injects must not advance the counter.
    ///
    /// # Errors
    /// Returns [`CryptoError::ReplayedNonce`] if `counter` is not greater than the last one, and
    /// [`CryptoError::PeerNonceExhausted`] if it is 2^64 - 1.
    pub(crate) fn check(&self, counter: u64) -> Result<(), Error> {
        if counter <= self.0 {
            return Err(CryptoError::ReplayedNonce.into());
        }
        if counter == u64::MAX {
            return Err(CryptoError::PeerNonceExhausted.into());
        }
        Ok(())
    }

    /// Records a checked counter after its box has opened.
    pub(crate) const fn commit(&mut self, counter: u64) {
        self.0 = counter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_start_at_one_and_stop_before_the_last_value() {
        let mut counter = SendCounter::after(0);
        assert_eq!(counter.next(), Ok(1));
        assert_eq!(counter.next(), Ok(2));
        let mut counter = SendCounter::after(u64::MAX - 2);
        assert_eq!(counter.next(), Ok(u64::MAX - 1));
        assert_eq!(counter.next(), Err(LocalError::NonceExhausted));
        assert_eq!(counter.next(), Err(LocalError::NonceExhausted));
    }

    #[test]
    fn theirs_may_skip_but_never_repeat() {
        let mut counter = ReceiveCounter::after(0);
        assert!(counter.check(0).is_err());
        counter.check(5).unwrap();
        counter.check(1).unwrap();
        counter.commit(5);
        assert_eq!(counter.check(5), Err(CryptoError::ReplayedNonce.into()));
        assert_eq!(counter.check(4), Err(CryptoError::ReplayedNonce.into()));
        assert_eq!(
            counter.check(u64::MAX),
            Err(CryptoError::PeerNonceExhausted.into())
        );
        counter.check(6).unwrap();
    }

    #[test]
    fn prefix_and_counter_stand_where_rfc_26_puts_them() {
        let nonce = counted(HELLO, 0x0102);
        assert_eq!(&nonce[..16], HELLO);
        assert_eq!(nonce[16..], [0, 0, 0, 0, 0, 0, 1, 2]);
        let nonce = random(VOUCH, &[7; 16]);
        assert_eq!(&nonce[..8], VOUCH);
        assert_eq!(nonce[8..], [7; 16]);
    }
}
