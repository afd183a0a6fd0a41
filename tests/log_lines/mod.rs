//! Collects the `tracing` events of the current thread, each with the spans around it.
//!
//! The whole process has one subscriber, which sorts lines by thread. `tracing` caches at first use
//! whether a call site has a listener, so with a subscriber for one thread only, another thread
//! could switch a call site off.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static INSTALLED: Once = Once::new();

/// Every span's name and fields, by its id.
static SPANS: Mutex<BTreeMap<u64, (&'static str, Line)>> = Mutex::new(BTreeMap::new());
static NEXT_SPAN: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
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
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = NEXT_SPAN.fetch_add(1, Ordering::Relaxed);
        let mut fields = Line(String::new());
        span.record(&mut fields);
        SPANS
            .lock()
            .unwrap()
            .insert(id, (span.metadata().name(), fields));
        Id::from_u64(id)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some((_, fields)) = SPANS.lock().unwrap().get_mut(&span.into_u64()) {
            values.record(fields);
        }
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                let mut line = Line(event.metadata().level().to_string());
                event.record(&mut line);
                let spans = SPANS.lock().unwrap();
                ENTERED.with_borrow(|entered| {
                    for (name, fields) in entered.iter().filter_map(|id| spans.get(id)) {
                        line.0 += &format!(" in {name}{{{}}}", fields.0.trim_start());
                    }
                });
                lines.push(line.0);
            }
        });
    }
    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }
    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.pop());
    }
}

/// Starts to collect on this thread.
pub fn listen() {
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
    LINES.set(Some(Vec::new()));
}

/// The lines since the last call of this level or a more severe one: the level, then each field, then
/// ` in name{fields}` for each span.
pub fn take(level: Level) -> Vec<String> {
    let mut lines = LINES.replace(Some(Vec::new())).unwrap();
    lines.retain(|line| {
        let of = line.split(' ').next().unwrap_or_default();
        of.parse::<Level>().unwrap() <= level
    });
    lines
}
