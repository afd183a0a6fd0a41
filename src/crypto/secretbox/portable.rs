//! XSalsa20-Poly1305 under a derived key, in place, in portable code.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Blocks, Inputs, Job};
use crate::crypto::secretbox::poly1305::{self, KEY_LEN, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{AT_ONCE, BLOCK_LEN, StreamKey};

/// Bytes of key stream of one pass.
const PASS_LEN: usize = AT_ONCE * BLOCK_LEN;
/// Bytes of the first pass that encrypt text. The one-time key of Poly1305 precedes them, as in
/// NaCl's `crypto_secretbox`.
const FIRST_PASS_LEN: usize = PASS_LEN - KEY_LEN;
/// Least number of blocks that are made in a pass. Fewer are made faster one by one.
const WORTH_PASS: usize = 9;

/// Encrypts `text` and returns its tag.
pub(crate) fn seal(key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let mut stream = [[0; BLOCK_LEN]; AT_ONCE];
    make(&mut stream, key, nonce, 0, KEY_LEN + text.len());
    if text.len() <= FIRST_PASS_LEN {
        return seal_with(stream.as_flattened(), text);
    }
    let Some((mac_key, first_stream)) = stream.as_flattened().split_first_chunk() else {
        return [0; TAG_LEN];
    };
    let mut mac = Poly1305::new(mac_key);
    let (first, rest) = text.split_at_mut(FIRST_PASS_LEN);
    apply(first, first_stream);
    mac.blocks(first.as_chunks().0);
    for (pass, counter) in rest
        .chunks_mut(PASS_LEN)
        .zip((AT_ONCE as u64..).step_by(AT_ONCE))
    {
        make(&mut stream, key, nonce, counter, pass.len());
        apply(pass, stream.as_flattened());
        if pass.len() < PASS_LEN {
            return finish(mac, pass);
        }
        mac.blocks(pass.as_chunks().0);
    }
    mac.finish(&[])
}

/// Decrypts `text` if `tag` is its tag. Otherwise leaves it unchanged.
pub(crate) fn open(key: &StreamKey, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let mut stream = [[0; BLOCK_LEN]; AT_ONCE];
    make(&mut stream, key, nonce, 0, KEY_LEN + text.len());
    if text.len() <= FIRST_PASS_LEN {
        return open_with(stream.as_flattened(), text, tag);
    }
    let Some((mac_key, first_stream)) = stream.as_flattened().split_first_chunk() else {
        return false;
    };
    if !poly1305::same_tag(&finish(Poly1305::new(mac_key), text), tag) {
        return false;
    }
    let (first, rest) = text.split_at_mut(FIRST_PASS_LEN);
    apply(first, first_stream);
    for (pass, counter) in rest
        .chunks_mut(PASS_LEN)
        .zip((AT_ONCE as u64..).step_by(AT_ONCE))
    {
        make(&mut stream, key, nonce, counter, pass.len());
        apply(pass, stream.as_flattened());
    }
    true
}

/// Encrypts `text` with precomputed key stream and returns its tag.
pub(crate) fn seal_with(stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let Some((mac_key, stream)) = stream.split_first_chunk() else {
        return [0; TAG_LEN];
    };
    apply(text, stream);
    finish(Poly1305::new(mac_key), text)
}

/// Decrypts `text` with precomputed key stream if `tag` is its tag.
pub(crate) fn open_with(stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let Some((mac_key, stream)) = stream.split_first_chunk() else {
        return false;
    };
    let is_its_tag = poly1305::same_tag(&finish(Poly1305::new(mac_key), text), tag);
    if is_its_tag {
        apply(text, stream);
    }
    is_its_tag
}

/// Makes key stream.
pub(crate) fn blocks(key: &StreamKey, inputs: &Inputs, out: &mut Blocks) {
    let numbers = inputs
        .numbers
        .map(|number| u32::from_le_bytes(number).into());
    key.blocks(&inputs.nonces, &numbers, out);
}

/// Seals all of `jobs`.
pub(crate) fn seal_many(key: &StreamKey, jobs: &mut [Job<'_>]) {
    for job in jobs {
        let nonce = job.nonce;
        if let Some((tag, text)) = job.parts() {
            *tag = seal(key, nonce, text);
        }
    }
}

/// Opens `jobs` up to the first that does not open. Returns how many have opened.
pub(crate) fn open_many(key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
    let opens = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        job.parts()
            .is_some_and(|(tag, text)| open(key, nonce, text, tag))
    };
    let total = jobs.len();
    jobs.iter_mut().position(|job| !opens(job)).unwrap_or(total)
}

/// Makes at least `len` bytes of key stream, but at most one pass.
fn make(stream: &mut Blocks, key: &StreamKey, nonce: [u8; 8], counter: u64, len: usize) {
    let blocks = len.div_ceil(BLOCK_LEN);
    if blocks < WORTH_PASS {
        for (block, counter) in stream.iter_mut().zip(counter..).take(blocks) {
            *block = key.block(nonce, counter);
        }
    } else {
        let mut numbers = [0; AT_ONCE];
        for (number, counter) in numbers.iter_mut().zip(counter..) {
            *number = counter;
        }
        key.blocks(&[nonce; AT_ONCE], &numbers, stream);
    }
}

fn finish(mut mac: Poly1305, text: &[u8]) -> [u8; TAG_LEN] {
    let (blocks, rest) = text.as_chunks();
    mac.blocks(blocks);
    mac.finish(rest)
}

/// Adds key stream to text.
fn apply(text: &mut [u8], stream: &[u8]) {
    for (byte, stream) in text.iter_mut().zip(stream) {
        *byte ^= stream;
    }
}
