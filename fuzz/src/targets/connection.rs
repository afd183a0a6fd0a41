//! A whole connection over a real socket, or two with a tunnel between them: an admitted peer that
//! follows a script, and an application that receives at its own pace. Every complete message is
//! delivered once and in order, whatever ends the connection. A peer that violates the protocol is
//! closed. Memory is bounded by the limits and not by the traffic. No task outlives the connection.
#![forbid(unsafe_code)]

pub mod expected;
pub mod link;
pub mod peer;
pub mod script;

use crate::choices::Choices;
use crate::targets::connection::expected::{Expected, expected};
use crate::targets::connection::link::{MAX_MESSAGE, READ_AHEAD, Setup};
use crate::targets::connection::peer::{Peer, speak};
use crate::targets::connection::script::{KIB, MIB, Step, script};
use peak_alloc::PeakAlloc;
use std::cell::OnceCell;
use std::future::{Future, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedReadHalf;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use zmtp_auth::net::{Connection, Incoming, Listener, Message, NetError};

/// Counts the bytes that are allocated.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The most bytes of a connection: the parts of one message with the rounding of their allocations, a
/// buffer for the next frame, what is read ahead, and 1 MiB for memory that is kept to be read into and for
/// bookkeeping. The buffers of the scripted peer are counted too.
const MAX_HELD: usize = 2 * MAX_MESSAGE + 2 * MAX_MESSAGE + 4 * READ_AHEAD + MIB;
/// A tunnel holds twice that, and what it is sending.
const MAX_HELD_WITH_TUNNEL: usize = 2 * MAX_HELD + 2 * MAX_MESSAGE;
/// The longest run. It is long enough for a slow machine, so only a connection that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first byte chooses the mechanism, the socket and how the peer closes. Every two bytes after it
/// are a step.
pub fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    let mut choices = Choices::new(data);
    let setup = Setup::from(choices.byte());
    let script = script(&mut choices);
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            // Sockets are polled in each turn, so that a script does the same every time.
            let mut builder = Builder::new_current_thread();
            builder.enable_all().event_interval(1).build().unwrap()
        });
        let played = runtime.block_on(async { timeout(PATIENCE, play(setup, script)).await });
        played.expect("the connection hangs");
    });
}

async fn play(setup: Setup, script: Vec<Step>) {
    let before = Handle::current().metrics().num_alive_tasks();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let endpoint = format!("ipc://{}", path.display());
    let listener = Listener::bind(endpoint.as_str(), setup.server())
        .await
        .unwrap();
    let (path, tunnel) = if setup.tunnel {
        let front = folder.path().join("tunnel");
        let tunnel = Setup::tunnel(&front, listener.local_endpoint()).await;
        (front, Some(tunnel))
    } else {
        (path, None)
    };
    let config = setup.client();
    let (peer, connection) = tokio::join!(Peer::connect(&path, &config), listener.accept());
    let connection = connection.unwrap();
    let expected = expected(setup, &script);

    let held_before = ALLOCATOR.current_usage();
    let (position, follow) = watch::channel(0);
    let (peer, reader) = peer.split();
    let speaking = tokio::spawn(speak(peer, script.clone(), follow, expected.breaks));
    let mut application = Application {
        connection,
        reader: Some(reader),
        received: Vec::new(),
        end: None,
    };
    for (at, step) in script.iter().enumerate() {
        // Consecutive steps of the peer arrive in one piece.
        if !step.is_the_peers() {
            position.send_replace(at + 1);
        }
        application.take(step).await;
        check_held(setup, held_before, &application.received);
    }
    position.send_replace(usize::MAX);
    // The application receives only now what the peer has sent.
    for _ in 0..4 {
        sleep(Duration::from_micros(200)).await;
        check_held(setup, held_before, &application.received);
    }
    application.finish(setup, &expected).await;
    drop((application, position));
    speaking.await.unwrap();
    if let Some(tunnel) = tunnel {
        let _ = tunnel.close().await;
    }
    listener.close().await;
    eventually(|| Handle::current().metrics().num_alive_tasks() <= before).await;
}

/// Memory is bounded by the limits and by what the application holds.
fn check_held(setup: Setup, before: usize, received: &[Incoming]) {
    // A received message may share a buffer with other data that was read with it.
    let taken: usize = received
        .iter()
        .map(|incoming| 2 * size(incoming) + 256)
        .sum();
    let held = ALLOCATOR.current_usage().saturating_sub(before);
    let max = if setup.tunnel {
        MAX_HELD_WITH_TUNNEL
    } else {
        MAX_HELD
    };
    assert!(
        held <= max + taken,
        "{held} bytes are held, and {taken} of them may be the application's"
    );
}

fn size(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Message(message) => message.size() + 64 * message.frames().len(),
        Incoming::Subscribe(topic) | Incoming::Unsubscribe(topic) => topic.len(),
        other => panic!("{other:?}"),
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(Duration::from_micros(100)).await;
    }
}

struct Application {
    connection: Connection,
    /// The peer's side of what the application sends.
    reader: Option<OwnedReadHalf>,
    received: Vec<Incoming>,
    end: Option<NetError>,
}

impl Application {
    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Receive(times) => {
                for _ in 0..times {
                    let Some(received) = at_once(self.connection.recv()).await else {
                        break;
                    };
                    self.keep(received);
                    if self.end.is_some() {
                        break;
                    }
                }
            }
            Step::Send(len) => {
                let message = Message::from(vec![b'a'; len]);
                // The peer may have closed. Only receiving tells how the connection ended.
                let _ = at_once(self.connection.send(message)).await;
            }
            Step::Listen => {
                if let Some(reader) = &mut self.reader {
                    let mut heard = [0; 4096];
                    while let Ok(1..) = reader.try_read(&mut heard) {}
                }
            }
            Step::Wait(times) => {
                for _ in 0..times {
                    yield_now().await;
                }
            }
            Step::Leave => self.reader = None,
            _ => {}
        }
    }

    fn keep(&mut self, received: Result<Incoming, NetError>) {
        match received {
            Ok(incoming) => self.received.push(incoming),
            Err(error) => self.end = Some(error),
        }
    }

    /// Receives to the end, and checks that everything expected has arrived. The peer sees its end
    /// too.
    async fn finish(&mut self, setup: Setup, expected: &Expected) {
        let mut reader = self.reader.take();
        let listen = async {
            if let Some(reader) = &mut reader {
                let mut heard = vec![0; 64 * KIB];
                while let Ok(1..) = reader.read(&mut heard).await {}
            }
        };
        let receive = async {
            while self.end.is_none() {
                let received = self.connection.recv().await;
                self.keep(received);
            }
        };
        tokio::join!(listen, receive);
        let arrived = self.received.len();
        let wanted = expected.deliveries.len();
        assert_eq!(
            arrived, wanted,
            "received {arrived} of {wanted}: {:?}",
            self.end
        );
        for (at, (arrived, wanted)) in self.received.iter().zip(&expected.deliveries).enumerate() {
            assert!(arrived == wanted, "delivery {at} differs");
        }
        let is_right = match &self.end {
            Some(NetError::Traffic(_)) => expected.breaks && !setup.tunnel,
            Some(NetError::Closed) => !expected.breaks || setup.tunnel,
            _ => false,
        };
        assert!(
            is_right,
            "ended by {:?}, breaks: {}",
            self.end, expected.breaks
        );
    }
}

/// The output of `future` if it is ready within some turns.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    for _ in 0..4 {
        tokio::select! {
            biased;
            value = &mut future => return Some(value),
            () = ready(()) => {}
        }
        yield_now().await;
    }
    None
}
