//! Binds and connects, and gives endpoints up again.
#![forbid(unsafe_code)]

use crate::endpoints::bound::{Pipes, accept};
use crate::endpoints::dialled::{Dialled, Target};
use crate::endpoints::hub::Hub;
use crate::endpoints::pattern::Pattern;
use crate::error::AttachError;
use crate::event::{Events, SocketEvent};
use crate::options::{RouteBy, SocketOptions};
use crate::peers::news::PipeId;
use crate::peers::outlet::Outlet;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use zmtp_auth::net::{Connector, Endpoint, IntoEndpoint, Listener, NetError, SendQueue};
use zmtp_auth::{Security, SocketType};

/// The endpoints of one socket. Dropping it frees what is bound, and lets what is queued for dialled
/// peers leave in the background, for at most the linger time.
pub(crate) struct Endpoints {
    hub: Arc<Hub>,
    socket_type: SocketType,
    options: SocketOptions,
    entries: Vec<Entry>,
}

struct Entry {
    endpoint: Endpoint,
    /// Its drop tells the task to end. A bound endpoint that is told otherwise closes its connections too.
    stop: oneshot::Sender<()>,
    kind: Kind,
}

enum Kind {
    Bound { task: JoinHandle<()> },
    Dialled { pipe: PipeId, pipes: Pipes },
}

impl Endpoints {
    pub(crate) fn new(
        socket_type: SocketType,
        options: SocketOptions,
        pattern: impl Pattern,
    ) -> Self {
        Self {
            hub: Arc::new(Hub::new(Box::new(pattern))),
            socket_type,
            options,
            entries: Vec::new(),
        }
    }

    pub(crate) fn events(&self) -> Events {
        Events::new(self.hub.subscribe())
    }

    /// Where events are told.
    pub(crate) fn teller(&self) -> broadcast::Sender<SocketEvent> {
        self.hub.sender()
    }

    pub(crate) fn tell(&self, event: SocketEvent) {
        self.hub.tell(event);
    }

    pub(crate) fn list(&self) -> impl Iterator<Item = &Endpoint> {
        self.entries.iter().map(|entry| &entry.endpoint)
    }

    pub(crate) async fn bind(
        &mut self,
        endpoint: impl IntoEndpoint,
        security: Security,
    ) -> Result<Endpoint, AttachError> {
        let security = self.secure(&security)?;
        let options = self.options.connection.clone();
        let listener = Listener::bind_with(endpoint, security, options).await?;
        let endpoint = listener.local_endpoint().clone();
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(listener, Arc::clone(&self.hub), Pipes::new(), stopped);
        self.entries.push(Entry {
            endpoint: endpoint.clone(),
            stop,
            kind: Kind::Bound {
                task: tokio::spawn(accepting),
            },
        });
        Ok(endpoint)
    }

    pub(crate) fn connect(
        &mut self,
        endpoint: Endpoint,
        security: Security,
    ) -> Result<(), AttachError> {
        let security = self.secure(&security)?;
        let options = self.options.connection.clone();
        let mut connector = Connector::with_options(&endpoint, security, options)?;
        let pipe = self.hub.next_pipe();
        let has_queue = self.hub.pattern().queues_for_dialled();
        if has_queue {
            let queue = SendQueue::new(self.socket_type, &self.options.connection);
            connector = connector.with_queue(&queue);
            self.hub.pattern().keep(pipe, queue);
        }
        let (stop, stopped) = oneshot::channel();
        let pipes = Pipes::new();
        let dialled = Dialled {
            connector,
            target: Target {
                hub: Arc::clone(&self.hub),
                pipe,
                pipes: pipes.clone(),
                endpoint: endpoint.clone(),
                has_queue,
            },
            linger: self.options.connection.linger,
        };
        tokio::spawn(dialled.run(stopped));
        self.entries.push(Entry {
            endpoint,
            stop,
            kind: Kind::Dialled { pipe, pipes },
        });
        Ok(())
    }

