//! The task of a bound endpoint.
#![forbid(unsafe_code)]

use crate::endpoints::hub::Hub;
use crate::event::SocketEvent;
use crate::peers::news::PipeId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use zmtp_auth::net::{Connection, Event, Listener};

/// The pipes of the peers that have connected to one endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipes(Arc<Mutex<HashSet<PipeId>>>);

impl Pipes {
    fn with<T>(&self, change: impl FnOnce(&mut HashSet<PipeId>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take(&self) -> HashSet<PipeId> {
        self.with(std::mem::take)
    }
}

/// Accepts peers until `stop` is told or dropped, then frees the endpoint.
pub(crate) async fn accept(
    listener: Listener,
    hub: Arc<Hub>,
    pipes: Pipes,
    mut stop: oneshot::Receiver<()>,
) {
    loop {
        let event = tokio::select! {
            biased;
            _ = &mut stop => break,
            event = listener.next_event() => event,
        };
        match event {
            Ok(Event::Accepted(connection)) => serve(*connection, &listener, &hub, &pipes),
            Ok(Event::Refused(refusal)) => hub.tell(SocketEvent::Refused {
                endpoint: listener.local_endpoint().clone(),
                refusal: Arc::new(refusal),
            }),
            Ok(_) => {}
            // The runtime is gone.
            Err(_) => break,
        }
    }
    listener.close().await;
}

fn serve(connection: Connection, listener: &Listener, hub: &Arc<Hub>, pipes: &Pipes) {
    let pipe = hub.next_pipe();
    let Some(served) = hub.serve(pipe, connection, false) else {
        return;
    };
    pipes.with(|pipes| pipes.insert(pipe));
    let endpoint = listener.local_endpoint().clone();
    hub.tell(SocketEvent::Accepted {
        endpoint: endpoint.clone(),
        peer: Arc::clone(&served.peer),
        routing_id: served.routing_id.clone(),
    });
    let (hub, pipes) = (Arc::clone(hub), pipes.clone());
    tokio::spawn(async move {
        hub.watch(served, &endpoint).await;
        pipes.with(|pipes| pipes.remove(&pipe));
    });
}
