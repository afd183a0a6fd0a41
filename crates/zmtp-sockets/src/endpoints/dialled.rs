//! The task of a dialled endpoint. It connects, and connects again after a loss.
#![forbid(unsafe_code)]

use crate::endpoints::bound::Pipes;
use crate::endpoints::hub::Hub;
use crate::endpoints::source::Source;
use crate::event::SocketEvent;
use crate::peers::news::PipeId;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;
use zmtp_auth::net::{Attempt, Connection, Endpoint};

pub(crate) type AllSent = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A dialled endpoint.
pub(crate) struct Dialled {
    pub(crate) source: Source,
    pub(crate) target: Target,
    /// Ends once everything has left the queue, if there is one, and it was closed.
    pub(crate) all_sent: Option<AllSent>,
    /// How long the queue may take to be sent once the endpoint is given up.
    pub(crate) linger: Duration,
}

/// Who gets the connections of a dialled endpoint.
pub(crate) struct Target {
    pub(crate) hub: Arc<Hub>,
    /// The pipe of all connections, if they are one peer to the socket.
    pub(crate) pipe: PipeId,
    pub(crate) pipes: Pipes,
    pub(crate) endpoint: Endpoint,
    /// Whether the connections send from a queue that outlives them.
    pub(crate) has_queue: bool,
    /// Whether the connections are one peer to the socket.
    pub(crate) keeps_pipe: bool,
}

impl Dialled {
    /// Keeps the peer connected until `stop` is told or dropped and what is queued was sent, for at
    /// most the linger time.
    pub(crate) async fn run(mut self, stop: oneshot::Receiver<()>) {
        let linger = self.linger;
        let mut stop = pin!(stop);
        let mut is_stopped = false;
        let mut time_is_up = pin!(None);
        let mut all_sent = pin!(self.all_sent);
        loop {
            if is_stopped && !self.target.has_queue {
                return;
            }
            if self.source.is_stopped() {
                // Nothing more can be sent. The queue stays until the endpoint is given up.
                if !is_stopped {
                    let _ = stop.await;
                }
                return;
            }
            let attempt = tokio::select! {
                biased;
                () = over(time_is_up.as_mut()) => return,
                _ = stop.as_mut(), if !is_stopped => {
                    is_stopped = true;
                    time_is_up.set(Some(sleep(linger)));
                    continue;
                }
                () = over(all_sent.as_mut()), if is_stopped => return,
                attempt = async {
                    self.target.hub.await_room().await;
                    self.source.next_attempt().await
                } => attempt,
            };
            let connection = match attempt {
                Attempt::Connected(connection) => connection,
                Attempt::Failed { error, retry_after } => {
                    self.target.hub.tell(SocketEvent::Retrying {
                        endpoint: self.target.endpoint.clone(),
                        error,
                        retry_after,
                    });
                    continue;
                }
                _ => continue,
            };
            let mut served = pin!(self.target.serve(*connection, is_stopped));
            loop {
                tokio::select! {
                    biased;
                    () = over(time_is_up.as_mut()) => return,
                    _ = stop.as_mut(), if !is_stopped => {
                        is_stopped = true;
                        time_is_up.set(Some(sleep(linger)));
                    }
                    () = served.as_mut() => break,
                }
            }
        }
    }
}

impl Target {
    /// Serves one connection to its end.
    async fn serve(&self, connection: Connection, is_stopped: bool) {
        if is_stopped {
            // Only what is queued is still sent. The socket receives nothing from here.
            let mut ends = connection.ends();
            let (_sender, receiver) = connection.split();
            drop(receiver);
            ends.closed().await;
            return;
        }
        let (hub, pipes) = (&self.hub, &self.pipes);
        let pipe = if self.keeps_pipe {
            self.pipe
        } else {
            hub.next_pipe()
        };
        pipes.add(pipe);
        let Some(mut served) = hub.serve(pipe, connection, self.has_queue) else {
            pipes.remove(pipe);
            return;
        };
        if pipes.are_given_up() {
            // The socket may have been told so before it was told of the connection.
            hub.pattern().remove(pipe);
        }
        hub.tell(SocketEvent::Connected {
            endpoint: self.endpoint.clone(),
            peer: Arc::clone(&served.peer),
            routing_id: served.routing_id.clone(),
        });
        hub.watch(&mut served, &self.endpoint).await;
        let (hub, pipes, keeps_pipe) = (Arc::clone(hub), pipes.clone(), self.keeps_pipe);
        tokio::spawn(async move {
            hub.drain(&mut served).await;
            if !keeps_pipe {
                pipes.remove(pipe);
            }
        });
    }
}

/// Waits for the end of something, if it runs.
async fn over(time: Pin<&mut Option<impl Future<Output = ()>>>) {
    match time.as_pin_mut() {
        Some(time) => time.await,
        None => pending().await,
    }
}
