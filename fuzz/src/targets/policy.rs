//! Decisions of an Authenticator that is configured and asked at random, against the model.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::policy_model::{ADDRESSES, DOMAINS, Model, USERS, key, now};
use std::future::ready;
use zmtp_auth::auth::{Authenticator, CurveQuestion, Outcome, PlainQuestion, Rule};
use zmtp_auth::zap::{RequestId, ZapHandler, ZapRequest};
use zmtp_auth::{AccessRequest, Credentials, Grant, Password, PeerAddress, Status};

/// The most steps of a run.
const MOST_STEPS: usize = 40;

/// The input is steps: changes of the configuration, and requests.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut run = Run {
        auth: Authenticator::new(),
        model: Model::default(),
        held: Vec::new(),
    };
    for _ in 0..MOST_STEPS {
        if choices.is_empty() {
            break;
        }
        run.step(&mut choices);
        run.check_grants();
    }
}

struct Run {
    auth: Authenticator,
    model: Model,
    /// Admitted peers.
    held: Vec<(AccessRequest, Grant)>,
}

impl Run {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.byte();
        let domain = *choices.pick(&DOMAINS);
        let Self { auth, model, .. } = self;
        match kind % 16 {
            0 | 1 => {
                let (is_allow, rule) = (kind & 16 == 0, *choices.pick(&ADDRESSES));
                let scope = (kind % 16 == 1).then_some(domain);
                let list = match scope {
                    None => auth.addresses(),
                    Some(domain) => auth.addresses_of(domain),
                };
                let added = if is_allow {
                    list.allow([rule])
                } else {
                    list.deny([rule])
                };
                assert_eq!(added.is_ok(), model.list(scope, is_allow, rule));
            }
            2 => {
                auth.addresses_of(domain).clear();
                model.clear(Some(domain));
            }
            3 => {
                let users: Vec<_> = (0..choices.index(3))
                    .map(|_| (*choices.pick(&USERS), *choices.pick(&USERS)))
                    .collect();
                auth.configure_plain(domain, users.clone())
                    .expect("randomness");
                model.plain_table(domain, &users);
            }
            4 => {
                let keys: Vec<u8> = (0..choices.index(3)).map(|_| choices.byte() % 3).collect();
                auth.configure_curve_keys(domain, keys.iter().map(|&number| key(number)));
                model.curve_keys(domain, &keys);
            }
            5 => {
                auth.configure_curve_any(domain);
                model.curve_any(domain);
            }
            6 => {
                let says = choices.byte() & 1 == 1;
                auth.configure_curve_callback(domain, move |_: CurveQuestion| ready(says));
                model.curve_provider(domain, says);
            }
            7 => {
                let says = choices.byte() & 1 == 1;
                auth.configure_plain_callback(domain, move |_: PlainQuestion| ready(says));
                model.plain_provider(domain, says);
            }
            8 => {
                auth.unconfigure(domain);
                model.unconfigure(domain);
            }
            9 if kind & 16 == 0 => {
                auth.stop();
                model.stopped = true;
            }
            9 => {
                auth.start();
                model.stopped = false;
            }
            10 => self.raw_request(choices),
            _ => self.request(domain, choices),
        }
    }

    /// A request with credentials of the right form.
    fn request(&mut self, domain: &'static str, choices: &mut Choices<'_>) {
        let address = PeerAddress::from_zap(choices.pick(&ADDRESSES).as_bytes());
        let credentials = match choices.index(4) {
            0 => Credentials::Null,
            1 => Credentials::Plain {
                username: (*choices.pick(&USERS)).into(),
                password: Password::from(*choices.pick(&USERS)),
            },
            2 => Credentials::Curve {
                key: key(choices.byte() % 3),
            },
            _ => Credentials::Gssapi {
                principal: "principal".into(),
            },
        };
        let asked = AccessRequest::new(domain, address, credentials);
        let explained = now(self.auth.explain(&asked));
        let reply = now(self
            .auth
            .handle(ZapRequest::new(RequestId::from(1), &asked)));
        let is_allowed = reply.status == Status::Success;
        assert_eq!(reply.id, RequestId::from(1));
        match self.model.user_id(&asked) {
            Some(user_id) => {
                assert_eq!(reply.status, Status::Success, "{explained}");
                assert_eq!(reply.user_id, user_id);
            }
            None => assert!(!is_allowed, "without a rule: {explained}"),
        }
        if is_allowed {
            let is_rule = matches!(
                explained.rule,
                Rule::AddressAlone(_)
                    | Rule::Passwords(_)
                    | Rule::Keys(_)
                    | Rule::AnyKey(_)
                    | Rule::Provider(..)
            );
            assert!(is_rule, "{explained}");
            let grant = reply.grant.expect("an admission can be revoked");
            assert!(grant.still_valid());
            self.held.push((asked, grant));
        } else {
            assert!(reply.grant.is_none() && reply.user_id.is_empty());
        }
        if let Some(outcome) = &explained.outcome {
            assert_eq!(outcome.is_allowed(), is_allowed, "{explained}");
            if let Outcome::Refused { reason, .. } = outcome {
                assert_eq!(reply.text, reason);
            }
        }
    }

    /// A request with arbitrary frames. NULL may be admitted by its address. Nothing else is admitted
    /// without credentials that the model knows.
    fn raw_request(&self, choices: &mut Choices<'_>) {
        let frames: Vec<_> = (0..choices.index(9))
            .map(|_| choices.string().to_vec().into())
            .collect();
        let typed = ZapRequest::from_frames(frames.clone());
        let id = frames.get(1).cloned();
        let Some(reply) = now(self.auth.handle_zap_message(frames)) else {
            assert_eq!(id, None, "no reply, though there is an id");
            return;
        };
        assert_eq!(Some(&reply[1]), id.as_ref());
        if reply[2] != "200" {
            return;
        }
        let request = typed.expect("a request that was admitted");
        let credentials = request.credentials().expect("good credentials");
        let asked = AccessRequest::new(request.domain, request.address, credentials);
        let user_id = self.model.user_id(&asked).expect("a rule");
        assert_eq!(reply[4], user_id);
    }

    /// A grant that is valid would be issued again.
    fn check_grants(&self) {
        for (asked, grant) in &self.held {
            if grant.still_valid() && !self.model.stopped {
                assert!(
                    self.model.user_id(asked).is_some(),
                    "a grant outlives its rule"
                );
            }
        }
    }
}
