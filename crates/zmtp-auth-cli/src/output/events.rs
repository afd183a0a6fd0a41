//! Writes events to stdout while sockets are served. A thread writes them from a bounded queue, so a
//! full pipe delays only callers that must not lose their event.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::printable::json;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The most bytes of events that wait for the reader of stdout, or one longer event. 256 KiB, as
/// much as a connection reads ahead.
const ROOM: u32 = 256 * 1024;

/// Writes events as lines of JSON. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Events {
    lines: Sender<Line>,
    shared: Arc<Shared>,
}

struct Line {
    text: String,
    /// Released when the line is written.
    _room: OwnedSemaphorePermit,
}

struct Shared {
    room: Arc<Semaphore>,
    /// The number of events that were dropped for lack of room and not reported yet.
    lost: AtomicU64,
    /// Why writing has failed.
    broken: OnceLock<String>,
}

/// How many events were dropped.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Lost { count: u64 },
}

impl Events {
    /// Starts the thread that writes to stdout.
    pub(crate) fn on_stdout() -> Result<Self, Failure> {
        let (lines, waiting) = channel();
        let shared = Arc::new(Shared {
            room: Arc::new(Semaphore::new(ROOM as usize)),
            lost: AtomicU64::new(0),
            broken: OnceLock::new(),
        });
        let events = Self {
            lines,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("stdout".into());
        thread.spawn(move || write(&waiting, &shared, io::stdout()))?;
        Ok(events)
    }

    /// Writes an event that must not be lost: waits for room. If cancelled, nothing is written.
    pub(crate) async fn tell(&self, event: &impl Serialize) -> Result<(), Failure> {
        self.tell_of(event, None).await
    }

    /// As [`Events::tell`], for an event that happened at an earlier time.
    pub(crate) async fn tell_at(
        &self,
        event: &impl Serialize,
        at: SystemTime,
    ) -> Result<(), Failure> {
        self.tell_of(event, Some(at)).await
    }

    /// Without a time it is now, once there is room.
    async fn tell_of(&self, event: &impl Serialize, at: Option<SystemTime>) -> Result<(), Failure> {
        // Wait for some room before the event is encoded: JSON can be six times as long as the data,
        // and without this wait every waiting task would hold its encoded event in memory.
        let turn = self.shared.room.acquire().await;
        drop(turn.map_err(|_closed| self.broken())?);
        let text = line(event, at.unwrap_or_else(SystemTime::now))?;
        let room = Arc::clone(&self.shared.room).acquire_many_owned(cost(&text));
        let room = room.await.map_err(|_closed| self.broken())?;
        self.push(text, room)
    }

    /// Writes an event that a stranger can cause, or that the log also records. Without room it is
    /// dropped, and an event `lost` counts it once stdout is read again.
    pub(crate) fn offer(&self, event: &impl Serialize) -> Result<(), Failure> {
        let text = line(event, SystemTime::now())?;
        match Arc::clone(&self.shared.room).try_acquire_many_owned(cost(&text)) {
            Ok(room) => self.push(text, room),
            Err(TryAcquireError::NoPermits) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TryAcquireError::Closed) => Err(self.broken()),
        }
    }

    /// Counts events that were dropped before they came here.
    pub(crate) fn lose(&self, count: u64) {
        self.shared.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Waits until everything is written, including the number of lost events.
    pub(crate) async fn written(&self) -> Result<(), Failure> {
        loop {
            let all = self.shared.room.acquire_many(ROOM).await;
            drop(all.map_err(|_closed| self.broken())?);
            match self.shared.lost.swap(0, Ordering::Relaxed) {
                0 => return Ok(()),
                count => self.tell(&Told::Lost { count }).await?,
            }
        }
    }

    fn push(&self, text: String, room: OwnedSemaphorePermit) -> Result<(), Failure> {
        let line = Line { text, _room: room };
        self.lines.send(line).map_err(|_ended| self.broken())
    }

    fn broken(&self) -> Failure {
        let why = self.shared.broken.get().map_or("", String::as_str);
        Failure::new(format_args!("cannot write to stdout: {why}"))
    }
}

/// An event with its time.
#[derive(Serialize)]
struct Stamped<'a, T> {
    #[serde(flatten)]
    event: &'a T,
    time: String,
}

