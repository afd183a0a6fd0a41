//! XSalsa20-Poly1305 under a derived key, in place, in portable code.
#![forbid(unsafe_code)]

use crate::crypto::backend::{Blocks, Inputs, Job};
use crate::crypto::poly1305::{self, Poly1305, TAG_LEN};
use crate::crypto::salsa20::{BLOCK_LEN, StreamKey};

/// Of the first block of key stream, half is the one-time key of Poly1305 and half is for the
/// text (NaCl's `crypto_secretbox`).
const FIRST_LEN: usize = BLOCK_LEN - poly1305::KEY_LEN;

/// Encrypts `text` and tells its tag.
pub(crate) fn seal(key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let first_block = key.block(nonce, 0);
    let (mut mac, first_stream) = split(&first_block);
    let (first, rest) = text.split_at_mut(text.len().min(FIRST_LEN));
    apply(first, first_stream);
    if rest.is_empty() {
        return finish(mac, first);
    }
    mac.blocks(first.as_chunks().0);
    let mut counter = 1;
    let (blocks, tail) = rest.as_chunks_mut::<BLOCK_LEN>();
    for block in blocks {
        apply(block, &key.block(nonce, counter));
        mac.blocks(block.as_chunks().0);
        counter += 1;
    }
    if !tail.is_empty() {
        apply(tail, &key.block(nonce, counter));
    }
    finish(mac, tail)
}

/// Decrypts `text` if `tag` is its tag, and leaves it alone otherwise.
pub(crate) fn open(key: &StreamKey, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let first_block = key.block(nonce, 0);
    let (mac, first_stream) = split(&first_block);
    if !poly1305::same_tag(&finish(mac, text), tag) {
        return false;
    }
    let (first, rest) = text.split_at_mut(text.len().min(FIRST_LEN));
    apply(first, first_stream);
    for (block, counter) in rest.chunks_mut(BLOCK_LEN).zip(1..) {
        apply(block, &key.block(nonce, counter));
    }
    true
}

/// Encrypts `text` with key stream that is there already, and tells its tag.
pub(crate) fn seal_with(stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let Some((mac_key, stream)) = stream.split_first_chunk() else {
        return [0; TAG_LEN];
    };
    apply(text, stream);
    finish(Poly1305::new(mac_key), text)
}

/// Decrypts `text` with key stream that is there already, if `tag` is its tag.
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
    let inputs = inputs.nonces.iter().zip(inputs.numbers);
    for (block, (nonce, number)) in out.iter_mut().zip(inputs) {
        *block = key.block(*nonce, u32::from_le_bytes(number).into());
    }
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

/// Opens `jobs` up to the first that does not open, and tells how many did.
pub(crate) fn open_many(key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
    let opens = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        job.parts()
            .is_some_and(|(tag, text)| open(key, nonce, text, tag))
    };
    let total = jobs.len();
    jobs.iter_mut().position(|job| !opens(job)).unwrap_or(total)
}

fn split(first_block: &[u8; BLOCK_LEN]) -> (Poly1305, &[u8]) {
    let mut mac_key = [0; poly1305::KEY_LEN];
    mac_key.copy_from_slice(&first_block[..poly1305::KEY_LEN]);
    (Poly1305::new(&mac_key), &first_block[poly1305::KEY_LEN..])
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
