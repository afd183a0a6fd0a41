//! The handshake of the network's side, up to the pause in which the host's is conducted.
#![forbid(unsafe_code)]

use crate::error::{Error, LocalError, Stage};
use crate::handshake::NeedsMetadata;
use crate::host::byte_stream::ByteStream;
use crate::host::clock::Clock;
use crate::host::conduct::{Conduct, Failure, StepError, Stop};
use crate::host::failed::Failed;
use crate::host::subject::Subject;
use crate::host::wiped_buffer::HandshakeBytes;
use crate::mechanism::session::PeerContext;
use crate::security::Security;
use bytes::BytesMut;

/// Conducts the handshake of a relay until it pauses for the metadata of its other side. Returns the
/// pause, and what has arrived behind the last command.
pub(crate) async fn run_to_pause(
    stream: &mut impl ByteStream,
    clock: &impl Clock,
    security: &Security,
    context: PeerContext,
) -> Result<(NeedsMetadata, BytesMut), Failed> {
    let failure = {
        let arrived = HandshakeBytes::default();
        let mut conduct = Conduct::new(&mut *stream, clock, security, (), arrived);
        match conduct.run(context).await {
            Ok(Stop::Paused(pause)) => return Ok((*pause, conduct.into_input())),
            // A relay without metadata always pauses.
            Ok(Stop::Complete(_)) => conduct.failed(Error::from(LocalError::MetadataMissing)),
            Err(failure) => failure,
        }
    };
    Err(Failed::after_linger(failure, stream, clock, security.limits()).await)
}

/// A handshake that failed after the pause.
pub(crate) fn failed(stage: Stage, error: Error) -> Failed {
    Failed::from(Failure {
        stage,
        error: StepError::Protocol(error),
        subject: Box::<Subject>::default(),
        error_frame: HandshakeBytes::default(),
    })
}
