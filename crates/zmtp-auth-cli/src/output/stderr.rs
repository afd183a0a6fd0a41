//! Writes to stderr from a bounded queue on a thread. If stderr is not read, lines of the log are lost
//! and counted, and the program goes on.
#![forbid(unsafe_code)]

use crate::output::printable::one_line;
use crate::output::repeats;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait for the reader of stderr. 256 KiB holds some thousand lines, a burst of
/// refusals.
const ROOM: usize = 256 * 1024;

/// How long the program waits at its end for the last lines to be read. A reader takes them at once;
/// without a reader the end is delayed by 1 s.
const LAST_LINES: Duration = Duration::from_secs(1);

static STDERR: Stderr = Stderr::new();

/// Starts the thread that writes.
pub(crate) fn start() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("stderr".into());
    thread.spawn(|| STDERR.write_to(io::stderr()))?;
    Ok(())
}

/// Writes one line, given without its end. It is lost if there is no room.
pub(crate) fn line(text: &str) {
    STDERR.push(text);
}

/// Waits until everything is written, for at most [`LAST_LINES`].
pub(crate) fn flush() {
    STDERR.flush(LAST_LINES);
}

/// The writer of the log: `tracing-subscriber` writes each event with one call.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        line(String::from_utf8_lossy(event).trim_end_matches('\n'));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stderr {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: VecDeque<String>,
    /// The number of bytes in `lines`.
    bytes: usize,
    /// The number of lines that were lost for lack of room and not reported yet.
    lost: u64,
    /// A line was taken from the queue and is not written yet.
    writing: bool,
}

impl Stderr {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                lines: VecDeque::new(),
                bytes: 0,
                lost: 0,
                writing: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code under this lock panics, so the state is consistent even if poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: &str) {
        let mut line = one_line(text);
        line.push('\n');
        let mut state = self.state();
        if state.bytes + line.len() > ROOM {
            state.lost = state.lost.saturating_add(1);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// The next line, or `None` if the deadline passes without one. The number of lost lines is a
    /// line too; it comes after all lines that were queued before the loss.
    fn next(&self, deadline: Option<Instant>) -> Option<String> {
        let mut state = self.state();
        state.writing = false;
        self.changed.notify_all();
        while state.lines.is_empty() && state.lost == 0 {
            state = match deadline {
                None => {
                    let woken = self.changed.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if let Some(line) = state.lines.pop_front() {
            state.bytes -= line.len();
            state.writing = true;
            return Some(line);
        }
        match std::mem::take(&mut state.lost) {
            0 => None,
            lost => {
                state.writing = true;
                Some(format!(
                    "zmtp-auth: {lost} lines were lost here: stderr was not read\n"
                ))
            }
        }
    }

    fn write_to(&self, mut out: impl Write) {
        loop {
            // The deadline is read again after each line. A refusal is held back only after a first
            // line of its kind, and that line wakes this thread, so the deadline is never missed.
            match self.next(repeats::log_deadline()) {
                // If stderr is closed, no one is left to be told.
                Some(line) => drop(out.write_all(line.as_bytes())),
                None => repeats::log_due(Instant::now()),
            }
        }
    }

    fn flush(&self, bound: Duration) {
        let end = Instant::now() + bound;
        let mut state = self.state();
        while !state.lines.is_empty() || state.writing || state.lost > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_room_are_counted_and_told_after_those_before_them() {
        let stderr = Stderr::new();
        let text = "x".repeat(1023);
        for _ in 0..ROOM / 1024 + 7 {
            stderr.push(&text);
        }
        assert_eq!(stderr.state().bytes, ROOM);
        for _ in 0..ROOM / 1024 {
            assert_eq!(stderr.next(None).unwrap().len(), 1024);
        }
        assert!(stderr.next(None).unwrap().contains(" 7 lines were lost"));
        stderr.push("later\nforged");
        assert_eq!(stderr.next(None).unwrap(), "later\\nforged\n");
    }
}