fn line(event: &impl Serialize, at: SystemTime) -> Result<String, Failure> {
    let time = humantime::format_rfc3339_millis(at).to_string();
    let stamped = Stamped { event, time };
    let mut text = json(serde_json::to_string(&stamped).map_err(Failure::of)?);
    text.push('\n');
    Ok(text)
}

/// The room that a line takes, at most all of it.
fn cost(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(ROOM).min(ROOM)
}

fn write(waiting: &Receiver<Line>, shared: &Shared, mut out: impl Write) {
    for line in waiting {
        let written = out.write_all(line.text.as_bytes());
        let written = written.and_then(|()| out.flush());
        let free = shared.room.available_permits() + cost(&line.text) as usize;
        let written = match written {
            Ok(()) if free >= ROOM as usize / 2 => tell_lost(shared, &mut out),
            written => written,
        };
        if let Err(error) = written {
            // Set before the semaphore is closed, since callers that it wakes read the reason.
            let _ = shared.broken.set(error.to_string());
            shared.room.close();
            return;
        }
    }
}

fn tell_lost(shared: &Shared, out: &mut impl Write) -> io::Result<()> {
    match shared.lost.swap(0, Ordering::Relaxed) {
        0 => Ok(()),
        count => {
            let line = line(&Told::Lost { count }, SystemTime::now())
                .map_err(|failure| io::Error::other(failure.message))?;
            out.write_all(line.as_bytes())?;
            out.flush()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// A pipe that takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<Taken>, Condvar)>);

    /// Whether it is open, and what it has taken.
    type Taken = (bool, Vec<u8>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock().unwrap();
            while !state.0 {
                state = self.0.1.wait(state).unwrap();
            }
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn events(out: impl Write + Send + 'static) -> Events {
        let (lines, waiting) = channel();
        let shared = Arc::new(Shared {
            room: Arc::new(Semaphore::new(ROOM as usize)),
            lost: AtomicU64::new(0),
            broken: OnceLock::new(),
        });
        let events = Events {
            lines,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || write(&waiting, &shared, out));
        events
    }

    #[derive(Serialize)]
    struct Event {
        event: String,
    }

    fn event(name: &str) -> Event {
        let event = name.to_owned();
        Event { event }
    }

    #[tokio::test]
    async fn a_full_pipe_makes_messages_wait_and_counts_what_may_be_lost() {
        let pipe = Pipe::default();
        let events = events(pipe.clone());
        events
            .tell(&event(&"x".repeat(ROOM as usize)))
            .await
            .unwrap();
        for _ in 0..5 {
            events.offer(&event("refused")).unwrap();
        }
        let message = event("message");
        let mut waiting = Box::pin(events.tell(&message));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        pipe.0.0.lock().unwrap().0 = true;
        pipe.0.1.notify_all();
        waiting.await.unwrap();
        events.written().await.unwrap();
        let told = String::from_utf8(pipe.0.0.lock().unwrap().1.clone()).unwrap();
        let told = told.lines().skip(1);
        let told = told.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut told: Vec<_> = told
            .map(|told| (told["event"].to_string(), told["count"].as_u64()))
            .collect();
        // The count may come before the message that waited or after it.
        told.sort_unstable();
        let expected = [
            ("\"lost\"".to_owned(), Some(5)),
            ("\"message\"".to_owned(), None),
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn a_pipe_without_a_reader_says_so_to_all_who_wait() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let events = events(Closed);
        events.tell(&event("first")).await.unwrap();
        let failure = events.written().await.unwrap_err();
        assert!(failure.message.contains("broken pipe"), "{failure:?}");
        assert!(events.tell(&event("second")).await.is_err());
        assert!(events.offer(&event("third")).is_err());
    }
}
