//! Argon2id (RFC 9106) over passwords, stored as PHC strings, with bounds on what one may cost.
#![forbid(unsafe_code)]

use crate::crypto::password::Password;
use crate::crypto::random::{self, OsRandom};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding};
use std::fmt;
use std::ops::RangeInclusive;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Most memory of one verification, in KiB. 256 MiB: four times what RFC 9106 recommends where
/// memory is short, and a few verifications at once still fit into an ordinary machine.
const MAX_MEMORY: u32 = 256 * 1024;
/// Most passes over that memory. 10: with the most memory, a verification takes seconds.
const MAX_PASSES: u32 = 10;
/// Most lanes. 4, as in both recommendations of RFC 9106.
const MAX_LANES: u32 = 4;
/// Least memory of one lane, in KiB (RFC 9106, section 3.1).
const MIN_MEMORY_OF_A_LANE: u32 = 8;
/// Bytes of a salt. RFC 9106, section 3.1, recommends 16. Salts of less than 8 bytes make tables
/// computed in advance worth the effort.
const SALT_LEN: RangeInclusive<usize> = 8..=MAX_FIELD_LEN;
/// Bytes of a hash. Below 16 bytes another password might match by chance.
const HASH_LEN: RangeInclusive<usize> = 16..=MAX_FIELD_LEN;
/// Most bytes of a salt or hash. 64: twice what common tools write.
const MAX_FIELD_LEN: usize = 64;

/// Why a text is not a PHC string that this crate verifies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum PasswordHashError {
    /// The text does not start with `$argon2id$`.
    #[error("not hashed with argon2id, as everything that looks like a hash must be")]
    Algorithm,
    /// The version is not `v=19`.
    #[error("argon2id of another version than v=19")]
    Version,
    /// The third field is not `m=..,t=..,p=..`, three decimal numbers.
    #[error("the parameters are not m=..,t=..,p=..")]
    Parameters,
    /// The text does not consist of five fields with a `$` before each.
    #[error("not of the form $argon2id$v=19$m=..,t=..,p=..$salt$hash")]
    Fields,
    /// The memory is more than 256 MiB, or less than 8 KiB for each lane.
    #[error("m={0} is not from 8 times p to 262144")]
    Memory(u32),
    /// The number of passes is not from 1 to 10.
    #[error("t={0} is not from 1 to 10")]
    Passes(u32),
    /// The number of lanes is not from 1 to 4.
    #[error("p={0} is not from 1 to 4")]
    Lanes(u32),
    /// The salt is not base64 without padding, or does not have 8 to 64 bytes.
    #[error("the salt is not 8 to 64 bytes in base64 without padding")]
    Salt,
    /// The hash is not base64 without padding, or does not have 16 to 64 bytes.
    #[error("the hash is not 16 to 64 bytes in base64 without padding")]
    Hash,
}

/// There is not enough memory to verify a password at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

/// A hashed password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash {
    cost: Cost,
    lanes: u32,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

/// What one verification costs: memory in KiB, and passes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    memory: u32,
    passes: u32,
}

impl Cost {
    /// KiB that are filled in all passes, which the time is proportional to. The bounds above keep
    /// it within `u32`.
    const fn work(self) -> u32 {
        self.memory * self.passes
    }

    /// The more expensive of two.
    pub(crate) const fn max(self, other: Self) -> Self {
        if self.work() < other.work() {
            other
        } else {
            self
        }
    }

    /// The rest of this cost after `paid`, with no more memory than this cost has.
    const fn less(self, paid: Self) -> Self {
        let rest = self.work().saturating_sub(paid.work());
        if rest == 0 {
            return Self {
                memory: 0,
                passes: 0,
            };
        }
        let passes = rest.div_ceil(self.memory);
        Self {
            memory: rest / passes,
            passes,
        }
    }
}

impl PasswordHash {
    /// Whether `value` looks like a hash of any kind: `$`, a name, `$`. Such a value must never
    /// count as a password in clear, because then the stored hash itself would open the account.
    pub(crate) fn looks_like_one(value: &[u8]) -> bool {
        let Some(rest) = value.strip_prefix(b"$") else {
            return false;
        };
        let name = rest.iter().position(|&byte| byte == b'$').unwrap_or(0);
        name > 0
            && rest[..name]
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    }

