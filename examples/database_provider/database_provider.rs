//! A server whose users are in a database, with a role each. A provider looks up every CURVE key
//! that asks to be admitted. The application learns name and role from the connection and decides
//! what each peer may do.
//!
//! 24 peers are connected when one of them is disabled in the database: its connection is closed,
//! and it is not admitted again. All others go on.
//!
//! `cargo run --example database_provider`

use redb::{Database, ReadableDatabase, TableDefinition};
use std::error::Error;
use std::sync::Arc;
use zmtp_auth::auth::{Authenticator, CurveQuestion, ProviderAnswer};
use zmtp_auth::net::{Connection, Listener, NetError};
use zmtp_auth::{Config, KeyPair, MechanismKind, Metadata, PublicKey, SocketType, Status};

type Failure = Box<dyn Error + Send + Sync>;

/// A user by domain and public key: the name, the role, and whether the user is disabled.
type Table =
    TableDefinition<'static, (&'static str, &'static [u8; 32]), (&'static str, &'static str, bool)>;

const USERS: Table = TableDefinition::new("users");

const DOMAIN: &str = "documents";

fn name(number: usize) -> String {
    format!("user-{number}")
}

fn role(number: usize) -> &'static str {
    ["admin", "editor", "reader"][number % 3]
}

struct Users(Database);

impl Users {
    fn write(&self, key: &PublicKey, number: usize, is_disabled: bool) -> Result<(), Failure> {
        let transaction = self.0.begin_write()?;
        {
            let mut users = transaction.open_table(USERS)?;
            let (key, name) = ((DOMAIN, key.as_bytes()), name(number));
            users.insert(key, (name.as_str(), role(number), is_disabled))?;
        }
        Ok(transaction.commit()?)
    }

    /// Decides about one peer. An error refuses it for now (status 300), so that it comes back.
    fn decide(&self, question: &CurveQuestion) -> Result<ProviderAnswer, Failure> {
        let users = self.0.begin_read()?.open_table(USERS)?;
        let domain = std::str::from_utf8(question.domain.as_bytes())?;
        let Some(row) = users.get((domain, question.key.as_bytes()))? else {
            return Ok(ProviderAnswer::No);
        };
        let (name, role, is_disabled) = row.value();
        if is_disabled {
            return Ok(ProviderAnswer::No);
        }
        let mut metadata = Metadata::new();
        metadata.push("Role", role.to_owned())?;
        Ok(ProviderAnswer::YesAs {
            user_id: name.to_owned().into(),
            metadata,
        })
    }
}

async fn listen(
    domain: &'static str,
    keys: &KeyPair,
    policy: &Authenticator,
) -> Result<Listener, Failure> {
    let config = Config::builder(SocketType::Router)
        .curve_server(keys.clone())
        .authorize(domain)
        .finish()?;
    Ok(Listener::bind("tcp://127.0.0.1:*", (config, policy.clone())).await?)
}

/// Answers the requests of one peer, as far as its role allows. Ends with the connection.
async fn serve(mut connection: Connection) -> Result<NetError, Failure> {
    let peer = connection.peer().authenticated.clone();
    let peer = peer.ok_or("the policy was not asked")?;
    let role = peer.zap_metadata.get("Role").ok_or("no role")?;
    loop {
        let request = match connection.recv_message().await {
            Ok(request) => request,
            Err(error) => return Ok(error),
        };
        let is_allowed = match &request.frames()[0][..] {
            b"read" => true,
            b"write" => role != "reader",
            b"delete" => role == "admin",
            _ => false,
        };
        let answer = if is_allowed { "done" } else { "not allowed" };
        connection.send(answer).await?;
    }
}

async fn connect(
    listener: &Listener,
    keys: &KeyPair,
    server: PublicKey,
) -> Result<Connection, Failure> {
    let config = Config::builder(SocketType::Dealer)
        .curve_client(keys.clone(), server)
        .finish()?;
    Ok(Connection::connect(listener.local_endpoint(), config).await?)
}

/// Asks for something and returns the server's answer.
async fn ask(client: &mut Connection, request: &'static str) -> Result<String, Failure> {
    client.send(request).await?;
    let answer = client.recv_message().await?;
    Ok(String::from_utf8(answer.frames()[0].to_vec())?)
}

/// Checks that the server refuses this key.
async fn require_refused(
    listener: &Listener,
    keys: &KeyPair,
    server: PublicKey,
) -> Result<(), Failure> {
    let Err(error) = connect(listener, keys, server).await else {
        return Err("a peer was admitted".into());
    };
    match error.downcast_ref().and_then(NetError::protocol) {
        Some(zmtp_auth::Error::RefusedByPeer(refusal))
            if refusal.status == Some(Status::AuthenticationFailure) =>
        {
            Ok(())
        }
        _ => Err(error),
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let users = Users(Database::create(directory.path().join("users.redb"))?);
    let clients: Result<Vec<_>, _> = (0..24).map(|_| KeyPair::generate()).collect();
    let clients = clients?;
    for (number, keys) in clients.iter().enumerate() {
        users.write(&keys.public_key(), number, false)?;
    }
    let users = Arc::new(users);

    // One provider for all domains. It blocks while it reads the disk, so it runs on threads of the
    // Authenticator's own.
    let authenticator = Authenticator::new();
    let provider = Arc::clone(&users);
    authenticator.configure_curve_callback_blocking("*", move |question: CurveQuestion| {
        provider.decide(&question)
    });
    let server = KeyPair::generate()?;
    let server_key = server.public_key();
    let documents = listen(DOMAIN, &server, &authenticator).await?;
    let invoices = listen("invoices", &server, &authenticator).await?;

    let mut peers = Vec::new();
    for keys in &clients {
        let client = connect(&documents, keys, server_key).await?;
        let task = tokio::spawn(serve(documents.accept().await?));
        peers.push((client, task));
    }
    for (number, (client, _)) in peers.iter_mut().enumerate() {
        for (request, roles) in [
            ("read", &["admin", "editor", "reader"][..]),
            ("write", &["admin", "editor"]),
            ("delete", &["admin"]),
        ] {
            let is_allowed = roles.contains(&role(number));
            let expected = if is_allowed { "done" } else { "not allowed" };
            assert_eq!(ask(client, request).await?, expected, "{number} {request}");
        }
    }
    println!("{} peers may do what their roles allow", peers.len());
    require_refused(&invoices, &clients[0], server_key).await?;
    println!("a user of the domain \"documents\" is refused in \"invoices\"");

    let (client, task) = peers.remove(7);
    // The database first: a peer that is closed comes back at once.
    users.write(&clients[7].public_key(), 7, true)?;
    let ended = authenticator.end_admissions(MechanismKind::Curve, DOMAIN, name(7));
    assert_eq!(ended, 1);
    let reason = task.await??;
    assert!(matches!(reason, NetError::Revoked), "{reason}");
    println!("user 7 is disabled and closed: {}", client.closed().await);
    require_refused(&documents, &clients[7], server_key).await?;
    for (client, _) in &mut peers {
        assert_eq!(ask(client, "read").await?, "done");
    }
    println!(
        "it is not admitted again, and the other {} go on",
        peers.len()
    );
    Ok(())
}
