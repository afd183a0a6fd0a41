use zmtp_auth::{Authorizing, Config, Security};

fn main() {
    let config: Config<Authorizing> = todo!();
    let _ = Security::from(config);
}
