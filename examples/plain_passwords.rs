//! A PLAIN server with a password file of argon2id hashes. Twelve users are connected when the file
//! changes. Only the user who was removed and the user whose password was changed lose their
//! connections.
//!
//! PLAIN sends passwords in clear text, so use it over ipc, loopback or a private network.
//!
//! `cargo run --example plain_passwords`

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use tokio::task::JoinSet;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Endpoint, Listener, NetError};
use zmtp_auth::{Config, Password, SocketType, Status, WithCauses};

type Failure = Box<dyn Error + Send + Sync>;

const USERS: usize = 12;

/// The lines of a password file: each name with the hash of its password.
#[derive(Default)]
struct PasswordFile(BTreeMap<String, String>);

impl PasswordFile {
    /// Sets a password. `zmtp-auth passwd FILE USER` does the same.
    fn set(&mut self, name: &str, password: &str) -> Result<(), Failure> {
        let hash = Password::from(password).to_phc()?;
        self.0.insert(name.to_owned(), hash);
        Ok(())
    }

    /// Replaces the file as a whole, so that no reader sees half of it.
    fn write(&self, path: &Path) -> Result<(), Failure> {
        let lines = self.0.iter().map(|(name, hash)| format!("{name}={hash}\n"));
        let new = path.with_extension("new");
        fs::write(&new, lines.collect::<String>())?;
        Ok(fs::rename(new, path)?)
    }
}

/// A new directory, which is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let name = format!("plain_passwords-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn connect(server: &Endpoint, user: &str, password: &str) -> Result<Connection, Failure> {
    let config = Config::builder(SocketType::Push)
        .plain_client(user.to_owned(), password)
        .finish()?;
    Ok(Connection::connect(server, config).await?)
}

/// Checks that the server refuses this password.
async fn require_refused(server: &Endpoint, user: &str, password: &str) -> Result<(), Failure> {
    let Err(error) = connect(server, user, password).await else {
        return Err(format!("{user} was admitted with {password:?}").into());
    };
    match error.downcast_ref().and_then(NetError::protocol) {
        Some(zmtp_auth::Error::RefusedByPeer(refusal))
            if refusal.status == Some(Status::AuthenticationFailure) =>
        {
            println!("{user} with {password:?}: {}", WithCauses(&*error));
            Ok(())
        }
        _ => Err(error),
    }
}

/// Sends one message from each client. The server knows who has sent it.
async fn exchange(
    clients: &mut HashMap<String, Connection>,
    server: &mut HashMap<String, Connection>,
) -> Result<(), Failure> {
    assert_eq!(clients.len(), server.len());
    for (name, client) in clients {
        client.send(format!("from {name}")).await?;
        let server = server.get_mut(name).ok_or("no such user")?;
        let message = server.recv_message().await?;
        assert_eq!(message.frames(), [format!("from {name}")]);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let directory = Scratch::new()?;
    let path = directory.0.join("passwords");
    let names: Vec<_> = (0..USERS).map(|number| format!("user-{number}")).collect();
    let mut file = PasswordFile::default();
    for name in &names {
        file.set(name, &format!("secret of {name}"))?;
    }
    file.write(&path)?;

    let authenticator = Authenticator::new();
    authenticator.configure_plain_file("accounts", &path)?;
    let config = Config::builder(SocketType::Pull)
        .plain_server()
        .authorize("accounts")
        .finish()?;
    let listener = Listener::bind("tcp://127.0.0.1:*", (config, authenticator.clone())).await?;
    let endpoint = listener.local_endpoint().clone();

    // All connect at once. Each check of a hash takes some tens of milliseconds, on threads of the
    // Authenticator's own.
    let mut connecting = JoinSet::new();
    for name in names {
        let endpoint = endpoint.clone();
        connecting.spawn(async move {
            let client = connect(&endpoint, &name, &format!("secret of {name}")).await?;
            Ok::<_, Failure>((name, client))
        });
    }
    let (mut clients, mut server) = (HashMap::new(), HashMap::new());
    for _ in 0..USERS {
        let connection = listener.accept().await?;
        let user = connection.peer().user_id().ok_or("no user id")?.to_vec();
        server.insert(String::from_utf8(user)?, connection);
    }
    while let Some(connected) = connecting.join_next().await {
        let (name, client) = connected??;
        clients.insert(name, client);
    }
    exchange(&mut clients, &mut server).await?;
    println!("{USERS} users are connected");
    require_refused(&endpoint, "user-0", "a guess").await?;

    file.0.remove("user-3");
    file.set("user-4", "a new secret")?;
    file.set("newcomer", "secret of newcomer")?;
    file.write(&path)?;
    // A server calls this when it is told that the file has changed, or lets `auth::Reload` (feature
    // `reload`) watch the file.
    authenticator.configure_plain_file("accounts", &path)?;
    for name in ["user-3", "user-4"] {
        let client = clients.remove(name).ok_or("no such client")?;
        let server = server.remove(name).ok_or("no such user")?;
        let (at_client, at_server) = (client.closed().await, server.closed().await);
        assert!(matches!(at_server, NetError::Revoked), "{at_server}");
        println!("{name} is closed: {at_client} (the server's log: {at_server})");
    }
    exchange(&mut clients, &mut server).await?;
    println!("the other {} users go on", clients.len());

    require_refused(&endpoint, "user-3", "secret of user-3").await?;
    require_refused(&endpoint, "user-4", "secret of user-4").await?;
    for (name, password) in [
        ("user-4", "a new secret"),
        ("newcomer", "secret of newcomer"),
    ] {
        clients.insert(name.to_owned(), connect(&endpoint, name, password).await?);
        server.insert(name.to_owned(), listener.accept().await?);
    }
    exchange(&mut clients, &mut server).await?;
    println!("user-4 is back with the new password, and newcomer is admitted");
    Ok(())
}