    /// Reads `$argon2id$v=19$m=..,t=..,p=..$salt$hash`.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, PasswordHashError> {
        let text = std::str::from_utf8(value).map_err(|_| PasswordHashError::Fields)?;
        let fields: Vec<&str> = text.split('$').collect();
        if fields.get(1) != Some(&"argon2id") {
            return Err(PasswordHashError::Algorithm);
        }
        let ["", _, version, parameters, salt, hash] = fields[..] else {
            return Err(PasswordHashError::Fields);
        };
        if version != "v=19" {
            return Err(PasswordHashError::Version);
        }
        let (cost, lanes) = parameters_of(parameters)?;
        Ok(Self {
            cost,
            lanes,
            salt: base64(salt, SALT_LEN).ok_or(PasswordHashError::Salt)?,
            hash: base64(hash, HASH_LEN).ok_or(PasswordHashError::Hash)?,
        })
    }

    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether `password` is the hashed one. Takes as long as `total`, which is at least
    /// [`PasswordHash::cost`], so that the time does not show which hash was verified.
    pub(crate) fn verify(&self, password: &[u8], total: Cost) -> Result<bool, OutOfMemory> {
        let mut given = Zeroizing::new(vec![0; self.hash.len()]);
        fill(password, &self.salt, self.cost, self.lanes, &mut given)?;
        spend(password, total.less(self.cost))?;
        Ok(given.ct_eq(&self.hash).into())
    }
}

/// Takes as long as a verification of that cost, and verifies nothing.
pub(crate) fn spend(password: &[u8], cost: Cost) -> Result<(), OutOfMemory> {
    if cost.memory < MIN_MEMORY_OF_A_LANE {
        return Ok(());
    }
    let mut unused = Zeroizing::new([0; *HASH_LEN.start()]);
    fill(password, b"dummy user", cost, 1, &mut unused[..])
}

fn fill(
    password: &[u8],
    salt: &[u8],
    cost: Cost,
    lanes: u32,
    hash: &mut [u8],
) -> Result<(), OutOfMemory> {
    let params =
        Params::new(cost.memory, cost.passes, lanes, Some(hash.len())).map_err(|_| OutOfMemory)?;
    let blocks = params.block_count();
    // Reserved fallibly: a plain allocation ends the process if memory is short.
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(blocks).map_err(|_| OutOfMemory)?;
    memory.resize(blocks, Block::new());
    let filled = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, hash, &mut memory);
    memory.zeroize();
    // Lengths and parameters are within what argon2 accepts, so this does not fail.
    filled.map_err(|_| OutOfMemory)
}

fn parameters_of(text: &str) -> Result<(Cost, u32), PasswordHashError> {
    let mut numbers = text.split(',');
    let mut next = |name: &str| {
        let digits = numbers.next()?.strip_prefix(name)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (Some(memory), Some(passes), Some(lanes)) = (next("m="), next("t="), next("p=")) else {
        return Err(PasswordHashError::Parameters);
    };
    if numbers.next().is_some() {
        return Err(PasswordHashError::Parameters);
    }
    if !(1..=MAX_LANES).contains(&lanes) {
        return Err(PasswordHashError::Lanes(lanes));
    }
    if !(lanes * MIN_MEMORY_OF_A_LANE..=MAX_MEMORY).contains(&memory) {
        return Err(PasswordHashError::Memory(memory));
    }
    if !(1..=MAX_PASSES).contains(&passes) {
        return Err(PasswordHashError::Passes(passes));
    }
    Ok((Cost { memory, passes }, lanes))
}

/// Decodes base64 without padding (RFC 4648, section 4) to a number of bytes within `len`.
fn base64(text: &str, len: RangeInclusive<usize>) -> Option<Box<[u8]>> {
    let mut buffer = [0; MAX_FIELD_LEN];
    let bytes = Base64Unpadded::decode(text, &mut buffer).ok()?;
    len.contains(&bytes.len()).then(|| bytes.into())
}

/// Why a password could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HashingError {
    /// The system has no randomness for a salt.
    #[error("the random source failed")]
    Random,
    /// There is not enough memory.
    #[error("not enough memory to hash a password")]
    Memory,
}

