//! When a client's tunnel may ask the far side again that was not reached or has refused.
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
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until};

/// Most programs whose failures are remembered: far more than share one tunnel. A program
/// that makes up a new identity each time cannot make the table grow beyond this.
const MAX_REMEMBERED: usize = 64;

/// The failures of a far side: one count for all local programs, and one for each.
///
/// What fails before the far side has been told anything about the program, which is to reach it
/// and to agree on a mechanism, keys or a password, fails for all. A refusal after that may be
/// for what the program says of itself, such as its identity or its type of socket, and holds up
/// only programs that say the same.
///
/// After a failure one attempt is made at a time, and the others wait for what comes of it.
#[derive(Debug)]
pub(crate) struct FarSideBackoff {
    policy: ReconnectPolicy,
    mechanism: MechanismKind,
    /// For all programs.
    far_side: Arc<Gate>,
    /// For each program that was refused for what it claims.
    programs: Mutex<HashMap<Program, Arc<Gate>>>,
    /// Its secret key keeps a program from claiming what counts as another.
    hasher: RandomState,
}

/// A hash of everything that a program claims.
type Program = u64;

/// Attempts that fail together.
#[derive(Debug, Default)]
struct Gate {
    failures: Mutex<Failures>,
    /// Held by the one attempt that is made while there are failures.
    turn: Arc<Turn<()>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Failures {
    in_a_row: u32,
    /// No attempt before then.
    wait_until: Option<Instant>,
}

/// What an attempt found at a gate.
#[derive(Debug)]
struct Pass {
    gate: Arc<Gate>,
    failures: u32,
    _turn: Option<OwnedMutexGuard<()>>,
}

/// Leave to ask the far side once.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    backoff: &'a FarSideBackoff,
    far_side: Pass,
    program: Program,
    own: Pass,
}

/// A connection that the far side has taken.
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

    /// Waits until the far side may be asked for a program that claims this. Cancel-safe.
    pub(crate) async fn attempt(&self, claims: &Metadata) -> Attempt<'_> {
        let claims: Vec<_> = claims.iter().collect();
        let program = self.hasher.hash_one(claims);
        let known = self.programs().get(&program).map(Arc::clone);
        // In this order everywhere, so that no two attempts wait for each other.
        let own = Gate::pass(known.unwrap_or_default()).await;
        let far_side = Gate::pass(Arc::clone(&self.far_side)).await;
        Attempt {
            backoff: self,
            far_side,
            program,
            own,
        }
    }

    /// A connection that was taken has ended. If the far side ended it soon that is a failure too:
    /// else one that takes connections and falls over would be asked without pause.
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
            // The one that may be asked for first is missed least.
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
    /// The far side has taken the connection, which ends the wait of all others.
    pub(crate) fn succeeded(self) -> Taken {
        self.far_side.gate.reset();
        // The count goes on until a connection has lasted.
        self.own.gate.state().wait_until = None;
        Taken {
            program: self.program,
            failures: self.own.failures,
            gate: self.own.gate,
            since: Instant::now(),
        }
    }

    /// It has not. `is_for_all` says that it knew nothing yet of the program.
    pub(crate) fn failed(self, error: &NetError, is_for_all: bool) {
        let FarSideBackoff {
            policy, mechanism, ..
        } = self.backoff;
        let delay = |failures| {
            let delay = policy.delay(error, *mechanism, failures, chance());
            // A tunnel never stops: its program would come again in any case.
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
            // It may have been opened meanwhile.
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

    /// Attempts that were under way together fail once.
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
