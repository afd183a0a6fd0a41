//! Work that is spread over workers, and results that are collected (PUSH and PULL).
//!
//! `cargo run -p zmtp-sockets --example ventilator_and_sink`. The ventilator sends numbers, workers
//! square them, and the sink adds up the squares.

use std::error::Error;
use zmtp_auth::{Config, Security};
use zmtp_sockets::{Message, Pull, Push};

const WORKERS: usize = 4;
const NUMBERS: u64 = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut ventilator = Push::new();
    let tasks = ventilator.bind("tcp://127.0.0.1:*", anyone()?).await?;
    let mut sink = Pull::new();
    let results = sink.bind("tcp://127.0.0.1:*", anyone()?).await?;

    for _ in 0..WORKERS {
        let (mut work, mut done) = (Pull::new(), Push::new());
        work.connect(&tasks, anyone()?)?;
        done.connect(&results, anyone()?)?;
        tokio::spawn(async move {
            loop {
                let task = work.recv().await;
                let square = number(task.message()).map_or(0, |number| number * number);
                done.send(square.to_string()).await;
            }
        });
    }

    tokio::spawn(async move {
        for number in 1..=NUMBERS {
            ventilator.send(number.to_string()).await;
        }
        ventilator.close().await
    });
    let mut sum = 0;
    for _ in 0..NUMBERS {
        sum += number(sink.recv().await.message()).ok_or("a worker sends no number")?;
    }
    println!("the sum of the first {NUMBERS} squares is {sum}");
    assert_eq!(sum, NUMBERS * (NUMBERS + 1) * (2 * NUMBERS + 1) / 6);
    Ok(())
}

fn number(message: &Message) -> Option<u64> {
    std::str::from_utf8(message.single()?).ok()?.parse().ok()
}

/// No security: for an example on one machine. It has to be said.
fn anyone() -> Result<Security, Box<dyn Error>> {
    let config = Config::untyped_builder().null().accept_any_peer();
    Ok(config.finish()?.into())
}
