//! Published vectors: RFC 8439's of Poly1305, and those that NaCl's documentation derives step by
//! step. The judges are held to them too.

use crate::subjects::{codes, hex, hex_array};
use zmtp_auth::judged::{open_box, seal_box};
use zmtp_auth_judges::agreement::agreed;
use zmtp_auth_judges::judge::Key;

/// The text of vectors 2 and 3 of RFC 8439, appendix A.3.
const SUBMISSION: &str = concat!(
    "416e79207375626d697373696f6e20746f20746865204945544620696e74656e",
    "6465642062792074686520436f6e7472696275746f7220666f72207075626c69",
    "636174696f6e20617320616c6c206f722070617274206f6620616e2049455446",
    "20496e7465726e65742d4472616674206f722052464320616e6420616e792073",
    "746174656d656e74206d6164652077697468696e2074686520636f6e74657874",
    "206f6620616e204945544620616374697669747920697320636f6e7369646572",
    "656420616e20224945544620436f6e747269627574696f6e222e205375636820",
    "73746174656d656e747320696e636c756465206f72616c2073746174656d656e",
    "747320696e20494554462073657373696f6e732c2061732077656c6c20617320",
    "7772697474656e20616e6420656c656374726f6e696320636f6d6d756e696361",
    "74696f6e73206d61646520617420616e792074696d65206f7220706c6163652c",
    "207768696368206172652061646472657373656420746f",
);

/// Key, text and tag of RFC 8439: the example of section 2.5.2, then appendix A.3 in its order.
/// What a value lacks at its end are zeros.
const POLY1305: [(&str, &str, &str); 12] = [
    (
        "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
        "43727970746f6772617068696320466f72756d2052657365617263682047726f7570",
        "a8061dc1305136c6c22b8baf0c0127a9",
    ),
    (
        "",
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        "",
    ),
    (
        "0000000000000000000000000000000036e5f6b5c5e06070f0efca96227a863e",
        SUBMISSION,
        "36e5f6b5c5e06070f0efca96227a863e",
    ),
    (
        "36e5f6b5c5e06070f0efca96227a863e",
        SUBMISSION,
        "f3477e7cd95417af89a6b8794c310cf0",
    ),
    (
        "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
        concat!(
            "2754776173206272696c6c69672c20616e642074686520736c6974687920746f",
            "7665730a446964206779726520616e642067696d626c6520696e207468652077",
            "6162653a0a416c6c206d696d737920776572652074686520626f726f676f7665",
            "732c0a416e6420746865206d6f6d65207261746873206f757467726162652e",
        ),
        "4541669a7eaaee61e708dc7cbcc5eb62",
    ),
    ("02", "ffffffffffffffffffffffffffffffff", "03"),
    (
        "02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
        "02000000000000000000000000000000",
        "03",
    ),
    (
        "01",
        concat!(
            "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff",
            "11000000000000000000000000000000",
        ),
        "05",
    ),
    (
        "01",
        concat!(
            "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe",
            "01010101010101010101010101010101",
        ),
        "",
    ),
    (
        "02",
        "fdffffffffffffffffffffffffffffff",
        "faffffffffffffffffffffffffffffff",
    ),
    (
        "010000000000000004",
        concat!(
            "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000",
            "0000000000000000000000000000000001000000000000000000000000000000",
        ),
        "14000000000000005500000000000000",
    ),
    (
        "010000000000000004",
        concat!(
            "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000",
            "00000000000000000000000000000000",
        ),
        "13000000000000000000000000000000",
    ),
];

#[test]
fn poly1305_of_rfc_8439() {
    for (key, text, tag) in POLY1305 {
        let key: Key = padded(key);
        let (text, tag) = (hex(text), padded(tag));
        assert_eq!(agreed(|judge| judge.mac(&key, &text)), tag);
        for code in codes() {
            assert_eq!(code.mac(&key, &text), tag, "{code:?} {text:?}");
            if let Some(tags) = code.macs(&[(&key, &text); 16]) {
                assert_eq!(tags, [tag; 16], "{code:?} {text:?}");
            }
        }
    }
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = hex(text);
    bytes.resize(N, 0);
    bytes.try_into().unwrap()
}

const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
const BOB: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
/// HSalsa20 of what Alice and Bob share.
const SHARED: &str = "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389";
const NONCE: &str = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37";
/// The first half of the first block of key stream, which is the key of Poly1305.
const STREAM: &str = "eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880";
const MESSAGE: &str = concat!(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc",
    "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31",
    "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
    "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864",
    "5e0705",
);
const TAG: &str = "f3ffc7703f9400e52a7dfb4b3d3305d9";
const SEALED: &str = concat!(
    "8e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a",
    "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738",
    "b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da",
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74",
    "e355a5",
);

#[test]
fn the_stream_of_nacl() {
    let (key, nonce): (Key, [u8; 24]) = (hex_array(SHARED), hex_array(NONCE));
    let block = agreed(|judge| judge.block(&key, &nonce, 0));
    assert_eq!(block[..32], hex(STREAM));
    let (prefix, rest) = nonce.split_first_chunk().unwrap();
    for code in codes() {
        let blocks = [(rest.try_into().unwrap(), 0); 16];
        assert_eq!(
            code.key_stream(&key, prefix, &blocks),
            [block; 16],
            "{code:?}"
        );
        assert_eq!(
            code.mac(&hex_array(STREAM), &hex(SEALED))[..],
            hex(TAG),
            "{code:?}"
        );
    }
}

#[test]
fn the_box_of_nacl() {
    let (key, nonce): (Key, [u8; 24]) = (hex_array(SHARED), hex_array(NONCE));
    let message = hex(MESSAGE);
    let boxed = hex(&[TAG, SEALED].concat());
    assert_eq!(agreed(|judge| judge.seal(&key, &nonce, &message)), boxed);
    for code in codes() {
        let mut here = message.clone();
        assert_eq!(code.seal(&key, &nonce, &mut here)[..], hex(TAG), "{code:?}");
        assert_eq!(here, hex(SEALED), "{code:?}");
    }
    let (alice, bob) = (hex_array(ALICE), hex_array(BOB));
    let (alice_public, bob_public) = (hex_array(ALICE_PUBLIC), hex_array(BOB_PUBLIC));
    let of_pairs = |judge: &dyn zmtp_auth_judges::judge::Judge| {
        judge.seal_box(&alice, &bob_public, &nonce, &message)
    };
    assert_eq!(agreed(of_pairs).as_ref(), Some(&boxed));
    let sealed = seal_box((&alice, &bob_public), &nonce, &[&message]);
    assert_eq!(sealed.as_ref(), Some(&boxed));
    let opened = open_box((&bob, &alice_public), &nonce, &boxed);
    assert_eq!(opened, Some(message));
}
