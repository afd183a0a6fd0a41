//! Prints results and events on stdout, the log and errors on stderr.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::printable::{json, lines, one_line};
use crate::output::repeats::{SumUp, log_rest};
use crate::output::stderr::{self, Log};
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use zeroize::Zeroizing;

/// How often the spinner is redrawn.
const TICK: Duration = Duration::from_millis(100);

/// A spinner that disappears when this is dropped.
#[must_use]
pub(crate) struct Waiting(ProgressBar);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How results and errors are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    /// As JSON, one object per line.
    pub(crate) json: bool,
}

impl Console {
    /// Writes one line of JSON to stdout, with or without `--json`. Blocks while stdout is full, so
    /// code that serves sockets uses [`Events`](crate::output::events::Events).
    pub(crate) fn event(self, event: &impl Serialize) -> Result<(), Failure> {
        let mut line = json(serde_json::to_string(event).map_err(Failure::of)?);
        line.push('\n');
        write(&line)
    }

    /// Prints the result of a command: `value` with `--json`, otherwise `text`.
    pub(crate) fn result(self, value: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json {
            return self.event(value);
        }
        write(&Zeroizing::new(lines(text)))
    }

    /// Shows a spinner until it is dropped, if stderr is a terminal.
    pub(crate) fn waiting(self, for_what: &str) -> Waiting {
        // Draws nothing if stderr is not a terminal.
        let spinner = match self.json {
            true => ProgressBar::hidden(),
            false => ProgressBar::new_spinner().with_message(one_line(for_what)),
        };
        spinner.enable_steady_tick(TICK);
        Waiting(spinner)
    }

    /// Prints why a command has failed, on stderr.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        #[derive(Serialize)]
        struct Told<'a> {
            error: &'a str,
            exit: u8,
        }
        let told = Told {
            error: &failure.message,
            exit: failure.exit as u8,
        };
        match serde_json::to_string(&told) {
            Ok(line) if self.json => stderr::line(&json(line)),
            _ => stderr::line(&format!("zmtp-auth: {}", failure.message)),
        }
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|error| Failure::new(format_args!("cannot write to stdout: {error}")))
}

/// Sends the library's log to stderr: warnings, and one level more for each `-v`. Repeated refusals
/// are summarised.
pub(crate) fn start_log(verbosity: u8) -> io::Result<()> {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    stderr::start()?;
    let lines = fmt::layer().with_writer(|| Log).with_ansi(false);
    tracing_subscriber::registry()
        .with(level)
        .with(SumUp)
        .with(lines)
        .init();
    Ok(())
}

/// Writes the last lines of the log, for as long as stderr is read.
pub(crate) fn end_log() {
    log_rest();
    stderr::flush();
}
