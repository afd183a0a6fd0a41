//! Names within a process: a registry of the sockets that are bound to them.
#![forbid(unsafe_code)]

use crate::endpoints::bound::{Pipes, serve};
use crate::endpoints::hub::Hub;
use crate::error::AttachError;
use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use zmtp_auth::net::{Connection, Endpoint, InProcess, NetError};

/// Most bytes of a name: 256, as in libzmq.
const MAX_NAME: usize = 256;

/// Names by which sockets of one process connect to each other (libzmq's `inproc`).
///
/// The program makes a registry and passes it to `bind_inproc` and `connect_inproc`. Clones are the same
/// registry, and two registries know nothing of each other: a socket can be reached by those alone that
/// have the registry. So these endpoints take no security.
///
/// Messages pass as they are, without a copy of their frames. The marks of both sides hold: what one has
/// queued to send and the other has to receive. The [`Peer`](zmtp_auth::Peer) of a message has the
/// address [`PeerAddress::InProcess`](zmtp_auth::PeerAddress::InProcess), its claims, and no user id: it is
/// this process, which no policy decides about. So nothing revokes it, and topic permissions do not bind
/// it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_sockets::{Inproc, Pull, Push};
///
/// let inproc = Inproc::new();
/// let mut push = Push::new();
/// push.connect_inproc(&inproc, "jobs")?; // The name may be bound later.
/// push.send("job").await;
///
/// let mut pull = Pull::new();
/// pull.bind_inproc(&inproc, "jobs")?;
/// assert_eq!(pull.recv().await.frames(), ["job"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Inproc(Arc<Mutex<Names>>);

/// Who is bound to each name. A name is there while a socket is bound to it or connects to it.
type Names = HashMap<Arc<str>, watch::Sender<Option<Arc<Binder>>>>;

/// A socket that is bound to a name.
pub(crate) struct Binder {
    pub(crate) side: InProcess,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pipes: Pipes,
    pub(crate) endpoint: Endpoint,
    /// Where the tasks of the socket run.
    pub(crate) runtime: Handle,
}

/// Keeps a name bound. The drop frees it.
pub(crate) struct BoundName {
    registry: Inproc,
    name: Arc<str>,
}

/// Waits for a name to be bound.
pub(crate) struct DialledName {
    registry: Inproc,
    name: Arc<str>,
    /// Absent only while it is dropped.
    binder: Option<watch::Receiver<Option<Arc<Binder>>>>,
}

impl Inproc {
    /// A registry without names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // A panic under the lock leaves whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint of a name.
    ///
    /// # Errors
    /// Returns [`AttachError::InprocName`] if it is empty or too long.
    pub(crate) fn endpoint(name: &str) -> Result<Endpoint, AttachError> {
        if (1..=MAX_NAME).contains(&name.len()) {
            Ok(Endpoint::Inproc(name.to_owned()))
        } else {
            Err(AttachError::InprocName(name.len()))
        }
    }

    /// Binds a name.
    ///
    /// # Errors
    /// Returns [`AttachError::NameInUse`] if a socket is bound to it.
    pub(crate) fn bind(&self, name: &str, binder: Binder) -> Result<BoundName, AttachError> {
        let name: Arc<str> = name.into();
        let mut names = self.names();
        let bound = names
            .entry(Arc::clone(&name))
            .or_insert_with(|| watch::Sender::new(None));
        if bound.borrow().is_some() {
            return Err(AttachError::NameInUse(binder.endpoint));
        }
        bound.send_replace(Some(Arc::new(binder)));
        drop(names);
        let registry = self.clone();
        Ok(BoundName { registry, name })
    }

    /// Waits for a name from now on.
    pub(crate) fn dial(&self, name: &str) -> DialledName {
        let name: Arc<str> = name.into();
        let mut names = self.names();
        let bound = names
            .entry(Arc::clone(&name))
            .or_insert_with(|| watch::Sender::new(None));
        let binder = Some(bound.subscribe());
        drop(names);
        DialledName {
            registry: self.clone(),
            name,
            binder,
        }
    }
}

impl Drop for BoundName {
    fn drop(&mut self) {
        let mut names = self.registry.names();
        let before = names
            .get(&self.name)
            .and_then(|bound| bound.send_replace(None));
        forget_unused(&mut names, &self.name);
        drop(names);
        // Whatever the socket has left is dropped without the lock.
        drop(before);
    }
}

impl Drop for DialledName {
    fn drop(&mut self) {
        let mut names = self.registry.names();
        self.binder = None;
        forget_unused(&mut names, &self.name);
    }
}

/// Forgets a name that no socket uses.
fn forget_unused(names: &mut Names, name: &str) {
    let is_used = |bound: &watch::Sender<Option<Arc<Binder>>>| {
        bound.receiver_count() > 0 || bound.borrow().is_some()
    };
    if names.get(name).is_some_and(|bound| !is_used(bound)) {
        names.remove(name);
    }
}

impl DialledName {
    /// Waits until a socket is bound to the name. Cancel-safe.
    pub(crate) async fn bound(&mut self) -> Arc<Binder> {
        if let Some(receiver) = &mut self.binder
            && let Ok(binder) = receiver.wait_for(Option::is_some).await
            && let Some(binder) = &*binder
        {
            return Arc::clone(binder);
        }
        // The registry has the other end for as long as we wait.
        pending().await
    }

    /// Waits until `binder` is bound no more. Cancel-safe.
    pub(crate) async fn left(&mut self, binder: &Arc<Binder>) {
        if let Some(receiver) = &mut self.binder {
            let is_other = |bound: &Option<Arc<Binder>>| {
                bound
                    .as_ref()
                    .is_none_or(|bound| !Arc::ptr_eq(bound, binder))
            };
            let _ = receiver.wait_for(is_other).await;
        }
    }
}

impl Binder {
    /// Connects `side` to the socket that is bound. Returns the connection of `side`.
    ///
    /// # Errors
    /// As [`InProcess::connect`], and [`NetError::Closed`] if the socket turns the peer away or is gone.
    pub(crate) fn connect(&self, side: &InProcess) -> Result<Connection, NetError> {
        let (connection, theirs, passing) = side.connect(&self.side)?;
        let is_served = {
            // Tasks of the bound socket do not run where that of the connecting one may end.
            let _entered = self.runtime.enter();
            serve(theirs, &self.endpoint, &self.hub, &self.pipes)
        };
        if !is_served {
            return Err(NetError::Closed);
        }
        // Nothing was taken from the queue of a peer that was turned away.
        tokio::spawn(passing);
        Ok(connection)
    }
}

impl fmt::Debug for Inproc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().keys().cloned().collect();
        f.debug_struct("Inproc").field("names", &names).finish()
    }
}
