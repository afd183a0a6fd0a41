//! Decides when a client's tunnel dials its far side again after a failure.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::lock::lock;
use crate::net::client::connector::chance;
use crate::net::deadline::deadline;
use crate::net::error::NetError;
use crate::net::options::ReconnectPolicy;
use crate::wire::metadata::Metadata;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until};

/// Most programs whose failures are remembered. 64, far more than share one tunnel. It bounds the
/// table against a program that invents a new identity each time.
const MAX_REMEMBERED: usize = 64;

/// The failures of a far side: one count for all local programs together, and one for each program.
///
/// An attempt that fails before the far side knows anything about the program counts for all
/// programs. That is a failure to connect, or to agree on a mechanism, keys or a password. A later
/// refusal may be due to the claims of the program, such as its identity or socket type, and holds
/// up only programs with the same claims.
///
/// After a failure one attempt is made at a time, and the others wait for its outcome.
#[derive(Debug)]
pub(crate) struct FarSideBackoff {
    policy: ReconnectPolicy,
    mechanism: MechanismKind,
    /// The gate for all programs.
    far_side: Arc<Gate>,
    /// A gate for each program that was refused for its claims.
    programs: Mutex<HashMap<Program, Arc<Gate>>>,
    /// Its secret key keeps a program from choosing claims with the hash of another program.
    hasher: RandomState,
}

/// A hash of all claims of a program.
type Program = u64;

/// Attempts that fail together.
#[derive(Debug, Default)]
struct Gate {
    failures: Mutex<Failures>,
    /// Held by the one attempt in progress while there are failures.
    turn: Arc<AsyncMutex<()>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Failures {
    in_a_row: u32,
    /// No attempt is made before then.
    wait_until: Option<Instant>,
}

/// Permission of one gate for one attempt.
#[derive(Debug)]
struct Pass {
    gate: Arc<Gate>,
    failures: u32,
    _turn: Option<OwnedMutexGuard<()>>,
}

/// Permission to dial the far side once.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    backoff: &'a FarSideBackoff,
    far_side: Pass,
    program: Program,
    own: Pass,
}

/// A connection that the far side has accepted.
#[derive(Debug)]
pub(crate) struct Taken {
    program: Program,
    gate: Arc<Gate>,
    failures: u32,
    since: Instant,
}

impl FarSideBackoff {
    pub(crate) fn new(policy: ReconnectPolicy, mechanism: MechanismKind) -> Self {
        Self {
            policy,
            mechanism,
            far_side: Arc::default(),
            programs: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Waits until the far side may be dialled for a program with these claims. Cancel-safe.
    pub(crate) async fn attempt(&self, claims: &Metadata) -> Attempt<'_> {
        let claims: Vec<_> = claims.iter().collect();
        let program = self.hasher.hash_one(claims);
        let known = self.programs().get(&program).map(Arc::clone);
        // Every attempt passes the gates in this order, so no two wait for each other.
        let own = Gate::pass(known.unwrap_or_default()).await;
        let far_side = Gate::pass(Arc::clone(&self.far_side)).await;
        Attempt {
            backoff: self,
            far_side,
            program,
            own,
        }
    }

    /// Notes that an accepted connection has ended. If the far side ended it soon, that counts as a
    /// failure too. Otherwise a far side that accepts connections and crashes would be dialled
    /// without pause.
    pub(crate) fn ended(&self, taken: &Taken, by_far_side: bool) {
        if by_far_side && taken.since.elapsed() < self.policy.stable_after {
            let delay = |failures| self.policy.delay_after_loss(failures, chance());
            taken.gate.fail(taken.failures, delay);
            self.remember(taken.program, &taken.gate);
        } else if taken.gate.state().wait_until.is_none() {
            taken.gate.reset();
            self.programs().remove(&taken.program);
        }
    }

    fn remember(&self, program: Program, gate: &Arc<Gate>) {
        let mut programs = self.programs();
        if programs.len() >= MAX_REMEMBERED && !programs.contains_key(&program) {
            // Forget the program whose wait ends first, which loses least.
            let first = programs
                .iter()
                .min_by_key(|(_, gate)| gate.state().wait_until);
            let first = first.map(|(program, _)| *program);
            first.map(|first| programs.remove(&first));
        }
        programs.entry(program).or_insert_with(|| Arc::clone(gate));
    }

    fn programs(&self) -> MutexGuard<'_, HashMap<Program, Arc<Gate>>> {
        lock(&self.programs)
    }
}

