//! A server and a client that authenticate over `std::net`, on threads and without an async runtime.
//! The handshake machine takes and returns bytes, and the Authenticator decides on the thread that
//! asks.
//!
//!     cargo run --no-default-features --example without_runtime

use bytes::BytesMut;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;
use zmtp_auth::PeerContext;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::traffic::{Channel, Incoming, Message};
use zmtp_auth::{Config, Limits, Password, SocketType};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Reads the bytes that have arrived, waiting for the first.
fn receive(stream: &mut TcpStream, input: &mut BytesMut) -> Outcome<usize> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer)?;
    input.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Runs one handshake to its end. Bytes that are left in `input` belong to the peer's traffic.
fn handshake<A>(
    stream: &mut TcpStream,
    config: &Config<A>,
    auth: Option<&Authenticator>,
    input: &mut BytesMut,
) -> Outcome<Established> {
    // A peer must send its next byte within this time.
    stream.set_read_timeout(Some(Limits::default().greeting_timeout))?;
    let address = stream.peer_addr()?.into();
    let mut output = BytesMut::new();
    let mut step = Ok(Handshake::start(
        config,
        PeerContext::new(address),
        &mut output,
    ));
    loop {
        // Send the output even after an error: it tells the peer.
        stream.write_all(&output)?;
        output.clear();
        step = match step? {
            Handshake::Complete(established) => return Ok(*established),
            Handshake::NeedsInput(waiting) => {
                if receive(stream, input)? == 0 {
                    return Err(waiting.peer_closed().into());
                }
                waiting.process(input, &mut output)
            }
            Handshake::Authorize(paused) => {
                let auth = auth.ok_or("no policy to ask")?;
                let verdict = auth.authorize_blocking(paused.request());
                paused.resume(verdict, &mut output)
            }
            Handshake::NeedsMetadata(_) => return Err("only a relay is asked for metadata".into()),
        };
    }
}

fn serve(listener: &TcpListener, auth: &Authenticator) -> Outcome<String> {
    let config = Config::builder(SocketType::Pull)
        .plain_server()
        .authorize("plant")
        .finish()?;
    let (mut stream, _) = listener.accept()?;
    let mut input = BytesMut::new();
    let established = handshake(&mut stream, &config, Some(auth), &mut input)?;
    let limits = config.limits();
    let ours = established.socket_type;
    let (peer, channel) = established.into_channel(ours, limits, None, Instant::now());
    let mut channel = channel.with_input(input);
    let message = loop {
        channel.process_input(1)?;
        if let Some(Incoming::Message(message)) = channel.poll_event() {
            break message;
        }
        // Sends answers to PINGs. Messages may have waited for that.
        write(&mut stream, &mut channel)?;
        if channel.has_more() {
            continue;
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer)? {
            0 => return Err("the peer closed".into()),
            count => channel.push_input(&buffer[..count], Instant::now()),
        }
    };
    let user = peer.authenticated.ok_or("not authenticated")?.user_id;
    let (user, text) = (
        String::from_utf8_lossy(&user),
        String::from_utf8_lossy(&message.frames()[0]),
    );
    Ok(format!("{user} says {text}"))
}

/// Writes all output of the channel to the peer.
fn write(stream: &mut TcpStream, channel: &mut Channel) -> Outcome<()> {
    channel.encode()?;
    while channel.has_output() {
        let written = stream.write_vectored(&channel.output())?;
        channel.on_written(written);
        channel.encode()?;
    }
    Ok(())
}

fn send(address: std::net::SocketAddr, password: &str) -> Outcome<()> {
    let config = Config::builder(SocketType::Push)
        .plain_client("ada", Password::from(password))
        .finish()?;
    let mut stream = TcpStream::connect(address)?;
    let mut input = BytesMut::new();
    let established = handshake(&mut stream, &config, None, &mut input)?;
    let limits = config.limits();
    let (_, mut channel) = established.into_channel(SocketType::Push, limits, None, Instant::now());
    channel.queue(Message::from("hello"))?;
    write(&mut stream, &mut channel)
}

fn main() -> Outcome<()> {
    let auth = Authenticator::new();
    auth.allow(["127.0.0.1"])?;
    auth.configure_plain("plant", [("ada", "secret")])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || [serve(&listener, &auth), serve(&listener, &auth)]);
    println!("with the right password: {:?}", send(address, "secret"));
    println!(
        "with a wrong one: {:?}",
        send(address, "guessed").map_err(|e| e.to_string())
    );
    let [first, second] = server.join().map_err(|_| "the server panicked")?;
    println!("the server: {}", first?);
    println!(
        "the server: {}",
        second.err().ok_or("a wrong password was accepted")?
    );
    Ok(())
}
