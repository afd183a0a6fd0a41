//! Z85, the text form of keys (RFC 32): 4 bytes to 5 printable characters.
//!
//! Every buffer that may hold a secret key is wiped on drop. Table look-ups depend on the digits,
//! so the time may tell something about them: convert secret keys when they are loaded or saved,
//! not while peers can watch.
#![forbid(unsafe_code)]

use thiserror::Error;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The digit of each byte, or 255.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 85 {
        digits[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

/// Why a text is not Z85, or bytes cannot be written as Z85.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Z85Error {
    /// The length of a text is not a multiple of 5, or the length of bytes not a multiple of 4.
    #[error("{len} is not a multiple of {of}")]
    Length {
        /// The length given.
        len: usize,
        /// 5 for text, 4 for bytes.
        of: usize,
    },
    /// A key must be exactly 40 characters.
    #[error("a key has 40 characters of Z85, not {0}")]
    KeyLength(usize),
    /// A character outside the alphabet of RFC 32.
    #[error("character {} is not in the Z85 alphabet", .at + 1)]
    Character {
        /// Its index, from 0. The text counts from 1.
        at: usize,
    },
    /// The value of five characters exceeds 32 bits. No encoder writes them.
    #[error("characters {} to {} exceed 32 bits", .at + 1, .at + 5)]
    Overflow {
        /// Index of the first of them, from 0. The text counts from 1.
        at: usize,
    },
}

/// Encodes bytes whose length is a multiple of 4 (RFC 32).
///
/// # Errors
/// Returns [`Z85Error::Length`] if the length is not a multiple of 4.
pub fn encode(bytes: &[u8]) -> Result<String, Z85Error> {
    if !bytes.len().is_multiple_of(4) {
        return Err(Z85Error::Length {
            len: bytes.len(),
            of: 4,
        });
    }
    let mut text = String::with_capacity(bytes.len() / 4 * 5);
    push_encoded(bytes, &mut text);
    Ok(text)
}

/// Decodes text whose length is a multiple of 5 (RFC 32), strictly.
///
/// # Errors
/// Returns [`Z85Error::Length`] if the length is not a multiple of 5, [`Z85Error::Character`] if a
/// character is not of the alphabet, and [`Z85Error::Overflow`] if five characters exceed 32 bits.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, Z85Error> {
    if !text.len().is_multiple_of(5) {
        return Err(Z85Error::Length {
            len: text.len(),
            of: 5,
        });
    }
    let mut bytes = vec![0; text.len() / 5 * 4];
    decode_into(text, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a 32-byte key as 40 characters.
#[must_use]
pub fn encode_key(key: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(40));
    push_encoded(key, &mut text);
    text
}

/// Number of bits of the fraction. 57: the greatest group then still fits into 64 bits.
const FRACTION: u32 = 57;

/// 2^57 / 85^4, rounded down: a group times this is its first digit with 57 bits of fraction.
const FIRST_DIGIT: u64 = (1 << FRACTION) / 85_u64.pow(4);

/// The most that the rounding of [`FIRST_DIGIT`] takes from a group, rounded up. It is added to each group,
/// so that no digit is too low. Scaled with the digits it stays below 2^57, so no digit is too high either.
const ROUNDING: u64 = (((1 << FRACTION) % 85_u64.pow(4)) << 32) / 85_u64.pow(4) + 1;
const _: () = assert!(ROUNDING * 85_u64.pow(4) < 1 << FRACTION);

/// Encodes a public key as 40 characters in an array.
pub(crate) fn encode_public_key(key: &[u8; 32]) -> [u8; 40] {
    let mut text = [0; 40];
    let (words, _) = key.as_chunks();
    let (groups, _) = text.as_chunks_mut::<5>();
    for (word, group) in words.iter().zip(groups) {
        // A multiplication for each digit, without division: the digit is in front of the fraction, and
        // the fraction holds those that follow.
        let mut rest = u64::from(u32::from_be_bytes(*word)) * FIRST_DIGIT + ROUNDING;
        for character in group {
            *character = ALPHABET[(rest >> FRACTION) as usize];
            rest = (rest & ((1 << FRACTION) - 1)) * 85;
        }
    }
    text
}

/// Decodes exactly 40 characters to a 32-byte key, wiped on drop.
///
/// # Errors
/// Returns [`Z85Error::KeyLength`] if there are not 40 characters, [`Z85Error::Character`] if one
/// is not of the alphabet, and [`Z85Error::Overflow`] if five characters exceed 32 bits.
pub fn decode_key(text: &[u8]) -> Result<Zeroizing<[u8; 32]>, Z85Error> {
    if text.len() != 40 {
        return Err(Z85Error::KeyLength(text.len()));
    }
    let mut key = Zeroizing::new([0; 32]);
    decode_into(text, &mut key[..])?;
    Ok(key)
}

fn push_encoded(bytes: &[u8], text: &mut String) {
    for characters in groups(bytes) {
        for character in characters {
            text.push(char::from(character));
        }
    }
}

/// Each four bytes as five characters.
fn groups(bytes: &[u8]) -> impl Iterator<Item = [u8; 5]> {
    bytes.chunks_exact(4).map(|chunk| {
        let value = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        let (upper, lower) = (value / (85 * 85), value % (85 * 85));
        [upper / (85 * 85), upper / 85, upper, lower / 85, lower]
            .map(|digit| ALPHABET[(digit % 85) as usize])
    })
}

fn decode_into(text: &[u8], bytes: &mut [u8]) -> Result<(), Z85Error> {
    for (group, (five, four)) in text
        .chunks_exact(5)
        .zip(bytes.chunks_exact_mut(4))
        .enumerate()
    {
        let mut value = 0_u64;
        for (index, &character) in five.iter().enumerate() {
            let digit = DIGITS[usize::from(character)];
            if digit == u8::MAX {
                return Err(Z85Error::Character {
                    at: group * 5 + index,
                });
            }
            value = value * 85 + u64::from(digit);
        }
        let value = u32::try_from(value).map_err(|_| Z85Error::Overflow { at: group * 5 })?;
        four.copy_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_person_reads_places_counted_from_one() {
        let shown = |text: &[u8]| decode(text).unwrap_err().to_string();
        assert_eq!(
            shown(b"HelloWorl "),
            "character 10 is not in the Z85 alphabet"
        );
        assert_eq!(shown(b"00000#####"), "characters 6 to 10 exceed 32 bits");
    }

    #[test]
    fn rfc_32_test_case() {
        let bytes = [0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B];
        assert_eq!(encode(&bytes).unwrap(), "HelloWorld");
        assert_eq!(decode(b"HelloWorld").unwrap(), bytes);
    }

    #[test]
    fn rfc_32_key_test_case() {
        // RFC 32's second case: the client public key of libzmq's manual.
        let text = b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
        let key = decode_key(text).unwrap();
        assert_eq!(key[..4], [0xBB, 0x88, 0x47, 0x1D]);
        assert_eq!(encode_key(&key).as_bytes(), text);
        assert_eq!(&encode_public_key(&key), text);
    }

    #[test]
    fn bad_texts_say_where() {
        assert_eq!(decode(b"Hell"), Err(Z85Error::Length { len: 4, of: 5 }));
        assert_eq!(decode(b"HelloWo ld"), Err(Z85Error::Character { at: 7 }));
        assert_eq!(decode(b"00000#####"), Err(Z85Error::Overflow { at: 5 }));
        assert_eq!(decode_key(b"00000"), Err(Z85Error::KeyLength(5)));
        assert_eq!(encode(&[1, 2, 3]), Err(Z85Error::Length { len: 3, of: 4 }));
    }

    #[test]
    fn the_largest_value_is_not_an_overflow() {
        assert_eq!(encode(&[0xFF; 4]).unwrap(), "%nSc0");
        assert_eq!(decode(b"%nSc0").unwrap(), [0xFF; 4]);
        assert_eq!(decode(b"%nSc1"), Err(Z85Error::Overflow { at: 0 }));
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<[u8; 4]>(), 0..40)) {
            let bytes = bytes.concat();
            prop_assert_eq!(decode(encode(&bytes).unwrap().as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn a_key_is_encoded_as_any_bytes(
            words in any::<[u32; 8]>(),
            power in 0..5_u32,
            by in 0..3_u32,
        ) {
            // Where a digit changes, and around it.
            let unit = 85_u32.pow(power);
            let near = |word: u32| (word / unit * unit).wrapping_add(by).wrapping_sub(1);
            let key: [u8; 32] = std::array::from_fn(|at| near(words[at / 4]).to_be_bytes()[at % 4]);
            prop_assert_eq!(encode_public_key(&key).to_vec(), encode(&key).unwrap().into_bytes());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_text(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes).unwrap().into_bytes(), text);
            }
        }
    }
}
