//! Collects the `tracing` events of the current thread.
//!
//! The whole process has one subscriber, which sorts lines by thread. `tracing` caches at first use
//! whether a call site has a listener, so with a subscriber for one thread only, another thread
//! could switch a call site off.

use std::cell::RefCell;
use std::sync::Once;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static INSTALLED: Once = Once::new();

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Lines;
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                let mut line = Line(event.metadata().level().to_string());
                event.record(&mut line);
                lines.push(line.0);
            }
        });
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Starts to collect on this thread.
pub fn listen() {
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
    LINES.set(Some(Vec::new()));
}

/// The lines since the last call of this level or a more severe one: the level, then each field.
pub fn take(level: Level) -> Vec<String> {
    let mut lines = LINES.replace(Some(Vec::new())).unwrap();
    lines.retain(|line| {
        let of = line.split(' ').next().unwrap_or_default();
        of.parse::<Level>().unwrap() <= level
    });
    lines
}
