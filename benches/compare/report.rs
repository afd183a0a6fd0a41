//! The cases to run and their figures: one JSON line each, and a table of all.

use crate::pairing::Pair;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The marks around the table in `benches/README.md`.
const BEGIN: &str = "<!-- last run -->\n";
const END: &str = "<!-- end of last run -->\n";

/// The cases of one run.
pub struct Report {
    filters: Vec<String>,
    table: String,
}

impl Report {
    pub fn new(filters: Vec<String>) -> Self {
        let table = "| case | ours | peer | unit | ratio |\n|---|---|---|---|---|\n".to_owned();
        Self { filters, table }
    }

    /// Whether to run a case.
    pub fn wants(&self, case: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| case.contains(part.as_str()))
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
        self.row(&format!(
            "{case} | {ours} | {peer} ({peer_name}) | {unit} | {ratio}"
        ));
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
        self.row(&format!("{case} | {ours} | | {unit} |"));
    }

    /// Replaces the table in `benches/README.md`.
    pub fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("a place for the table");
        let (_, after) = rest.split_once(END).expect("the end of the table");
        let table = &self.table;
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    }

    fn row(&mut self, row: &str) {
        self.table.push_str(&format!("| {row} |\n"));
    }
}

fn print_line(line: &Value) {
    println!("{line}");
}

/// Three significant digits. A repeated run differs by more than that.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}
