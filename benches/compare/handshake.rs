//! A CURVE handshake's cost to the server, without I/O: the machine's whole work, against the
//! multiplications alone that a libzmq server does for one.

use crate::ends;
use crate::pairing::{Run, measure, timed};
use crate::report::Report;
use crate::sodium::Sodium;
use bytes::BytesMut;
use std::hint::black_box;
use std::time::{Duration, Instant};
use zmtp_auth::handshake::Handshake;

/// libzmq's server multiplies by a point for the boxes of HELLO, WELCOME, INITIATE and its vouch
/// and for the traffic, and by the base for its transient key.
const POINTS: usize = 5;

pub fn run(report: &mut Report, sodium: &Sodium) {
    let case = "handshake, server, no I/O";
    if report.wants(case) {
        let pair = measure(ours(), peer(sodium), usize::MAX);
        let name = format!("{}, {POINTS} points and a base", sodium.name);
        report.measured(case, &name, "ns", pair);
    }
}

fn ours() -> impl Run {
    let (client_config, server_config) = ends::configs();
    move |count| {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
            let mut client = Handshake::start(&client_config, ends::conn(), &mut to_server);
            let start = Instant::now();
            let mut server = Handshake::start(&server_config, ends::conn(), &mut to_client);
            took += start.elapsed();
            while !matches!(server, Handshake::Complete(_)) {
                client = ends::step(client, &mut to_client, &mut to_server);
                let start = Instant::now();
                server = ends::step(server, &mut to_server, &mut to_client);
                took += start.elapsed();
            }
            drop(black_box((client, server)));
        }
        took
    }
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
