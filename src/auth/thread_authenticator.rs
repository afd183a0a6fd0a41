//! The Authenticator without an async runtime: on the caller's thread, or on a thread of its own.
#![forbid(unsafe_code)]

use crate::access::request::AccessRequest;
use crate::access::verdict::{Verdict, log_denial};
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::refusal::Refusal;
use crate::auth::sync::block_on::block_on;
use crate::lock::lock;
use crate::zap::hold_back::first_delay;
use crate::zap::oneshot::{Sender, channel};
use crate::zap::reply::ZapReply;
use crate::zap::request::{RequestId, ZapRequest};
use crate::zap::router::ZapHandler;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Maximum time that [`ThreadAuthenticator::stop`] waits. 1 s: a provider may block it for ever.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Maximum number of requests that the thread has not taken yet. 1024: it takes requests at once, so
/// this many wait only if a provider blocks it.
const MAX_WAITING: usize = 1024;

/// Numbers the requests that come as an [`AccessRequest`].
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

fn numbered(request: &AccessRequest) -> ZapRequest {
    let number = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    ZapRequest::new(RequestId::from(number), request)
}

impl Authenticator {
    /// Decides on this thread, for programs without an async runtime, and logs a denial. It blocks
    /// while a provider decides or a hashed password is verified, for at most
    /// [`Limits::verdict_timeout`](crate::Limits::verdict_timeout); the peer is then refused with
    /// 300. A task of a runtime uses [`ZapRouter::authorize`](crate::zap::ZapRouter::authorize).
    pub fn authorize_blocking(&self, request: &AccessRequest) -> Verdict {
        let answer = block_on(self.handle(numbered(request)), self.provider_time());
        logged(request, answer)
    }
}

/// The verdict of a reply; `None` means that there was no reply in time. A denial is logged.
fn logged(request: &AccessRequest, answer: Option<ZapReply>) -> Verdict {
    let verdict = answer.map_or_else(|| refusal(Refusal::ProviderTimedOut), Verdict::from);
    if let Verdict::Deny(denied) = &verdict {
        log_denial(request, denied);
    }
    verdict
}

fn refusal(refusal: Refusal) -> Verdict {
    Verdict::deny(refusal.status(), refusal.text())
}

/// An [`Authenticator`] that decides on a thread of its own, for programs without an async runtime.
/// It corresponds to pyzmq's `zmq.auth.thread.ThreadAuthenticator`. The thread also measures the
/// time, so a provider that takes too long leads to a refusal with 300 without tokio as well.
/// Cloning is cheap, and all clones are the same.
///
/// Until it is started it refuses every peer with 300. It is configured through the Authenticator
/// that it was created from.
///
/// ```
/// use zmtp_auth::auth::{Authenticator, ThreadAuthenticator};
/// use zmtp_auth::{AccessRequest, Credentials, Domain, PeerAddress, Verdict};
///
/// let auth = Authenticator::new();
/// let thread = ThreadAuthenticator::new(auth.clone());
/// thread.start()?;
/// auth.deny(["192.0.2.0/24"])?;
/// let address = PeerAddress::from_zap(b"192.0.2.1");
/// let request = AccessRequest::new(Domain::EMPTY, address, Credentials::Null);
/// assert!(matches!(thread.authorize(&request), Verdict::Deny(_)));
/// thread.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ThreadAuthenticator(Arc<Handle>);

struct Handle {
    auth: Authenticator,
    running: Mutex<Option<Running>>,
}

struct Running {
    inbox: Arc<Inbox>,
    thread: ThreadId,
}

impl ThreadAuthenticator {
    /// Creates it without starting the thread.
    #[must_use]
    pub fn new(auth: Authenticator) -> Self {
        Self(Arc::new(Handle {
            auth,
            running: Mutex::new(None),
        }))
    }

    /// The Authenticator, for configuration.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.0.auth
    }

    /// Starts the thread, unless it is running.
    ///
    /// # Errors
    /// Returns the error of [`thread::Builder::spawn`] if the system cannot start a thread.
    pub fn start(&self) -> io::Result<()> {
        let mut running = self.0.running();
        if running
            .as_ref()
            .is_some_and(|running| running.inbox.is_open())
        {
            return Ok(());
        }
        let inbox = Arc::new(Inbox::default());
        let auth = self.0.auth.clone();
        let theirs = Arc::clone(&inbox);
        let thread = thread::Builder::new()
            .name("zmtp-auth".into())
            .spawn(move || serve(&theirs, &auth))?;
        *running = Some(Running {
            inbox,
            thread: thread.thread().id(),
        });
        Ok(())
    }

    /// Stops the thread, and refuses every peer with 300, including those whose request is in
    /// progress. It returns after at most 1 s. If a provider blocks the thread, the thread ends when
    /// the provider returns. [`ThreadAuthenticator::start`] starts it again.
    pub fn stop(&self) {
        let running = self.0.running().take();
        if let Some(running) = running {
            running.inbox.close();
            // A provider that calls this on the thread itself would wait for its own end.
            if running.thread != thread::current().id() {
                running.inbox.wait_for_end(STOP_TIME);
            }
        }
    }

    /// Whether the thread is running and takes requests.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let running = self.0.running();
        running
            .as_ref()
            .is_some_and(|running| running.inbox.is_open())
    }

    /// Blocks until the thread has decided, and logs a denial. A task uses the [`ZapHandler`] instead.
    pub fn authorize(&self, request: &AccessRequest) -> Verdict {
        // The thread bounds the time of each request. If a provider blocks the thread, this does.
        let time = self.0.auth.provider_time().saturating_add(STOP_TIME);
        let answer = block_on(self.handle(numbered(request)), time);
        logged(request, answer)
    }
}

