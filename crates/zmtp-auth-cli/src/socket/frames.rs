//! Converts frames to JSON, and lines to frames.
#![forbid(unsafe_code)]

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use serde::Serialize;
use std::path::Path;

/// Data from a peer: as text if it is UTF-8, otherwise in base64.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shown {
    Text(String),
    Base64(String),
}

impl Shown {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(Base64::encode_string(bytes)),
        }
    }

    /// A path, which on unix may not be UTF-8.
    pub(crate) fn path(path: impl AsRef<Path>) -> Self {
        Self::of(path.as_ref().as_os_str().as_encoded_bytes())
    }
}

/// The frames of a line: one, or one for each part between separators.
pub(crate) fn split(line: Vec<u8>, separator: Option<&str>) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut rest = Bytes::from(line);
    if let Some(separator) = separator {
        let separator = separator.as_bytes();
        while let Some(at) = find(&rest, separator) {
            frames.push(rest.split_to(at));
            rest = rest.slice(separator.len()..);
        }
    }
    frames.push(rest);
    frames
}

/// The first position of `part`, which must not be empty.
fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_whatever_their_bytes() {
        let parts = |line: &[u8]| split(line.into(), Some("::"));
        assert_eq!(parts(b"a::\xff\r::"), [&b"a"[..], b"\xff\r", b""]);
        assert_eq!(parts(b""), [""]);
        assert_eq!(split(b"a::b".into(), None), ["a::b"]);
    }
}