impl Password {
    /// Hashes the password with argon2id and a fresh salt, for password files and policies. The
    /// result is a PHC string with m=19456 (19 MiB), t=2 and p=1. It takes some tens of
    /// milliseconds. In an unoptimised build it takes 0.6 s, unless the profile sets
    /// `[profile.dev.package.argon2] opt-level = 3`.
    ///
    /// # Errors
    /// Returns [`HashingError`] if the random source fails, or if there is not enough memory.
    pub fn to_phc(&self) -> Result<String, HashingError> {
        let salt: [u8; 16] = random::array(&OsRandom).map_err(|_| HashingError::Random)?;
        let mut hash = Zeroizing::new([0; 32]);
        let cost = Cost {
            memory: 19 * 1024,
            passes: 2,
        };
        let filled = fill(self.expose(), &salt, cost, 1, &mut hash[..]);
        filled.map_err(|OutOfMemory| HashingError::Memory)?;
        let Cost { memory, passes } = cost;
        let salt = Base64Unpadded::encode_string(&salt);
        let hash = Base64Unpadded::encode_string(&hash[..]);
        Ok(format!(
            "$argon2id$v=19$m={memory},t={passes},p=1${salt}${hash}"
        ))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EASY: Cost = Cost {
        memory: 64,
        passes: 2,
    };

    /// Made by the reference implementation: password, PHC string.
    #[rustfmt::skip]
    const VECTORS: &[(&[u8], &str)] = &[
        (b"secret", "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5LzeVGGgdolhHzjGHA6qSDNYHLw5RyGqPPxPFSSG6tI"),
        (b"\xff\0caf\xc3\xa9", "$argon2id$v=19$m=32,t=1,p=4$c2FsdHNhbHQ$sVeAY7pTWTjmzyV9fBTDuw"),
        (b"", "$argon2id$v=19$m=128,t=3,p=2$MDEyMzQ1Njc4OWFiY2RlZg$BRl/khgC1i5Bnc6WCxJsrvhT2MToRvnkxUEeGDWl3fNdswApIj3k9CNH6c0d6al4oYm8PiCPxAR1YFyjU2oxwA"),
    ];

    fn error(text: &str) -> PasswordHashError {
        PasswordHash::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_the_reference_implementation_hashed_is_verified() {
        for (password, phc) in VECTORS {
            let hash = PasswordHash::parse(phc.as_bytes()).unwrap();
            assert_eq!(hash.verify(password, hash.cost()), Ok(true), "{phc}");
            assert_eq!(hash.verify(b"other", hash.cost()), Ok(false), "{phc}");
        }
    }

    #[test]
    fn a_hash_is_argon2id_within_bounds() {
        let (salt, hash) = ("c29tZXNhbHRzb21lc2FsdA", "A".repeat(43));
        let phc = |parameters: &str| format!("$argon2id$v=19${parameters}${salt}${hash}");
        assert!(PasswordHash::parse(phc("m=262144,t=10,p=4").as_bytes()).is_ok());
        assert!(PasswordHash::parse(phc("m=8,t=1,p=1").as_bytes()).is_ok());
        for (parameters, expected) in [
            ("m=262145,t=1,p=1", PasswordHashError::Memory(262_145)),
            ("m=7,t=1,p=1", PasswordHashError::Memory(7)),
            ("m=31,t=1,p=4", PasswordHashError::Memory(31)),
            ("m=64,t=0,p=1", PasswordHashError::Passes(0)),
            ("m=64,t=11,p=1", PasswordHashError::Passes(11)),
            ("m=64,t=1,p=0", PasswordHashError::Lanes(0)),
            ("m=64,t=1,p=5", PasswordHashError::Lanes(5)),
            ("m=64,t=1", PasswordHashError::Parameters),
            ("t=1,m=64,p=1", PasswordHashError::Parameters),
            ("m=64,t=1,p=1,keyid=x", PasswordHashError::Parameters),
            ("m=+64,t=1,p=1", PasswordHashError::Parameters),
            ("m=4294967296,t=1,p=1", PasswordHashError::Parameters),
            ("m=,t=1,p=1", PasswordHashError::Parameters),
        ] {
            assert_eq!(error(&phc(parameters)), expected, "{parameters}");
        }
        for (text, expected) in [
            ("$2b$12$abc".to_owned(), PasswordHashError::Algorithm),
            (
                "$argon2i$v=19$m=64,t=1,p=1$a$b".to_owned(),
                PasswordHashError::Algorithm,
            ),
            (
                "$argon2id$v=19$m=64,t=1,p=1".to_owned(),
                PasswordHashError::Fields,
            ),
            (
                format!("{}$x", phc("m=64,t=1,p=1")),
                PasswordHashError::Fields,
            ),
            (
                format!("$argon2id$v=16$m=64,t=1,p=1${salt}${hash}"),
                PasswordHashError::Version,
            ),
            (
                format!("$argon2id$m=64,t=1,p=1${salt}${hash}"),
                PasswordHashError::Fields,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1$c2FsdA${hash}"),
                PasswordHashError::Salt,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}==${hash}"),
                PasswordHashError::Salt,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}$AAAA"),
                PasswordHashError::Hash,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}${hash}\r"),
                PasswordHashError::Hash,
            ),
        ] {
            assert_eq!(error(&text), expected, "{text}");
        }
    }

    #[test]
    fn passwords_that_begin_with_a_dollar_are_told_from_hashes() {
        for hash in ["$argon2id$", "$2b$12$x", "$6$x", "$pbkdf2-sha256$1$x"] {
            assert!(PasswordHash::looks_like_one(hash.as_bytes()), "{hash}");
        }
        for password in ["", "$", "$$", "$money", "a$b$", "$a b$"] {
            assert!(
                !PasswordHash::looks_like_one(password.as_bytes()),
                "{password}"
            );
        }
    }

    #[test]
    fn a_cheap_hash_is_topped_up_to_the_work_of_the_dearest() {
        let dear = Cost {
            memory: 1000,
            passes: 3,
        };
        assert_eq!(dear.max(EASY), dear);
        assert_eq!(EASY.max(dear), dear);
        assert_eq!(dear.less(dear), Cost::default());
        let rest = dear.less(EASY);
        let missing = dear.work() - EASY.work() - rest.work();
        assert!(rest.memory <= dear.memory && missing < rest.passes);
    }

    #[test]
    fn debug_shows_no_hash() {
        let hash = PasswordHash::parse(VECTORS[0].1.as_bytes()).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
