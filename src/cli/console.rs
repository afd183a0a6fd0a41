//! What the program says: results and events on stdout, its log and its errors on stderr.
#![forbid(unsafe_code)]

use crate::cli::exit::Failure;
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;
use tracing::Level;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// A spinner that is gone once this is.
#[must_use]
pub(crate) struct Waiting(ProgressBar);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    /// For machines: one JSON object a line.
    pub(crate) json: bool,
}

impl Console {
    /// One line of JSON on stdout, at once, whatever `--json` says: for commands that tell
    /// events.
    pub(crate) fn event(self, event: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(event).map_err(Failure::new)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&line).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::new(format_args!("cannot write to stdout: {error}")))
    }

    /// The result of a command: `value` for machines, `text` for people.
    pub(crate) fn result(self, value: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json {
            return self.event(value);
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes());
        let written = written.and_then(|()| stdout.flush());
        written.map_err(|error| Failure::new(format_args!("cannot write to stdout: {error}")))
    }

    /// Shows that something takes its time, until it is dropped: on stderr, if that is a person's
    /// terminal.
    pub(crate) fn waiting(self, for_what: String) -> Waiting {
        // Draws nothing where stderr is no terminal.
        let spinner = match self.json {
            true => ProgressBar::hidden(),
            false => ProgressBar::new_spinner().with_message(for_what),
        };
        spinner.enable_steady_tick(TICK);
        Waiting(spinner)
    }

    /// The end of a command that has failed, on stderr.
    pub(crate) fn failure(self, failure: &Failure) {
        #[derive(Serialize)]
        struct Told<'a> {
            error: &'a str,
            exit: u8,
        }
        let told = Told {
            error: &failure.message,
            exit: failure.exit as u8,
        };
        let line = match serde_json::to_string(&told) {
            Ok(line) if self.json => line,
            _ => format!("zmtp-auth: {}", failure.message),
        };
        // Where stderr is closed there is nobody to tell.
        let _unheard = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Sends the library's log to stderr: warnings, and with each `-v` one level more.
pub(crate) fn start_log(verbosity: u8) {
    let level = match verbosity {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
}
