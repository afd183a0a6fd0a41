//! One message in its box, and sixteen at once: [`Sealer`] and [`Opener`] of an established
//! connection, against `crypto_box_easy_afternm` on the same bytes.

use crate::measuring::pairing::{Run, measure, timed};
use crate::ours::in_memory;
use crate::output::report::Report;
use bytes::BytesMut;
use std::hint::black_box;
use std::time::Instant;
use zmtp_auth::traffic::seal::Sealer;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth_judges::judge::{Judge, Key, NONCE_LEN, TAG_LEN};
use zmtp_auth_judges::sodium::Sodium;

const SIZES: [usize; 8] = [0, 32, 64, 256, 1024, 8 * 1024, 64 * 1024, 1024 * 1024];
const BATCH: usize = 16;
const BATCH_SIZES: [usize; 3] = [32, 64, 256];

/// The bytes of boxes that are ready to be opened, as many as a connection reads at once.
const READY: usize = 64 * 1024;

pub fn run(report: &mut Report, sodium: &Sodium) {
    for size in SIZES {
        let case = format!("seal {size}");
        if report.wants(&case) {
            let pair = measure(seals(size), peer_seals(sodium, size), usize::MAX);
            report.measured(&case, sodium.name(), "ns", pair);
        }
    }
    for size in SIZES {
        let case = format!("open {size}");
        if report.wants(&case) {
            let ready = (READY / (size + 1)).clamp(1, 64);
            let pair = measure(
                opens(size, ready),
                peer_opens(sodium, size, ready),
                usize::MAX,
            );
            report.measured(&case, sodium.name(), "ns", pair);
        }
    }
    for size in BATCH_SIZES {
        let case = format!("seal batch {BATCH} x {size}");
        if report.wants(&case) {
            let pair = measure(
                seals_batch(size),
                peer_seals_batch(sodium, size),
                usize::MAX,
            );
            report.measured(&case, sodium.name(), "ns", pair);
        }
    }
    for size in BATCH_SIZES {
        let case = format!("open batch {BATCH} x {size}");
        if report.wants(&case) {
            let ready = READY / (size + 1) / BATCH;
            let pair = measure(
                opens_batch(size, ready),
                peer_opens_batch(sodium, size, ready),
                usize::MAX,
            );
            report.measured(&case, sodium.name(), "ns", pair);
        }
    }
}

fn seals(size: usize) -> impl Run {
    let mut sealer = in_memory::established().0.sealer;
    let payload = vec![7; size];
    let mut out = BytesMut::with_capacity(size + sealer.overhead());
    move |count| {
        timed(count, || {
            out.clear();
            let flags = sealer.seal_body(Flags::Last, black_box(&payload), &mut out);
            black_box(flags.unwrap());
        })
    }
}

fn opens(size: usize, ready: usize) -> impl Run {
    let (client, server) = in_memory::established();
    let (mut sealer, mut opener) = (client.sealer, server.opener);
    move |count| {
        let mut took = std::time::Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let now = left.min(ready);
            let (buffer, bodies) = sealed(&mut sealer, size, now);
            let start = Instant::now();
            for body in bodies {
                black_box(opener.open_body(Flags::Last, body).unwrap());
            }
            took += start.elapsed();
            drop(buffer);
            left -= now;
        }
        took
    }
}

/// `count` sealed bodies in one buffer, as a connection reads them, and that buffer. Keep the buffer
/// until the clock has stopped: returning a mebibyte to the system takes nearly as long as opening it,
/// and libsodium's side, which reuses two buffers, never does that.
fn sealed(sealer: &mut Sealer, size: usize, count: usize) -> (BytesMut, Vec<BytesMut>) {
    let payload = vec![7; size];
    let mut all = BytesMut::with_capacity(count * (size + sealer.overhead()));
    for _ in 0..count {
        sealer.seal_body(Flags::Last, &payload, &mut all).unwrap();
    }
    let len = all.len() / count;
    let bodies = (0..count).map(|_| all.split_to(len)).collect();
    (all, bodies)
}

fn seals_batch(size: usize) -> impl Run {
    let mut sealer = in_memory::established().0.sealer;
    let payloads = vec![vec![7; size]; BATCH];
    let mut out = BytesMut::with_capacity(BATCH * (size + sealer.overhead()));
    move |count| {
        let bodies: Vec<(Flags, &[u8])> = payloads
            .iter()
            .map(|body| (Flags::Last, body.as_slice()))
            .collect();
        timed(count, || {
            out.clear();
            sealer.seal_many(black_box(&bodies), &mut out).unwrap();
        })
    }
}

