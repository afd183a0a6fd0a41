//! Which cases are wanted, and what they brought: one JSON line each.

use crate::pairing::Pair;
use serde_json::{Value, json};

/// The cases of one run.
pub struct Report {
    filters: Vec<String>,
}

impl Report {
    pub const fn new(filters: Vec<String>) -> Self {
        Self { filters }
    }

    /// Whether to run a case.
    pub fn wants(&self, case: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| case.contains(part.as_str()))
    }

    /// A case that was measured in pairs.
    pub fn measured(&mut self, case: &str, peer_name: &str, unit: &str, pair: Pair) {
        self.line(&json!({
            "case": case,
            "ours": rounded(pair.ours),
            "peer": rounded(pair.peer),
            "peer_name": peer_name,
            "ratio": rounded(pair.ratio),
            "unit": unit,
        }));
    }

    fn line(&mut self, line: &Value) {
        println!("{line}");
    }
}

/// Three significant digits are more than a run repeats.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}
