use zmtp_auth::Approved;

fn main() {
    let _ = Approved { authenticated: None };
}
