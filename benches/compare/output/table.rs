//! The tables of one processor as a document: read, changed row by row, and written. A row names the
//! commit that it was measured at, so a run that measures a part leaves the other rows as they are.

use std::fmt;

/// The head of a table of cases.
const HEAD: &str = "| case | ours | peer | unit | ratio | commit |\n|---|---|---|---|---|---|\n";
/// The title of the section that measures what a user gets.
pub const USUAL: &str = "The library as it is built";
/// The cases of the summary.
pub const MAIN_CASES: [&str; 29] = [
    "seal 64",
    "seal 1024",
    "seal 65536",
    "open 64",
    "open 1024",
    "open 65536",
    "seal batch 16 x 64",
    "open batch 16 x 64",
    "handshake, server, no I/O",
    "handshake, server, TCP",
    "throughput CURVE 64",
    "throughput CURVE 1024",
    "throughput CURVE 65536",
    "throughput NULL 64",
    "throughput NULL 1024",
    "throughput NULL 65536",
    "round trip CURVE 64",
    "round trip NULL 64",
    "tunnel CURVE 64",
    "tunnel CURVE 65536",
    "sockets, PUB to 50 SUB, CURVE 64",
    "100 connections to one server, CURVE 1024",
    "one sender to 50 connections, CURVE 64",
    "one sender to 500 connections, CURVE 64",
    "10000 idle CURVE connections, RSS",
    "storm of 5000 handshakes, all done",
    "ZAP decision, 100000 keys, 10000 addresses",
    "policy decision, 1000000 keys",
    "policy change of a key, 1000000 keys, 10000 grants",
];
/// What stands below a document's title.
const ABOUT: &str = "Written by `cargo bench -p zmtp-auth-benches --bench compare -- --write` on this
processor. `../README.md` says what the cases are. A row was measured at its commit and not since. `+`
stands behind a commit with changes that were not committed.
";

/// What is not known about a processor.
pub const UNKNOWN: &str = "unknown";

/// A processor, as far as figures depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    pub name: String,
    pub vendor: String,
    pub family: String,
    pub model: String,
    pub cores: String,
    pub flags: String,
}

/// The figures of a case, as they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub case: String,
    pub ours: String,
    pub peer: String,
    pub unit: String,
    pub ratio: String,
    pub commit: String,
}

/// What one kind of build measured: as a user gets it, or the code for another processor, or against
/// another library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub title: String,
    /// The command of its last run.
    pub command: String,
    pub rows: Vec<Row>,
}

/// All that was measured on a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub processor: Processor,
    pub sections: Vec<Section>,
}

impl Processor {
    /// Reads what Linux says in `/proc/cpuinfo`. Only the flags that the ciphers ask for are kept.
    pub fn of_linux(cpuinfo: &str, matter: &[&str]) -> Self {
        let field = |name: &str| {
            let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
            let value = lines.find(|(key, _)| key.trim() == name);
            value.map_or(UNKNOWN, |(_, value)| value.trim())
        };
        let all: Vec<_> = field("flags").split(' ').collect();
        let matter = matter.iter().filter(|flag| all.contains(flag)).copied();
        let flags: Vec<_> = matter.collect();
        let cores = cpuinfo
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count();
        Self {
            name: field("model name").to_owned(),
            vendor: field("vendor_id").to_owned(),
            family: field("cpu family").to_owned(),
            model: field("model").to_owned(),
            cores: cores.to_string(),
            flags: flags.join(" "),
        }
    }

    /// The name of the file with its tables.
    pub fn file(&self) -> String {
        let vendor = match self.vendor.as_str() {
            "AuthenticAMD" => "amd",
            "GenuineIntel" => "intel",
            other => other,
        };
        let (family, model, cores) = (&self.family, &self.model, &self.cores);
        format!("{vendor}-{family}-{model}-{cores}-cores.md").to_lowercase()
    }

    /// Whether what was measured on the other one was measured on this one. What was not recorded may
    /// be anything.
    pub fn is_same_as(&self, recorded: &Self) -> bool {
        self.file() == recorded.file() && [UNKNOWN, &self.flags].contains(&recorded.flags.as_str())
    }

