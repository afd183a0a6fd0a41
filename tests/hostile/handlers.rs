//! ZAP handlers that never answer, answer late, answer twice, or answer for another request.

use super::denials::{presume, told};
use super::load_attack::{MIB, alone, crowd, load_attack, scaled, soon};
use super::server::{ASKING, DOMAIN, Server, Setup, Target};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use zmtp_auth::zap::{ZapReply, ZapRequest, ZapRouter};
use zmtp_auth::{DenialStatus, Error, Limits};

/// What a handler does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Sane,
    NeverAnswers,
    /// Has an answer when it is told so, however late that is.
    AnswersLate,
    /// Answers everything twice; who asks gets whatever answer comes next.
    AnswersTwice,
    /// Gives two who ask each other's answer.
    Swaps,
}

/// A handler with moods. Every answer that it ever gives is a yes.
#[derive(Clone)]
struct Moody(Arc<State>);

struct State {
    mood: Mutex<Mood>,
    /// Told when a question waits for its late answer.
    asked: Notify,
    late: watch::Sender<bool>,
    answers: Mutex<VecDeque<ZapReply>>,
    waiting: Mutex<Option<(ZapReply, oneshot::Sender<ZapReply>)>>,
}

impl Moody {
    fn new() -> Self {
        Self(Arc::new(State {
            mood: Mutex::new(Mood::Sane),
            asked: Notify::new(),
            late: watch::Sender::new(false),
            answers: Mutex::default(),
            waiting: Mutex::default(),
        }))
    }

    fn set(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
        *self.0.answers.lock().unwrap() = VecDeque::new();
    }

    fn router(&self, limits: &Limits) -> ZapRouter {
        let router = ZapRouter::with_limits(limits);
        let moody = self.clone();
        let handler = move |request: ZapRequest| {
            let moody = moody.clone();
            async move { moody.answer(request).await }
        };
        router.bind(DOMAIN, handler).unwrap();
        router
    }

    async fn answer(&self, request: ZapRequest) -> ZapReply {
        let state = &self.0;
        let mood = *state.mood.lock().unwrap();
        let yes = request.allow("somebody");
        match mood {
            Mood::Sane => yes,
            Mood::NeverAnswers => std::future::pending().await,
            Mood::AnswersLate => {
                // By a task of its own, which nobody cancels.
                let (answer, answered) = oneshot::channel();
                let mut late = state.late.subscribe();
                tokio::spawn(async move {
                    late.wait_for(|is_late| *is_late).await.unwrap();
                    // Whoever asked may be gone.
                    let _ = answer.send(yes);
                });
                state.asked.notify_one();
                answered.await.unwrap()
            }
            Mood::AnswersTwice => {
                let mut answers = state.answers.lock().unwrap();
                answers.extend([yes.clone(), yes]);
                answers.pop_front().unwrap()
            }
            Mood::Swaps => {
                // Under one lock: two who found nobody waiting would both wait.
                let swapped = {
                    let mut waiting = state.waiting.lock().unwrap();
                    if let Some((theirs, other)) = waiting.take() {
                        other.send(yes).unwrap();
                        return theirs;
                    }
                    let (swap, swapped) = oneshot::channel();
                    *waiting = Some((yes, swap));
                    swapped
                };
                swapped.await.unwrap()
            }
        }
    }
}

fn is_temporary(error: &Error) -> bool {
    matches!(error, Error::Denied(denied) if denied.status == DenialStatus::Temporary)
}

fn is_internal(error: &Error) -> bool {
    matches!(error, Error::Denied(denied) if denied.status == DenialStatus::Internal)
}

/// Presumes to be admitted, and must hear a refusal of this kind and nothing else.
async fn be_refused(target: Target, status: DenialStatus) {
    let mut raw = presume(&target).await;
    assert_eq!(raw.rest().await, told(status));
}

