//! No error repeats the text of its cause, so that an error shown with its causes says nothing twice.

use bytes::Bytes;
use std::error::Error;
use std::fs;
use zmtp_auth::auth::{AddressRule, Authenticator, ProviderError};
use zmtp_auth::zap::{RequestId, ZapReply, ZapRequest, ZapRouter};
use zmtp_auth::{Limits, MechanismKind, PeerAddress};

/// How many causes the error has.
fn causes(error: impl Error) -> usize {
    let mut count = 0;
    let mut error: &dyn Error = &error;
    while let Some(cause) = error.source() {
        let (text, why) = (error.to_string(), cause.to_string());
        assert!(!text.contains(&why), "{text:?} repeats {why:?}");
        count += 1;
        error = cause;
    }
    count
}

#[test]
fn an_error_without_a_cause_says_it_all() {
    let router = ZapRouter::new();
    router.bind("d", Authenticator::new()).unwrap();
    let again = router.bind("d", Authenticator::new()).unwrap_err();
    assert_eq!(causes(again), 0);
    assert_eq!(causes(ZapRequest::from_frames(Vec::new()).unwrap_err()), 0);
    assert_eq!(causes("localhost".parse::<AddressRule>().unwrap_err()), 0);
    assert_eq!(causes("localhost".parse::<PeerAddress>().unwrap_err()), 0);
    assert_eq!(causes("null".parse::<MechanismKind>().unwrap_err()), 0);
    assert_eq!(causes(ProviderError("database down".into())), 0);
    let frames = ["1.0", "1", "", "::1", "", "none"].map(Bytes::from);
    let request = ZapRequest::from_frames(frames.to_vec()).unwrap();
    assert_eq!(causes(request.credentials().unwrap_err()), 0);
}

#[test]
fn an_invalid_reply_leaves_the_fault_of_its_metadata_to_its_cause() {
    let frames = ["1.0", "1", "200", "OK", "", "\x01k\0\0\0\x02v"].map(Bytes::from);
    let reply = ZapReply::from_frames(&frames, &RequestId::from(1), &Limits::default());
    assert!(causes(reply.unwrap_err()) > 0);
}

#[test]
fn a_hash_that_cannot_be_verified_is_the_cause() {
    let auth = Authenticator::new();
    let users = auth.configure_plain("*", [("eve", "$2b$12$x")]);
    assert_eq!(causes(users.unwrap_err()), 1);
}

#[test]
fn a_file_that_is_absent_has_the_systems_error_as_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let auth = Authenticator::new();
    let password_file = auth.configure_plain_file("*", &absent).unwrap_err();
    assert_eq!(causes(password_file), 1);
    assert_eq!(causes(auth.configure_curve("*", &absent).unwrap_err()), 1);
    fs::write(dir.path().join("bad"), "no equals sign\n").unwrap();
    let bad = auth.configure_plain_file("*", dir.path().join("bad"));
    assert_eq!(causes(bad.unwrap_err()), 0);
}

#[cfg(feature = "policy-file")]
#[test]
fn a_policy_file_hands_on_the_cause_of_a_file_that_it_names() {
    use zmtp_auth::auth::PolicyFile;
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert_eq!(causes(PolicyFile::load(&absent).unwrap_err()), 1);
    for (toml, count) in [
        ("[domain.a]\nplain.file = \"absent\"", 1),
        ("[domain.a]\ncurve.certificates = \"absent\"", 1),
        ("allow = []", 0),
    ] {
        let policy = PolicyFile::parse(toml.as_bytes(), dir.path()).unwrap();
        assert_eq!(causes(policy.lint().unwrap_err()), count, "{toml}");
    }
    assert_eq!(causes(PolicyFile::parse(b"nonsense", "").unwrap_err()), 0);
}
