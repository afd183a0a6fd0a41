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
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, KeyPair, PublicKey, SocketType, WithCauses};

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: usize = 20;

/// What all listeners of the server share, whichever keys they have.
#[derive(Clone)]
struct Server {
    router: ZapRouter,
    accepted: Arc<AtomicUsize>,
    /// Messages with the user who has sent them.
    inbox: mpsc::UnboundedSender<(String, u64)>,
}

/// A listener that accepts connections until it is stopped.
struct Running {
    endpoint: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens with the key `current`, and also with `old` if there is one.
    async fn listen(
        &self,
        endpoint: &str,
        current: &KeyPair,
        old: Option<&KeyPair>,
    ) -> Result<Running, Failure> {
        let mut builder = Config::builder(SocketType::Pull).curve_server(current.clone());
        if let Some(old) = old {
            builder = builder.also_accept(old.clone());
        }
        let config = builder.authorize(Domain::from("orders")).finish()?;
        let listener = Listener::bind(endpoint, (config, self.router.clone())).await?;
        let endpoint = listener.local_endpoint().to_string();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(self.clone().accept(listener, stopped));
        Ok(Running {
            endpoint,
            stop,
            task,
        })
    }

    async fn accept(self, listener: Listener, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                // In this order, so that no accepted connection is left in the listener.
                biased;
                Ok(connection) = listener.accept() => {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(receive(connection, self.inbox.clone()));
                }
                _ = &mut stopped => break,
            }
        }
        // The port is free again. The connections live on, whatever key they were made with.
        listener.close().await;
    }

    async fn has_accepted(&self, connections: usize) {
        while self.accepted.load(Ordering::Relaxed) < connections {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Running {
    async fn stop(self) -> Result<(), Failure> {
        self.stop.send(()).map_err(|()| "the listener has failed")?;
        Ok(self.task.await?)
    }
}

/// Receives from one client until it closes.
async fn receive(
    mut connection: Connection,
    inbox: mpsc::UnboundedSender<(String, u64)>,
) -> Result<(), Failure> {
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
    let router = ZapRouter::new();
    router.bind("orders", authenticator)?;
    let (inbox, mut received) = mpsc::unbounded_channel();
    let accepted = Arc::default();
    let server = Server {
        router,
        accepted,
        inbox,
    };

    let running = server.listen("tcp://127.0.0.1:*", &old, None).await?;
    let endpoint = running.endpoint.clone();
    let mut sending = Vec::new();
    for keys in clients {
        let user = keys.public_key().to_z85();
        let (tell, server_key) = watch::channel(Some(old.public_key()));
        let task = tokio::spawn(send(endpoint.clone(), keys, server_key));
        sending.push((user, tell, task));
    }
    server.has_accepted(CLIENTS).await;
    println!("{CLIENTS} clients send to {endpoint}, all with the old key");

    running.stop().await?;
    let running = server.listen(&endpoint, &new, Some(&old)).await?;
    for (changed, (_, tell, _)) in sending.iter().enumerate() {
        tell.send(Some(new.public_key()))?;
        server.has_accepted(CLIENTS + changed + 1).await;
    }
    println!("each has changed to the new key, while the server accepts both");

    running.stop().await?;
    let running = server.listen(&endpoint, &new, None).await?;
    let config = Config::builder(SocketType::Push)
        .curve_client(KeyPair::generate()?, old.public_key())
        .finish()?;
    match Connection::connect(&*endpoint, config).await {
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
    running.stop().await?;
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
