//! Summarises refusals that repeat: the first of a kind is reported, further ones are counted.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use zmtp_auth::PeerAddress;

/// How long repetitions are counted before they are reported. A minute keeps a log readable under
/// attack and is short enough to notice one.
const WINDOW: Duration = Duration::from_secs(60);

/// The most kinds of refusals that are counted separately. Further kinds share one entry, so that an
/// attacker with many addresses fills neither memory nor log. 256 is far more than honest peers need.
const MAX_PLACES: usize = 256;

/// Counts the repetitions of each kind `K` and keeps the latest.
pub(crate) struct Repeats<K, T> {
    places: HashMap<Option<K>, Place<T>>,
}

struct Place<T> {
    /// When the repetitions are reported.
    due: Instant,
    /// The number of refusals not reported yet.
    more: u64,
    latest: Option<T>,
}

impl<K: Hash + Eq, T> Repeats<K, T> {
    pub(crate) fn new() -> Self {
        Self {
            places: HashMap::new(),
        }
    }

    /// Takes a refusal, and returns it if it must be reported now.
    pub(crate) fn note(&mut self, key: K, what: T, now: Instant) -> Option<T> {
        let key = Some(key);
        let key = if self.places.contains_key(&key) || self.places.len() < MAX_PLACES {
            key
        } else {
            None
        };
        match self.places.get_mut(&key) {
            Some(place) => {
                place.more = place.more.saturating_add(1);
                place.latest = Some(what);
                None
            }
            None => {
                let place = Place {
                    due: now + WINDOW,
                    more: 0,
                    latest: None,
                };
                self.places.insert(key, place);
                Some(what)
            }
        }
    }

    /// When to call [`Repeats::due`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.places.values().map(|place| place.due).min()
    }

    /// The latest refusal of each kind that is due, and how many refusals it stands for. A kind
    /// without repetitions is forgotten.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(T, u64)> {
        let mut due = Vec::new();
        self.places.retain(|_, place| {
            if place.due > now {
                return true;
            }
            place.due = now + WINDOW;
            let more = std::mem::take(&mut place.more);
            match place.latest.take() {
                Some(latest) => due.push((latest, more)),
                None => return false,
            }
            true
        });
        due
    }

    /// Everything that was not reported, due or not.
    pub(crate) fn rest(&mut self) -> Vec<(T, u64)> {
        let places = self.places.drain();
        places
            .filter_map(|(_, place)| Some((place.latest?, place.more)))
            .collect()
    }
}

/// The address for summaries. For an ipc peer it is the user, since the process differs each time.
pub(crate) fn place_of(address: &PeerAddress) -> String {
    match address {
        PeerAddress::Ipc(process) => format!("uid {}", process.uid),
        other => other.to_string(),
    }
}

/// Waits until a [`Repeats::deadline`].
pub(crate) async fn at_time(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// The refusals in the log.
static LOGGED: Mutex<Option<Repeats<LogPlace, Refused>>> = Mutex::new(None);

/// Lines with equal fields are summarised.
#[derive(PartialEq, Eq, Hash)]
struct LogPlace {
    /// Without the port.
    address: String,
    message: String,
    who: String,
    stage: String,
    status: String,
}

/// The fields of a refusal in the log.
#[derive(Default)]
struct Refused {
    message: String,
    address: String,
    error: String,
    who: String,
    stage: String,
    status: String,
}

/// When to call [`log_due`].
pub(crate) fn log_deadline() -> Option<Instant> {
    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    logged.as_ref().and_then(Repeats::deadline)
}

/// Logs the summaries that are due.
pub(crate) fn log_due(now: Instant) {
    log(|repeats| repeats.due(now));
}

/// Logs all summaries, due or not.
pub(crate) fn log_rest() {
    log(Repeats::rest);
}

fn log(take: impl FnOnce(&mut Repeats<LogPlace, Refused>) -> Vec<(Refused, u64)>) {
    let due = {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        logged.as_mut().map(take).unwrap_or_default()
    };
    for (refused, more) in due {
        let Refused {
            message,
            address,
            error,
            who,
            stage,
            status,
        } = refused;
        let more = match more {
            1 => "once more".to_owned(),
            more => format!("{more} times again"),
        };
        tracing::info!(
            latest = address,
            who,
            stage,
            status,
            error,
            "{more}: {message}"
        );
    }
}

/// The layer of the log that holds back repeated refusals.
pub(crate) struct SumUp;

impl<S: Subscriber> Layer<S> for SumUp {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.metadata().fields().field("address").is_none() {
            return true;
        }
        let mut refused = Refused::default();
        event.record(&mut refused);
        let beginnings = ["peer refused", "peer left"];
        if !beginnings.iter().any(|it| refused.message.starts_with(it)) {
            return true;
        }
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let repeats = logged.get_or_insert_with(Repeats::new);
        let place = LogPlace {
            address: without_port(&refused.address).to_owned(),
            message: refused.message.clone(),
            who: refused.who.clone(),
            stage: refused.stage.clone(),
            status: refused.status.clone(),
        };
        repeats.note(place, refused, Instant::now()).is_some()
    }
}

/// The address without the part that differs each time: the port, or the process of an ipc peer.
fn without_port(address: &str) -> &str {
    let is_host = |host: &str| {
        host.ends_with(']') || host.parse::<Ipv4Addr>().is_ok() || host.starts_with("localhost:")
    };
    match address.rsplit_once(':') {
        Some((host, _)) if is_host(host) => host,
        _ => address,
    }
}

impl Visit for Refused {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let place = match field.name() {
            "message" => &mut self.message,
            "address" => &mut self.address,
            "error" => &mut self.error,
            "who" => &mut self.who,
            "stage" => &mut self.stage,
            "status" => &mut self.status,
            _ => return,
        };
        *place = format!("{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_rest_once_a_window() {
        let start = Instant::now();
        let mut repeats = Repeats::new();
        assert_eq!(repeats.note("a", 0, start), Some(0));
        for number in 1..100 {
            assert_eq!(repeats.note("a", number, start), None);
        }
        assert_eq!(repeats.note("b", 0, start), Some(0));
        assert_eq!(repeats.due(start), []);
        assert_eq!(repeats.deadline(), Some(start + WINDOW));
        assert_eq!(repeats.due(start + WINDOW), [(99, 99)]);
        // "b" is forgotten at once, and "a" after a window without repetitions.
        assert_eq!(repeats.places.len(), 1);
        assert_eq!(repeats.note("a", 7, start + WINDOW), None);
        assert_eq!(repeats.rest(), [(7, 1)]);
        assert_eq!(repeats.deadline(), None);
    }

    #[test]
    fn an_address_is_the_same_whatever_its_port() {
        for (address, same) in [
            ("192.0.2.1:5555", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:5555", "[2001:db8::1]"),
            ("[fe80::1%eth0]:5555", "[fe80::1%eth0]"),
            ("localhost:0:0:77", "localhost:0:0"),
        ] {
            assert_eq!(without_port(address), same);
        }
    }

    #[test]
    fn many_places_share_one_entry() {
        let start = Instant::now();
        let mut repeats = Repeats::new();
        let told = (0..10_000).filter_map(|place| repeats.note(place, place, start));
        assert_eq!(told.count(), MAX_PLACES + 1);
        assert_eq!(repeats.places.len(), MAX_PLACES + 1);
        let rest = repeats.rest();
        assert_eq!(rest, [(9_999, 10_000 - MAX_PLACES as u64 - 1)]);
    }
}
