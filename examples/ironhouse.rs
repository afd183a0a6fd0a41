//! Ironhouse: encryption, a server that proves its identity, and clients that are known by their keys.
//!
//! `cargo run --example ironhouse` runs a server and four clients. A known client is admitted. A
//! client with an unknown key, one with a wrong server key, and a NULL client are refused, each with
//! its reason. The example exits with 0 only if all four outcomes are as expected.
//!
//! `cargo run --example ironhouse -- --listen tcp://127.0.0.1:9000` serves other programs. It prints,
//! as JSON, its endpoint, its public key and the paths of the client's certificate, and then a line for
//! each event.

use serde_json::json;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::{create_certificates, load_key_pair};
use zmtp_auth::net::{Connection, Event, Listener, NetError};
use zmtp_auth::{
    Config, DenialStatus, Domain, Incompatible, KeyPair, LikelyCause, PublicKey, SocketType,
    Status, WithCauses,
};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => demonstrate().await,
        ["--listen", endpoint] => serve(endpoint).await,
        _ => {
            eprintln!("usage: ironhouse [--listen ENDPOINT]");
            Ok(ExitCode::from(2))
        }
    }
}

/// A new directory, which is removed with its content when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let name = format!("ironhouse-{}", std::process::id());
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

/// A directory with the certificates of a server and a client, and a server that admits the owners of
/// the certificates in `public_keys`.
struct House {
    directory: Scratch,
    server_key: PublicKey,
    listener: Listener,
}

impl House {
    async fn build(endpoint: &str) -> Result<Self, Failure> {
        let directory = Scratch::new()?;
        let private_keys = directory.0.join("private_keys");
        let public_keys = directory.0.join("public_keys");
        fs::create_dir(&private_keys)?;
        fs::create_dir(&public_keys)?;
        let (_, server_secret) = create_certificates(&private_keys, "server", &[])?;
        let (client, _) = create_certificates(&private_keys, "client", &[("name", "a friend")])?;
        fs::copy(client, public_keys.join("client.key"))?;

        let authenticator = Authenticator::new();
        authenticator.allow(["127.0.0.1", "::1"])?;
        let report = authenticator.configure_curve(Domain::ALL, &public_keys)?;
        assert!(report.problems.is_empty());

        let server_keys = load_key_pair(&server_secret)?;
        let server_key = server_keys.public_key();
        let config = Config::builder(SocketType::Pull)
            .curve_server(server_keys)
            .authorize(Domain::EMPTY)
            .finish()?;
        let listener = Listener::bind(endpoint, (config, authenticator)).await?;
        Ok(Self {
            directory,
            server_key,
            listener,
        })
    }

    fn client_certificate(&self) -> PathBuf {
        self.directory.0.join("private_keys/client.key")
    }

    fn client_secret(&self) -> PathBuf {
        self.directory.0.join("private_keys/client.key_secret")
    }

    /// Connects as a client with these keys. Returns the outcome on both sides.
    async fn try_curve(
        &self,
        keys: KeyPair,
        server_key: PublicKey,
    ) -> Result<(Result<Connection, NetError>, Event), Failure> {
        let config = Config::builder(SocketType::Push)
            .curve_client(keys, server_key)
            .finish()?;
        let endpoint = self.listener.local_endpoint();
        let connected = Connection::connect(endpoint, config).await;
        Ok((connected, self.listener.next_event().await?))
    }
}