    const FIELDS: [&'static str; 6] = ["name", "vendor", "family", "model", "cores", "flags"];

    fn parse(head: &str) -> Option<Self> {
        let [name, vendor, family, model, cores, flags] = Self::FIELDS.map(|field| {
            head.lines().find_map(|line| {
                line.strip_prefix(&format!("| {field} | "))?
                    .strip_suffix(" |")
            })
        });
        Some(Self {
            name: name?.to_owned(),
            vendor: vendor?.to_owned(),
            family: family?.to_owned(),
            model: model?.to_owned(),
            cores: cores?.to_owned(),
            flags: flags?.to_owned(),
        })
    }
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let cells = line.strip_prefix('|')?.strip_suffix('|')?;
        let mut cells = cells.split('|').map(|cell| cell.trim().to_owned());
        let row = Self {
            case: cells.next()?,
            ours: cells.next()?,
            peer: cells.next()?,
            unit: cells.next()?,
            ratio: cells.next()?,
            commit: cells.next()?,
        };
        cells.next().is_none().then_some(row)
    }
}

impl Section {
    /// Puts a row in the place of the one of its case, or behind the row that was measured before it.
    pub fn put(&mut self, row: Row, after: Option<&str>) {
        let at = |case: &str| self.rows.iter().position(|row| row.case == case);
        match (at(&row.case), after.and_then(at)) {
            (Some(old), _) => self.rows[old] = row,
            (None, Some(before)) => self.rows.insert(before + 1, row),
            (None, None) => self.rows.push(row),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (title, rest) = text.split_once("\n\n")?;
        let (command, rest) = rest.split_once("\n\n")?;
        let rows = rest.strip_prefix(HEAD)?;
        Some(Self {
            title: title.to_owned(),
            command: command.trim().to_owned(),
            rows: rows
                .trim_end()
                .lines()
                .map(Row::parse)
                .collect::<Option<_>>()?,
        })
    }
}

impl Document {
    pub const fn new(processor: Processor) -> Self {
        Self {
            processor,
            sections: Vec::new(),
        }
    }

    /// Reads what `to_string` writes. Returns nothing if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split("\n## ");
        let processor = Processor::parse(parts.next()?)?;
        let document = Self {
            processor,
            sections: parts.map(Section::parse).collect::<Option<_>>()?,
        };
        (document.to_string() == text).then_some(document)
    }

    /// The section with this title, which is made if it is missing.
    pub fn section(&mut self, title: &str, command: &str) -> &mut Section {
        let at = self.sections.iter().position(|one| one.title == title);
        let at = at.unwrap_or_else(|| {
            self.sections.push(Section {
                title: title.to_owned(),
                command: String::new(),
                rows: Vec::new(),
            });
            self.sections.len() - 1
        });
        let section = &mut self.sections[at];
        command.clone_into(&mut section.command);
        section
    }

    /// A case that was measured as a user gets the library.
    fn row(&self, case: &str) -> Option<&Row> {
        let rows = &self.sections.iter().find(|one| one.title == USUAL)?.rows;
        rows.iter().find(|row| row.case == case)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Processor {
            name,
            vendor,
            family,
            model,
            cores,
            flags,
        } = &self.processor;
        write!(f, "# {name}\n\n{ABOUT}\n| processor | |\n|---|---|\n")?;
        let values = [name, vendor, family, model, cores, flags];
        for (field, value) in Processor::FIELDS.iter().zip(values) {
            writeln!(f, "| {field} | {value} |")?;
        }
        for section in &self.sections {
            let Section {
                title,
                command,
                rows,
            } = section;
            write!(f, "\n## {title}\n\n    {command}\n\n{HEAD}")?;
            for row in rows {
                let cells = [
                    &row.case,
                    &row.ours,
                    &row.peer,
                    &row.unit,
                    &row.ratio,
                    &row.commit,
                ];
                writeln!(f, "| {} |", cells.map(String::as_str).join(" | "))?;
            }
        }
        Ok(())
    }
}

/// The ratios of the cases that matter most, by processor. A case without another library has its own
/// figure.
pub fn summary(cases: &[&str], documents: &[(String, Document)]) -> String {
    let mut table = "| case |".to_owned();
    for (file, Document { processor, .. }) in documents {
        let Processor {
            name,
            family,
            model,
            ..
        } = processor;
        table += &format!(" [{name}, family {family}, model {model}](results/{file}) |");
    }
    table += &format!("\n|---|{}\n", "---|".repeat(documents.len()));
    for case in cases {
        let rows: Vec<_> = documents.iter().map(|(_, one)| one.row(case)).collect();
        if rows.iter().all(Option::is_none) {
            continue;
        }
        table += &format!("| {case} |");
        for row in rows {
            table += &match row {
                None => " |".to_owned(),
                Some(row) if row.ratio.is_empty() => format!(" {} {} |", row.ours, row.unit),
                Some(row) => format!(" {} |", row.ratio),
            };
        }
        table.push('\n');
    }
    table
}
