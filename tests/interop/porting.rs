//! The Python programs of the README and the porting guide run to their end. The Rust ones are
//! doctests.

use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Far more than any of the programs needs.
const TIME: Duration = Duration::from_secs(60);

/// The fenced blocks of a document in this language, with the line of each.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<(usize, Vec<&'a str>)> {
    let fence = format!("```{language}");
    let mut lines = document.lines().enumerate();
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == fence {
            let block = lines.by_ref().map(|(_, line)| line);
            found.push((
                number + 1,
                block.take_while(|line| *line != "```").collect(),
            ));
        }
    }
    found
}

fn read(document: &str) -> String {
    let path = format!("{}/{document}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

async fn run(place: String, program: String) {
    let python = std::env::var("ZMTP_AUTH_PYTHON")
        .expect("ZMTP_AUTH_PYTHON must name a Python with pyzmq; ./test sets it");
    let child = Command::new(python)
        .args(["-c", &program])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(TIME, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{place}: takes too long"));
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {errors}");
}

#[tokio::test]
async fn every_python_program_in_a_document_runs_to_its_end() {
    for (name, at_least) in [("README.md", 1), ("docs/PORTING.md", 12)] {
        let document = read(name);
        let python = blocks(&document, "python");
        assert!(
            python.len() >= at_least,
            "{name}: the programs were not found"
        );
        for (line, program) in python {
            run(format!("{name}:{line}"), program.join("\n")).await;
        }
    }
}

#[test]
fn each_python_program_of_the_porting_guide_has_a_counterpart_in_rust() {
    let document = read("docs/PORTING.md");
    let rust = blocks(&document, "rust");
    for (line, program) in blocks(&document, "python") {
        // Past the program, the closing fence and an empty line.
        let follows = line + program.len() + 3;
        assert!(
            rust.iter().any(|(start, _)| *start == follows),
            "docs/PORTING.md:{line}: no Rust program follows"
        );
    }
}
