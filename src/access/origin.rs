//! The unit by which addresses compete for scarce resources.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use std::net::IpAddr;

/// An address as far as it competes with others. An IPv6 address counts as its /64, because one
/// subscriber gets a whole /64. A v4-mapped address counts as its IPv4 address. All local peers
/// share one origin: many users may connect through it, behind a proxy for example, so most
/// limits exempt it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// Loopback or ipc.
    Local,
    /// An IPv4 address.
    V4([u8; 4]),
    /// The /64 of an IPv6 address.
    V6Block([u8; 8]),
    /// All addresses of no known form, together.
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
