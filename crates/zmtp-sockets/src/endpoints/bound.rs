//! The task of a bound endpoint.
#![forbid(unsafe_code)]

use crate::endpoints::hub::Hub;
use crate::event::SocketEvent;
use crate::peers::news::PipeId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use zmtp_auth::net::{Connection, Endpoint, Event, Listener};

/// The pipes of the connections of one endpoint, until everything that has arrived on them was
/// received. `None` once the endpoint is given up.
#[derive(Debug, Clone)]
pub(crate) struct Pipes(Arc<Mutex<Option<HashSet<PipeId>>>>);

impl Pipes {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(HashSet::new()))))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Option<HashSet<PipeId>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the endpoint is still there.
    pub(crate) fn add(&self, pipe: PipeId) -> bool {
        self.with(|pipes| pipes.as_mut().map(|pipes| pipes.insert(pipe)).is_some())
    }

    pub(crate) fn remove(&self, pipe: PipeId) {
        self.with(|pipes| pipes.as_mut().map(|pipes| pipes.remove(&pipe)));
    }

    pub(crate) fn are_given_up(&self) -> bool {
        self.with(|pipes| pipes.is_none())
    }

    /// Gives the endpoint up.
    pub(crate) fn take(&self) -> HashSet<PipeId> {
        self.with(Option::take).unwrap_or_default()
    }
}

/// Accepts peers until `stop` is told or dropped, then frees the endpoint. If it was told, the peers go
/// too: also when the one who told does not wait for it.
pub(crate) async fn accept(
    listener: Listener,
    hub: Arc<Hub>,
    pipes: Pipes,
    mut stop: oneshot::Receiver<()>,
) {
    let takes_peers_along = loop {
        let next = async {
            let event = listener.next_event().await;
            hub.await_room().await;
            event
        };
        let event = tokio::select! {
            biased;
            stopped = &mut stop => break stopped.is_ok(),
            event = next => event,
        };
        match event {
            Ok(Event::Accepted(connection)) => {
                serve(*connection, listener.local_endpoint(), &hub, &pipes);
            }
            Ok(Event::Refused(refusal)) => hub.tell(SocketEvent::Refused {
                endpoint: listener.local_endpoint().clone(),
                refusal: Arc::new(refusal),
            }),
            Ok(_) => {}
            // The runtime is gone.
            Err(_) => break false,
        }
    };
    listener.close().await;
    if takes_peers_along {
        for pipe in pipes.take() {
            hub.pattern().remove(pipe);
        }
    }
}

/// Gives a peer that has connected to the socket. Returns whether the socket has taken it.
pub(crate) fn serve(
    connection: Connection,
    endpoint: &Endpoint,
    hub: &Arc<Hub>,
    pipes: &Pipes,
) -> bool {
    let pipe = hub.next_pipe();
    if !pipes.add(pipe) {
        return false;
    }
    let Some(mut served) = hub.serve(pipe, connection, false) else {
        pipes.remove(pipe);
        return false;
    };
    if pipes.are_given_up() {
        // The socket may have been told so before it was told of the peer.
        hub.pattern().remove(pipe);
    }
    hub.tell(SocketEvent::Accepted {
        endpoint: endpoint.clone(),
        peer: Arc::clone(&served.peer),
        routing_id: served.routing_id.clone(),
    });
    let (hub, pipes, endpoint) = (Arc::clone(hub), pipes.clone(), endpoint.clone());
    tokio::spawn(async move {
        hub.watch(&mut served, &endpoint).await;
        hub.drain(&mut served).await;
        pipes.remove(pipe);
    });
    true
}