#[test]
fn a_handler_that_never_answers_refuses_for_now_and_blocks_nobody_for_good() {
    alone(async || {
        let mut limits = Limits::default();
        limits.verdict_timeout = Duration::from_millis(50);
        limits.max_pending_verdicts = 32;
        for kind in ASKING {
            let what = format!("a handler that never answers, {kind:?}");
            let moody = Moody::new();
            let attack = async |server: &mut Server, load| {
                let mut honest = server.honest().await;
                moody.set(Mood::NeverAnswers);
                let target = server.target.clone();
                // Twice as many as there may be questions: some are refused for that.
                let asking = crowd(load, 64, move |_| {
                    be_refused(target.clone(), DenialStatus::Temporary)
                });
                let working = async {
                    // Who is in needs no handler any more.
                    for round in 0..100 {
                        honest.exchange(&[round; 300]).await.unwrap();
                    }
                };
                tokio::join!(asking, working);
                server.refusals(load, is_temporary).await;
                moody.set(Mood::Sane);
            };
            let setup = Setup::new(kind).router(moody.router(&limits));
            load_attack(&what, setup, scaled(5000, 300), 4 * MIB, attack).await;
        }
    });
}

#[test]
fn a_handler_that_answers_too_late_admits_nobody() {
    alone(async || {
        let mut limits = Limits::default();
        limits.verdict_timeout = Duration::from_millis(10);
        for kind in ASKING {
            let what = format!("a handler that answers too late, {kind:?}");
            let moody = Moody::new();
            let attack = async |server: &mut Server, load| {
                moody.0.late.send_replace(false);
                moody.set(Mood::AnswersLate);
                let target = server.target.clone();
                crowd(load, 32, move |_| {
                    be_refused(target.clone(), DenialStatus::Temporary)
                })
                .await;
                server.refusals(load, is_temporary).await;
                // Now it says yes to all of them.
                moody.0.late.send_replace(true);
                moody.set(Mood::Sane);
                server.serve_honest().await;
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(kind).router(moody.router(&limits));
            // The answers of this handler, which all wait, are most of it.
            load_attack(&what, setup, scaled(2000, 300), 8 * MIB, attack).await;
        }
    });
}

#[test]
fn a_handler_that_answers_late_but_in_time_admits_as_if_it_had_not() {
    alone(async || {
        for kind in ASKING {
            let what = format!("a handler that answers late, {kind:?}");
            let moody = Moody::new();
            let attack = async |server: &mut Server, load| {
                moody.set(Mood::AnswersLate);
                for _ in 0..load {
                    moody.0.late.send_replace(false);
                    let answering = async {
                        soon(moody.0.asked.notified()).await;
                        moody.0.late.send_replace(true);
                    };
                    tokio::join!(server.serve_honest(), answering);
                }
                moody.set(Mood::Sane);
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(kind).router(moody.router(&Limits::default()));
            load_attack(&what, setup, scaled(2000, 100), MIB, attack).await;
        }
    });
}

#[test]
fn a_second_answer_admits_nobody_else() {
    alone(async || {
        for kind in ASKING {
            let what = format!("a handler that answers twice, {kind:?}");
            let moody = Moody::new();
            let attack = async |server: &mut Server, load| {
                moody.set(Mood::AnswersTwice);
                // The first of them gets its own answer; everybody after that an older one.
                server.serve_honest().await;
                for _ in 0..load {
                    be_refused(server.target.clone(), DenialStatus::Internal).await;
                }
                server.refusals(load, is_internal).await;
                moody.set(Mood::Sane);
            };
            let setup = Setup::new(kind).router(moody.router(&Limits::default()));
            load_attack(&what, setup, scaled(2000, 100), 4 * MIB, attack).await;
        }
    });
}

#[test]
fn an_answer_to_another_request_admits_neither() {
    alone(async || {
        for kind in ASKING {
            let what = format!("a handler that swaps answers, {kind:?}");
            let moody = Moody::new();
            let attack = async |server: &mut Server, load| {
                moody.set(Mood::Swaps);
                for _ in 0..load {
                    let target = &server.target;
                    let one = be_refused(target.clone(), DenialStatus::Internal);
                    let other = be_refused(target.clone(), DenialStatus::Internal);
                    tokio::join!(one, other);
                }
                server.refusals(2 * load, is_internal).await;
                moody.set(Mood::Sane);
            };
            let setup = Setup::new(kind).router(moody.router(&Limits::default()));
            load_attack(&what, setup, scaled(2000, 100), 4 * MIB, attack).await;
        }
    });
}
