//! Binds and connects, and gives endpoints up again.
#![forbid(unsafe_code)]

use crate::endpoints::bound::{Pipes, accept};
use crate::endpoints::dialled::{AllSent, Dialled, Target};
use crate::endpoints::hub::Hub;
use crate::endpoints::inproc::{Binder, BoundName, Inproc};
use crate::endpoints::pattern::Pattern;
use crate::endpoints::source::{InprocDialer, Source};
use crate::error::AttachError;
use crate::event::{Events, SocketEvent};
use crate::options::{RouteBy, SocketOptions};
use crate::peers::news::PipeId;
use crate::peers::outlet::Outlet;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use zmtp_auth::net::{Connector, Endpoint, InProcess, IntoEndpoint, Listener, NetError, SendQueue};
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
    kind: Kind,
}

enum Kind {
    Bound(Binding),
    Dialled {
        /// Its drop tells the task to end.
        stop: oneshot::Sender<()>,
        pipe: PipeId,
        pipes: Pipes,
    },
}

/// What keeps an endpoint bound. The drop frees it, and the peers stay.
enum Binding {
    Listener {
        /// If the task is told, it closes the connections too.
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    },
    Name {
        name: BoundName,
        pipes: Pipes,
    },
}

impl Binding {
    /// Frees the endpoint. The peers stay.
    async fn free(self) {
        match self {
            Self::Listener { stop, task } => {
                drop(stop);
                // The task ends as told. A panic of it would have been shown by the runtime.
                let _ = task.await;
            }
            Self::Name { name, .. } => drop(name),
        }
    }

    /// Frees the endpoint and closes the connections of the peers that came by it, also when the future
    /// is dropped.
    async fn end(self, hub: &Hub) {
        match self {
            Self::Listener { stop, task } => {
                // It fails if the task has ended, with the runtime.
                let _ = stop.send(());
                let _ = task.await;
            }
            Self::Name { name, pipes } => {
                drop(name);
                for pipe in pipes.take() {
                    hub.pattern().remove(pipe);
                }
            }
        }
    }
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
        let task = tokio::spawn(accepting);
        self.add_bound(endpoint.clone(), Binding::Listener { stop, task });
        Ok(endpoint)
    }

    pub(crate) fn bind_inproc(
        &mut self,
        registry: &Inproc,
        name: &str,
    ) -> Result<Endpoint, AttachError> {
        let endpoint = Inproc::endpoint(name)?;
        let pipes = Pipes::new();
        let binder = Binder {
            side: self.side()?,
            hub: Arc::clone(&self.hub),
            pipes: pipes.clone(),
            endpoint: endpoint.clone(),
            runtime: Handle::current(),
        };
        let name = registry.bind(name, binder)?;
        self.add_bound(endpoint.clone(), Binding::Name { name, pipes });
        Ok(endpoint)
    }

    fn add_bound(&mut self, endpoint: Endpoint, binding: Binding) {
        let kind = Kind::Bound(binding);
        self.entries.push(Entry { endpoint, kind });
    }

    pub(crate) fn connect(
        &mut self,
        endpoint: Endpoint,
        security: Security,
    ) -> Result<(), AttachError> {
        let security = self.secure(&security)?;
        let options = self.options.connection.clone();
        let connector = Connector::with_options(&endpoint, security, options)?;
        self.dial(endpoint, |queue| {
            Source::Net(Box::new(match queue {
                Some(queue) => connector.with_queue(queue),
                None => connector,
            }))
        });
        Ok(())
    }

    pub(crate) fn connect_inproc(
        &mut self,
        registry: &Inproc,
        name: &str,
    ) -> Result<Endpoint, AttachError> {
        let endpoint = Inproc::endpoint(name)?;
        let side = self.side()?;
        let policy = self.options.connection.reconnect.clone();
        let name = registry.dial(name);
        self.dial(endpoint.clone(), |queue| {
            let side = match queue {
                Some(queue) => side.with_queue(queue),
                None => side,
            };
            Source::Inproc(Box::new(InprocDialer::new(name, side, policy)))
        });
        Ok(endpoint)
    }

    /// Starts the task of a dialled endpoint. `source` gets the queue of the peer, if it has one.
    fn dial(&mut self, endpoint: Endpoint, source: impl FnOnce(Option<&SendQueue>) -> Source) {
        let pipe = self.hub.next_pipe();
        let queue = self
            .hub
            .pattern()
            .queues_for_dialled()
            .then(|| SendQueue::new(self.socket_type, &self.options.connection));
        let source = source(queue.as_ref());
        let has_queue = queue.is_some();
        let mut all_sent = None;
        if let Some(queue) = queue {
            all_sent = Some(Box::pin(queue.finished_owned()) as AllSent);
            self.hub.pattern().keep(pipe, queue);
        }
        let keeps_pipe = has_queue || self.hub.pattern().dial(pipe);
        let (stop, stopped) = oneshot::channel();
        let pipes = Pipes::new();
        let dialled = Dialled {
            source,
            target: Target {
                hub: Arc::clone(&self.hub),
                pipe,
                pipes: pipes.clone(),
                endpoint: endpoint.clone(),
                has_queue,
                keeps_pipe,
            },
            all_sent,
            linger: self.options.connection.linger,
        };
        tokio::spawn(dialled.run(stopped));
        let kind = Kind::Dialled { stop, pipe, pipes };
        self.entries.push(Entry { endpoint, kind });
    }

    /// Frees a bound endpoint, and closes the connections of the peers that came by it.
    pub(crate) async fn unbind(&mut self, endpoint: &Endpoint) -> Result<(), AttachError> {
        let is_it = |entry: &Entry| matches!(entry.kind, Kind::Bound(_));
        let entry = self.take(endpoint, is_it)?;
        if let Kind::Bound(binding) = entry.kind {
            binding.end(&self.hub).await;
        }
        Ok(())
    }

    /// Gives up a dialled endpoint. What is queued for it leaves in the background.
    pub(crate) fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), AttachError> {
        let is_it = |entry: &Entry| matches!(entry.kind, Kind::Dialled { .. });
        let entry = self.take(endpoint, is_it)?;
        if let Kind::Dialled { stop, pipe, pipes } = entry.kind {
            drop(stop);
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
                Kind::Bound(binding) => binding.free().await,
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

    fn routes_by_user_id(&self) -> bool {
        self.socket_type == SocketType::Router && self.options.route_by == RouteBy::UserId
    }

    /// Our side of connections within the process. Their peers have no user id.
    fn side(&self) -> Result<InProcess, AttachError> {
        if self.routes_by_user_id() {
            return Err(AttachError::NoUserId);
        }
        let side = InProcess::new(self.socket_type, self.options.routing_id.clone());
        let side = side.map_err(AttachError::RoutingId)?;
        Ok(side.with_options(self.options.connection.clone()))
    }

    /// The security for a socket of our type and routing id.
    fn secure(&self, security: &Security) -> Result<Security, AttachError> {
        let gives_user_ids = security.is_server() && security.asks_router();
        if self.routes_by_user_id() && !gives_user_ids {
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
