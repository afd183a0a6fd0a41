//! A thread pool for code that must not run on the caller's thread: blocking calls and expensive
//! checks.
//!
//! Its threads belong to no async runtime. It works with every runtime and without one, and no
//! runtime waits for its threads at shutdown.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::zap::contain::{Panicked, contain};
use crate::zap::failures::Priority;
use crate::zap::fair_queue::{FairQueue, Ticket};
use crate::zap::oneshot::{Receiver, channel};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};

/// Time after which an idle thread ends. 10 s: threads survive the gaps between bursts of requests.
const IDLE: Duration = Duration::from_secs(10);

/// Threads that start on demand, with a bounded queue in which addresses take turns. Dropping the
/// pool drops the waiting jobs and lets running jobs end.
pub(crate) struct ThreadPool(Arc<Shared>);

/// The bounds of a thread pool.
pub(crate) struct PoolSettings {
    /// The name of the threads.
    pub(crate) name: &'static str,
    pub(crate) max_threads: usize,
    pub(crate) max_waiting: usize,
    /// How threads are replaced whose job does not return; `None` if all jobs return.
    pub(crate) replacement: Option<Replacement>,
}

/// Replaces each thread whose job takes too long by a spare thread, until the job returns.
pub(crate) struct Replacement {
    /// Time after which a job takes too long.
    pub(crate) after: Duration,
    /// The number of spare threads that are left. Several pools may share it.
    pub(crate) spare: Arc<AtomicUsize>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when a job is queued, and when the pool is dropped.
    changed: Condvar,
    settings: PoolSettings,
}

#[derive(Default)]
struct State {
    queue: FairQueue<Job>,
    /// The start of each running job, by number.
    running: BTreeMap<u64, Instant>,
    next: u64,
    /// The number of threads. All beyond [`PoolSettings::max_threads`] are spare threads.
    threads: usize,
    idle: usize,
    is_closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// Why a job is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// All threads are busy, and the queue is full.
    Full,
    /// The jobs of all threads take too long, and no spare thread is left.
    Stuck,
}

impl ThreadPool {
    /// A pool without threads. They start with the first jobs.
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            settings,
        }))
    }

    /// Runs `job` on a thread. If the future is dropped while the job waits, the job never runs. A
    /// running job cannot be stopped and keeps its thread.
    ///
    /// # Errors
    /// Returns [`NoRoom`] if there is neither a free thread nor a place in the queue, or no thread
    /// can be started.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Running<T>, NoRoom> {
        let (sender, outcome) = channel();
        let job = Box::new(move || sender.send(contain(job)));
        let ticket = self.0.enqueue(priority, job)?;
        Ok(Running {
            outcome,
            shared: Arc::clone(&self.0),
            ticket,
        })
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let waiting = state.queue.drain();
        drop(state);
        self.0.changed.notify_all();
        discard(waiting);
    }
}

