//! Blocks of IP addresses in CIDR notation: 10.0.0.0/8, 2001:db8::/32.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses a block into its address and the length of its prefix in bits.
pub(crate) fn parse_block(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let prefix = u8::try_from(digits(prefix)?).ok()?;
    // A block of v4-mapped addresses is a block of IPv4 addresses.
    match (ip, ip.to_canonical()) {
        _ if prefix > width(ip) => None,
        (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if prefix >= 96 => Some((v4, prefix - 96)),
        _ => Some((ip, prefix)),
    }
}

/// The text of the block without bits set behind its prefix, for error messages.
pub(crate) fn right_block(text: &str) -> String {
    parse_block(text).map_or_else(String::new, |(ip, prefix)| {
        format!("{}/{prefix}", first_of_block(ip, prefix))
    })
}

/// Parses decimal digits only. `u32::from_str` would also accept a sign.
pub(crate) fn digits(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// The length of an address in bits.
pub(crate) const fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first address of the block of length `prefix` that holds `ip`.
pub(crate) fn first_of_block(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => first_v4(ip, prefix).into(),
        IpAddr::V6(ip) => first_v6(ip, prefix).into(),
    }
}

pub(crate) fn first_v4(ip: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let host_bits = 32 - u32::from(prefix);
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv4Addr::from_bits(ip.to_bits() & mask)
}

pub(crate) fn first_v6(ip: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let host_bits = 128 - u32::from(prefix);
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv6Addr::from_bits(ip.to_bits() & mask)
}
