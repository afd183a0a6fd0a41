//! X25519 (RFC 7748): graviola's verified assembly where the processor can run it, and x25519-dalek
//! elsewhere.
#![forbid(unsafe_code)]

use crate::crypto::stack_wipe;
use zeroize::Zeroizing;

/// The code for one kind of processor. `--cfg zmtp_auth_cipher="portable"` leaves out graviola.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    Graviola,
    Portable,
}

impl Code {
    pub(crate) fn fastest() -> Self {
        #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
        if graviola_runs() && !is_portable_named() {
            return Self::Graviola;
        }
        Self::Portable
    }

    pub(crate) fn multiply(self, secret: &[u8; 32], point: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        match self {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Graviola => {
                use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
                let shared = StaticPrivateKey::from_array(secret)
                    .diffie_hellman(&PublicKey::from_array(point));
                let mut bytes = Zeroizing::new([0; 32]);
                // Graviola reports a shared secret of zero as an error. It has no other error.
                if let Ok(shared) = shared {
                    bytes.copy_from_slice(&shared.0);
                }
                bytes
            }
            Self::Portable => Zeroizing::new(x25519_dalek::x25519(*secret, *point)),
        }
    }

    pub(crate) fn multiply_base(self, secret: &[u8; 32]) -> [u8; 32] {
        match self {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Graviola => graviola::key_agreement::x25519::StaticPrivateKey::from_array(secret)
                .public_key()
                .as_bytes(),
            Self::Portable => x25519_dalek::x25519(*secret, x25519_dalek::X25519_BASEPOINT_BYTES),
        }
    }
}

/// Whether a test wants the portable code.
#[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
fn is_portable_named() -> bool {
    #[cfg(feature = "test-ciphers")]
    if crate::crypto::secretbox::cipher_choice::named() == Some("portable") {
        return true;
    }
    false
}

/// Graviola panics on a processor without any of these.
#[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
fn graviola_runs() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("aes")
        && has!("pclmulqdq")
        && has!("bmi1")
        && has!("bmi2")
        && has!("adx")
        && has!("avx")
        && has!("avx2")
}

/// Runs `work`, which multiplies, and then wipes the stack that it used: a few hundred bytes for
/// the assembly, thousands for the portable code.
pub(crate) fn with_clean_stack<T>(work: impl FnOnce() -> T) -> T {
    match Code::fastest() {
        #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
        Code::Graviola => stack_wipe::with_clean_shallow_stack(work),
        Code::Portable => stack_wipe::with_clean_stack(work),
    }
}

/// Multiplies a point by a secret. The result is all zero if the point is of low order, and the
/// caller has to check that.
pub(crate) fn multiply(secret: &[u8; 32], point: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    #[cfg(test)]
    count::POINTS.set(count::POINTS.get() + 1);
    Code::fastest().multiply(secret, point)
}

/// Multiplies the base point by a secret, which gives its public key.
pub(crate) fn multiply_base(secret: &[u8; 32]) -> [u8; 32] {
    #[cfg(test)]
    count::BASES.set(count::BASES.get() + 1);
    Code::fastest().multiply_base(secret)
}

/// Counts this thread's multiplications.
#[cfg(test)]
pub(crate) mod count {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static POINTS: Cell<usize> = const { Cell::new(0) };
        pub(crate) static BASES: Cell<usize> = const { Cell::new(0) };
    }

    /// Multiplications by a point and by the base that `work` does.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, (usize, usize)) {
        let before = (POINTS.get(), BASES.get());
        let outcome = work();
        (outcome, (POINTS.get() - before.0, BASES.get() - before.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::{OsRandom, RandomSource};

    fn codes() -> Vec<Code> {
        let codes = [
            Some(Code::Portable),
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            graviola_runs().then_some(Code::Graviola),
        ];
        codes.into_iter().flatten().collect()
    }

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    /// A little-endian number with `low` in its first byte, `high` in its last, `fill` between.
    fn number(low: u8, fill: u8, high: u8) -> [u8; 32] {
        let mut number = [fill; 32];
        number[0] = low;
        number[31] = high;
        number
    }

    /// Points of low order, also not reduced, on the curve and on its twist, each with and
    /// without the bit that RFC 7748, section 5, has us ignore.
    fn low_order() -> Vec<[u8; 32]> {
        let order_8 = [
            hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ];
        let small = [
            number(0, 0, 0),
            number(1, 0, 0),
            number(0xec, 0xff, 0x7f),
            number(0xed, 0xff, 0x7f),
            number(0xee, 0xff, 0x7f),
        ];
        let all = order_8.into_iter().chain(small);
        all.flat_map(|point| {
            let mut other = point;
            other[31] |= 0x80;
            [point, other]
        })
        .collect()
    }

    #[test]
    fn vectors_of_rfc_7748() {
        for code in codes() {
            for (scalar, point, product) in [
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
            ] {
                assert_eq!(*code.multiply(&hex(scalar), &hex(point)), hex(product));
            }
            let base = number(9, 0, 0);
            let (mut k, mut u) = (base, base);
            for _ in 0..1000 {
                (k, u) = (*code.multiply(&k, &u), k);
            }
            assert_eq!(
                k,
                hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")
            );
        }
    }

    #[test]
    fn points_of_low_order_give_zero_with_every_scalar() {
        for code in codes() {
            for point in low_order() {
                for secret in [[0; 32], [0xff; 32], number(7, 0x5a, 0x33)] {
                    assert_eq!(
                        *code.multiply(&secret, &point),
                        [0; 32],
                        "{code:?} {point:?}"
                    );
                }
            }
        }
    }

    /// Half of all numbers are on the curve and half on its twist.
    #[test]
    fn every_code_agrees_on_edges_and_at_random() {
        let edges = [0x00, 0x01, 0x02, 0x08, 0x09, 0xeb, 0xec, 0xed, 0xf0, 0xff];
        let mut numbers = Vec::new();
        for low in edges {
            for fill in [0x00, 0x55, 0xff] {
                for high in [0x00, 0x3f, 0x40, 0x7f, 0x80, 0xff] {
                    numbers.push(number(low, fill, high));
                }
            }
        }
        for _ in 0..50 {
            let mut random = [0; 32];
            OsRandom.fill(&mut random).unwrap();
            numbers.push(random);
        }
        for (at, point) in numbers.iter().enumerate() {
            let secret = &numbers[(7 * at + 3) % numbers.len()];
            let expected = Code::Portable.multiply(secret, point);
            let public = Code::Portable.multiply_base(secret);
            for code in codes() {
                assert_eq!(
                    code.multiply(secret, point),
                    expected,
                    "{secret:?} {point:?}"
                );
                assert_eq!(code.multiply_base(secret), public, "{secret:?}");
            }
        }
    }

    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_the_scalar() {
        use crate::timing::{assert_same_time, of_class};
        let point = Code::Portable.multiply_base(&[7; 32]);
        for code in codes() {
            for fixed in [[0; 32], [0xff; 32], number(8, 0, 0x40)] {
                assert_same_time(
                    &format!(
                        "X25519 {code:?}, scalar {:02x}{:02x}.. or random",
                        fixed[0], fixed[1]
                    ),
                    10_000,
                    |class, random| of_class(class, fixed, random.array()),
                    |scalar| code.multiply(scalar, &point),
                );
            }
            assert_same_time(
                &format!("X25519 {code:?} of the base point, scalar fixed or random"),
                10_000,
                |class, random| of_class(class, [0; 32], random.array()),
                |scalar| code.multiply_base(scalar),
            );
        }
    }
}
