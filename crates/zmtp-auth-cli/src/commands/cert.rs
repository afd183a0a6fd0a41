//! `cert`: certificates are made, shown, and checked as a server would load them.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::console::Console;
use crate::output::printable;
use crate::security::key_file::load_certificate;
use crate::socket::frames::Shown as FileName;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zmtp_auth::WithCauses;
use zmtp_auth::cert::{
    Certificate, CertificateDirectory, CertificateErrorKind, CertificateWarning, DirectoryReport,
    Layout, load_certificates,
};

/// Make, show and check certificates
///
/// A certificate is a pair of files. NAME.key holds the public key: give it to others.
/// NAME.key_secret holds the secret key too: keep it. pyzmq reads and writes the same files.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    New(NewArguments),
    Show(ShowArguments),
    Check(CheckArguments),
}

/// Make a key pair and write NAME.key and NAME.key_secret
///
/// Existing files are never overwritten. Only you can read the secret file.
#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// The name of both files, without an extension
    name: String,
    /// The directory to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Metadata, which a server passes to its application with each peer; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    meta: Vec<(String, String)>,
    /// The key is valid from this date on, such as 2027-01-31T12:00:00Z. zmtp-auth's servers check
    /// it; pyzmq's do not
    #[arg(long, value_name = "DATE")]
    not_before: Option<String>,
    /// The key is valid until this date. zmtp-auth's servers check it; pyzmq's do not
    #[arg(long, value_name = "DATE")]
    not_after: Option<String>,
}

/// Show what a certificate file holds, without its secret key
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The certificate: a file, standard input (-) or a variable (env:NAME)
    file: PathBuf,
}

/// Check the certificates in a directory
///
/// Lists each certificate that a server would load, each that it would not, and why. Files that
/// others can read or write are warned about. Files whose names are not those of certificates are
/// listed and are no failure. Exits with 1 if a certificate cannot be loaded.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The directory
    dir: PathBuf,
    /// How the certificate files are named
    #[arg(long, value_enum, default_value_t)]
    layout: LayoutArgument,
}

/// [`Layout`] as an argument.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LayoutArgument {
    /// NAME.key
    #[default]
    Pyzmq,
    /// NAME, without an extension
    Czmq,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(command: &CertCommand, console: Console) -> Result<(), Failure> {
    match command {
        CertCommand::New(arguments) => new(arguments, console),
        CertCommand::Show(arguments) => show(&arguments.file, console),
        CertCommand::Check(arguments) => check(arguments, console),
    }
}

fn new(arguments: &NewArguments, console: Console) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Made {
        public_key: String,
        public_file: FileName,
        secret_file: FileName,
    }
    let mut certificate = Certificate::generate()?;
    let dates = [
        ("not-before", &arguments.not_before),
        ("not-after", &arguments.not_after),
    ];
    let dates = dates
        .into_iter()
        .filter_map(|(name, date)| Some((name, date.as_deref()?)));
    let meta = arguments.meta.iter();
    let meta = meta.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in meta.chain(dates) {
        certificate = certificate.with_metadata(name, value).map_err(|error| {
            let why = WithCauses(&error);
            Failure::usage(format_args!("metadata {name:?}: {why}"))
        })?;
    }
    let public_key = certificate.public_key().to_z85();
    if let Ok(validity) = certificate.validity()
        && validity
            .not_after
            .is_some_and(|end| end <= SystemTime::now())
    {
        tracing::warn!("not-after has passed already: no server admits this key");
    }
    let name = arguments.name.as_str();
    let saved = certificate
        .save(&arguments.dir, name)
        .map_err(|error| match &error.reason {
            CertificateErrorKind::FileName => Failure::usage(format_args!(
                "{name:?} is no certificate name: {}",
                error.reason
            )),
            _ => Failure::of(error),
        });
    let (public_file, secret_file) = saved?;
    let text = format!(
        "{public_key}\n{} is public: give it to others\n{} is secret: keep it\n",
        public_file.display(),
        secret_file.display()
    );
    let made = Made {
        public_key,
        public_file: FileName::path(&public_file),
        secret_file: FileName::path(&secret_file),
    };
    console.result(&made, &text)
}

/// A certificate without its secret.
#[derive(Serialize)]
struct Shown {
    file: FileName,
    #[serde(skip)]
    name: String,
    public_key: String,
    has_secret: bool,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    /// Whether the certificate is valid now.
    valid: bool,
}

