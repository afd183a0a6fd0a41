//! XSalsa20-Poly1305 with AVX-512. Few blocks are made as rows of 256-bit vectors. Long texts are
//! authenticated eight blocks at a time.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::poly1305::{self, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::avx512_long;
use crate::crypto::secretbox::simd::ifma::Wide;
use crate::crypto::secretbox::simd::rows::pairs_avx512;
use crate::crypto::secretbox::simd::{load256, load256_first, store256, store256_first};
use std::arch::x86_64::*;

/// Least length of a text, in bytes, that is authenticated eight blocks at a time. Shorter texts do
/// not earn back the computation of the powers of r.
const WIDE_FROM: usize = 512;

/// Encrypts `text` and returns its tag. A long text is encrypted with `P` passes side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn seal<const P: usize>(
    key: &StreamKey,
    nonce: [u8; 8],
    text: &mut [u8],
) -> [u8; TAG_LEN] {
    match text.len() {
        // One block alone is made faster by the scalar code.
        0..=32 => seal_with(&key.block(nonce, 0), text),
        33..=96 => seal_with(rows::<1>(key, nonce).as_flattened(), text),
        97..=224 => seal_with(rows::<2>(key, nonce).as_flattened(), text),
        225..=352 => seal_with(rows::<3>(key, nonce).as_flattened(), text),
        _ => avx512_long::seal::<P>(key, nonce, text),
    }
}

/// Decrypts `text` if `tag` is its tag. Otherwise leaves it unchanged or, if it is long, wipes it.
/// `P` as above.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn open<const P: usize>(
    key: &StreamKey,
    nonce: [u8; 8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> bool {
    match text.len() {
        0..=32 => open_with(&key.block(nonce, 0), text, tag),
        33..=96 => open_with(rows::<1>(key, nonce).as_flattened(), text, tag),
        97..=224 => open_with(rows::<2>(key, nonce).as_flattened(), text, tag),
        225..=352 => open_with(rows::<3>(key, nonce).as_flattened(), text, tag),
        _ => avx512_long::open::<P>(key, nonce, text, tag),
    }
}

/// `2 N` blocks of key stream.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn rows<const N: usize>(key: &StreamKey, nonce: [u8; 8]) -> [[u8; 2 * BLOCK_LEN]; N] {
    let mut stream = [[0; 2 * BLOCK_LEN]; N];
    for (bytes, vectors) in stream.iter_mut().zip(pairs_avx512::<N>(&key.0, nonce)) {
        for (bytes, vector) in bytes.as_chunks_mut().0.iter_mut().zip(vectors) {
            store256(bytes, vector);
        }
    }
    stream
}

/// Encrypts with key stream that is already made: the key of Poly1305, then the bytes for `text`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn seal_with(stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let (streams, _) = stream.as_chunks::<32>();
    let Some((mac_key, streams)) = streams.split_first() else {
        return [0; TAG_LEN];
    };
    let (wholes, tail) = text.as_chunks_mut::<32>();
    for (text, stream) in wholes.iter_mut().zip(streams) {
        let sealed = _mm256_xor_si256(load256(text), load256(stream));
        store256(text, sealed);
    }
    // Kept in a register and stored in full, because reading back bytes that were just written in
    // another size is slow.
    let mut last = [0; 32];
    if let Some(stream) = streams.get(wholes.len())
        && !tail.is_empty()
    {
        let stream = load256_first(&stream[..tail.len()]);
        let sealed = _mm256_xor_si256(load256_first(tail), stream);
        store256_first(tail, sealed);
        store256(&mut last, sealed);
    }
    let len = tail.len();
    authenticate(Poly1305::new(mac_key), wholes.as_flattened(), &last, len)
}

/// Decrypts with key stream that is already made, if `tag` is the tag of `text`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn open_with(stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let (streams, _) = stream.as_chunks::<32>();
    let Some((mac_key, streams)) = streams.split_first() else {
        return false;
    };
    let (wholes, tail) = text.as_chunks_mut::<32>();
    let mut last = [0; 32];
    let sealed_tail = load256_first(tail);
    store256(&mut last, sealed_tail);
    let len = tail.len();
    let computed = authenticate(Poly1305::new(mac_key), wholes.as_flattened(), &last, len);
    if !poly1305::same_tag(&computed, tag) {
        return false;
    }
    if let Some(stream) = streams.get(wholes.len())
        && !tail.is_empty()
    {
        store256_first(tail, _mm256_xor_si256(sealed_tail, load256(stream)));
    }
    for (text, stream) in wholes.iter_mut().zip(streams) {
        let opened = _mm256_xor_si256(load256(text), load256(stream));
        store256(text, opened);
    }
    true
}

/// The tag after `wholes`, a multiple of 32 bytes, and the first `len` bytes of `last`, which has zeros
/// behind them.
#[inline(always)]
fn authenticate(mut mac: Poly1305, wholes: &[u8], last: &[u8; 32], len: usize) -> [u8; TAG_LEN] {
    mac.blocks(wholes.as_chunks().0);
    let (halves, _) = last.as_chunks();
    match (halves, len) {
        ([first, second], 16..) => {
            mac.blocks(std::slice::from_ref(first));
            mac.finish_padded(second, len - 16)
        }
        ([first, _], _) => mac.finish_padded(first, len),
        _ => mac.finish(&[]),
    }
}

/// The tag of a text of any length.
#[cfg(any(test, feature = "test-ciphers"))]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn mac(key: &[u8; 32], text: &[u8]) -> [u8; TAG_LEN] {
    authenticate_long(Poly1305::new(key), text)
}

/// The tag of a text, which is authenticated eight blocks at a time if it is long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn authenticate_long(mut mac: Poly1305, text: &[u8]) -> [u8; TAG_LEN] {
    let mut rest = text;
    if text.len() >= WIDE_FROM {
        let (vectors, after) = text.as_chunks();
        let (groups, vectors) = vectors.as_chunks();
        let mut wide = Wide::new(mac.r());
        wide.groups(groups);
        mac.set_sum(wide.sum(vectors));
        rest = after;
    }
    let (wholes, tail) = rest.as_chunks::<32>();
    let mut last = [0; 32];
    store256(&mut last, load256_first(tail));
    authenticate(mac, wholes.as_flattened(), &last, tail.len())
}
