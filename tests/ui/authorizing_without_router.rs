use zmtp_auth::{Authorizing, Config, Security};

fn without_router(config: Config<Authorizing>) -> Security {
    Security::from(config)
}

fn main() {
    let _ = without_router;
}
