//! A whole connection as client, from the first byte on, with real keys. `scripted_peer` checks the
//! invariants.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::scripted_peer::ScriptedPeer;
use crate::setup::clients;

/// The first byte chooses the setup; the rest is everything that the server sends.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let setup = choices.pick(clients());
    ScriptedPeer::fed(setup, choices.rest());
}
