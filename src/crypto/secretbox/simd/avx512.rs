//! XSalsa20-Poly1305 with AVX-512. Few blocks are made as rows of 256-bit vectors, many as lanes of
//! 512-bit vectors. Long texts are authenticated eight blocks at a time.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::poly1305::{self, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::ifma::{self, Wide};
use crate::crypto::secretbox::simd::lanes512::{self, LANES};
use crate::crypto::secretbox::simd::rows::pairs_avx512;
use crate::crypto::secretbox::simd::{
    load256, load256_first, load512, load512_first, store256, store256_first, store512,
    store512_first,
};
use std::arch::x86_64::*;

/// Most bytes of text that one block of key stream encrypts, next to the key of Poly1305.
const FIRST_LEN: usize = BLOCK_LEN - poly1305::KEY_LEN;
/// Most blocks that are made faster one by one than in a pass.
const FEW: usize = 2;
/// Least length of a text, in bytes, that is authenticated eight blocks at a time. Shorter texts do
/// not earn back the computation of the powers of r.
const WIDE_FROM: usize = 512;

/// Encrypts `text` and returns its tag.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn seal(key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
    match text.len() {
        // One block alone is made faster by the scalar code.
        0..=32 => seal_with(&key.block(nonce, 0), text),
        33..=96 => seal_with(rows::<1>(key, nonce).as_flattened(), text),
        97..=224 => seal_with(rows::<2>(key, nonce).as_flattened(), text),
        225..=352 => seal_with(rows::<3>(key, nonce).as_flattened(), text),
        _ => seal_long(key, nonce, text),
    }
}

/// Decrypts `text` if `tag` is its tag. Otherwise leaves it unchanged or, if it is long, wipes it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn open(key: &StreamKey, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    match text.len() {
        0..=32 => open_with(&key.block(nonce, 0), text, tag),
        33..=96 => open_with(rows::<1>(key, nonce).as_flattened(), text, tag),
        97..=224 => open_with(rows::<2>(key, nonce).as_flattened(), text, tag),
        225..=352 => open_with(rows::<3>(key, nonce).as_flattened(), text, tag),
        _ => open_long(key, nonce, text, tag),
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
fn seal_with(stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
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
fn open_with(stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
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

/// The tag of `wholes`, a multiple of 32 bytes, and the first `len` bytes of `last`, which has
/// zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn authenticate(mut mac: Poly1305, wholes: &[u8], last: &[u8; 32], len: usize) -> [u8; TAG_LEN] {
    let mut rest = wholes;
    if wholes.len() >= WIDE_FROM {
        let (steps, after) = wholes.as_chunks();
        let (half_step, after) = after.as_chunks();
        let mut wide = Wide::new(mac.r());
        wide.steps(steps);
        mac.set_sum(wide.sum(half_step));
        rest = after;
    }
    mac.blocks(rest.as_chunks().0);
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

/// The tag of a long text, eight blocks at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn authenticate_long(mac: Poly1305, text: &[u8]) -> [u8; TAG_LEN] {
    let (wholes, tail) = text.as_chunks::<32>();
    let mut last = [0; 32];
    store256(&mut last, load256_first(tail));
    authenticate(mac, wholes.as_flattened(), &last, tail.len())
}

/// Splits the first pass into the key of Poly1305 and the beginning of the text's key stream.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn first_of(block: __m512i) -> ([u8; 32], __m256i) {
    let mut mac_key = [0; 32];
    store256(&mut mac_key, _mm512_castsi512_si256(block));
    (mac_key, _mm512_extracti64x4_epi64::<1>(block))
}

/// Adds whole vectors of key stream to a text, as far as both go. Returns how many bytes that is.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn apply(text: &mut [u8], stream: &[__m512i]) -> usize {
    let len = text.len().min(stream.len() * BLOCK_LEN);
    let text = &mut text[..len];
    let (wholes, tail) = text.as_chunks_mut::<BLOCK_LEN>();
    for (text, stream) in wholes.iter_mut().zip(stream) {
        let sum = _mm512_xor_si512(load512(text), *stream);
        store512(text, sum);
    }
    if let Some(stream) = stream.get(wholes.len())
        && !tail.is_empty()
    {
        let sum = _mm512_xor_si512(load512_first(tail), *stream);
        store512_first(tail, sum);
    }
    len
}