impl ZapHandler for ThreadAuthenticator {
    async fn handle(&self, request: ZapRequest) -> ZapReply {
        let id = request.id.clone();
        let denial = |refusal: Refusal| ZapReply::denial(id, refusal.status(), refusal.text());
        let (sender, reply) = channel();
        let inbox = {
            let running = self.0.running();
            running.as_ref().map(|running| Arc::clone(&running.inbox))
        };
        let Some(inbox) = inbox else {
            return denial(Refusal::Stopped);
        };
        if let Err(refusal) = inbox.put(request, sender) {
            return denial(refusal);
        }
        match reply.await {
            // A thread that a provider blocks may answer after it was stopped, which does not count.
            Some(reply) if inbox.is_open() => reply,
            _ => denial(Refusal::Stopped),
        }
    }
}

impl Handle {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // No foreign code runs under this lock.
        lock(&self.running)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(running) = self.running().take() {
            running.inbox.close();
        }
    }
}

impl fmt::Debug for ThreadAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadAuthenticator")
            .field("is_alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

/// The messages to the thread.
#[derive(Default)]
struct Inbox {
    state: Mutex<Told>,
    told: Condvar,
}

#[derive(Default)]
struct Told {
    questions: VecDeque<(ZapRequest, Sender<ZapReply>)>,
    /// The numbers of requests whose waker was called.
    woken: VecDeque<u64>,
    is_closed: bool,
    has_ended: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Told> {
        // No foreign code runs under this lock.
        lock(&self.state)
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        tell(&mut self.lock());
        self.told.notify_all();
    }

    fn put(&self, request: ZapRequest, sender: Sender<ZapReply>) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refusal::Stopped);
        }
        if state.questions.len() >= MAX_WAITING {
            return Err(Refusal::Busy);
        }
        state.questions.push_back((request, sender));
        drop(state);
        self.told.notify_all();
        Ok(())
    }

    fn is_open(&self) -> bool {
        let state = self.lock();
        !state.is_closed && !state.has_ended
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // Dropping the senders wakes the callers, so it happens after the lock is released.
        let unanswered = std::mem::take(&mut state.questions);
        drop(state);
        self.told.notify_all();
        drop(unanswered);
    }

    fn wait_for_end(&self, time: Duration) {
        let state = self.lock();
        let _waited = self
            .told
            .wait_timeout_while(state, time, |state| !state.has_ended);
    }

    /// Waits until there are messages, but not beyond `until`, and takes them.
    fn next(&self, until: Option<Instant>) -> Told {
        let mut state = self.lock();
        while state.questions.is_empty() && state.woken.is_empty() && !state.is_closed {
            let Some(until) = until else {
                state = self
                    .told
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                break;
            };
            (state, _) = self
                .told
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Told {
            questions: std::mem::take(&mut state.questions),
            woken: std::mem::take(&mut state.woken),
            is_closed: state.is_closed,
            has_ended: false,
        }
    }
}

/// Records the end of the thread, also if it ends by a panic.
struct Ending<'a>(&'a Inbox);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.0.tell(|state| state.has_ended = true);
    }
}

struct Question {
    deciding: Pin<Box<dyn Future<Output = ZapReply> + Send>>,
    sender: Sender<ZapReply>,
    id: RequestId,
    waker: Waker,
    /// The time at which it is refused; `None` if that is beyond the range of the clock.
    end: Option<Instant>,
}

struct WakeQuestion {
    inbox: Arc<Inbox>,
    number: u64,
}

impl Wake for WakeQuestion {
    fn wake(self: Arc<Self>) {
        self.inbox.tell(|state| state.woken.push_back(self.number));
    }
}

/// The loop of the thread.
fn serve(inbox: &Arc<Inbox>, auth: &Authenticator) {
    let _ending = Ending(inbox);
    let mut asked: HashMap<u64, Question> = HashMap::new();
    let mut next = 0;
    loop {
        let first_end = asked.values().filter_map(|question| question.end).min();
        let mut told = inbox.next(first_end);
        if told.is_closed {
            return;
        }
        for (request, sender) in told.questions {
            let auth = auth.clone();
            let id = request.id.clone();
            let waker = WakeQuestion {
                inbox: Arc::clone(inbox),
                number: next,
            };
            let question = Question {
                end: Instant::now().checked_add(auth.provider_time()),
                deciding: Box::pin(async move { auth.handle(request).await }),
                sender,
                id,
                waker: Waker::from(Arc::new(waker)),
            };
            asked.insert(next, question);
            told.woken.push_back(next);
            next += 1;
        }
        for number in told.woken {
            proceed(&mut asked, number);
        }
        let now = Instant::now();
        let late = |question: &Question| question.end.is_some_and(|end| end <= now);
        for (_, question) in asked.extract_if(|_, question| late(question)) {
            let refused = Refusal::ProviderTimedOut;
            let reply = ZapReply {
                hold_back: Some(first_delay()),
                ..ZapReply::denial(question.id, refused.status(), refused.text())
            };
            question.sender.send(reply);
        }
    }
}

/// Polls one request, and sends its reply if it is ready.
fn proceed(asked: &mut HashMap<u64, Question>, number: u64) {
    // A waker may be called after its request has ended.
    let Some(mut question) = asked.remove(&number) else {
        return;
    };
    let mut context = Context::from_waker(&question.waker);
    match question.deciding.as_mut().poll(&mut context) {
        Poll::Ready(reply) => question.sender.send(reply),
        Poll::Pending => {
            asked.insert(number, question);
        }
    }
}
