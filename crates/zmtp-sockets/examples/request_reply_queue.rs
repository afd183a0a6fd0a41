//! A queue between clients that ask and workers that answer (REQ, ROUTER, DEALER, REP).
//!
//! `cargo run -p zmtp-sockets --example request_reply_queue`. Clients are known by their keys. The
//! queue knows no worker but those with the workers' key.

use std::error::Error;
use zmtp_auth::auth::{Authenticator, CurveKey};
use zmtp_auth::{Config, KeyPair, PublicKey, Security};
use zmtp_sockets::{Dealer, Rep, Req, Router, proxy};

const CLIENTS: usize = 3;
const WORKERS: usize = 2;
const QUESTIONS: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (queue, client, worker) = (
        KeyPair::generate()?,
        KeyPair::generate()?,
        KeyPair::generate()?,
    );
    let queue_key = queue.public_key();

    let mut clients = Router::new();
    let frontend = clients
        .bind("tcp://127.0.0.1:*", server(&queue, "alice", &client)?)
        .await?;
    let mut workers = Dealer::new();
    let backend = workers
        .bind("tcp://127.0.0.1:*", server(&queue, "worker", &worker)?)
        .await?;
    tokio::spawn(proxy(clients, workers, |message| {
        println!("the queue passes on {} frames", message.frames().len());
    }));

    for _ in 0..WORKERS {
        let mut rep = Rep::new();
        rep.connect(&backend, as_client(&worker, queue_key)?)?;
        tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                let question = String::from_utf8_lossy(&request.frames()[0]).into_owned();
                rep.send(request.reply(question.to_uppercase()));
            }
        });
    }

    let mut asking = Vec::new();
    for number in 0..CLIENTS {
        let mut req = Req::new();
        req.connect(&frontend, as_client(&client, queue_key)?)?;
        asking.push(tokio::spawn(async move {
            for question in 0..QUESTIONS {
                let reply = req
                    .request(format!("client {number} asks {question}"))
                    .await?;
                assert_eq!(reply.frames(), [format!("CLIENT {number} ASKS {question}")]);
            }
            Ok::<_, zmtp_sockets::RequestError>(())
        }));
    }
    for client in asking {
        client.await??;
    }
    println!("{} questions, each with its answer", CLIENTS * QUESTIONS);
    Ok(())
}

/// A CURVE server that admits one key, under a name.
fn server(keys: &KeyPair, name: &'static str, peer: &KeyPair) -> Result<Security, Box<dyn Error>> {
    let authenticator = Authenticator::new();
    let row = CurveKey::new(peer.public_key()).with_user(name);
    authenticator.configure_curve_users("queue", [row])?;
    let config = Config::untyped_builder()
        .curve_server(keys.clone())
        .authorize("queue")
        .finish()?;
    Ok((config, authenticator).into())
}

fn as_client(keys: &KeyPair, server: PublicKey) -> Result<Security, Box<dyn Error>> {
    let config = Config::untyped_builder().curve_client(keys.clone(), server);
    Ok(config.finish()?.into())
}
