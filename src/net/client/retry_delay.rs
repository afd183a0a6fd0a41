//! Decides whether and when to connect again. Pure: the caller supplies the randomness.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::error::Error;
use crate::fault::{Fault, LikelyCause};
use crate::net::error::NetError;
use crate::net::options::{AfterRefusal, ReconnectPolicy};
use std::time::Duration;

impl ReconnectPolicy {
    /// How long to wait after `error`, the last of `failures` in a row; `None` to stop.
    pub(crate) fn delay(
        &self,
        error: &NetError,
        mechanism: MechanismKind,
        failures: u32,
        random: u64,
    ) -> Option<Duration> {
        if self.once {
            return None;
        }
        let longest = match error.protocol() {
            None if matches!(error, NetError::Endpoint(_)) => return None,
            None => self.backoff(failures),
            Some(Error::RefusedByPeer(_))
                if error.likely_cause() != Some(LikelyCause::TemporaryRefusal) =>
            {
                let stop = match self.after_refusal {
                    AfterRefusal::ByMechanism => mechanism != MechanismKind::Curve,
                    AfterRefusal::Stop => true,
                    AfterRefusal::Retry => false,
                };
                if stop {
                    return None;
                }
                self.slow_delay
            }
            Some(Error::Local(_)) => return None,
            Some(Error::Incompatible(_) | Error::Protocol(_) | Error::Crypto(_)) => self.slow_delay,
            Some(denied @ Error::Denied(_)) if denied.fault() != Fault::Temporary => {
                self.slow_delay
            }
            Some(_) => self.backoff(failures),
        };
        Some(shorten(longest, random))
    }

    /// How long to wait before connecting again after a connection has ended. Never zero, because
    /// the peer may just have restarted with all its clients waiting.
    pub(crate) fn delay_after_loss(&self, failures: u32, random: u64) -> Duration {
        shorten(self.backoff(failures), random)
    }

    fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first_delay
            .saturating_mul(1 << doublings)
            .min(self.max_delay)
    }
}

/// Between a half and the whole of `longest`.
fn shorten(longest: Duration, random: u64) -> Duration {
    let half = longest / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Incompatible, LocalError, Stage};
    use crate::net::endpoint::EndpointError;
    use crate::status::{DenialStatus, Denied, PeerRefusal, Status};
    use MechanismKind::{Curve, Null, Plain};

    fn refused(status: Option<Status>) -> NetError {
        NetError::Handshake(Error::RefusedByPeer(PeerRefusal {
            status,
            reason: "x".into(),
        }))
    }

    /// The longest delay, where chance shortens nothing.
    fn delay(error: &NetError, mechanism: MechanismKind, failures: u32) -> Option<Duration> {
        let policy = ReconnectPolicy {
            first_delay: Duration::from_secs(1),
            ..ReconnectPolicy::default()
        };
        policy.delay(error, mechanism, failures, u64::MAX)
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn delays_double_up_to_their_limit() {
        for (failures, expected) in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (u32::MAX, 30)] {
            assert_eq!(delay(&NetError::Closed, Null, failures), seconds(expected));
        }
    }

    #[test]
    fn chance_shortens_by_up_to_a_half() {
        let second = Duration::from_secs(1);
        assert_eq!(shorten(second, 0), second / 2);
        assert_eq!(shorten(second, u64::MAX), second);
        let middle = shorten(second, u64::MAX / 2);
        assert!(middle > second * 7 / 10 && middle < second * 8 / 10);
        assert!(shorten(Duration::MAX, u64::MAX) <= Duration::MAX);
    }

    #[test]
    fn a_refusal_ends_plain_and_null_and_slows_curve_down() {
        for status in [
            Some(Status::AuthenticationFailure),
            Some(Status::InternalError),
            None,
        ] {
            assert_eq!(delay(&refused(status), Null, 1), None);
            assert_eq!(delay(&refused(status), Plain, 1), None);
            assert_eq!(delay(&refused(status), Curve, 1), seconds(60));
        }
        let temporary = refused(Some(Status::TemporaryError));
        assert_eq!(delay(&temporary, Plain, 1), seconds(1));
    }

    #[test]
    fn what_follows_a_refusal_can_be_told() {
        let error = refused(Some(Status::AuthenticationFailure));
        let mut policy = ReconnectPolicy {
            after_refusal: AfterRefusal::Stop,
            ..ReconnectPolicy::default()
        };
        assert_eq!(policy.delay(&error, Curve, 1, 0), None);
        policy.after_refusal = AfterRefusal::Retry;
        assert_eq!(policy.delay(&error, Plain, 1, u64::MAX), seconds(60));
    }

    #[test]
    fn what_time_may_mend_is_tried_again_and_what_it_cannot_is_not() {
        let handshake = NetError::Handshake;
        let denied = |status| {
            handshake(Error::Denied(Denied {
                by: None,
                status,
                reason: String::new(),
            }))
        };
        for (error, expected) in [
            (handshake(Error::Timeout(Stage::Greeting)), seconds(1)),
            (
                handshake(Error::ClosedByPeer(Stage::CurveWelcome)),
                seconds(1),
            ),
            (
                handshake(Error::ResetByServer(Stage::CurveWelcome)),
                seconds(1),
            ),
            (handshake(Incompatible::NotZmtp3.into()), seconds(60)),
            (denied(DenialStatus::Temporary), seconds(1)),
            (denied(DenialStatus::Failure), seconds(60)),
            (handshake(LocalError::Random.into()), None),
            (EndpointError::Inproc.into(), None),
        ] {
            assert_eq!(delay(&error, Curve, 1), expected, "{error}");
        }
    }
}
