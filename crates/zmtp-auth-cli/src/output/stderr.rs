//! Stderr that need not be read: a bounded queue and a thread that writes. A full pipe costs lines
//! of the log, which are counted, and never stops the program.
#![forbid(unsafe_code)]

use crate::output::printable::one_line;
use crate::output::repeats;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that wait for a reader. 256 KiB: some thousand lines, which is a burst of refusals.
const ROOM: usize = 256 * 1024;

/// How long the last lines of a program that ends have to leave. A pipe that is read takes them
/// in no time; one that is not must not hold up the end.
const LAST_LINES: Duration = Duration::from_secs(1);

static STDERR: Stderr = Stderr::new();

/// Starts to write.
pub(crate) fn start() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("stderr".into());
    thread.spawn(|| STDERR.write_to(io::stderr()))?;
    Ok(())
}

/// One line, without its end. It is lost if there is no room.
pub(crate) fn line(text: &str) {
    STDERR.push(text);
}

/// Waits until all is written, within a bound.
pub(crate) fn flush() {
    STDERR.flush(LAST_LINES);
}

/// Where the log goes: `tracing-subscriber` writes each event at once.
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
    /// Bytes of `lines`.
    bytes: usize,
    /// Lines for which there was no room, and which are not yet told of.
    lost: u64,
    /// A line was taken and is not yet written.
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
        // Nothing under this lock can panic half-way.
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

    /// The next line, or `None` if there is none at the deadline. What was lost is told once all
    /// that came before is written.
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
            // A refusal that is held back for later is preceded by a line, which wakes this thread.
            match self.next(repeats::log_deadline()) {
                // Where stderr is closed there is no reader left to tell.
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
