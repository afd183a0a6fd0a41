//! A runtime of its own: tasks that are polled only when they were woken, streams of limited room,
//! and a clock that moves when every task waits.

use futures_io::{AsyncRead, AsyncWrite};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use zmtp_auth::host::Clock;

type Alarms = Vec<(Instant, Waker)>;

/// The time, and what waits for it.
#[derive(Clone)]
pub struct Time(Arc<Mutex<(Instant, Alarms)>>);

impl Time {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), Vec::new()))))
    }

    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Goes on to the next alarm. Returns whether there is one.
    fn advance(&self) -> bool {
        let (now, alarms) = &mut *self.0.lock().unwrap();
        let Some(next) = alarms.iter().map(|(due, _)| *due).min() else {
            return false;
        };
        *now = next.max(*now);
        for (_, waker) in alarms.extract_if(.., |(due, _)| *due <= next) {
            waker.wake();
        }
        true
    }
}

impl Clock for Time {
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        self.0.lock().unwrap().0
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep(self.clone(), deadline)
    }
}

pub struct Sleep(Time, Instant);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.now() >= self.1 {
            return Poll::Ready(());
        }
        let alarms = &mut self.0.0.lock().unwrap().1;
        alarms.push((self.1, cx.waker().clone()));
        Poll::Pending
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future, its waker, and what it has returned.
struct Task<'a, T> {
    work: Pin<&'a mut (dyn Future<Output = T> + 'a)>,
    woken: Arc<Woken>,
    done: Option<T>,
}

impl<'a, T> Task<'a, T> {
    fn new(work: Pin<&'a mut (dyn Future<Output = T> + 'a)>) -> Self {
        Self {
            work,
            woken: Arc::new(Woken(AtomicBool::new(true))),
            done: None,
        }
    }

    /// Polls the future if it was woken. Returns whether it was.
    fn turn(&mut self) -> bool {
        let runs = self.woken.0.swap(false, Ordering::SeqCst) && self.done.is_none();
        if runs {
            let waker = Waker::from(Arc::clone(&self.woken));
            if let Poll::Ready(done) = self.work.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.done = Some(done);
            }
        }
        runs
    }
}

/// Runs two tasks to their ends. Fails a test in which both wait for ever.
pub fn join<T, U>(
    time: &Time,
    one: impl Future<Output = T>,
    other: impl Future<Output = U>,
) -> (T, U) {
    let (one, other) = (pin!(one), pin!(other));
    let (mut one, mut other) = (Task::new(one), Task::new(other));
    loop {
        let runs = one.turn() | other.turn();
        (one.done, other.done) = match (one.done.take(), other.done.take()) {
            (Some(one), Some(other)) => return (one, other),
            undone => undone,
        };
        assert!(runs || time.advance(), "every task waits");
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn wake(&mut self) {
        for waker in self.reader.take().into_iter().chain(self.writer.take()) {
            waker.wake();
        }
    }
}

/// One end of a connection in memory, with the traits of `futures-io`. Dropping it closes it.
pub struct End {
    from: Arc<Mutex<Way>>,
    to: Arc<Mutex<Way>>,
    room: usize,
}

/// Both ends of a connection that holds `room` bytes in each direction.
pub fn pair(room: usize) -> (End, End) {
    let (one, other) = (Arc::default(), Arc::default());
    let (from, to) = (Arc::clone(&one), Arc::clone(&other));
    (
        End { from, to, room },
        End {
            from: other,
            to: one,
            room,
        },
    )
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut way = self.from.lock().unwrap();
        if way.bytes.is_empty() && !way.is_closed {
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        way.wake();
        Poll::Ready(io::Read::read(&mut way.bytes, room))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut way = self.to.lock().unwrap();
        if way.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(self.room - way.bytes.len());
        if count == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        way.bytes.extend(&bytes[..count]);
        way.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.to.lock().unwrap();
        way.is_closed = true;
        way.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for way in [&self.from, &self.to] {
            let mut way = way.lock().unwrap();
            way.is_closed = true;
            way.wake();
        }
    }
}