async fn demonstrate() -> Result<ExitCode, Failure> {
    let house = House::build("tcp://127.0.0.1:*").await?;
    println!(
        "listening on {}, server key {}",
        house.listener.local_endpoint(),
        house.server_key
    );
    let outcomes = [
        ("a known client is let in", known_client(&house).await),
        ("an unknown key is refused", unknown_key(&house).await),
        ("a wrong server key fails", wrong_server_key(&house).await),
        ("a NULL client is refused", null_client(&house).await),
    ];
    let mut as_told = true;
    for (story, outcome) in outcomes {
        match outcome {
            Ok(reason) => println!("ok    {story}: {reason}"),
            Err(error) => {
                as_told = false;
                println!("FAIL  {story}: {error}");
            }
        }
    }
    Ok(if as_told {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn known_client(house: &House) -> Result<String, Failure> {
    let keys = load_key_pair(house.client_secret())?;
    let key = keys.public_key();
    let (client, event) = house.try_curve(keys, house.server_key).await?;
    let mut client = client?;
    let Event::Accepted(mut server) = event else {
        return Err(format!("the server says {event:?}").into());
    };
    client.send("Hello from the iron house").await?;
    let message = server.recv_message().await?;
    let user_id = server.peer().user_id().ok_or("the policy was not asked")?;
    if user_id != key.to_z85().as_bytes() {
        return Err(format!("the user id is {user_id:?}").into());
    }
    Ok(format!(
        "user id {}, message {:?}",
        user_id.escape_ascii(),
        message.frames()
    ))
}

async fn unknown_key(house: &House) -> Result<String, Failure> {
    let (client, event) = house
        .try_curve(KeyPair::generate()?, house.server_key)
        .await?;
    let (client, server) = both_refused(client, event)?;
    match (client.protocol(), server.protocol()) {
        (
            Some(zmtp_auth::Error::RefusedByPeer(refusal)),
            Some(zmtp_auth::Error::Denied(denied)),
        ) if refusal.status == Some(Status::AuthenticationFailure)
            && denied.status == DenialStatus::Failure =>
        {
            Ok(told(&client, &server))
        }
        _ => Err(told(&client, &server).into()),
    }
}

async fn wrong_server_key(house: &House) -> Result<String, Failure> {
    let keys = load_key_pair(house.client_secret())?;
    let (client, event) = house
        .try_curve(keys, KeyPair::generate()?.public_key())
        .await?;
    let (client, server) = both_refused(client, event)?;
    match (client.likely_cause(), server.likely_cause()) {
        (Some(LikelyCause::WrongServerKey), Some(LikelyCause::WrongServerKey)) => {
            Ok(told(&client, &server))
        }
        _ => Err(told(&client, &server).into()),
    }
}

async fn null_client(house: &House) -> Result<String, Failure> {
    let config = Config::builder(SocketType::Push)
        .null()
        .accept_any_peer()
        .finish()?;
    let client = Connection::connect(house.listener.local_endpoint(), config).await;
    let (client, server) = both_refused(client, house.listener.next_event().await?)?;
    match server.protocol() {
        Some(zmtp_auth::Error::Incompatible(Incompatible::Mechanism { .. })) => {
            Ok(told(&client, &server))
        }
        _ => Err(told(&client, &server).into()),
    }
}

/// The errors of both sides on one line.
fn told(client: &NetError, server: &NetError) -> String {
    let (client, server) = (WithCauses(client), WithCauses(server));
    format!("{client} (the server's log: {server})")
}

/// The reasons of both sides, or an error if one of them did not refuse.
fn both_refused(
    client: Result<Connection, NetError>,
    server: Event,
) -> Result<(NetError, NetError), Failure> {
    match (client, server) {
        (Err(client), Event::Refused(server)) => Ok((client, server.error)),
        (client, server) => {
            Err(format!("the client got {client:?}, the server says {server:?}").into())
        }
    }
}

async fn serve(endpoint: &str) -> Result<ExitCode, Failure> {
    let house = House::build(endpoint).await?;
    print(&json!({
        "event": "listening",
        "endpoint": house.listener.local_endpoint().to_string(),
        "public_key": house.server_key.to_z85(),
        "client_certificate": house.client_certificate(),
        "client_secret": house.client_secret(),
    }));
    loop {
        match house.listener.next_event().await? {
            Event::Accepted(connection) => {
                tokio::spawn(print_messages(*connection));
            }
            Event::Refused(refusal) => print(&json!({
                "event": "refused",
                "address": refusal.address.to_string(),
                "reason": WithCauses(&refusal.error).to_string(),
            })),
            _ => {}
        }
    }
}

async fn print_messages(mut connection: Connection) {
    let user_id = connection
        .peer()
        .user_id()
        .map(|id| id.escape_ascii().to_string());
    print(&json!({ "event": "accepted", "user_id": user_id }));
    let reason = loop {
        match connection.recv_message().await {
            Ok(message) => {
                let frames: Vec<String> = message
                    .frames()
                    .iter()
                    .map(|frame| frame.escape_ascii().to_string())
                    .collect();
                print(&json!({ "event": "message", "user_id": user_id, "frames": frames }));
            }
            Err(reason) => break reason.to_string(),
        }
    };
    print(&json!({ "event": "closed", "user_id": user_id, "reason": reason }));
}

/// Prints a line. A failure means that the output is no longer read.
fn print(line: &serde_json::Value) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
