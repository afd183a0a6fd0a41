//! IPv6 zones: the name of an interface and its number are the same zone.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, ToSocketAddrs};

/// Whether both texts name the same zone; `None` if this machine cannot tell. libzmq gives the name
/// of the interface, and this crate's sockets give its number. Zone 0 is the default zone (RFC
/// 4007, section 6), which may be any zone.
pub(crate) fn same_zone(one: &str, other: &str) -> Option<bool> {
    let is_default = |zone: &str| zone.bytes().all(|byte| byte == b'0');
    if is_default(one) || is_default(other) {
        return None;
    }
    if one == other {
        return Some(true);
    }
    Some(number(one)? == number(other)?)
}

/// The number of a zone, which is given as a number or as the name of an interface of this machine.
/// Looked up each time, because interfaces come and go.
fn number(zone: &str) -> Option<u32> {
    if zone.bytes().all(|byte| byte.is_ascii_digit()) {
        return zone.parse().ok();
    }
    // The system's parser of numeric addresses knows the interfaces. Every system accepts names of
    // interfaces in link-local addresses. No query is sent to a name server.
    let mut found = (format!("fe80::1%{zone}"), 0).to_socket_addrs().ok()?;
    match found.next()? {
        SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers_and_unknown_names_not_at_all() {
        assert_eq!(same_zone("2", "02"), Some(true));
        assert_eq!(same_zone("2", "3"), Some(false));
        assert_eq!(same_zone("no-such0", "no-such0"), Some(true));
        assert_eq!(same_zone("no-such0", "no-such1"), None);
        assert_eq!(same_zone("no-such0", "1"), None);
        assert_eq!(same_zone("4294967296", "0"), None);
        assert_eq!(same_zone("a%b", "a"), None);
        for zone in ["0", "000", "1", "no-such0"] {
            assert_eq!(same_zone("0", zone), None);
            assert_eq!(same_zone(zone, "00"), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_name_of_an_interface_is_its_number() {
        // Linux gives the loopback interface of each network namespace this number.
        assert_eq!(number("lo"), Some(1));
        assert_eq!(same_zone("lo", "1"), Some(true));
        assert_eq!(same_zone("lo", "2"), Some(false));
    }
}
