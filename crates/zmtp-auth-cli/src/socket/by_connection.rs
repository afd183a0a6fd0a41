//! A bound PUB, SUB, XPUB or XSUB: each connection is served by a task of its own.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::socket::conversation::Conversation;
use crate::socket::outlet::{Outlet, Recipients};
use crate::socket::who::Who;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zmtp_auth::net::{Endpoint, Event, Listener, Options, Refusal};
use zmtp_auth::{Security, SocketType};

/// The listener, and the tasks of its connections.
pub(crate) struct ConnectionHost {
    listener: Listener,
    ours: SocketType,
    mechanism: &'static str,
    events: Events,
    recipients: Option<Recipients>,
    tasks: JoinSet<Result<(), Failure>>,
    stop: watch::Sender<()>,
    next_peer: u64,
}

impl ConnectionHost {
    /// Binds the endpoint, and sends lines if there is an outlet.
    pub(crate) async fn bind(
        ours: SocketType,
        endpoint: &Endpoint,
        security: Security,
        options: Options,
        outlet: Option<Outlet>,
        events: Events,
    ) -> Result<Self, Failure> {
        let mechanism = security.mechanism().name();
        let listener = Listener::bind_with(endpoint, security, options).await;
        let listener = listener.map_err(|error| Failure::at(&endpoint.to_string(), &error))?;
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        let recipients = outlet.as_ref().map(Outlet::recipients);
        if let Some(outlet) = outlet {
            tasks.spawn(outlet.send_lines(stopped));
        }
        Ok(Self {
            listener,
            ours,
            mechanism,
            events,
            recipients,
            tasks,
            stop,
            next_peer: 1,
        })
    }

    /// The endpoint, with its real port.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.listener.local_endpoint()
    }

    /// Serves peers until one is refused. Cancel-safe.
    ///
    /// # Errors
    /// Returns a failure of a task: stdout or standard input is broken.
    pub(crate) async fn next(&mut self) -> Result<Refusal, Failure> {
        loop {
            tokio::select! {
                event = self.listener.next_event() => match event? {
                    Event::Accepted(connection) => {
                        let peer = Conversation {
                            id: self.next_peer,
                            who: Who::of(connection.peer(), self.mechanism),
                            ours: self.ours,
                            events: self.events.clone(),
                            recipients: self.recipients.clone(),
                        };
                        self.next_peer += 1;
                        self.tasks.spawn(peer.hold(*connection, self.stop.subscribe()));
                    }
                    Event::Refused(refusal) => return Ok(refusal),
                    _ => {}
                },
                Some(ended) = self.tasks.join_next() => ended.map_err(Failure::of)??,
            }
        }
    }

    /// Closes all connections, and prints their ends.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        self.listener.close().await;
        drop(self.recipients);
        // Fails if no task is left to hear it.
        let _ = self.stop.send(());
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(Failure::of)??;
        }
        Ok(())
    }
}
