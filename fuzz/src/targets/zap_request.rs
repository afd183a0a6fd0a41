//! ZAP requests (RFC 27): frames to a value and back, typed credentials, envelopes.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use bytes::Bytes;
use zmtp_auth::zap::{RequestId, ZapRequest, split_envelope};
use zmtp_auth::{AccessRequest, Credentials};

/// The strings of `data` are frames.
pub fn run(data: &[u8]) {
    let frames: Vec<Bytes> = Choices::new(data)
        .strings()
        .into_iter()
        .map(Bytes::copy_from_slice)
        .collect();
    match split_envelope(frames.clone()) {
        Some((envelope, message)) => {
            assert!(envelope.last().expect("a delimiter").is_empty());
            assert_eq!([envelope, message].concat(), frames);
        }
        None => assert!(!frames.iter().any(Bytes::is_empty)),
    }
    let request = match ZapRequest::from_frames(frames.clone()) {
        Ok(request) => request,
        Err(error) => {
            assert!(frames.len() < 6 || frames[0] != "1.0", "{error}");
            assert!(!error.to_string().contains(char::is_control));
            return;
        }
    };
    assert!(frames.len() >= 6 && frames[0] == "1.0");
    // An address has several spellings. All other frames are kept as they are.
    let written = request.to_frames();
    assert_eq!((&written[..3], &written[4..]), (&frames[..3], &frames[4..]));
    let again = ZapRequest::from_frames(written.clone()).expect("our own frames");
    assert_eq!(again.address, request.address);
    assert_eq!(again.to_frames(), written);
    let shown = format!("{request:?}");
    assert!(
        !shown.contains(char::is_control),
        "unfit for a log: {shown}"
    );
    let Ok(credentials) = request.credentials() else {
        return;
    };
    assert_eq!(Some(credentials.mechanism()), request.mechanism_kind());
    let lengths: Vec<usize> = written[6..].iter().map(Bytes::len).collect();
    match (&credentials, &lengths[..]) {
        (Credentials::Null, []) | (Credentials::Curve { .. }, [32]) => {}
        (Credentials::Plain { .. }, [name, password]) => assert!(*name.max(password) <= 255),
        (Credentials::Gssapi { .. }, [_]) => {}
        other => panic!("not the credentials of the mechanism: {other:?}"),
    }
    let asked = AccessRequest::new(request.domain.clone(), request.address.clone(), credentials);
    let mut anew = ZapRequest::new(RequestId::new(written[1].clone()), &asked);
    anew.identity.clone_from(&request.identity);
    assert_eq!(anew.to_frames(), written);
}
