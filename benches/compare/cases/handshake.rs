//! The cost of a CURVE handshake to a server, without I/O: the whole work of the machine, compared with
//! only the multiplications of a libzmq server.

use crate::measuring::pairing::{Run, measure, timed};
use crate::ours::in_memory;
use crate::output::report::Report;
use bytes::BytesMut;
use std::hint::black_box;
use std::time::{Duration, Instant};
use zmtp_auth::handshake::Handshake;
use zmtp_auth_judges::judge::Judge;
use zmtp_auth_judges::sodium::Sodium;

/// libzmq's server multiplies by a point for the boxes of HELLO, WELCOME, INITIATE and its vouch
/// and for the traffic, and by the base for its transient key.
const POINTS: usize = 5;

/// The bytes of a caller's buffer, enough for a whole handshake.
const ROOM: usize = 2048;

pub fn run(report: &mut Report, sodium: &Sodium) {
    let case = "handshake, server, no I/O";
    if report.wants(case) {
        let pair = measure(ours(), peer(sodium), usize::MAX);
        let name = format!("{}, {POINTS} points and a base", sodium.name());
        report.measured(case, &name, "ns", pair);
    }
}

/// Several handshakes at once, stage by stage, so that the clock is read once for many.
fn ours() -> impl Run {
    let (client_config, server_config) = in_memory::configs();
    move |count| {
        let mut took = Duration::ZERO;
        let mut buffers: Vec<_> = (0..count)
            .map(|_| (BytesMut::with_capacity(ROOM), BytesMut::with_capacity(ROOM)))
            .collect();
        let mut clients: Vec<_> = buffers
            .iter_mut()
            .map(|(_, out)| Some(Handshake::start(&client_config, in_memory::conn(), out)))
            .collect();
        let conns: Vec<_> = (0..count).map(|_| in_memory::conn()).collect();
        let mut servers = Vec::with_capacity(count);
        let start = Instant::now();
        for (conn, (out, _)) in conns.into_iter().zip(&mut buffers) {
            servers.push(Some(Handshake::start(&server_config, conn, out)));
        }
        took += start.elapsed();
        while !servers.iter().all(is_complete) {
            for (client, (input, out)) in clients.iter_mut().zip(&mut buffers) {
                *client = client
                    .take()
                    .map(|client| in_memory::step(client, input, out));
            }
            let start = Instant::now();
            for (server, (out, input)) in servers.iter_mut().zip(&mut buffers) {
                *server = server
                    .take()
                    .map(|server| in_memory::step(server, input, out));
            }
            took += start.elapsed();
        }
        drop(black_box((clients, servers)));
        took
    }
}

fn is_complete(side: &Option<Handshake>) -> bool {
    matches!(side, Some(Handshake::Complete(_)))
}

fn peer(sodium: &Sodium) -> impl Run {
    let secret = [5; 32];
    let point = sodium.public_key(&[6; 32]);
    move |count| {
        timed(count, || {
            for _ in 0..POINTS {
                black_box(sodium.multiply(black_box(&secret), black_box(&point)));
            }
            black_box(sodium.public_key(black_box(&secret)));
        })
    }
}
