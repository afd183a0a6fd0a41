//! A relay between a client and a server that cuts the stream at a chosen byte.

use super::load_attack::soon;
use socket2::SockRef;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zmtp_auth::net::{Endpoint, Host};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// What the relay does before the chosen byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The stream is delivered in two pieces.
    InTwo,
    /// Both connections are reset.
    Reset,
    /// This direction is closed; the other goes on.
    HalfClose,
}

/// Relays one connection at a time.
pub struct Relay {
    listener: TcpListener,
    server: SocketAddr,
}

impl Relay {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, server }
    }

    pub fn endpoint(&self) -> Endpoint {
        let address = self.listener.local_addr().unwrap();
        Endpoint::Tcp {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }

    /// Relays the next connection to its end. Returns the bytes relayed to the server and to the
    /// client.
    pub async fn carry(&self, way: Way, at: usize, cut: Cut) -> [usize; 2] {
        let (client, server) = (self.listener.accept(), TcpStream::connect(self.server));
        let (client, server) = soon(async { tokio::join!(client, server) }).await;
        let ((client, _), server) = (client.unwrap(), server.unwrap());
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        soon(carry(client, server, way, at, cut)).await
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    way: Way,
    at: usize,
    cut: Cut,
) -> [usize; 2] {
    // The listener does not see a connection that is reset before it was accepted, so wait for the
    // server's first byte.
    server.readable().await.unwrap();
    let mut taken = [0; 2];
    let mut open = [true; 2];
    let mut is_cut = false;
    let (mut up, mut down) = (vec![0; 4096], vec![0; 4096]);
    while open != [false; 2] {
        let (this, read) = tokio::select! {
            read = client.read(&mut up), if open[0] => (Way::ToServer, read),
            read = server.read(&mut down), if open[1] => (Way::ToClient, read),
        };
        let Ok(read) = read else { break };
        let index = usize::from(this == Way::ToClient);
        let (from, to) = match this {
            Way::ToServer => (&up[..read], &mut server),
            Way::ToClient => (&down[..read], &mut client),
        };
        let before = taken[index];
        taken[index] += read;
        if read == 0 {
            open[index] = false;
            let _ = to.shutdown().await;
            continue;
        }
        if is_cut || this != way || taken[index] <= at {
            let _ = to.write_all(from).await;
            continue;
        }
        is_cut = true;
        let first = at - before;
        let _ = to.write_all(&from[..first]).await;
        match cut {
            Cut::InTwo => {
                // Time for the receiver to read the first piece. A receiver that reads later sees
                // both, which is harmless.
                tokio::time::sleep(Duration::from_micros(200)).await;
                let _ = to.write_all(&from[first..]).await;
            }
            Cut::HalfClose => {
                let _ = to.shutdown().await;
                open[index] = false;
            }
            Cut::Reset => {
                for stream in [&client, &server] {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                return taken;
            }
        }
    }
    taken
}
