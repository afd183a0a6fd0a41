//! The cases to run and their figures: one JSON line each, and a row of the processor's document.

use crate::measuring::pairing::{Better, Pair, Side, rounds_of};
use crate::output::results::{self, Results};
use crate::output::table::Row;
use serde_json::{Value, json};

/// One figure of a case that has several: what is added to the case's name, its unit, and whether a
/// higher one is better.
pub type Figure = (&'static str, &'static str, Better);

/// The cases of one run.
pub struct Report {
    filters: Vec<String>,
    /// Where rows are written, if they are.
    results: Option<Results>,
}

impl Report {
    pub fn new(filters: Vec<String>, results: Option<Results>) -> Self {
        let processor = results::processor();
        print_line(&json!({
            "processor": processor.name,
            "vendor": processor.vendor,
            "family": processor.family,
            "model": processor.model,
            "cores": processor.cores,
            "flags": processor.flags,
            "commit": results::commit(),
        }));
        Self { filters, results }
    }

    /// Whether to run a case.
    pub fn wants(&self, case: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| case.contains(part.as_str()))
    }

    /// Runs a case on both sides in turn, and reports several figures of the same runs.
    pub fn compare<const N: usize>(
        &mut self,
        case: &str,
        peer_name: &str,
        figures: [Figure; N],
        rounds: usize,
        run: impl FnMut(Side) -> [f64; N],
    ) {
        if self.wants(case) {
            let pairs = rounds_of(figures.map(|(_, _, better)| better), rounds, run);
            for ((name, unit, _), pair) in figures.into_iter().zip(pairs) {
                self.measured(&format!("{case}{name}"), peer_name, unit, pair);
            }
        }
    }

    /// Reports a case that was measured in pairs.
    pub fn measured(&mut self, case: &str, peer_name: &str, unit: &str, pair: Pair) {
        let (ours, peer) = (rounded(pair.ours), rounded(pair.peer));
        let ratio = rounded(pair.ratio);
        print_line(&json!({
            "case": case,
            "ours": ours,
            "peer": peer,
            "peer_name": peer_name,
            "ratio": ratio,
            "unit": unit,
        }));
        self.row(
            case,
            ours,
            &format!("{peer} ({peer_name})"),
            unit,
            &ratio.to_string(),
        );
    }

    /// Reports a case without another library.
    pub fn alone(&mut self, case: &str, unit: &str, ours: f64) {
        let ours = rounded(ours);
        print_line(&json!({
            "case": case,
            "ours": ours,
            "peer": null,
            "peer_name": null,
            "ratio": null,
            "unit": unit,
        }));
        self.row(case, ours, "", unit, "");
    }

    /// Every case that was asked for has run.
    pub fn finish(self) {
        if let (Some(mut results), true) = (self.results, self.filters.is_empty()) {
            results.keep_measured();
        }
    }

    fn row(&mut self, case: &str, ours: f64, peer: &str, unit: &str, ratio: &str) {
        if let Some(results) = &mut self.results {
            results.put(Row {
                case: case.to_owned(),
                ours: ours.to_string(),
                peer: peer.to_owned(),
                unit: unit.to_owned(),
                ratio: ratio.to_owned(),
                commit: String::new(),
            });
        }
    }
}

fn print_line(line: &Value) {
    println!("{line}");
}

/// Three significant digits. A repeated run differs by more than that.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}
