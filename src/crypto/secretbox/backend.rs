//! The choice of code that seals and opens, made once for each key by the features of the
//! processor.
#![forbid(unsafe_code)]

#[cfg(feature = "test-ciphers")]
use crate::crypto::secretbox::cipher_choice;
use crate::crypto::secretbox::job::{Blocks, Inputs, Job};
use crate::crypto::secretbox::poly1305::TAG_LEN;
use crate::crypto::secretbox::portable;
use crate::crypto::secretbox::salsa20::StreamKey;
#[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
use crate::crypto::secretbox::simd::{Avx2, Avx512};

/// The code for one kind of processor. `--cfg zmtp_auth_cipher="portable"` leaves out all but the
/// portable code, and `"avx2"` never selects AVX-512.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    Avx512(Avx512),
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    Avx2(Avx2),
    Portable,
}

/// Calls the function of one name that belongs to a backend.
macro_rules! on {
    ($backend:expr, $function:ident($($argument:expr),*)) => {
        match $backend {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Backend::Avx512(proof) => proof.$function($($argument),*),
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Backend::Avx2(proof) => proof.$function($($argument),*),
            Backend::Portable => portable::$function($($argument),*),
        }
    };
}

impl Backend {
    /// The fastest code that this processor can run.
    pub(crate) fn fastest() -> Self {
        #[cfg(feature = "test-ciphers")]
        if let Some(name) = cipher_choice::named() {
            let found = Self::all().into_iter().find(|found| found.name() == name);
            return found.unwrap_or_else(|| cipher_choice::lacks(name, &names()));
        }
        #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
        {
            if !cfg!(zmtp_auth_cipher = "avx2")
                && let Some(proof) = Avx512::detect()
            {
                return Self::Avx512(proof);
            }
            if let Some(proof) = Avx2::detect() {
                return Self::Avx2(proof);
            }
        }
        Self::Portable
    }

    /// Whether a batch of boxes takes less time than the boxes one by one.
    pub(crate) fn has_batches(self) -> bool {
        !matches!(self, Self::Portable)
    }

    /// Whether a long box may use more than [`LONG_DEPTH`](crate::crypto::stack_wipe::LONG_DEPTH) of
    /// stack.
    pub(crate) fn goes_deep(self) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Avx512(proof) => proof.goes_deep(),
            _ => false,
        }
    }

    /// Whether a batch needs no more of the stack than a small one, however many blocks it has.
    pub(crate) fn stays_shallow(self, jobs: &[Job<'_>]) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Avx512(proof) => proof.stays_shallow(jobs),
            // The others pack boxes of one length as all others.
            _ => jobs.is_empty(),
        }
    }

    /// Makes key stream.
    pub(crate) fn blocks(self, key: &StreamKey, inputs: &Inputs, out: &mut Blocks) {
        on!(self, blocks(key, inputs, out));
    }

    /// Encrypts `text` in place and returns its tag.
    pub(crate) fn seal(self, key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
        on!(self, seal(key, nonce, text))
    }

    /// Decrypts `text` in place if `tag` is its tag. Otherwise the text is unchanged or, if it is
    /// so long that it is decrypted while it is authenticated, wiped.
    pub(crate) fn open(
        self,
        key: &StreamKey,
        nonce: [u8; 8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        on!(self, open(key, nonce, text, tag))
    }

    /// Encrypts a short text with key stream that is already made, and returns its tag.
    pub(crate) fn seal_with(self, stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        on!(self, seal_with(stream, text))
    }

    /// Decrypts a short text with key stream that is already made, if `tag` is its tag.
    pub(crate) fn open_with(self, stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        on!(self, open_with(stream, text, tag))
    }

    /// Seals all of `jobs`.
    pub(crate) fn seal_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) {
        on!(self, seal_many(key, jobs));
    }

    /// Opens `jobs` in order, up to the first that does not open. Returns how many have opened. The
    /// jobs after it are unchanged.
    pub(crate) fn open_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
        on!(self, open_many(key, jobs))
    }
}

#[cfg(any(test, feature = "test-ciphers"))]
impl Backend {
    /// All backends that this processor can run.
    pub(crate) fn all() -> Vec<Self> {
        let all = [
            Some(Self::Portable),
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Avx2::detect().map(Self::Avx2),
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Avx512::detect().map(Self::Avx512),
            // What another processor would choose.
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Avx512::detect().map(|proof| Self::Avx512(proof.other())),
        ];
        all.into_iter().flatten().collect()
    }

