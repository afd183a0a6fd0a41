//! What the program says: results and events on stdout, its log and its errors on stderr.
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
    /// One line of JSON on stdout, at once, whatever `--json` says. It waits for a reader: what
    /// serves sockets tells [`Events`](crate::output::events::Events).
    pub(crate) fn event(self, event: &impl Serialize) -> Result<(), Failure> {
        let mut line = json(serde_json::to_string(event).map_err(Failure::new)?);
        line.push('\n');
        write(&line)
    }

    /// The result of a command: `value` for machines, `text` for people.
    pub(crate) fn result(self, value: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json {
            return self.event(value);
        }
        write(&Zeroizing::new(lines(text)))
    }

    /// Shows that something takes its time, until it is dropped: on stderr, if that is a person's
    /// terminal.
    pub(crate) fn waiting(self, for_what: &str) -> Waiting {
        // Draws nothing where stderr is no terminal.
        let spinner = match self.json {
            true => ProgressBar::hidden(),
            false => ProgressBar::new_spinner().with_message(one_line(for_what)),
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

/// Sends the library's log to stderr: warnings, and with each `-v` one level more. Refusals of one
/// address are summed up.
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

/// Writes the last lines of the log, as far as they are read.
pub(crate) fn end_log() {
    log_rest();
    stderr::flush();
}