/// Drops jobs. A job may be the last owner of foreign values, whose drop may panic.
fn discard(jobs: impl Iterator<Item = Job>) {
    for job in jobs {
        let _unheard = contain(|| drop(job));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, and no update panics half way.
        lock(&self.state)
    }

    /// Puts a job into the queue, and starts a thread for it if there may be one more.
    fn enqueue(self: &Arc<Self>, priority: Priority, job: Job) -> Result<Ticket, NoRoom> {
        let mut state = self.lock();
        let stuck = self.stuck(&state);
        let has_thread = state.queue.len() < state.idle;
        if !has_thread && self.may_grow(&state, stuck) {
            if self.spawn() {
                state.threads += 1;
                state.idle += 1;
            } else if state.threads >= self.settings.max_threads {
                self.return_spare();
            }
        }
        if state.threads > 0 && stuck >= state.threads {
            return Err(NoRoom::Stuck);
        }
        if state.threads == 0 || state.queue.len() >= state.idle + self.settings.max_waiting {
            return Err(NoRoom::Full);
        }
        let ticket = state.queue.push(priority, job);
        drop(state);
        self.changed.notify_one();
        Ok(ticket)
    }

    /// The number of threads whose job takes too long.
    fn stuck(&self, state: &State) -> usize {
        let Some(replacement) = &self.settings.replacement else {
            return 0;
        };
        let now = Instant::now();
        // Jobs are numbered in the order in which they begin, so the oldest come first.
        let begun = state.running.values();
        let is_late =
            |begun: &&Instant| now.saturating_duration_since(**begun) >= replacement.after;
        begun.take_while(is_late).count()
    }

    /// Whether one more thread may start. If it is a spare thread, it is taken from the spare ones.
    fn may_grow(&self, state: &State, stuck: usize) -> bool {
        if state.threads < self.settings.max_threads {
            return true;
        }
        state.threads < self.settings.max_threads + stuck
            && self
                .settings
                .replacement
                .as_ref()
                .is_some_and(|replacement| {
                    let take = |left: usize| left.checked_sub(1);
                    let relaxed = Ordering::Relaxed;
                    replacement
                        .spare
                        .fetch_update(relaxed, relaxed, take)
                        .is_ok()
                })
    }

    /// Returns a spare thread to the spare ones.
    fn return_spare(&self) {
        if let Some(replacement) = &self.settings.replacement {
            replacement.spare.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn spawn(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        let name = self.settings.name;
        thread::Builder::new()
            .name(name.into())
            .spawn(move || shared.work())
            .inspect_err(|error| tracing::error!("no thread for {name}: {error}"))
            .is_ok()
    }

    /// The loop of a thread. The thread is counted as idle when it starts.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            // A thread whose job has returned late is superfluous if a spare thread replaced it.
            if state.threads > self.settings.max_threads + self.stuck(&state) {
                break;
            }
            if let Some(job) = state.queue.pop() {
                let number = state.next;
                state.next += 1;
                state.running.insert(number, Instant::now());
                state.idle -= 1;
                drop(state);
                job();
                state = self.lock();
                state.running.remove(&number);
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
        if state.threads > self.settings.max_threads {
            self.return_spare();
        }
        state.threads -= 1;
        // This thread may have been woken for a job. Another thread has to take it.
        self.changed.notify_one();
    }
}

/// The future of a job: its result, or [`Panicked`].
pub(crate) struct Running<T> {
    outcome: Receiver<Result<T, Panicked>>,
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl<T> Future for Running<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A job that was dropped without running has no result either.
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        Poll::Ready(outcome.unwrap_or(Err(Panicked)))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // If the job still waits, it leaves the queue and frees its place.
        let mut state = self.shared.lock();
        let job = state.queue.remove(self.ticket);
        drop(state);
        discard(job.into_iter());
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.0.settings.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::origin::Origin;
    use std::sync::mpsc;
    use std::task::{Wake, Waker};

    const LOCAL: Priority = Priority {
        origin: Origin::Local,
        failures: 0,
    };

    fn pool(max_threads: usize, max_waiting: usize) -> ThreadPool {
        ThreadPool::new(PoolSettings {
            name: "worker",
            max_threads,
            max_waiting,
            replacement: None,
        })
    }

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

    /// Keeps one thread busy until it is told to continue.
    fn hold(pool: &ThreadPool) -> (Running<()>, mpsc::Sender<()>) {
        let (go, gone) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel();
        let holds = move || {
            started.send(()).unwrap();
            gone.recv().unwrap();
        };
        let holding = pool.run(LOCAL, holds).unwrap();
        starts.recv().unwrap();
        (holding, go)
    }

    #[test]
    fn jobs_run_on_other_threads_and_on_at_most_the_configured_number() {
        let pool = pool(2, 100);
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
                pool.run(LOCAL, job).unwrap()
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
        let pool = pool(1, 1);
        let panics = pool.run(LOCAL, || -> u8 { panic!("in a job") }).unwrap();
        assert_eq!(wait(panics), Err(Panicked));
        assert_eq!(wait(pool.run(LOCAL, || 7).unwrap()), Ok(7));
    }

    #[test]
    fn the_queue_is_bounded_and_a_dropped_future_gives_its_place_back() {
        let pool = pool(1, 1);
        let (holding, go) = hold(&pool);
        let waiting = pool.run(LOCAL, || panic!("never runs")).unwrap();
        assert_eq!(pool.run(LOCAL, || ()).err(), Some(NoRoom::Full));
        drop(waiting);
        let waiting = pool.run(LOCAL, || 7).unwrap();
        go.send(()).unwrap();
        assert_eq!(wait(holding), Ok(()));
        assert_eq!(wait(waiting), Ok(7));
    }

    #[test]
    fn a_pool_without_threads_refuses_jobs() {
        assert_eq!(pool(0, 9).run(LOCAL, || ()).err(), Some(NoRoom::Full));
    }

    #[test]
    fn jobs_that_wait_when_the_pool_is_dropped_end_in_an_error() {
        let pool = pool(1, 1);
        let (holding, go) = hold(&pool);
        let waiting = pool.run(LOCAL, || 7).unwrap();
        drop(pool);
        go.send(()).unwrap();
        assert_eq!(wait(holding), Ok(()));
        assert_eq!(wait(waiting), Err(Panicked));
    }

    #[test]
    fn an_address_with_many_jobs_lets_others_have_their_turn() {
        let pool = pool(1, 100);
        let (holding, go) = hold(&pool);
        let (told, order) = mpsc::channel();
        let from = |last: u8| Priority {
            origin: Origin::V4([192, 0, 2, last]),
            failures: 0,
        };
        let jobs: Vec<_> = [1; 50]
            .into_iter()
            .chain([2])
            .map(|address| {
                let told = told.clone();
                let job = move || told.send(address).unwrap();
                pool.run(from(address), job).unwrap()
            })
            .collect();
        go.send(()).unwrap();
        assert_eq!(wait(holding), Ok(()));
        assert!(jobs.into_iter().all(|job| wait(job) == Ok(())));
        let order: Vec<u8> = order.try_iter().collect();
        assert_eq!(order[..3], [1, 2, 1]);
    }

    /// A pool in which every running job takes too long at once, with `spare` spare threads.
    fn replaced(max_threads: usize, spare: usize) -> (ThreadPool, Arc<AtomicUsize>) {
        let spare = Arc::new(AtomicUsize::new(spare));
        let pool = ThreadPool::new(PoolSettings {
            name: "worker",
            max_threads,
            max_waiting: 9,
            replacement: Some(Replacement {
                after: Duration::ZERO,
                spare: Arc::clone(&spare),
            }),
        });
        (pool, spare)
    }

    #[test]
    fn a_stuck_thread_is_replaced_up_to_a_bound_and_again_once_it_returns() {
        let (pool, spare) = replaced(2, 3);
        let held: Vec<_> = (0..5).map(|_| hold(&pool)).collect();
        assert_eq!(spare.load(Ordering::Relaxed), 0);
        assert_eq!(pool.run(LOCAL, || ()).err(), Some(NoRoom::Stuck));
        for (holding, go) in held {
            go.send(()).unwrap();
            assert_eq!(wait(holding), Ok(()));
        }
        // A result is ready shortly before its thread is free.
        let running = loop {
            match pool.run(LOCAL, || 7) {
                Ok(running) => break running,
                Err(_) => thread::yield_now(),
            }
        };
        assert_eq!(wait(running), Ok(7));
        // Spare threads end once their job has returned.
        while spare.load(Ordering::Relaxed) < 3 {
            thread::yield_now();
        }
        assert!(pool.0.lock().threads <= 2);
    }

    #[test]
    fn threads_that_never_return_take_none_from_another_pool() {
        let (stuck, spare) = replaced(2, 1);
        let held: Vec<_> = (0..3).map(|_| hold(&stuck)).collect();
        let other = ThreadPool::new(PoolSettings {
            name: "worker",
            max_threads: 1,
            max_waiting: 9,
            replacement: Some(Replacement {
                after: Duration::from_secs(3600),
                spare,
            }),
        });
        assert_eq!(wait(other.run(LOCAL, || 7).unwrap()), Ok(7));
        drop(held);
    }
}
