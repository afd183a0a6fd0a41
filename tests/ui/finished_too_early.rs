//! A server must say which peers it admits, and the compiler says how.
use zmtp_auth::{Config, KeyPair, SocketType};
fn server(keys: KeyPair) {
    let _ = Config::builder(SocketType::Pull).curve_server(keys).finish();
}
fn main() {}
