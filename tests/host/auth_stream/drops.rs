//! What a dropped `AuthStream` leaves behind: nothing.

use super::rig::{accepted_over, admitting, in_time};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use zmtp_auth::host::AuthStreamOptions;

#[tokio::test]
async fn a_stream_that_is_dropped_while_its_read_waited_closes_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (far, network) = tokio::join!(TcpStream::connect(to), listener.accept());
    let sockets = (network.unwrap().0, far.unwrap());
    let options = AuthStreamOptions::default();
    let (mut host, mut peer) = accepted_over(sockets, "curve", &admitting("curve"), &options).await;
    let cx = &mut Context::from_waker(Waker::noop());
    let mut room = [0];
    let read = Pin::new(&mut host.stream).poll_read(cx, &mut ReadBuf::new(&mut room));
    assert!(matches!(read, Poll::Pending));
    drop(host);
    let mut rest = Vec::new();
    in_time(peer.stream.read_to_end(&mut rest)).await.unwrap();
}
