//! The documents in `benches/results/`, one for each processor, and their summary in
//! `benches/README.md`. A run changes the document of its own processor alone.

use crate::output::table::{Document, MAIN_CASES, Processor, Row, Section, USUAL, summary};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The marks around the summary.
const BEGIN: &str = "<!-- summary -->\n";
const END: &str = "<!-- end of summary -->\n";

/// What the ciphers and the key agreement ask of a processor.
const FLAGS: [&str; 10] = [
    "aes",
    "pclmulqdq",
    "bmi1",
    "bmi2",
    "adx",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512ifma",
];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The processor of this machine.
pub fn processor() -> Processor {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Processor::of_linux(&cpuinfo, &FLAGS)
}

/// The commit that is measured, with `+` if files were changed since.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(folder())
            .output();
        output.ok().filter(|output| output.status.success())
    };
    let Some(head) = git(&["rev-parse", "--short=7", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let head = String::from_utf8(head.stdout).unwrap();
    // What earlier runs have written changes nothing that is measured.
    let others = [
        "diff",
        "--quiet",
        "HEAD",
        "--",
        ":/",
        ":!results",
        ":!README.md",
    ];
    let mark = if git(&others).is_some() { "" } else { "+" };
    format!("{}{mark}", head.trim())
}

/// The document of this processor, and the section that this run measures.
pub struct Results {
    path: PathBuf,
    document: Document,
    title: String,
    command: String,
    commit: String,
    /// The cases that this run has measured.
    measured: Vec<String>,
}

impl Results {
    /// Opens or begins the document. Fails before anything is measured if it could not be written.
    pub fn open(title: String, command: String) -> Self {
        let processor = processor();
        let path = folder().join("results").join(processor.file());
        let document = match fs::read_to_string(&path) {
            Err(_) => Document::new(processor),
            Ok(text) => {
                let recorded = Document::parse(&text).expect("a document that was written here");
                let is_same = processor.is_same_as(&recorded.processor);
                assert!(is_same, "{} is of another processor", path.display());
                Document {
                    processor,
                    ..recorded
                }
            }
        };
        Self {
            path,
            document,
            title,
            command,
            commit: commit(),
            measured: Vec::new(),
        }
    }

    /// Writes a row at once, so that a run that ends early has written what it measured.
    pub fn put(&mut self, row: Row) {
        let row = Row {
            commit: self.commit.clone(),
            ..row
        };
        let before = self.measured.last().cloned();
        self.measured.push(row.case.clone());
        self.section().put(row, before.as_deref());
        self.write();
    }

    /// Ends a run of every case: what it has not measured is no case any longer.
    pub fn keep_measured(&mut self) {
        let measured = std::mem::take(&mut self.measured);
        self.section()
            .rows
            .retain(|row| measured.contains(&row.case));
        self.write();
    }

    fn section(&mut self) -> &mut Section {
        self.document.section(&self.title, &self.command)
    }

    fn write(&self) {
        fs::create_dir_all(folder().join("results")).unwrap();
        fs::write(&self.path, self.document.to_string()).unwrap();
        if self.title == USUAL {
            summarise();
        }
    }
}

/// Writes the summary of all documents.
fn summarise() {
    let files = fs::read_dir(folder().join("results")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let documents: Vec<_> = files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(folder().join("results").join(&file)).unwrap();
            let document = Document::parse(&text).unwrap_or_else(|| panic!("results/{file}"));
            (file, document)
        })
        .collect();
    let path = folder().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a place for the summary");
    let (_, after) = rest.split_once(END).expect("the end of the summary");
    let summary = summary(&MAIN_CASES, &documents);
    fs::write(&path, format!("{before}{BEGIN}{summary}{END}{after}")).unwrap();
}
