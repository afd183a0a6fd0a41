//! An established connection cannot be made outside the crate.
use zmtp_auth::handshake::Established;
use zmtp_auth::mechanism::Done;
fn forge(done: Done) -> Established {
    Established {
        sealer: done.sealer,
        opener: done.opener,
        peer: done.peer,
        zmtp_3_0: false,
    }
}

fn main() {
    let _ = forge;
}