    /// Frees a bound endpoint, and closes the connections of the peers that came by it.
    pub(crate) async fn unbind(&mut self, endpoint: &Endpoint) -> Result<(), AttachError> {
        let is_it = |entry: &Entry| matches!(entry.kind, Kind::Bound { .. });
        let Entry { stop, kind, .. } = self.take(endpoint, is_it)?;
        // It fails if the task has ended, with the runtime.
        let _ = stop.send(());
        if let Kind::Bound { task } = kind {
            // The task ends as told. A panic of it would have been shown by the runtime.
            let _ = task.await;
        }
        Ok(())
    }

    /// Gives up a dialled endpoint. What is queued for it leaves in the background.
    pub(crate) fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), AttachError> {
        let is_it = |entry: &Entry| matches!(entry.kind, Kind::Dialled { .. });
        let Entry { stop, kind, .. } = self.take(endpoint, is_it)?;
        drop(stop);
        if let Kind::Dialled { pipe, pipes } = kind {
            self.hub.pattern().remove(pipe);
            for pipe in pipes.take() {
                self.hub.pattern().remove(pipe);
            }
        }
        Ok(())
    }

    /// Frees everything that is bound. Peers stay.
    pub(crate) async fn stop_listening(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            match entry.kind {
                Kind::Bound { task } => {
                    drop(entry.stop);
                    let _ = task.await;
                }
                Kind::Dialled { .. } => self.entries.push(entry),
            }
        }
    }

    fn take(
        &mut self,
        endpoint: &Endpoint,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, AttachError> {
        let place = self
            .entries
            .iter()
            .position(|entry| entry.endpoint == *endpoint && is_it(entry));
        match place {
            Some(place) => Ok(self.entries.remove(place)),
            None => Err(AttachError::NoSuchEndpoint(endpoint.clone())),
        }
    }

    /// The security for a socket of our type and routing id.
    fn secure(&self, security: &Security) -> Result<Security, AttachError> {
        let gives_user_ids = security.is_server() && security.asks_router();
        let routes = self.socket_type == SocketType::Router;
        if routes && self.options.route_by == RouteBy::UserId && !gives_user_ids {
            return Err(AttachError::NoUserId);
        }
        let routing_id = &self.options.routing_id;
        match security.socket_type() {
            Some(configured) if configured != self.socket_type => Err(AttachError::SocketType {
                configured,
                socket: self.socket_type,
            }),
            Some(_) if routing_id.is_empty() => Ok(security.clone()),
            _ => security
                .for_socket(self.socket_type, routing_id.clone())
                .map_err(AttachError::RoutingId),
        }
    }
}

/// Frees what is bound, and waits until everything that is queued in `outlets` has left and the
/// connections have ended, for at most the linger time.
///
/// # Errors
/// Returns [`NetError::Unsent`] if time was up before everything had left.
pub(crate) async fn close(endpoints: Endpoints, outlets: Vec<Outlet>) -> Result<(), NetError> {
    let finishing = async {
        for outlet in outlets {
            outlet.finish().await;
        }
    };
    close_after(endpoints, finishing).await
}

/// As [`close`], where `finishing` waits until everything that is queued has left.
///
/// # Errors
/// As [`close`].
pub(crate) async fn close_after(
    mut endpoints: Endpoints,
    finishing: impl Future<Output = ()>,
) -> Result<(), NetError> {
    endpoints.stop_listening().await;
    let linger = endpoints.options.connection.linger;
    let until = Instant::now() + linger;
    timeout(linger, finishing)
        .await
        .map_err(|_| NetError::Unsent)?;
    // Dialled endpoints connect no more.
    endpoints.entries.clear();
    // The system has taken everything. If the program ended now, a peer that has sent something
    // meanwhile could be cut off by a reset before it has read, so the ends are waited for.
    let _ = timeout_at(until, endpoints.hub.all_ended()).await;
    Ok(())
}