fn opens_batch(size: usize, ready: usize) -> impl Run {
    let (client, server) = in_memory::established();
    let (mut sealer, mut opener) = (client.sealer, server.opener);
    let mut opened = Vec::with_capacity(BATCH);
    move |count| {
        let mut took = std::time::Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let now = left.min(ready);
            let (buffer, bodies) = sealed(&mut sealer, size, now * BATCH);
            let mut bodies = bodies.into_iter().map(|body| (Flags::Last, body));
            let start = Instant::now();
            for _ in 0..now {
                let batch = bodies.by_ref().take(BATCH);
                opener.open_many(batch, &mut opened).unwrap();
                opened.clear();
            }
            took += start.elapsed();
            drop(buffer);
            left -= now;
        }
        took
    }
}

/// The state of boxes with libsodium, with a nonce that counts as libzmq's does.
struct Peer<'a> {
    sodium: &'a Sodium,
    key: Key,
    nonce: [u8; NONCE_LEN],
    counter: u64,
}

impl<'a> Peer<'a> {
    fn new(sodium: &'a Sodium) -> Self {
        let secret = [5; 32];
        let public = sodium.public_key(&[6; 32]);
        Self {
            sodium,
            key: sodium.shared_key(&public, &secret).unwrap(),
            nonce: *b"CurveZMQMESSAGEC\0\0\0\0\0\0\0\0",
            counter: 0,
        }
    }

    fn seal(&mut self, text: &[u8], boxed: &mut [u8]) {
        self.counter += 1;
        self.nonce[16..].copy_from_slice(&self.counter.to_be_bytes());
        self.sodium.seal_into(boxed, text, &self.nonce, &self.key);
    }

    /// Seals `count` texts one after the other. They open with consecutive nonces from the one that is
    /// returned.
    fn sealed(&mut self, text: &[u8], count: usize) -> (u64, Vec<u8>) {
        let first = self.counter + 1;
        let mut all = vec![0; count * (text.len() + TAG_LEN)];
        for boxed in all.chunks_exact_mut(text.len() + TAG_LEN) {
            self.seal(text, boxed);
        }
        (first, all)
    }

    fn open_all(&mut self, first: u64, boxes: &[u8], text: &mut [u8]) {
        let len = text.len() + TAG_LEN;
        for (counter, boxed) in (first..).zip(boxes.chunks_exact(len)) {
            self.nonce[16..].copy_from_slice(&counter.to_be_bytes());
            let is_open = self.sodium.open_into(text, boxed, &self.nonce, &self.key);
            assert!(is_open);
            black_box(&text);
        }
    }
}

/// The payload behind its flags byte, which is sealed with it.
fn text(size: usize) -> Vec<u8> {
    vec![7; size + 1]
}

fn peer_seals(sodium: &Sodium, size: usize) -> impl Run {
    peer_seals_many(sodium, size, 1)
}

fn peer_seals_batch(sodium: &Sodium, size: usize) -> impl Run {
    peer_seals_many(sodium, size, BATCH)
}

fn peer_seals_many(sodium: &Sodium, size: usize, batch: usize) -> impl Run {
    let mut peer = Peer::new(sodium);
    let text = text(size);
    let mut boxed = vec![0; text.len() + TAG_LEN];
    move |count| {
        timed(count, || {
            for _ in 0..batch {
                peer.seal(black_box(&text), &mut boxed);
                black_box(&boxed);
            }
        })
    }
}

fn peer_opens(sodium: &Sodium, size: usize, ready: usize) -> impl Run {
    let mut peer = Peer::new(sodium);
    let mut text = text(size);
    move |count| {
        let mut took = std::time::Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let now = left.min(ready);
            let (first, boxes) = peer.sealed(&text, now);
            let start = Instant::now();
            peer.open_all(first, &boxes, &mut text);
            took += start.elapsed();
            left -= now;
        }
        took
    }
}

fn peer_opens_batch(sodium: &Sodium, size: usize, ready: usize) -> impl Run {
    let mut one = peer_opens(sodium, size, ready * BATCH);
    move |count| one(count * BATCH)
}
