//! An approval cannot be made outside the crate.
use zmtp_auth::Approved;
fn main() {
    let _ = Approved { authenticated: None };
}