impl Attempt<'_> {
    /// Notes that the far side accepted the connection, which ends the wait of all other attempts.
    pub(crate) fn succeeded(self) -> Taken {
        self.far_side.gate.reset();
        // The count stays until a connection has lasted.
        self.own.gate.state().wait_until = None;
        Taken {
            program: self.program,
            failures: self.own.failures,
            gate: self.own.gate,
            since: Instant::now(),
        }
    }

    /// Notes that the attempt failed. `is_for_all` says that the far side knew nothing about the
    /// program yet.
    pub(crate) fn failed(self, error: &NetError, is_for_all: bool) {
        let FarSideBackoff {
            policy, mechanism, ..
        } = self.backoff;
        let delay = |failures| {
            let delay = policy.delay(error, *mechanism, failures, chance());
            // A tunnel never stops trying, because its program connects again in any case.
            delay.unwrap_or(policy.slow_delay)
        };
        if is_for_all {
            self.far_side.gate.fail(self.far_side.failures, delay);
        } else {
            self.far_side.gate.reset();
            self.own.gate.fail(self.own.failures, delay);
            self.backoff.remember(self.program, &self.own.gate);
        }
    }
}

impl Gate {
    async fn pass(gate: Arc<Self>) -> Pass {
        let mut turn = None;
        if gate.state().wait_until.is_some() {
            turn = Some(Arc::clone(&gate.turn).lock_owned().await);
            // The gate may have opened meanwhile.
            let wait_until = gate.state().wait_until;
            match wait_until {
                Some(then) => sleep_until(then).await,
                None => turn = None,
            }
        }
        let failures = gate.state().in_a_row;
        Pass {
            gate,
            failures,
            _turn: turn,
        }
    }

    /// Counts a failure. Attempts that began with the same count are one failure together.
    fn fail(&self, seen: u32, delay: impl FnOnce(u32) -> Duration) {
        let mut failures = self.state();
        if failures.in_a_row == seen {
            failures.in_a_row = seen.saturating_add(1);
            let delay = delay(failures.in_a_row);
            failures.wait_until = Some(deadline(Instant::now(), delay));
        }
    }

    fn reset(&self) {
        *self.state() = Failures::default();
    }

    fn state(&self) -> MutexGuard<'_, Failures> {
        lock(&self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const HOUR: Duration = Duration::from_secs(3600);

    fn backoff() -> FarSideBackoff {
        FarSideBackoff::new(ReconnectPolicy::default(), MechanismKind::Curve)
    }

    fn named(identity: &str) -> Metadata {
        let mut claims = Metadata::new();
        claims.push("Identity", identity.to_owned()).unwrap();
        claims
    }

    /// How long an attempt waits.
    async fn wait(backoff: &FarSideBackoff, claims: &Metadata) -> Duration {
        let start = Instant::now();
        timeout(HOUR, backoff.attempt(claims)).await.unwrap();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_together_count_once() {
        let (backoff, claims) = (backoff(), named("a"));
        for is_for_all in [true, false] {
            let mut attempts = Vec::new();
            for _ in 0..20 {
                attempts.push(backoff.attempt(&claims).await);
            }
            for attempt in attempts {
                attempt.failed(&NetError::Closed, is_for_all);
            }
            assert!(wait(&backoff, &claims).await <= Duration::from_millis(100));
            assert_eq!(
                wait(&backoff, &claims).await,
                Duration::ZERO,
                "once is enough"
            );
            let attempt = backoff.attempt(&claims).await;
            let taken = attempt.succeeded();
            backoff.ended(&taken, false);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_are_failures_one_attempt_is_made_at_a_time() {
        let (backoff, claims) = (backoff(), named("a"));
        let first = backoff.attempt(&claims).await;
        first.failed(&NetError::Closed, true);
        let second = backoff.attempt(&claims).await;
        // Whatever it claims.
        let other = named("b");
        assert!(timeout(HOUR, backoff.attempt(&other)).await.is_err());
        drop(second.succeeded());
        assert_eq!(wait(&backoff, &other).await, Duration::ZERO);
        // An attempt that is given up holds up no other.
        let third = backoff.attempt(&claims).await;
        third.failed(&NetError::Closed, true);
        drop(backoff.attempt(&claims).await);
        assert_eq!(wait(&backoff, &claims).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_programs_that_are_remembered_are_bounded() {
        let backoff = backoff();
        for identity in 0..1000 {
            let claims = named(&identity.to_string());
            let attempt = backoff.attempt(&claims).await;
            attempt.failed(&NetError::Closed, false);
            assert!(backoff.programs().len() <= MAX_REMEMBERED);
        }
        // One that has lasted is forgotten.
        let claims = named("999");
        let taken = backoff.attempt(&claims).await.succeeded();
        backoff.ended(&taken, false);
        assert_eq!(backoff.programs().len(), MAX_REMEMBERED - 1);
    }
}
