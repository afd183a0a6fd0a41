//! Workers that ask for work, and a ROUTER that gives each the next task (ROUTER and DEALER).
//!
//! `cargo run -p zmtp-sockets --example router_and_workers`. Each worker logs in with its name and a
//! password. The dispatcher sees the name on every message, and withdraws one worker's admission in the
//! middle of the work: its connection ends at once, and the others go on.

use std::collections::BTreeMap;
use std::error::Error;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::{Config, Password};
use zmtp_sockets::{Dealer, Router, SendReason};

const WORKERS: [&str; 3] = ["ada", "ben", "eve"];
const TASKS: u32 = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authenticator = Authenticator::new();
    authenticator.configure_plain("work", WORKERS.map(|name| (name, "secret")))?;
    let config = Config::untyped_builder()
        .plain_server()
        .authorize("work")
        .finish()?;
    let mut dispatcher = Router::new();
    let endpoint = dispatcher
        .bind("tcp://127.0.0.1:*", (config, authenticator.clone()))
        .await?;

    for name in WORKERS {
        let login = Config::untyped_builder().plain_client(name, Password::from("secret"));
        let mut worker = Dealer::new();
        worker.connect(&endpoint, login.finish()?)?;
        tokio::spawn(async move {
            loop {
                worker.send("ready").await;
                worker.recv().await;
            }
        });
    }

    let mut done = BTreeMap::new();
    let mut next = 0;
    while next < TASKS {
        let request = dispatcher.recv().await;
        let name = request
            .peer()
            .user_id_str()
            .ok_or("nobody is admitted without a name")?;
        match dispatcher.send(request.reply(next.to_string())) {
            Ok(()) => {
                *done.entry(name.into_owned()).or_insert(0) += 1;
                next += 1;
            }
            // The worker is gone. Another one gets the task.
            Err(refused) if matches!(refused.reason, SendReason::NoRoute(_)) => {}
            Err(refused) => return Err(refused.into()),
        }
        if next == TASKS / 2 {
            authenticator.configure_plain("work", [("ada", "secret"), ("ben", "secret")])?;
        }
    }
    println!("tasks by worker: {done:?}");
    assert!(done["ada"] + done["ben"] > TASKS / 2);
    Ok(())
}
