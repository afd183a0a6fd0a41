//! Configures which topics the users of a domain may use.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::configured::Configured;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::call::Call;
use crate::auth::policy::topics::TopicTable;
use std::sync::Arc;

impl Authenticator {
    /// Limits the topics of the users of `domain` to those of `table`, in place of an earlier table.
    /// A domain without a table uses the table of `*`. Without either, every topic is allowed.
    ///
    /// It takes effect at once on the peers that are connected: what [`Topics`](crate::Topics) says
    /// changes, and all that wait for a change are woken. It ends no admission, and returns how many it has
    /// changed ([`Configured::changed_admissions`]). The caller of
    /// [`Peer::topics`](crate::Peer::topics) applies the permissions: this crate's connections pass
    /// on all messages and subscriptions. The sockets of the crate `zmtp-sockets` apply them.
    pub fn configure_topics(&self, domain: impl Into<Domain>, table: TopicTable) -> Configured {
        self.rule_topics(domain.into(), Some(table))
    }

    /// Removes the topic table of `domain`, which then uses the table of `*`.
    pub fn clear_topics(&self, domain: impl Into<Domain>) -> Configured {
        self.rule_topics(domain.into(), None)
    }

    fn rule_topics(&self, domain: Domain, table: Option<TopicTable>) -> Configured {
        let changed_admissions = self.change(|policy| {
            policy.ruling_call = Call::next();
            let tables = &mut Arc::make_mut(&mut policy.topics).0;
            let is_table = table.is_some();
            let table = table.map(Arc::new);
            let after = table.clone().unwrap_or_default();
            let before = match table {
                Some(table) => tables.insert(domain.clone(), table),
                None => tables.remove(&domain),
            };
            let (users, others) = after.difference(&before.unwrap_or_default());
            Change::Topics {
                domain,
                is_table,
                users,
                others,
            }
        });
        Configured {
            changed_admissions,
            ..Configured::default()
        }
    }
}
