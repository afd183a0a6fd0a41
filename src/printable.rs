//! Bytes from a peer, as text for logs and errors.
#![forbid(unsafe_code)]

/// Renders bytes from a peer so that they are safe in a log line: at most 64 bytes, printable ASCII
/// as it is, everything else escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const MAX_SHOWN: usize = 64;
    let end = if bytes.len() > MAX_SHOWN { "..." } else { "" };
    format!(
        "{}{end}",
        bytes[..bytes.len().min(MAX_SHOWN)].escape_ascii()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_cannot_smuggle_control_bytes_or_long_texts_into_logs() {
        assert_eq!(printable(b"NULL\x1b[31m\n"), "NULL\\x1b[31m\\n");
        assert_eq!(printable(&[b'a'; 500]).len(), 67);
    }
}
