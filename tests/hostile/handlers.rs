//! ZAP handlers that never answer, answer late, twice or for another request admit no wrong peer.

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
    /// Answers when the test says so.
    AnswersLate,
    /// Answers every question twice. Each question gets the next answer in the queue.
    AnswersTwice,
    /// Exchanges the answers of two questions.
    Swaps,
}

/// A misbehaving handler. Every answer that it gives is a yes.
#[derive(Clone)]
struct Moody(Arc<State>);

struct State {
    mood: Mutex<Mood>,
    /// Notified when a question waits for its late answer.
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
                // Answers from a task of its own, which is never cancelled.
                let (answer, answered) = oneshot::channel();
                let mut late = state.late.subscribe();
                tokio::spawn(async move {
                    late.wait_for(|is_late| *is_late).await.unwrap();
                    // The asking side may be gone.
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
                // One lock for look and entry: otherwise two questions that found no other waiting
                // would both wait.
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

/// Continues as if it were admitted, and must receive only a refusal of this kind.
async fn be_refused(target: Target, status: DenialStatus) {
    let mut raw = presume(&target).await;
    assert_eq!(raw.rest().await, told(status));
}

#[test]
fn a_handler_that_never_answers_refuses_for_now_and_blocks_no_peer_for_good() {
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
                // Twice as many as the allowed questions, so some are refused for that reason.
                let asking = crowd(load, 64, move |_| {
                    be_refused(target.clone(), DenialStatus::Temporary)
                });
                let working = async {
                    // An admitted peer needs no handler.
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
fn a_handler_that_answers_too_late_admits_no_peer() {
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
                // The handler now admits all of them.
                moody.0.late.send_replace(true);
                moody.set(Mood::Sane);
                server.serve_honest().await;
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(kind).router(moody.router(&limits));
            // Most of this memory is the handler's own pending answers.
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
fn a_second_answer_admits_no_other_peer() {
    alone(async || {
        for kind in ASKING {
            let what = format!("a handler that answers twice, {kind:?}");
            let moody = Moody::new();
            let attack = async |server: &mut Server, load| {
                moody.set(Mood::AnswersTwice);
                // The first gets its own answer, and each later one an older answer.
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
