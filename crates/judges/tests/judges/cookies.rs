//! The cookie's box: XChaCha20-Poly1305 of 64 bytes with a context.

use crate::subjects::{Random, count, edge_keys, nonces};
use zmtp_auth::judged::{open_cookie, seal_cookie};
use zmtp_auth_judges::agreement::agreed;
use zmtp_auth_judges::damage::flip;
use zmtp_auth_judges::judge::{Key, Nonce};

#[test]
fn cookies_are_those_of_the_judges_with_contexts_of_every_length() {
    let mut random = Random::new(31);
    for _ in 0..count(1, 100) {
        for len in 0..=300 {
            let context = random.bytes(len);
            compare(&random.array(), &random.array(), &context, &mut random);
        }
    }
    for len in [1000, 4096, 65_537] {
        let context = random.bytes(len);
        compare(&random.array(), &random.array(), &context, &mut random);
    }
}

#[test]
fn cookies_with_keys_and_nonces_at_the_edges_are_those_of_the_judges() {
    let mut random = Random::new(32);
    for key in edge_keys() {
        for nonce in nonces(&mut random) {
            for len in [0, 1, 15, 16, 17, 32, 41] {
                compare(&key, &nonce, &vec![0xff; len], &mut random);
            }
        }
    }
}

fn compare(key: &Key, nonce: &Nonce, context: &[u8], random: &mut Random) {
    let text = random.array();
    let expected = agreed(|judge| judge.seal_cookie(key, nonce, context, &text));
    let sealed = seal_cookie(key, nonce, context, &text);
    assert_eq!(sealed[..], expected, "{key:?} {nonce:?} {context:?}");
    assert_eq!(open_cookie(key, nonce, context, &sealed), Some(text));
    let refused = |key: &Key, nonce: &Nonce, context: &[u8], sealed: &[u8; 80]| {
        let judged = agreed(|judge| judge.open_cookie(key, nonce, context, sealed));
        judged.is_none() && open_cookie(key, nonce, context, sealed).is_none()
    };
    let mut damaged = sealed;
    flip(&mut damaged, random.number());
    assert!(refused(key, nonce, context, &damaged));
    let mut other = *key;
    flip(&mut other, random.number());
    assert!(refused(&other, nonce, context, &sealed));
    let mut other = *nonce;
    flip(&mut other, random.number());
    assert!(refused(key, &other, context, &sealed));
    assert!(refused(key, nonce, &[context, &[0]].concat(), &sealed));
    if !context.is_empty() {
        let mut other = context.to_vec();
        flip(&mut other, random.number());
        assert!(refused(key, nonce, &other, &sealed));
    }
}
