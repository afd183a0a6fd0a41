//! A PLAIN server cannot accept any peer.
use zmtp_auth::{Config, SocketType};
fn main() {
    let _ = Config::builder(SocketType::Pull).plain_server().accept_any_peer();
}
