//! X25519: edges, points of low order, the twist, and the iterations of RFC 7748.

use crate::subjects::{Random, count, hex_array, is_full};
use zmtp_auth::PublicKey;
use zmtp_auth::judged::{PointCode, seal_box};
use zmtp_auth_judges::agreement::{agreed, both};
use zmtp_auth_judges::judge::Key;

/// A little-endian number: its first byte, its last, and what is between.
fn number(low: u8, fill: u8, high: u8) -> Key {
    let mut number = [fill; 32];
    number[0] = low;
    number[31] = high;
    number
}

/// Points of low order: on the curve and its twist, reduced and not, each with and without the top
/// bit.
fn low_order() -> Vec<Key> {
    let points = [
        number(0, 0, 0),
        number(1, 0, 0),
        hex_array("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex_array("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        number(0xec, 0xff, 0x7f),
        number(0xed, 0xff, 0x7f),
        number(0xee, 0xff, 0x7f),
    ];
    points
        .into_iter()
        .flat_map(|point| {
            let mut other = point;
            other[31] |= 0x80;
            [point, other]
        })
        .collect()
}

/// Scalars at the edges of what clamping leaves, and points around 0 and p. Half of all numbers are
/// on the curve and half on its twist.
fn edges() -> Vec<Key> {
    let mut edges = Vec::new();
    for low in [
        0x00, 0x01, 0x02, 0x07, 0x08, 0x09, 0xeb, 0xec, 0xed, 0xf0, 0xff,
    ] {
        for fill in [0x00, 0x55, 0xff] {
            for high in [0x00, 0x3f, 0x40, 0x7f, 0x80, 0xff] {
                edges.push(number(low, fill, high));
            }
        }
    }
    edges
}

#[track_caller]
fn compare(secret: &Key, point: &Key) {
    let expected = agreed(|judge| judge.multiply(secret, point));
    let public = agreed(|judge| judge.public_key(secret));
    for code in PointCode::all() {
        let product = code.multiply(secret, point);
        assert_eq!(
            product,
            expected.unwrap_or_default(),
            "{code:?} {secret:?} {point:?}"
        );
        assert_eq!(code.multiply_base(secret), public, "{code:?} {secret:?}");
    }
}

#[test]
fn every_code_multiplies_edges_as_the_judges_do() {
    let edges = edges();
    for (at, point) in edges.iter().enumerate() {
        for scalar in 0..count(2, edges.len()) {
            compare(&edges[(7 * at + 31 * scalar + 3) % edges.len()], point);
        }
    }
}

#[test]
fn every_code_multiplies_at_random_as_the_judges_do() {
    let mut random = Random::new(41);
    for _ in 0..count(200, 50_000) {
        compare(&random.array(), &random.array());
    }
}

#[test]
fn points_of_low_order_give_zero_and_no_box() {
    for point in low_order() {
        for secret in [
            [0; 32],
            [0xff; 32],
            number(7, 0x5a, 0x33),
            number(0xf8, 0xff, 0x7f),
        ] {
            assert_eq!(agreed(|judge| judge.multiply(&secret, &point)), None);
            compare(&secret, &point);
            assert_eq!(seal_box((&secret, &point), &[0; 24], &[b"text"]), None);
            assert_eq!(
                agreed(|judge| judge.seal_box(&secret, &point, &[0; 24], b"text")),
                None
            );
        }
        assert!(PublicKey::from_bytes(point).is_err());
    }
}

#[test]
fn vectors_of_rfc_7748() {
    for (scalar, point, product) in [
        // Section 5.2.
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        // Section 6.1.
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ] {
        let (scalar, point) = (hex_array(scalar), hex_array(point));
        let product: Key = hex_array(product);
        assert_eq!(
            agreed(|judge| judge.multiply(&scalar, &point)),
            Some(product)
        );
        compare(&scalar, &point);
    }
}

/// Section 5.2: after one, a thousand and a million multiplications of what came before.
#[test]
fn the_iterations_of_rfc_7748() {
    let expected = [
        (
            1,
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
        ),
        (
            1_000,
            "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
        ),
        (
            1_000_000,
            "7c3911e0ab2586fd864497297e575e6f3bc601c0883c30df5f4dd2d24f665424",
        ),
    ];
    let last = if is_full() { 1_000_000 } else { 1_000 };
    let iterate = |name: &str, multiply: &dyn Fn(&Key, &Key) -> Key| {
        let (mut k, mut u) = (number(9, 0, 0), number(9, 0, 0));
        for done in 1..=last {
            (k, u) = (multiply(&k, &u), k);
            for (count, value) in expected {
                assert!(done != count || k == hex_array(value), "{name}, {count}");
            }
        }
    };
    std::thread::scope(|scope| {
        for code in PointCode::all() {
            scope.spawn(move || iterate(&format!("{code:?}"), &|k, u| code.multiply(k, u)));
        }
    });
    if !is_full() {
        for judge in both() {
            iterate(judge.name(), &|k, u| judge.multiply(k, u).unwrap());
        }
    }
}
