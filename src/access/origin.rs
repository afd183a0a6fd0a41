//! What counts as one address where peers compete for something scarce.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use std::net::IpAddr;

/// An address as a competitor. An IPv6 address stands for its /64, which is what one subscriber
/// gets; a v4-mapped one for its IPv4 address. Many users may sit behind the one local address, a
/// proxy's for example, so that most rules exempt it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// Loopback or ipc.
    Local,
    /// An IPv4 address.
    V4([u8; 4]),
    /// The /64 of an IPv6 address.
    V6Block([u8; 8]),
    /// Whatever has no known form, together.
    Other,
}

impl Origin {
    pub(crate) fn of(address: &PeerAddress) -> Self {
        if address.is_local() {
            return Self::Local;
        }
        match address.canonical_ip() {
            Some(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6Block([a, b, c, d, e, f, g, h])
            }
            None => Self::Other,
        }
    }
}
