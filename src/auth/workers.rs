//! A few threads for what must not run on the caller's: code that blocks, and expensive checks.
//!
//! They belong to no runtime, so that they serve every one and none, and no runtime waits for them
//! when it ends.
#![forbid(unsafe_code)]

use crate::auth::promise::{Promised, promise};
use crate::zap::contain::{Panicked, contain};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(10);

/// Threads that start when there is work, up to a number, and a bounded queue in front of them.
/// Dropping it lets what runs run to its end, and the rest fall.
pub(crate) struct Workers(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is work, or the end.
    changed: Condvar,
    name: &'static str,
    most_threads: usize,
    most_waiting: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(u64, Job)>,
    next: u64,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// All threads are at work, and the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Workers {
    /// No threads yet; at most `most_threads`, named `name`, and `most_waiting` jobs in the queue.
    pub(crate) fn new(name: &'static str, most_threads: usize, most_waiting: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            name,
            most_threads,
            most_waiting,
        }))
    }

    /// Runs `job` on a thread. A job whose future is dropped while it waits never runs; one that
    /// runs already cannot be stopped, and keeps its thread.
    ///
    /// # Errors
    /// [`Full`] if all threads are at work and the queue is full, or there can be no thread.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Running<T>, Full> {
        let (promise, outcome) = promise();
        let job = Box::new(move || promise.keep(contain(job)));
        let id = self.0.enqueue(job)?;
        Ok(Running {
            outcome,
            shared: Arc::clone(&self.0),
            id,
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let fallen = std::mem::take(&mut state.queue);
        drop(state);
        self.0.changed.notify_all();
        discard(fallen.into_iter().map(|(_, job)| job));
    }
}

/// A job may hold the last of something foreign, whose drop may panic.
fn discard(jobs: impl Iterator<Item = Job>) {
    for job in jobs {
        let _unheard = contain(|| drop(job));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, and nothing in there panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(self: &Arc<Self>, job: Job) -> Result<u64, Full> {
        let mut state = self.lock();
        let has_thread = state.queue.len() < state.idle;
        if !has_thread && state.threads < self.most_threads && self.spawn() {
            state.threads += 1;
            state.idle += 1;
        }
        if state.threads == 0 || state.queue.len() >= state.idle + self.most_waiting {
            return Err(Full);
        }
        let id = state.next;
        state.next += 1;
        state.queue.push_back((id, job));
        drop(state);
        self.changed.notify_one();
        Ok(id)
    }

    fn spawn(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name(self.name.into())
            .spawn(move || shared.work())
            .inspect_err(|error| tracing::error!("no thread for {}: {error}", self.name))
            .is_ok()
    }

    /// The life of a thread, which is counted as idle when it starts.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((_, job)) = state.queue.pop_front() {
                state.idle -= 1;
                drop(state);
                job();
                state = self.lock();
                state.idle += 1;
            } else if state.is_closed {
                break;
            } else {
                let (again, waited) = self
                    .changed
                    .wait_timeout(state, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = again;
                if waited.timed_out() && state.queue.is_empty() {
                    break;
                }
            }
        }
        state.idle -= 1;
        state.threads -= 1;
    }
}

/// A job on its way: its result, or [`Panicked`].
pub(crate) struct Running<T> {
    outcome: Promised<Result<T, Panicked>>,
    shared: Arc<Shared>,
    id: u64,
}

impl<T> Future for Running<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A job that is no more has come to no better end than one that panicked.
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        Poll::Ready(outcome.unwrap_or(Err(Panicked)))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // Its place in the queue is free for others.
        let mut state = self.shared.lock();
        let at = state.queue.iter().position(|(id, _)| *id == self.id);
        let job = at.and_then(|at| state.queue.remove(at));
        drop(state);
        discard(job.into_iter().map(|(_, job)| job));
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::task::{Wake, Waker};

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut running: Running<T>) -> Result<T, Panicked> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match Pin::new(&mut running).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Keeps one worker busy until it is told to go on.
    fn hold(workers: &Workers) -> (Running<()>, mpsc::Sender<()>) {
        let (go, gone) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel();
        let holds = move || {
            started.send(()).unwrap();
            gone.recv().unwrap();
        };
        let holding = workers.run(holds).unwrap();
        starts.recv().unwrap();
        (holding, go)
    }

    #[test]
    fn jobs_run_on_threads_of_their_own_and_at_most_so_many_at_once() {
        let workers = Workers::new("worker", 2, 100);
        let (started, starts) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let running: Vec<_> = (0..10)
            .map(|number| {
                let (started, gone) = (started.clone(), Arc::clone(&gone));
                let job = move || {
                    started.send(thread::current().id()).unwrap();
                    gone.lock().unwrap().recv().unwrap();
                    number
                };
                workers.run(job).unwrap()
            })
            .collect();
        let first = [starts.recv().unwrap(), starts.recv().unwrap()];
        assert!(first[0] != first[1] && !first.contains(&thread::current().id()));
        let third = starts.recv_timeout(Duration::from_millis(50));
        assert_eq!(third, Err(mpsc::RecvTimeoutError::Timeout));
        (0..10).for_each(|_| go.send(()).unwrap());
        for (number, running) in running.into_iter().enumerate() {
            assert_eq!(wait(running), Ok(number));
        }
    }

    #[test]
    fn a_panic_ends_the_job_and_not_the_thread() {
        let workers = Workers::new("worker", 1, 1);
        let panics = workers.run(|| -> u8 { panic!("in a job") }).unwrap();
        assert_eq!(wait(panics), Err(Panicked));
        assert_eq!(wait(workers.run(|| 7).unwrap()), Ok(7));
    }

    #[test]
    fn the_queue_is_bounded_and_a_dropped_future_gives_its_place_back() {
        let workers = Workers::new("worker", 1, 1);
        let (holding, go) = hold(&workers);
        let waiting = workers.run(|| panic!("never runs")).unwrap();
        assert_eq!(workers.run(|| ()).err(), Some(Full));
        drop(waiting);
        let waiting = workers.run(|| 7).unwrap();
        go.send(()).unwrap();
        assert_eq!(wait(holding), Ok(()));
        assert_eq!(wait(waiting), Ok(7));
    }

    #[test]
    fn without_threads_there_is_no_work() {
        assert_eq!(Workers::new("worker", 0, 9).run(|| ()).err(), Some(Full));
    }

    #[test]
    fn what_waits_when_the_workers_go_ends_in_an_error() {
        let workers = Workers::new("worker", 1, 1);
        let (holding, go) = hold(&workers);
        let waiting = workers.run(|| 7).unwrap();
        drop(workers);
        go.send(()).unwrap();
        assert_eq!(wait(holding), Ok(()));
        assert_eq!(wait(waiting), Err(Panicked));
    }
}
