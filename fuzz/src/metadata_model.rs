//! A second implementation of metadata (RFC 37, "Metadata"), without regard to speed. The crate's
//! result for any bytes is compared with it.
#![forbid(unsafe_code)]

/// Names and values, or `None` if the bytes are not metadata or hold more than `max` properties.
pub fn parse(mut bytes: &[u8], max: usize) -> Option<Vec<(String, Vec<u8>)>> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some((&name_len, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(name_len.into())?;
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (value, rest) = rest.split_at_checked(len)?;
        if name.is_empty() || !name.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return None;
        }
        let name = String::from_utf8(name.to_vec()).ok()?;
        if found
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(&name))
            || found.len() == max
        {
            return None;
        }
        found.push((name, value.to_vec()));
        bytes = rest;
    }
    Some(found)
}

/// The value of a property.
pub fn value<'a>(properties: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let found = properties
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| &value[..])
}

/// Whether a peer may claim this to a socket that talks to the types in `fitting`.
pub fn is_claim(bytes: &[u8], max: usize, fitting: &[&str]) -> bool {
    let Some(properties) = parse(bytes, max) else {
        return false;
    };
    let fits = value(&properties, "Socket-Type")
        .is_some_and(|theirs| fitting.iter().any(|name| name.as_bytes() == theirs));
    fits && value(&properties, "Identity").is_none_or(|identity| identity.len() <= 255)
}
