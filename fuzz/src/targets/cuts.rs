//! A stream gives the same events however it is cut and however many frames are read at once.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::scripted_peer::{Event, ScriptedPeer};
use crate::setup::{Setup, clients, servers};

/// The input is a setup, a string of sizes, and everything that the peer sends. The stream is read
/// whole and frame by frame, and again in parts of these sizes in turn, with as many frames at once as
/// the first size says.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let setup = pick(choices.byte());
    let sizes = choices.string();
    let stream = choices.rest();
    let whole = ScriptedPeer::fed(setup, stream).into_events();
    assert_eq!(cut(setup, sizes, stream), whole, "cut by {sizes:?}");
}

/// The setup for the first byte: servers first, then clients.
fn pick(byte: u8) -> &'static Setup {
    let at = usize::from(byte) % (servers().len() + clients().len());
    servers()
        .get(at)
        .unwrap_or_else(|| &clients()[at - servers().len()])
}

fn cut(setup: &'static Setup, sizes: &[u8], mut stream: &[u8]) -> Vec<Event> {
    let mut scripted_peer = ScriptedPeer::new(setup);
    if let Some(&max @ 1..) = sizes.first() {
        scripted_peer.read_at_once(max.into());
    }
    // Empty parts change nothing, but make no progress either.
    let sizes = match sizes.iter().any(|&size| size > 0) {
        true => sizes,
        false => &[1],
    };
    for &size in sizes.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (part, rest) = stream.split_at(stream.len().min(size.into()));
        scripted_peer.feed(part);
        stream = rest;
    }
    scripted_peer.into_events()
}
