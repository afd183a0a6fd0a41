//! The address envelope that a ROUTER or a proxy finds in front of a ZAP message (RFC 27).
#![forbid(unsafe_code)]

use bytes::Bytes;

/// Splits a ZAP message behind its address envelope: any number of routing frames, then an empty
/// delimiter. Returns the envelope with its delimiter, and the frames that follow; `None` if no
/// frame is empty. Put the envelope unchanged in front of the reply.
///
/// Do not call it for a message *without* an envelope. Its domain may be an empty frame, which
/// would be taken for the delimiter.
#[must_use]
pub fn split_envelope(mut frames: Vec<Bytes>) -> Option<(Vec<Bytes>, Vec<Bytes>)> {
    // RFC 27: the delimiter is the first empty frame, as for every REQ and REP.
    let delimiter = frames.iter().position(Bytes::is_empty)?;
    let message = frames.split_off(delimiter + 1);
    Some((frames, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames<const N: usize>(texts: [&'static str; N]) -> Vec<Bytes> {
        texts.map(Bytes::from).into()
    }

    #[test]
    fn the_envelope_ends_with_the_first_empty_frame() {
        assert_eq!(
            split_envelope(frames(["a", "b", "", "1.0", "1", ""])),
            Some((frames(["a", "b", ""]), frames(["1.0", "1", ""])))
        );
        assert_eq!(
            split_envelope(frames(["", "1.0"])),
            Some((frames([""]), frames(["1.0"])))
        );
    }

    #[test]
    fn without_a_delimiter_there_is_no_envelope() {
        assert_eq!(split_envelope(frames(["1.0", "1"])), None);
        assert_eq!(split_envelope(Vec::new()), None);
    }
}
