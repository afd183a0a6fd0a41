//! The documents that the benchmarks write, and their summary: how they are read and changed, and that the
//! committed ones are as they were written.

#[path = "../../benches/compare/output/table.rs"]
mod table;

use super::{assert_none, read, root};
use table::{Document, MAIN_CASES, Processor, Row, UNKNOWN, USUAL, summary};

fn documents() -> Vec<(String, Document)> {
    let files = super::files(&root().join("benches/results"));
    assert!(!files.is_empty(), "the documents were not found");
    let parsed = |file: &str| Document::parse(&read(&format!("benches/results/{file}")));
    files
        .into_iter()
        .map(|file| {
            let document = parsed(&file).unwrap_or_else(|| panic!("{file}: changed by hand"));
            (file, document)
        })
        .collect()
}

#[test]
fn every_document_of_results_is_as_the_benchmarks_write_it() {
    let breaches: Vec<_> = documents()
        .iter()
        .filter(|(file, document)| document.processor.file() != *file)
        .map(|(file, _)| format!("{file}: is of another processor"))
        .collect();
    assert_none(&breaches);
}

#[test]
fn the_summary_of_results_is_that_of_the_documents() {
    let summary = summary(&MAIN_CASES, &documents());
    assert!(read("benches/README.md").contains(&format!("-->\n{summary}<!--")));
}

const CPUINFO: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\n\
    model\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f\n\n\
    processor\t: 1\nvendor_id\t: AuthenticAMD\n";

fn processor() -> Processor {
    Processor::of_linux(CPUINFO, &["avx512ifma", "avx512f", "avx2"])
}

fn row(case: &str, ratio: &str, commit: &str) -> Row {
    Row {
        case: case.into(),
        ours: "1".into(),
        peer: "2 (libzmq 4.3.5)".into(),
        unit: "ns".into(),
        ratio: ratio.into(),
        commit: commit.into(),
    }
}

fn document() -> Document {
    let mut document = Document::new(processor());
    let usual = document.section(USUAL, "cargo bench");
    usual.put(row("seal 64", "2", "aaa"), None);
    usual.put(row("open 64", "3", "aaa"), Some("seal 64"));
    let other = document.section("The code for AVX2", "RUSTFLAGS=x cargo bench");
    other.put(row("seal 64", "4", "aaa"), None);
    document
}

#[test]
fn a_processor_is_known_by_what_figures_depend_on() {
    let processor = processor();
    assert_eq!(processor.file(), "amd-25-17-2-cores.md");
    assert_eq!(processor.flags, "avx512f avx2");
    let unknown = Processor::of_linux("", &[]);
    assert_eq!(unknown.file(), "unknown-unknown-unknown-0-cores.md");
}

#[test]
fn figures_of_another_processor_are_not_taken_for_those_of_this_one() {
    let changed = |change: &dyn Fn(&mut Processor)| {
        let mut other = processor();
        change(&mut other);
        processor().is_same_as(&other)
    };
    assert!(changed(&|other| other.name = "another name".into()));
    assert!(changed(&|other| other.flags = UNKNOWN.into()));
    assert!(!changed(&|other| other.flags = "avx2".into()));
    assert!(!changed(&|other| other.model = "18".into()));
    assert!(!changed(&|other| other.cores = "4".into()));
}

#[test]
fn what_is_written_is_read_again() {
    let document = document();
    assert_eq!(Document::parse(&document.to_string()), Some(document));
}

#[test]
fn what_the_rig_has_not_written_is_not_taken_for_its_tables() {
    let text = document().to_string();
    assert_eq!(Document::parse(""), None);
    assert_eq!(Document::parse(&text.replace("| 3 |", "| 3 | 4 |")), None);
    assert_eq!(Document::parse(&format!("{text}\nBy hand.\n")), None);
    assert_eq!(
        Document::parse(&text.replace("| vendor |", "| maker |")),
        None
    );
}

#[test]
fn a_run_replaces_the_rows_that_it_measured_and_no_others() {
    let mut document = document();
    let usual = document.section(USUAL, "cargo bench -- open");
    usual.put(row("open 64", "5", "bbb"), None);
    usual.put(row("open 65", "6", "bbb"), Some("open 64"));
    usual.put(row("seal 63", "7", "bbb"), Some("not measured"));
    let rows = |at: usize| {
        let rows = document.sections[at].rows.iter();
        rows.map(|row| (row.case.as_str(), row.ratio.as_str(), row.commit.as_str()))
            .collect::<Vec<_>>()
    };
    let usual = [
        ("seal 64", "2", "aaa"),
        ("open 64", "5", "bbb"),
        ("open 65", "6", "bbb"),
        ("seal 63", "7", "bbb"),
    ];
    assert_eq!(rows(0), usual);
    assert_eq!(rows(1), [("seal 64", "4", "aaa")]);
    assert_eq!(document.sections[0].command, "cargo bench -- open");
}

#[test]
fn a_summary_has_a_column_for_each_processor() {
    let mut other = Document::new(Processor {
        family: "6".into(),
        ..processor()
    });
    let mut alone = row("heap", "", "ccc");
    alone.peer.clear();
    other.section(USUAL, "cargo bench").put(alone, None);
    let documents = [("a.md".to_owned(), document()), ("b.md".to_owned(), other)];
    let expected = "\
        | case | [AMD EPYC, family 25, model 17](results/a.md) | [AMD EPYC, family 6, model 17](results/b.md) |\n\
        |---|---|---|\n\
        | open 64 | 3 | |\n\
        | heap | | 1 ns |\n";
    assert_eq!(summary(&["open 64", "heap", "never"], &documents), expected);
}