/// Makes up to `blocks` blocks of key stream, in one pass or two, while `wide` absorbs `text`.
/// Returns how many blocks there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn make(
    streams: &mut [[__m512i; LANES]; 2],
    (key, nonce, counter): (&StreamKey, [u8; 8], u64),
    blocks: usize,
    wide: &mut Wide,
    text: &[[u8; ifma::STEP]],
) -> usize {
    if blocks <= FEW {
        for (stream, counter) in streams[0].iter_mut().zip(counter..).take(blocks) {
            *stream = load512(&key.block(nonce, counter));
        }
        wide.steps(text);
        blocks
    } else if blocks <= LANES + FEW {
        [streams[0]] = lanes512::consecutive(key, nonce, counter, wide, text);
        LANES
    } else {
        *streams = lanes512::consecutive(key, nonce, counter, wide, text);
        2 * LANES
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn seal_long(key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let mut streams = [[_mm512_setzero_si512(); LANES]; 2];
    let blocks = (poly1305::KEY_LEN + text.len()).div_ceil(BLOCK_LEN);
    let mut made = make(
        &mut streams,
        (key, nonce, 0),
        blocks,
        &mut Wide::idle(),
        &[],
    );
    let (mac_key, first_stream) = first_of(streams[0][0]);
    let mac = Poly1305::new(&mac_key);
    let mut sealed = apply_first(text, first_stream, &streams.as_flattened()[..made]);
    if sealed == text.len() {
        return authenticate_long(mac, text);
    }
    let mut wide = Wide::new(mac.r());
    let mut authenticated = 0;
    while sealed < text.len() {
        // Sealed bytes are authenticated while they are in the nearest cache.
        let (steps, _) = text[authenticated..sealed].as_chunks();
        authenticated += steps.len() * ifma::STEP;
        let input = (key, nonce, made as u64);
        let more = make(&mut streams, input, blocks - made, &mut wide, steps);
        sealed += apply(&mut text[sealed..], &streams.as_flattened()[..more]);
        made += more;
    }
    finish_long(mac, &mut wide, &text[authenticated..])
}

/// Authenticates each part before it decrypts it. Wipes everything that was decrypted if the tag
/// turns out wrong.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn open_long(key: &StreamKey, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let mut streams = [[_mm512_setzero_si512(); LANES]; 2];
    let blocks = (poly1305::KEY_LEN + text.len()).div_ceil(BLOCK_LEN);
    let mut more = make(
        &mut streams,
        (key, nonce, 0),
        blocks,
        &mut Wide::idle(),
        &[],
    );
    let mut made = more;
    let (mac_key, first_stream) = first_of(streams[0][0]);
    let mac = Poly1305::new(&mac_key);
    if made >= blocks {
        let is_its_tag = poly1305::same_tag(&authenticate_long(mac, text), tag);
        if is_its_tag {
            apply_first(text, first_stream, &streams.as_flattened()[..made]);
        }
        return is_its_tag;
    }
    let mut wide = Wide::new(mac.r());
    let mut mac = Some(mac);
    let whole_steps = text.len() - text.len() % ifma::STEP;
    let mut authenticated = whole_steps.min(made * BLOCK_LEN);
    let (steps, _) = text[..authenticated].as_chunks();
    wide.steps(steps);
    let mut opened = 0;
    loop {
        let end = text.len().min(made * BLOCK_LEN - poly1305::KEY_LEN);
        // Less than a step is left, so the tag is known now.
        if (end == text.len() || authenticated < end)
            && let Some(mac) = mac.take()
            && !poly1305::same_tag(&finish_long(mac, &mut wide, &text[authenticated..]), tag)
        {
            text[..opened].fill(0);
            return false;
        }
        let stream = &streams.as_flattened()[..more];
        if opened == 0 {
            apply_first(text, first_stream, stream);
        } else {
            apply(&mut text[opened..end], stream);
        }
        if end == text.len() {
            return true;
        }
        opened = end;
        let next = (made + 2 * LANES).min(blocks) * BLOCK_LEN;
        let target = whole_steps
            .min(next.next_multiple_of(ifma::STEP))
            .max(authenticated);
        let (steps, _) = text[authenticated..target].as_chunks();
        authenticated = target;
        let input = (key, nonce, made as u64);
        more = make(&mut streams, input, blocks - made, &mut wide, steps);
        made += more;
    }
}

/// Authenticates the rest of a long text.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn finish_long(mut mac: Poly1305, wide: &mut Wide, rest: &[u8]) -> [u8; TAG_LEN] {
    let (steps, rest) = rest.as_chunks();
    let (half_step, rest) = rest.as_chunks();
    let (blocks, rest) = rest.as_chunks();
    wide.steps(steps);
    mac.set_sum(wide.sum(half_step));
    mac.blocks(blocks);
    mac.finish(rest)
}

/// Adds the first key stream, without the key of Poly1305, to the beginning of a text. Returns how
/// many bytes that is.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn apply_first(text: &mut [u8], first_stream: __m256i, stream: &[__m512i]) -> usize {
    let (first, rest) = text.split_at_mut(FIRST_LEN.min(text.len()));
    if let [first] = first.as_chunks_mut().0 {
        let sum = _mm256_xor_si256(load256(first), first_stream);
        store256(first, sum);
    }
    first.len() + apply(rest, stream.get(1..).unwrap_or_default())
}