impl Shown {
    fn of(certificate: &Certificate, file: &Path) -> Result<Self, Failure> {
        let bad = |error: CertificateErrorKind| {
            let why = WithCauses(&error);
            Failure::new(format_args!("certificate {file:?}: {why}"))
        };
        let validity = certificate.validity().map_err(bad)?;
        let now = SystemTime::now();
        let date = |date: SystemTime| humantime::format_rfc3339(date).to_string();
        Ok(Self {
            file: FileName::path(file),
            name: printable::name(file.file_name().unwrap_or_default()),
            public_key: certificate.public_key().to_z85(),
            has_secret: certificate.key_pair().is_some(),
            metadata: certificate.metadata().iter().cloned().collect(),
            not_before: validity.not_before.map(date),
            not_after: validity.not_after.map(date),
            valid: validity.not_before.is_none_or(|first| now >= first)
                && validity.not_after.is_none_or(|end| now < end),
        })
    }

    /// Whether the certificate is valid now, in words.
    fn standing(&self) -> &'static str {
        match (self.valid, &self.not_after) {
            (true, _) => "ok",
            (false, Some(_)) => "expired or not yet valid",
            (false, None) => "not yet valid",
        }
    }
}

fn show(file: &Path, console: Console) -> Result<(), Failure> {
    let certificate = load_certificate(file)?;
    let shown = Shown::of(&certificate, file)?;
    let mut text = format!("public-key {}\n", shown.public_key);
    if shown.has_secret {
        text.push_str("secret-key (present, not shown)\n");
    }
    for (name, value) in certificate.metadata() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    if !shown.valid {
        let _ = writeln!(text, "validity: {}", shown.standing());
    }
    console.result(&shown, &text)
}

#[derive(Serialize, Default)]
struct Checked {
    certificates: Vec<Shown>,
    problems: Vec<String>,
    warnings: Vec<String>,
    /// Files whose names are not those of certificates.
    passed_over: Vec<FileName>,
}

fn check(arguments: &CheckArguments, console: Console) -> Result<(), Failure> {
    let dir = &arguments.dir;
    let report = load_certificates(CertificateDirectory::new(dir).with_layout(
        match arguments.layout {
            LayoutArgument::Pyzmq => Layout::Pyzmq,
            LayoutArgument::Czmq => Layout::Czmq,
        },
    ));
    // The error is of the directory: a file that cannot be loaded is a problem in the report.
    let report = report.map_err(|error| {
        let why = WithCauses(&error.reason);
        Failure::new(format_args!("certificate directory {dir:?}: {why}"))
    })?;
    let files = report.passed_over.iter();
    let passed_over: Vec<_> = files.filter_map(|file| file.file_name()).collect();
    let mut checked = Checked {
        problems: report
            .problems
            .iter()
            .map(|(_, error)| WithCauses(error).to_string())
            .collect(),
        warnings: texts(&report.warnings),
        passed_over: passed_over.iter().map(FileName::path).collect(),
        ..Checked::default()
    };
    for certificate in &report.certificates {
        let file = certificate.file().unwrap_or(dir);
        checked.certificates.push(Shown::of(certificate, file)?);
    }
    check_secrets(&report, &mut checked);
    let mut text = String::new();
    for shown in &checked.certificates {
        let name = &shown.name;
        let _ = writeln!(text, "{}: {name} {}", shown.standing(), shown.public_key);
    }
    for problem in &checked.problems {
        let _ = writeln!(text, "bad: {problem}");
    }
    for warning in &checked.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for name in &passed_over {
        let _ = writeln!(
            text,
            "not loaded: {name:?} is not the name of a public certificate"
        );
    }
    if text.is_empty() {
        text.push_str("no certificates found\n");
    }
    console.result(&checked, &text)?;
    match checked.problems.len() {
        0 => Ok(()),
        count => Err(Failure::new(printable::counted(count, "bad certificate"))),
    }
}

/// Checks the secret certificates in the directory. A server loads none of them. Their owners do,
/// and everyone who can read one can impersonate its owner.
fn check_secrets(report: &DirectoryReport, checked: &mut Checked) {
    for file in &report.passed_over {
        let name = file.file_name().unwrap_or_default();
        if !name.as_encoded_bytes().ends_with(b"_secret") {
            continue;
        }
        match Certificate::load(file) {
            Ok(certificate) => {
                checked.warnings.extend(texts(certificate.warnings()));
                if certificate.key_pair().is_some() {
                    let file = file.clone();
                    let found = CertificateWarning::SecretInPublic { file };
                    // The load has looked for secrets in the first files only.
                    if !report.warnings.contains(&found) {
                        checked.warnings.push(found.to_string());
                    }
                }
            }
            Err(error) => checked.problems.push(WithCauses(&error).to_string()),
        }
    }
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}
