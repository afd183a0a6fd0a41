//! Reads what an argument names: a file, standard input, or an environment variable.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// The name of standard input.
const STDIN: &str = "-";
/// The prefix of the name of an environment variable.
const VARIABLE: &str = "env:";

/// The content that was read. It is wiped on drop.
pub(crate) struct ArgumentSource {
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// The permission bits of a regular file, on unix.
    pub(crate) mode: Option<u32>,
}

/// Whether the argument names a file that can be read again, and not standard input, a variable, a
/// pipe or a descriptor.
pub(crate) fn is_lasting(from: &Path) -> bool {
    let is_pipe = || fs::metadata(from).is_ok_and(|metadata| is_pipe(&metadata));
    let is_descriptor = || {
        let places = ["/dev/fd", "/dev/stdin", "/proc/self/fd"];
        places.iter().any(|place| from.starts_with(place))
    };
    !is_stdin(from) && variable(from).is_none() && !is_descriptor() && !is_pipe()
}

/// Whether the argument is `-`.
pub(crate) fn is_stdin(from: &Path) -> bool {
    from == Path::new(STDIN)
}

/// Whether the argument is standard input, by any of its names.
fn leads_to_stdin(from: &Path) -> bool {
    let names = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    is_stdin(from) || names.iter().any(|name| from == Path::new(name))
}

/// What standard input is used for. Only one use is allowed: a second reader would find it empty, or
/// a secret key would be sent as a message.
static STDIN_IS: OnceLock<&str> = OnceLock::new();

/// Reserves standard input for a command, before any argument is read.
///
/// # Errors
/// Returns a usage failure if standard input is already used.
pub(crate) fn reserve_stdin(what_for: &'static str) -> Result<(), Failure> {
    STDIN_IS.set(what_for).map_err(|_| stdin_is_taken())
}

fn stdin_is_taken() -> Failure {
    Failure::usage(format_args!(
        "standard input is already {}, and can be read only once: name a file or env:NAME instead",
        STDIN_IS.get().unwrap_or(&"read")
    ))
}

/// Reads the whole content, at most `max` bytes. Waits for the writer of a pipe, such as `<(..)` of a
/// shell.
///
/// # Errors
/// Returns a failure if the name does not exist, is neither a file nor a pipe, or holds more than
/// `max` bytes. Returns a usage failure if it is standard input, which is already used.
pub(crate) fn read(from: &Path, max: usize) -> Result<ArgumentSource, Failure> {
    let failed = |error: io::Error| Failure::new(format_args!("cannot read {from:?}: {error}"));
    if leads_to_stdin(from) {
        reserve_stdin("named by another argument")?;
    }
    let (source, mode): (Box<dyn Read>, _) = if is_stdin(from) {
        (Box::new(io::stdin().lock()), None)
    } else if let Some(name) = variable(from) {
        let value = std::env::var_os(name).ok_or_else(|| {
            Failure::usage(format_args!("the environment has no variable {name:?}"))
        })?;
        let value = Zeroizing::new(value.into_encoded_bytes());
        return bounded(&value[..], None, from, max);
    } else {
        let metadata = fs::metadata(from).map_err(failed)?;
        if !metadata.is_file() && !is_pipe(&metadata) {
            let kinds = "neither a file nor a pipe";
            return Err(Failure::new(format_args!("{from:?} is {kinds}")));
        }
        let file = File::open(from).map_err(failed)?;
        let mode = mode(&file.metadata().map_err(failed)?);
        (Box::new(file), mode)
    };
    bounded(source, mode, from, max)
}

fn bounded(
    source: impl Read,
    mode: Option<u32>,
    from: &Path,
    max: usize,
) -> Result<ArgumentSource, Failure> {
    // One byte more shows that the content is too long. The buffer is allocated once, since a buffer
    // that grows leaves copies of secrets in freed memory.
    let mut content = Zeroizing::new(Vec::with_capacity(max + 1));
    let read = source.take(max as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| Failure::new(format_args!("cannot read {from:?}: {error}")))?;
    if content.len() > max {
        let more = format_args!("{from:?} holds more than {max} bytes");
        return Err(Failure::new(more));
    }
    Ok(ArgumentSource { content, mode })
}

fn variable(from: &Path) -> Option<&str> {
    from.to_str()?.strip_prefix(VARIABLE)
}

#[cfg(unix)]
fn is_pipe(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    metadata.is_file().then_some(mode)
}

#[cfg(not(unix))]
fn mode(_: &Metadata) -> Option<u32> {
    None
}
