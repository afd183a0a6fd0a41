//! Rotates a server's key under one port while 20 clients send. For a while the server accepts the
//! old key and the new one, so that the clients can change one by one. Then the old key is removed.
//! No message is lost.
//!
//! `cargo run --example rotate_server_key`

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Connector, Listener, NetError};
use zmtp_auth::{Config, KeyPair, PublicKey, SocketType, WithCauses};

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: usize = 20;

/// A server that changes its keys and keeps its port.
struct Server {
    endpoint: String,
    policy: Authenticator,
    /// How many connections were accepted.
    accepted: Arc<AtomicUsize>,
    /// Messages with the user who has sent them.
    inbox: Inbox,
    listening: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

type Inbox = mpsc::UnboundedSender<(String, u64)>;

impl Server {
    /// Accepts clients that know one of these keys, instead of the keys before.
    async fn use_keys(&mut self, newest: &KeyPair, older: &[&KeyPair]) -> Result<(), Failure> {
        let mut builder = Config::builder(SocketType::Pull).curve_server(newest.clone());
        for &key in older {
            builder = builder.also_accept(key.clone());
        }
        let config = builder.authorize("orders").finish()?;
        self.stop().await?;
        let listener = Listener::bind(&*self.endpoint, (config, self.policy.clone())).await?;
        self.endpoint = listener.local_endpoint().to_string();
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(listener, stopped, self.accepted.clone(), self.inbox.clone());
        self.listening = Some((stop, tokio::spawn(accepting)));
        Ok(())
    }

    /// Stops listening. Connections live on, whatever key they were made with.
    async fn stop(&mut self) -> Result<(), Failure> {
        if let Some((stop, accepting)) = self.listening.take() {
            // Fails if the listener has ended by itself.
            let _ = stop.send(());
            accepting.await?;
        }
        Ok(())
    }

    async fn has_accepted(&self, connections: usize) {
        while self.accepted.load(Ordering::Relaxed) < connections {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn accept(
    listener: Listener,
    mut stopped: oneshot::Receiver<()>,
    accepted: Arc<AtomicUsize>,
    inbox: Inbox,
) {
    loop {
        tokio::select! {
            // In this order, so that no accepted connection is left in the listener.
            biased;
            Ok(connection) = listener.accept() => {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(receive(connection, inbox.clone()));
            }
            _ = &mut stopped => break,
        }
    }
    listener.close().await;
}

/// Receives from one client until it closes.
async fn receive(mut connection: Connection, inbox: Inbox) -> Result<(), Failure> {
    let user = connection.peer().user_id().ok_or("no user id")?;
    let user = String::from_utf8(user.to_vec())?;
    while let Ok(message) = connection.recv_message().await {
        let number = std::str::from_utf8(&message.frames()[0])?.parse()?;
        inbox.send((user.clone(), number))?;
    }
    Ok(())
}

/// Sends 0, 1, 2 and so on, and connects again for each server key that it is told. Ends when it is
/// told `None`, and returns how many messages it has sent.
async fn send(
    endpoint: String,
    keys: KeyPair,
    mut server_key: watch::Receiver<Option<PublicKey>>,
) -> Result<u64, Failure> {
    let mut sent = 0;
    loop {
        let Some(key) = *server_key.borrow_and_update() else {
            return Ok(sent);
        };
        let config = Config::builder(SocketType::Push)
            .curve_client(keys.clone(), key)
            .finish()?;
        // A connector tries again while the port is not bound.
        let mut connection = Connector::new(&*endpoint, config)?.next().await?;
        assert_eq!(connection.peer().proven_key, Some(key));
        while !server_key.has_changed()? {
            connection.send(sent.to_string()).await?;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Sends what is still queued before it closes.
        connection.close().await?;
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (old, new) = (KeyPair::generate()?, KeyPair::generate()?);
    let clients: Result<Vec<_>, _> = (0..CLIENTS).map(|_| KeyPair::generate()).collect();
    let clients = clients?;
    let authenticator = Authenticator::new();
    authenticator.configure_curve_keys("orders", clients.iter().map(KeyPair::public_key));
    let (inbox, mut received) = mpsc::unbounded_channel();
    let mut server = Server {
        endpoint: "tcp://127.0.0.1:*".to_owned(),
        policy: authenticator,
        accepted: Arc::default(),
        inbox,
        listening: None,
    };

    server.use_keys(&old, &[]).await?;
    let mut sending = Vec::new();
    for keys in clients {
        let user = keys.public_key().to_z85();
        let (tell, server_key) = watch::channel(Some(old.public_key()));
        let task = tokio::spawn(send(server.endpoint.clone(), keys, server_key));
        sending.push((user, tell, task));
    }
    server.has_accepted(CLIENTS).await;
    println!(
        "{CLIENTS} clients send to {}, all with the old key",
        server.endpoint
    );

    server.use_keys(&new, &[&old]).await?;
    for (changed, (_, tell, _)) in sending.iter().enumerate() {
        tell.send(Some(new.public_key()))?;
        server.has_accepted(CLIENTS + changed + 1).await;
    }
    println!("each has changed to the new key, while the server accepts both");

    server.use_keys(&new, &[]).await?;
    let config = Config::builder(SocketType::Push)
        .curve_client(KeyPair::generate()?, old.public_key())
        .finish()?;
    match Connection::connect(&*server.endpoint, config).await {
        Err(NetError::Handshake(reason)) => {
            println!("the old key is refused now: {}", WithCauses(&reason));
        }
        outcome => return Err(format!("the old key is still accepted: {outcome:?}").into()),
    }

    let mut sent = HashMap::new();
    for (user, tell, task) in sending {
        tell.send(None)?;
        sent.insert(user, task.await??);
    }
    server.stop().await?;
    // The last connection drops the other senders.
    drop(server);
    let mut arrived: HashMap<String, Vec<u64>> = HashMap::new();
    while let Some((user, number)) = received.recv().await {
        arrived.entry(user).or_default().push(number);
    }
    for (user, sent) in &sent {
        let numbers = arrived.get_mut(user).ok_or("nothing has arrived")?;
        // The last messages of a connection and the first of the next come from two tasks.
        numbers.sort_unstable();
        assert!((0..*sent).eq(numbers.iter().copied()), "{user}");
    }
    println!("all {} messages have arrived", sent.values().sum::<u64>());
    Ok(())
}
