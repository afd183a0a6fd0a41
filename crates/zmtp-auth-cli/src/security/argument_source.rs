//! What an argument names: a file, standard input, or a variable of the environment.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// Stands for standard input.
const STDIN: &str = "-";
/// Stands before the name of a variable of the environment.
const VARIABLE: &str = "env:";

/// What was read, and wiped on drop.
pub(crate) struct ArgumentSource {
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// Permission bits of a regular file, where there are such bits.
    pub(crate) mode: Option<u32>,
}

/// Whether it is a file that lies somewhere and can be read again: neither standard input, nor a
/// variable, nor a pipe, nor a descriptor.
pub(crate) fn is_lasting(from: &Path) -> bool {
    let is_pipe = || fs::metadata(from).is_ok_and(|metadata| is_pipe(&metadata));
    let is_descriptor = || {
        let places = ["/dev/fd", "/dev/stdin", "/proc/self/fd"];
        places.iter().any(|place| from.starts_with(place))
    };
    !is_stdin(from) && variable(from).is_none() && !is_descriptor() && !is_pipe()
}

/// Whether it is standard input.
pub(crate) fn is_stdin(from: &Path) -> bool {
    from == Path::new(STDIN)
}

/// Whether it is standard input, by any of its names.
fn leads_to_stdin(from: &Path) -> bool {
    let names = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    is_stdin(from) || names.iter().any(|name| from == Path::new(name))
}

/// What standard input is for. It has one reader: a second one would find it empty, or take a
/// secret key for lines to send.
static STDIN_IS: OnceLock<&str> = OnceLock::new();

/// Keeps standard input for what a command reads from it, before any argument is read.
///
/// # Errors
/// Returns wrong usage if it has a reader already.
pub(crate) fn reserve_stdin(what_for: &'static str) -> Result<(), Failure> {
    STDIN_IS.set(what_for).map_err(|_| stdin_is_taken())
}

fn stdin_is_taken() -> Failure {
    Failure::usage(format_args!(
        "standard input is {}, and can be read only once: name a file or env:NAME for the rest",
        STDIN_IS.get().unwrap_or(&"taken")
    ))
}

/// Reads at most `max` bytes, to the end. A pipe that was named, as `<(..)` of a shell does, is
/// waited for.
///
/// # Errors
/// Returns a failure if there is nothing of that name, it is neither a file nor a pipe, or holds
/// more, and wrong usage if it is standard input and that has a reader already.
pub(crate) fn read(from: &Path, max: usize) -> Result<ArgumentSource, Failure> {
    let failed = |error: io::Error| Failure::new(format_args!("cannot read {from:?}: {error}"));
    if leads_to_stdin(from) {
        reserve_stdin("named already")?;
    }
    let (source, mode): (Box<dyn Read>, _) = if is_stdin(from) {
        (Box::new(io::stdin().lock()), None)
    } else if let Some(name) = variable(from) {
        let value = std::env::var_os(name)
            .ok_or_else(|| Failure::usage(format_args!("there is no variable {name:?}")))?;
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
    // One byte more shows that there is more. Allocated at once: a buffer that grew would leave
    // copies behind.
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
