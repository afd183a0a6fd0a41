//! The runtime of the commands that need sockets.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use std::future::Future;

/// Runs a command that needs sockets, to its end.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    // A thread may still wait for standard input. It must not keep the process alive.
    runtime.shutdown_background();
    outcome
}
