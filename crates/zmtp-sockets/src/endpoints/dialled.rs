//! The task of a dialled endpoint. It connects, and connects again after a loss.
#![forbid(unsafe_code)]

use crate::endpoints::hub::Hub;
use crate::event::SocketEvent;
use crate::peers::news::PipeId;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;
use zmtp_auth::net::{Attempt, Connection, Connector, Endpoint};

/// A dialled endpoint.
pub(crate) struct Dialled {
    pub(crate) hub: Arc<Hub>,
    pub(crate) pipe: PipeId,
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: Connector,
    /// Whether the connections send from a queue that outlives them.
    pub(crate) has_queue: bool,
    /// How long that queue may take to be sent once the endpoint is given up.
    pub(crate) linger: Duration,
}

impl Dialled {
    /// Keeps the peer connected until `stop` is told or dropped and what is queued was sent, for at
    /// most the linger time.
    pub(crate) async fn run(mut self, stop: oneshot::Receiver<()>) {
        let linger = self.linger;
        let mut stop = pin!(stop);
        let mut is_stopped = false;
        let mut time_is_up = pin!(None);
        loop {
            if is_stopped && (!self.has_queue || self.connector.has_sent_all()) {
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
                attempt = self.connector.next_attempt() => attempt,
            };
            let connection = match attempt {
                Attempt::Connected(connection) => connection,
                Attempt::Failed { error, retry_after } => {
                    self.hub.tell(SocketEvent::Retrying {
                        endpoint: self.endpoint.clone(),
                        error,
                        retry_after,
                    });
                    if retry_after.is_none() && !is_stopped {
                        // Nothing more can be sent. The queue stays until the endpoint is given up.
                        let _ = stop.await;
                        return;
                    }
                    continue;
                }
                _ => continue,
            };
            let mut served = pin!(Self::serve(
                &self.hub,
                self.pipe,
                &self.endpoint,
                *connection,
                self.has_queue
            ));
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

    /// Serves one connection to its end.
    async fn serve(
        hub: &Hub,
        pipe: PipeId,
        endpoint: &Endpoint,
        connection: Connection,
        has_queue: bool,
    ) {
        let Some(served) = hub.serve(pipe, connection, has_queue) else {
            return;
        };
        hub.tell(SocketEvent::Connected {
            endpoint: endpoint.clone(),
            peer: Arc::clone(&served.peer),
            routing_id: served.routing_id.clone(),
        });
        hub.watch(served, endpoint).await;
    }
}

/// Waits for the end of the linger time, once it runs.
async fn over(time: Pin<&mut Option<impl Future<Output = ()>>>) {
    match time.as_pin_mut() {
        Some(time) => time.await,
        None => pending().await,
    }
}
