//! The scenario for the stack: it is painted, one operation runs, and what lies below is searched.
//! What was there before is under the paint, so a hit was left by that operation.

use crate::child::{Inverted, Side, converse, curve_configs};
use crate::search::Search;
use bytes::BytesMut;
use std::hint::black_box;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{AccessRequest, KeyPair, SecretKey, Verdict};

/// Lengths of messages that take different ways through the ciphers: one block, rows, lanes, and
/// long texts. In the long run also at the borders between them.
pub fn lengths() -> &'static [usize] {
    if std::env::var_os("ZMTP_AUTH_FULL").is_some() {
        &[8, 31, 32, 60, 96, 200, 300, 400, 900, 2000, 5000, 40_000]
    } else {
        &[8, 300, 5000]
    }
}

/// Numbers and lengths of messages that go through the ciphers as batches of up to 16: few and many
/// blocks, so different in length that they are authenticated one by one, and a few at the end.
pub fn batches() -> &'static [&'static [usize]] {
    if std::env::var_os("ZMTP_AUTH_FULL").is_some() {
        &[
            &[8; 16],
            &[32; 16],
            &[64; 16],
            &[90; 7],
            &[200; 16],
            &[310; 14],
            &[310; 16],
            &[1000; 16],
            &[4000; 16],
            &[500; 6],
            &[64, 600, 8, 30, 8, 8, 200],
            &[64; 18],
        ]
    } else {
        &[&[64; 16], &[310; 16], &[310; 14], &[1000; 16]]
    }
}

/// Bytes that are painted. More than anything here uses, and less than a thread has.
const PAINTED: usize = 512 << 10;

#[inline(never)]
fn paint() {
    let mut stack = [0x5a_u8; PAINTED];
    black_box(&mut stack);
}

/// What the search must find: a frame that is left with a secret in it.
#[inline(never)]
fn leave(secret: &[u8]) {
    let mut frame = [0_u8; 4096];
    frame[..secret.len()].copy_from_slice(secret);
    black_box(&mut frame);
}

pub fn run(secrets: &Inverted, search: &mut Search) {
    let planted = secrets.plain("planted");
    paint();
    leave(&planted);
    search.report("planted");
    paint();
    search.report("painted");

    let mut secret = Some(Box::new(
        SecretKey::from_bytes(secrets.plain("client")[..].try_into().unwrap()).unwrap(),
    ));
    paint();
    let pair = secret.take().map(|secret| KeyPair::from_secret(*secret));
    search.report("X25519");
    drop(pair);

    let configs = curve_configs(secrets);
    let mut client = Side::new(&configs.0);
    let mut server = Side::new(&configs.1);
    let allow = |_: &AccessRequest| Verdict::allow("alice");
    converse(&mut client, &mut server, 20, &allow, &mut || {});
    let (mut client, mut server) = (client.established(), server.established());
    let text = secrets.plain("text");
    for &len in lengths() {
        let mut body = BytesMut::with_capacity(len + 1024);
        paint();
        let outer = client
            .sealer
            .seal_body(Flags::Last, &text[..len], &mut body);
        search.report(&format!("sealed {len}"));
        let outer = outer.unwrap();
        paint();
        let opened = server.opener.open_body(outer, body);
        search.report(&format!("opened {len}"));
        assert!(opened.unwrap().1 == text[..len]);
    }
    for (at, lens) in batches().iter().enumerate() {
        let bodies: Vec<_> = lens
            .iter()
            .map(|len| (Flags::Last, &text[..*len]))
            .collect();
        let room = lens.iter().map(|len| len + client.sealer.overhead()).sum();
        let mut all = BytesMut::with_capacity(room);
        paint();
        let sealed = client.sealer.seal_many(&bodies, &mut all);
        search.report(&format!("sealed batch {at}"));
        sealed.unwrap();
        let split = |len| (Flags::Last, all.split_to(len + client.sealer.overhead()));
        let sealed: Vec<_> = lens.iter().map(split).collect();
        let mut opened = Vec::with_capacity(lens.len());
        paint();
        let is_open = server.opener.open_many(sealed, &mut opened);
        search.report(&format!("opened batch {at}"));
        is_open.unwrap();
        assert!(
            opened
                .iter()
                .zip(&bodies)
                .all(|(opened, body)| opened.1 == body.1)
        );
    }
}
