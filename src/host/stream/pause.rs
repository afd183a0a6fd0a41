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

/// A handshake that pauses for the metadata of its other side.
pub(crate) struct Paused {
    pub(crate) pause: NeedsMetadata,
    /// What has arrived behind the last command.
    pub(crate) arrived: BytesMut,
    pub(crate) subject: Subject,
}

/// Conducts the handshake of a relay until it pauses.
pub(crate) async fn run_to_pause(
    stream: &mut impl ByteStream,
    clock: &impl Clock,
    security: &Security,
    context: PeerContext,
) -> Result<Paused, Failed> {
    let failure = {
        let arrived = HandshakeBytes::default();
        let mut conduct = Conduct::new(&mut *stream, clock, security, (), arrived);
        match conduct.run(context).await {
            Ok(Stop::Paused(pause)) => {
                let (arrived, subject) = conduct.into_rest();
                return Ok(Paused {
                    pause: *pause,
                    arrived,
                    subject,
                });
            }
            // A relay without metadata always pauses.
            Ok(Stop::Complete(_)) => conduct.failed(Error::from(LocalError::MetadataMissing)),
            Err(failure) => failure,
        }
    };
    Err(Failed::after_linger(failure, stream, clock, security.limits()).await)
}

/// A handshake that failed after the pause.
pub(crate) fn failed(stage: Stage, error: Error, subject: Subject) -> Failed {
    Failed::from(Failure {
        stage,
        error: StepError::Protocol(error),
        subject: Box::new(subject),
        error_frame: HandshakeBytes::default(),
    })
}