    /// A name for tests.
    #[cfg(feature = "test-ciphers")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Avx512(proof) if proof.goes_deep() => "avx512-pairs",
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Self::Avx2(_) => "avx2",
            Self::Portable => "portable",
        }
    }
}

/// The names of all backends that this processor can run.
#[cfg(feature = "test-ciphers")]
pub fn names() -> Vec<&'static str> {
    Backend::all().into_iter().map(Backend::name).collect()
}

/// The name of the backend that this process uses.
#[cfg(feature = "test-ciphers")]
pub fn name_in_use() -> &'static str {
    Backend::fastest().name()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    use crate::crypto::secretbox::poly1305;
    use crate::crypto::secretbox::salsa20::{AT_ONCE, BLOCK_LEN};
    use crypto_secretbox::XSalsa20Poly1305;
    use crypto_secretbox::aead::{Aead, AeadInPlace, KeyInit};

    const PREFIX: &[u8; 16] = b"CurveZMQMESSAGEC";

    fn full() -> bool {
        std::env::var_os("ZMTP_AUTH_FULL").is_some()
    }

    fn keys() -> (StreamKey, XSalsa20Poly1305) {
        let key = [7; 32];
        let judge = XSalsa20Poly1305::new(&key.into());
        (StreamKey::derive(&key, PREFIX), judge)
    }

    fn nonce(counter: [u8; 8]) -> crypto_secretbox::Nonce {
        let mut nonce = [0; 24];
        nonce[..16].copy_from_slice(PREFIX);
        nonce[16..].copy_from_slice(&counter);
        nonce.into()
    }

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            self.0 >> 33
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| self.next() as u8).collect()
        }
    }

    /// Every length to 2,100, around each border of long texts, and some longer ones at random. In an
    /// interpreter, borders of the portable code.
    fn lengths(random: &mut Random) -> Vec<usize> {
        if cfg!(miri) {
            return vec![0, 1, 15, 16, 33, 97, 481, 992, 993, 1100];
        }
        let borders = (1..8).flat_map(|k| 1024 * k - 40..1024 * k + 10);
        let more = if full() { 300 } else { 20 };
        let random = (0..more).map(|_| (random.next() % 100_000) as usize);
        (0..=2100)
            .chain(borders)
            .chain(random)
            .chain([65_536, 1 << 20])
            .collect()
    }

    #[test]
    fn every_backend_seals_and_opens_as_crypto_secretbox_does() {
        let (key, judge) = keys();
        let mut random = Random(1);
        for len in lengths(&mut random) {
            let text = random.bytes(len);
            let counter = random.next().to_be_bytes();
            let expected = judge.encrypt(&nonce(counter), &text[..]).unwrap();
            let (expected_tag, expected) = expected.split_first_chunk().unwrap();
            for backend in backends_for(len) {
                let mut here = text.clone();
                let tag = backend.seal(&key, counter, &mut here);
                assert_eq!(&tag, expected_tag, "{backend:?} {len}");
                assert!(here == expected, "{backend:?} {len}");
                assert!(
                    backend.open(&key, counter, &mut here, &tag),
                    "{backend:?} {len}"
                );
                assert!(here == text, "{backend:?} {len}");
            }
        }
    }

    fn backends_once() -> &'static [Backend] {
        static ONCE: std::sync::OnceLock<Vec<Backend>> = std::sync::OnceLock::new();
        ONCE.get_or_init(Backend::all)
    }

    /// The last of four is AVX-512 with what another processor would choose for long texts. It is the
    /// same code for shorter ones, and in the quick run every fourth length is enough.
    fn backends_for(len: usize) -> &'static [Backend] {
        let all = backends_once();
        let is_left_out = all.len() == 4 && !full() && (len < 1184 || len % 8 > 1);
        &all[..all.len() - usize::from(is_left_out)]
    }

    /// A text with a wrong tag is unchanged or wiped, never opened.
    #[test]
    fn every_flipped_bit_of_a_tag_closes_every_backend() {
        let (key, _) = keys();
        let mut random = Random(2);
        for len in (0..=2100).chain((2101..9300).step_by(97)) {
            let text = random.bytes(len);
            for backend in backends_for(len) {
                let mut sealed = text.clone();
                let tag = backend.seal(&key, [1; 8], &mut sealed);
                let step = if full() || len % 100 < 2 { 1 } else { 31 };
                for bit in (len % step..128).step_by(step) {
                    let mut other = tag;
                    other[bit / 8] ^= 1 << (bit % 8);
                    let mut here = sealed.clone();
                    assert!(!backend.open(&key, [1; 8], &mut here, &other));
                    for ((here, sealed), opened) in here.iter().zip(&sealed).zip(&text) {
                        assert!(here == sealed || *here == 0, "{backend:?} {len} {opened}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_text_closes_every_backend() {
        let (key, _) = keys();
        let mut random = Random(3);
        for len in (1..=64).chain([97, 230, 360, 600, 1100, 2100, 4200]) {
            for backend in backends_once() {
                let mut sealed = random.bytes(len);
                let tag = backend.seal(&key, [1; 8], &mut sealed);
                let step = if full() || len <= 64 { 1 } else { 61 };
                for bit in (0..8 * len).step_by(step) {
                    let mut here = sealed.clone();
                    here[bit / 8] ^= 1 << (bit % 8);
                    assert!(
                        !backend.open(&key, [1; 8], &mut here, &tag),
                        "{backend:?} {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_backend_seals_and_opens_many_as_one_by_one() {
        let (key, _) = keys();
        let mut random = Random(4);
        let (rounds, most) = match (full(), cfg!(miri)) {
            (_, true) => (4, 5),
            (true, _) => (2000, 40),
            _ => (200, 40),
        };
        for round in 0..rounds {
            let max = [1, 40, 120, 300, 1100, 3000][round % 6];
            let texts: Vec<Vec<u8>> = (0..random.next() % most)
                .map(|_| {
                    let len = random.next() as usize % max;
                    random.bytes(len)
                })
                .collect();
            let sealed = one_by_one(&key, &texts);
            for backend in backends_once() {
                let mut here: Vec<Vec<u8>> = texts
                    .iter()
                    .map(|text| [&[0; 16], &text[..]].concat())
                    .collect();
                backend.seal_many(&key, &mut jobs(&mut here));
                assert!(here == sealed, "{backend:?}");
                let bad = random.next() as usize % (texts.len() + 1);
                if let Some(boxed) = here.get_mut(bad) {
                    let at = random.next() as usize % boxed.len();
                    boxed[at] ^= 0x10;
                }
                let damaged = here.get(bad).cloned();
                assert_eq!(backend.open_many(&key, &mut jobs(&mut here)), bad);
                for (at, here) in here.iter().enumerate() {
                    match at.cmp(&bad) {
                        std::cmp::Ordering::Less => assert!(here[16..] == texts[at]),
                        std::cmp::Ordering::Equal => {
                            let damaged = damaged.as_ref().unwrap();
                            let kept = here[16..].iter().zip(&damaged[16..]);
                            assert!(
                                kept.into_iter()
                                    .all(|(here, was)| here == was || *here == 0)
                            );
                        }
                        std::cmp::Ordering::Greater => assert!(*here == sealed[at]),
                    }
                }
            }
        }
    }

    /// Most batches are of one length. With each number of boxes: the borders of blocks of either cipher,
    /// and of the longest texts that have a lane each.
    #[test]
    fn many_boxes_of_one_length_are_those_one_by_one_in_every_backend() {
        let (key, _) = keys();
        let mut random = Random(6);
        let longest = [
            (9, 96),
            (10, 96),
            (11, 160),
            (12, 160),
            (13, 288),
            (14, 416),
            (15, 928),
            (16, 4080),
            (17, 4080),
        ];
        let borders = [16, 32, 48, 64, 80, 96].into_iter();
        let borders: Vec<_> = [0, 1]
            .into_iter()
            .chain(borders.flat_map(|at| at - 1..=at + 1))
            .collect();
        let cases = longest.into_iter().flat_map(|(count, longest)| {
            let lengths = borders.iter().copied().chain(longest - 1..=longest + 1);
            lengths.map(move |len| (count, len))
        });
        let cases: Vec<(usize, usize)> = if cfg!(miri) {
            vec![(2, 0), (2, 33), (2, 97)]
        } else {
            cases.collect()
        };
        for (count, len) in cases {
            let texts: Vec<_> = (0..count).map(|_| random.bytes(len)).collect();
            let one_by_one = one_by_one(&key, &texts);
            for backend in backends_once() {
                let room = |text: &Vec<u8>| [&[0; TAG_LEN], &text[..]].concat();
                let mut here: Vec<_> = texts.iter().map(room).collect();
                backend.seal_many(&key, &mut jobs(&mut here));
                assert!(here == one_by_one, "{backend:?} {count} of {len}");
                let forged = random.next() as usize % (count + 1);
                if let Some(boxed) = here.get_mut(forged) {
                    let bit = random.next() as usize % (8 * boxed.len());
                    boxed[bit / 8] ^= 1 << (bit % 8);
                }
                let kept = here.clone();
                let opened = backend.open_many(&key, &mut jobs(&mut here));
                assert_eq!(opened, forged, "{backend:?} {count} of {len}");
                for (at, boxed) in here.iter().enumerate() {
                    let is_right = match at.cmp(&forged) {
                        std::cmp::Ordering::Less => boxed[TAG_LEN..] == texts[at],
                        // What was decrypted of one that is opened by itself is wiped.
                        std::cmp::Ordering::Equal => boxed
                            .iter()
                            .zip(&kept[at])
                            .skip(TAG_LEN)
                            .all(|(here, was)| here == was || *here == 0),
                        std::cmp::Ordering::Greater => *boxed == kept[at],
                    };
                    assert!(is_right, "{backend:?} {at} of {count} of {len}");
                }
            }
        }
    }

    /// Boxes of equal and of nearly equal lengths share lanes from the first block to the last.
    #[test]
    fn a_forged_box_in_any_place_ends_a_batch_of_every_backend() {
        let (key, _) = keys();
        let mut random = Random(5);
        let longest = if cfg!(miri) { 40 } else { 330 };
        for len in (0..longest).step_by(if full() { 1 } else { 19 }) {
            let count = if cfg!(miri) { 3 } else { 16 + len % 2 };
            let spread = [0, 1, 40][len % 3];
            let texts: Vec<_> = (0..count)
                .map(|at| random.bytes(len + at * spread % 41))
                .collect();
            let one_by_one = one_by_one(&key, &texts);
            for backend in backends_once() {
                let room = |text: &Vec<u8>| [&[0; TAG_LEN], &text[..]].concat();
                let mut sealed: Vec<_> = texts.iter().map(room).collect();
                backend.seal_many(&key, &mut jobs(&mut sealed));
                assert!(sealed == one_by_one, "{backend:?} {len}");
                for forged in 0..=count {
                    let mut here = sealed.clone();
                    if let Some(boxed) = here.get_mut(forged) {
                        let bit = random.next() as usize % (8 * boxed.len());
                        boxed[bit / 8] ^= 1 << (bit % 8);
                    }
                    let kept = here.clone();
                    let opened = backend.open_many(&key, &mut jobs(&mut here));
                    assert_eq!(opened, forged.min(count), "{backend:?} {len}");
                    for (at, boxed) in here.iter().enumerate() {
                        if at < forged {
                            assert!(boxed[TAG_LEN..] == texts[at], "{backend:?} {len}");
                        } else {
                            assert!(*boxed == kept[at], "{backend:?} {len}");
                        }
                    }
                }
            }
        }
    }

    /// The boxes of texts, each by itself in the portable code. Their nonces count up.
    fn one_by_one(key: &StreamKey, texts: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let boxes = texts.iter().zip(0_u64..).map(|(text, counter)| {
            let mut text = text.clone();
            let tag = portable::seal(key, counter.to_be_bytes(), &mut text);
            [&tag[..], &text].concat()
        });
        boxes.collect()
    }

    fn jobs(boxes: &mut [Vec<u8>]) -> Vec<Job<'_>> {
        boxes
            .iter_mut()
            .zip(0_u64..)
            .map(|(boxed, counter)| Job {
                nonce: counter.to_be_bytes(),
                boxed,
            })
            .collect()
    }

    #[test]
    fn a_box_without_room_for_a_tag_is_left_alone_and_does_not_open() {
        let (key, _) = keys();
        for backend in backends_once() {
            for len in 0..TAG_LEN {
                let mut boxes = vec![vec![7; len]; 3];
                backend.seal_many(&key, &mut jobs(&mut boxes));
                assert_eq!(boxes, vec![vec![7; len]; 3]);
                assert_eq!(backend.open_many(&key, &mut jobs(&mut boxes)), 0);
            }
        }
    }

    /// `None` where AVX-512 cannot be tested, and says so.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    fn avx512() -> Option<Avx512> {
        let proof = Avx512::detect();
        if proof.is_none() {
            println!("SKIPPED: this processor has no AVX-512");
        }
        proof
    }

    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[test]
    fn wide_code_is_poly1305() {
        let Some(proof) = avx512() else {
            return;
        };
        poly1305::tests::is_poly1305(|key, text| proof.mac(key, text));
    }

    /// Whatever the other texts are that share the vectors with one.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[test]
    fn poly1305_of_many_texts_is_that_of_each() {
        let Some(proof) = avx512() else {
            return;
        };
        let calls = std::cell::Cell::new(0);
        poly1305::tests::is_poly1305(|key, text| {
            calls.set(calls.get() + 1);
            let (lane, step) = (calls.get() % 16, calls.get() % 5);
            let texts: [Vec<u8>; 16] = std::array::from_fn(|other| {
                if other == lane {
                    text.to_vec()
                } else {
                    let len = text.len() + step * other;
                    vec![0xff; len.saturating_sub(8 * step)]
                }
            });
            let mut tasks = [[(&[0xff; 32], &[][..]); 8]; 2];
            for (task, text) in tasks.as_flattened_mut().iter_mut().zip(&texts) {
                *task = (&[0xff; 32], text);
            }
            tasks.as_flattened_mut()[lane] = (key, text);
            proof.macs(&tasks).as_flattened()[lane]
        });
    }

    /// The products of both blocks are added before they are carried, so the limbs are fuller.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[test]
    fn poly1305_of_many_texts_two_blocks_at_a_time_is_that_of_each() {
        let Some(proof) = avx512() else {
            return;
        };
        let calls = std::cell::Cell::new(0);
        poly1305::tests::is_poly1305(|key, text| {
            calls.set(calls.get() + 1);
            let lane = calls.get() % 8;
            let other = vec![0xff; text.len()];
            let mut tasks = [(&[0xff; 32], &other[..]); 8];
            tasks[lane] = (key, text);
            proof.macs_by_twos(&tasks)[lane]
        });
    }

    #[test]
    fn every_backend_makes_key_stream_as_block_by_block() {
        let (key, _) = keys();
        let mut random = Random(5);
        for _ in 0..if cfg!(miri) { 1 } else { 20 } {
            let inputs = Inputs {
                nonces: std::array::from_fn(|_| random.bytes(8).try_into().unwrap()),
                numbers: std::array::from_fn(|_| random.bytes(4).try_into().unwrap()),
            };
            let mut expected = [[0; BLOCK_LEN]; AT_ONCE];
            portable::blocks(&key, &inputs, &mut expected);
            for backend in backends_once() {
                let mut here = [[0; BLOCK_LEN]; AT_ONCE];
                backend.blocks(&key, &inputs, &mut here);
                assert_eq!(here, expected, "{backend:?}");
            }
        }
    }

    /// The features that `detect` asks for, by their names in Linux.
    #[cfg(all(
        target_arch = "x86_64",
        target_os = "linux",
        not(miri),
        not(zmtp_auth_cipher = "portable")
    ))]
    #[test]
    fn a_backend_is_found_if_the_system_says_that_its_processor_has_all_it_needs() {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpus.lines().find(|line| line.starts_with("flags")).unwrap();
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let has = |all: &[&str]| all.iter().all(|flag| flags.contains(flag));
        let all = Backend::all();
        let avx2 = all.iter().any(|found| matches!(found, Backend::Avx2(_)));
        let avx512 = all.iter().any(|found| matches!(found, Backend::Avx512(_)));
        assert_eq!(avx2, has(&["avx2", "bmi2", "adx"]));
        let wide = ["avx512f", "avx512bw", "avx512vl", "avx512ifma"];
        assert_eq!(avx512, has(&wide) && has(&["bmi2", "adx"]));
    }

    #[test]
    fn detached_is_in_place_with_the_tag_elsewhere() {
        let (key, judge) = keys();
        let mut text = b"attack at dawn".to_vec();
        let tag = Backend::fastest().seal(&key, [5; 8], &mut text);
        let mut theirs = b"attack at dawn".to_vec();
        let expected = judge
            .encrypt_in_place_detached(&nonce([5; 8]), b"", &mut theirs)
            .unwrap();
        assert_eq!((&tag[..], &text), (&expected[..], &theirs));
    }

    /// The lengths reach each of the ways in which a backend seals and opens. A long text is
    /// decrypted while it is authenticated.
    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_keys_texts_or_how_much_of_a_tag_is_right() {
        use crate::timing::{assert_same_time, of_class};
        let (key, _) = keys();
        for backend in backends_once() {
            for (len, samples) in [(40, 50_000), (200, 50_000), (1000, 50_000), (8000, 20_000)] {
                let name = |what: &str| format!("{backend:?}, {len} bytes, {what}");
                assert_same_time(
                    &name("seal, text fixed or random"),
                    samples,
                    |class, random| random.text(class, len),
                    |text| backend.seal(&key, [1; 8], text),
                );
                assert_same_time(
                    &name("seal, key fixed or random"),
                    samples,
                    |class, random| {
                        let key = of_class(class, [0; 32], random.array());
                        (StreamKey::derive(&key, PREFIX), vec![7; len])
                    },
                    |(key, text)| backend.seal(key, [1; 8], text),
                );
                let sealed = |mut text: Vec<u8>| {
                    let tag = backend.seal(&key, [1; 8], &mut text);
                    (text, tag)
                };
                assert_same_time(
                    &name("open, text fixed or random"),
                    samples,
                    |class, random| sealed(random.text(class, len)),
                    |(text, tag)| backend.open(&key, [1; 8], text, tag),
                );
                let (boxed, tag) = sealed(vec![9; len]);
                let [mut first, mut last] = [tag; 2];
                first[0] ^= 1;
                last[TAG_LEN - 1] ^= 1;
                assert_same_time(
                    &name("open, tag wrong in its first or last byte"),
                    samples,
                    |class, _| (boxed.clone(), of_class(class, first, last)),
                    |(text, tag)| backend.open(&key, [1; 8], text, tag),
                );
                assert_same_time(
                    &name("open, tag wrong in one byte or random"),
                    samples,
                    |class, random| (boxed.clone(), of_class(class, last, random.array())),
                    |(text, tag)| backend.open(&key, [1; 8], text, tag),
                );
            }
        }
    }

    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_the_texts_of_a_batch_or_how_much_of_a_tag_is_right() {
        use crate::timing::{assert_same_time, of_class};
        const COUNT: usize = 16;
        let (key, _) = keys();
        for backend in backends_once() {
            for len in [40, 200] {
                let name = |what: &str| format!("{backend:?}, {COUNT} of {len} bytes, {what}");
                let boxes = |text: &[u8]| -> Vec<Vec<u8>> {
                    let texts = text.chunks(len);
                    texts.map(|text| [&[0; TAG_LEN], text].concat()).collect()
                };
                let sealed = |mut boxes: Vec<Vec<u8>>| {
                    backend.seal_many(&key, &mut jobs(&mut boxes));
                    boxes
                };
                let all = COUNT * len;
                assert_same_time(
                    &name("seal, texts fixed or random"),
                    20_000,
                    |class, random| boxes(&random.text(class, all)),
                    |boxes| backend.seal_many(&key, &mut jobs(boxes)),
                );
                assert_same_time(
                    &name("open, texts fixed or random"),
                    20_000,
                    |class, random| sealed(boxes(&random.text(class, all))),
                    |boxes| backend.open_many(&key, &mut jobs(boxes)),
                );
                let good = sealed(boxes(&vec![0; all]));
                assert_same_time(
                    &name("open, a tag wrong in its first or last byte"),
                    20_000,
                    |class, _| {
                        let mut boxes = good.clone();
                        boxes[COUNT / 2][of_class(class, 0, TAG_LEN - 1)] ^= 1;
                        boxes
                    },
                    |boxes| backend.open_many(&key, &mut jobs(boxes)),
                );
            }
        }
    }
}
