//! Our own figures over time: messages sealed and opened, and a handshake, by criterion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "compare/ours/in_memory.rs"]
mod in_memory;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zmtp_auth::wire::frame::Flags;

fn seal_and_open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for size in [64, 1024, 64 * 1024] {
        group.throughput(Throughput::Bytes(size as u64));
        let (client, server) = in_memory::established();
        let (mut sealer, mut opener) = (client.sealer, server.opener);
        let payload = vec![7; size];
        group.bench_function(BenchmarkId::new("seal and open", size), |bencher| {
            bencher.iter_batched(
                BytesMut::new,
                |mut out| {
                    sealer.seal_body(Flags::Last, &payload, &mut out).unwrap();
                    opener.open_body(Flags::Last, out).unwrap()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn handshake(criterion: &mut Criterion) {
    criterion.bench_function("handshake, both sides", |bencher| {
        bencher.iter(in_memory::established);
    });
}

criterion_group!(benches, seal_and_open, handshake);
criterion_main!(benches);
