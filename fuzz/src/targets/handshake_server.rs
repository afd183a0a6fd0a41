//! A whole connection as server, from the first byte on, with real keys. `scripted_peer` checks the
//! invariants.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::scripted_peer::ScriptedPeer;
use crate::setup::servers;

/// The first byte chooses the setup; the rest is everything that the client sends.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let setup = choices.pick(servers());
    ScriptedPeer::fed(setup, choices.rest());
}
