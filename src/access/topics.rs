//! Topic permissions: which topics a peer may subscribe to and publish.
#![forbid(unsafe_code)]

use crate::printable::printable;
use bytes::Bytes;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};
use thiserror::Error;

/// Maximum length of a prefix in bytes. 255, as for user ids and identities: what separates the
/// topics of two users fits, and a table of many users stays small.
const MAX_PREFIX_LEN: usize = 255;

/// Maximum number of prefixes of one user, for subscriptions and for messages each. 1024: a check
/// then compares at most eleven of them.
const MAX_PREFIXES: usize = 1024;

/// The topics that a peer may subscribe to and publish, each as a list of prefixes.
///
/// A subscription is allowed if it begins with a prefix of the list, so that it cannot match more
/// topics than the prefix does: a subscription that is shorter than the prefix is refused. A message
/// is allowed if its topic begins with a prefix of the list. The empty prefix allows everything, and
/// an empty list allows nothing.
///
/// ```
/// use zmtp_auth::TopicPermissions;
///
/// let reader = TopicPermissions::none().with_subscribe(["weather."])?;
/// assert!(reader.may_subscribe(b"weather.london"));
/// assert!(!reader.may_subscribe(b"weather") && !reader.may_publish(b"weather.london"));
/// # Ok::<(), zmtp_auth::TopicPermissionError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicPermissions(pub(crate) Arc<TopicLists>);

/// The lists of a [`TopicPermissions`].
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct TopicLists {
    subscribe: Prefixes,
    publish: Prefixes,
}

/// Why a list of prefixes is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TopicPermissionError {
    /// A prefix has more than 255 bytes.
    #[error("a prefix of a topic has at most {MAX_PREFIX_LEN} bytes, not {0}")]
    PrefixTooLong(usize),
    /// There are more than 1024 prefixes.
    #[error("a user has at most {MAX_PREFIXES} prefixes")]
    TooManyPrefixes,
}

impl TopicPermissions {
    /// Every topic is allowed.
    #[must_use]
    pub fn all() -> Self {
        // Shared, because most peers have these.
        static ALL: LazyLock<Arc<TopicLists>> = LazyLock::new(|| {
            let all = || Prefixes(vec![Bytes::new()]);
            Arc::new(TopicLists {
                subscribe: all(),
                publish: all(),
            })
        });
        Self(Arc::clone(&ALL))
    }

    /// No topic is allowed.
    #[must_use]
    pub fn none() -> Self {
        static NONE: LazyLock<Arc<TopicLists>> = LazyLock::new(Arc::default);
        Self(Arc::clone(&NONE))
    }

    /// Adds prefixes that subscriptions may begin with.
    ///
    /// # Errors
    /// Returns [`TopicPermissionError`] if a prefix is too long, or there are too many.
    pub fn with_subscribe<P: AsRef<[u8]>>(
        mut self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Result<Self, TopicPermissionError> {
        Arc::make_mut(&mut self.0).subscribe.add(prefixes)?;
        Ok(self)
    }

    /// Adds prefixes that the topics of messages may begin with.
    ///
    /// # Errors
    /// Returns [`TopicPermissionError`] if a prefix is too long, or there are too many.
    pub fn with_publish<P: AsRef<[u8]>>(
        mut self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Result<Self, TopicPermissionError> {
        Arc::make_mut(&mut self.0).publish.add(prefixes)?;
        Ok(self)
    }

    /// Whether the peer may subscribe to the topics that begin with `prefix`.
    #[must_use]
    pub fn may_subscribe(&self, prefix: &[u8]) -> bool {
        self.0.subscribe.cover(prefix)
    }

    /// Whether the peer may publish a message of this topic.
    #[must_use]
    pub fn may_publish(&self, topic: &[u8]) -> bool {
        self.0.publish.cover(topic)
    }

    /// The prefixes that subscriptions may begin with, in ascending order.
    pub fn subscribe_prefixes(&self) -> impl Iterator<Item = &Bytes> {
        self.0.subscribe.0.iter()
    }

    /// The prefixes that the topics of messages may begin with, in ascending order.
    pub fn publish_prefixes(&self) -> impl Iterator<Item = &Bytes> {
        self.0.publish.0.iter()
    }

    /// Whether every topic is allowed.
    #[must_use]
    pub fn allow_all(&self) -> bool {
        self.may_subscribe(b"") && self.may_publish(b"")
    }
}

impl fmt::Debug for TopicPermissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicPermissions")
            .field("subscribe", &self.0.subscribe.0)
            .field("publish", &self.0.publish.0)
            .finish()
    }
}

impl fmt::Display for TopicPermissions {
    /// For logs: one escaped line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicLists { subscribe, publish } = &*self.0;
        write!(f, "may subscribe to {subscribe} and publish {publish}")
    }
}

/// Prefixes in ascending order, none of which begins with another one.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Prefixes(Vec<Bytes>);

impl Prefixes {
    fn add<P: AsRef<[u8]>>(
        &mut self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Result<(), TopicPermissionError> {
        for prefix in prefixes {
            let prefix = prefix.as_ref();
            if prefix.len() > MAX_PREFIX_LEN {
                return Err(TopicPermissionError::PrefixTooLong(prefix.len()));
            }
            if self.cover(prefix) {
                continue;
            }
            // What begins with the new prefix follows it in the order, without gaps.
            let start = self.0.partition_point(|known| &known[..] < prefix);
            let covered = self.0[start..].iter();
            let covered = covered.take_while(|known| known.starts_with(prefix));
            let end = start + covered.count();
            let new = Bytes::copy_from_slice(prefix);
            self.0.splice(start..end, [new]);
            if self.0.len() > MAX_PREFIXES {
                return Err(TopicPermissionError::TooManyPrefixes);
            }
        }
        Ok(())
    }

    /// Whether `topic` begins with one of them. Every prefix of `topic` stands before it in the
    /// order. What stands between the two begins with the same prefix, and there is no such one.
    fn cover(&self, topic: &[u8]) -> bool {
        let behind = self.0.partition_point(|prefix| &prefix[..] <= topic);
        let nearest = behind.checked_sub(1).and_then(|place| self.0.get(place));
        nearest.is_some_and(|prefix| topic.starts_with(prefix))
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => f.write_str("nothing"),
            [all] if all.is_empty() => f.write_str("everything"),
            prefixes => {
                for (place, prefix) in prefixes.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}\"{}\"", printable(prefix))?;
                }
                Ok(())
            }
        }
    }
}

/// The issuer's side of [`Topics`]: the permissions that a policy gives a peer at each moment.
pub trait TopicTerms: Send + Sync {
    /// The permissions now. For a peer that is no longer admitted, this must be
    /// [`TopicPermissions::none`].
    fn permissions(&self) -> TopicPermissions;

    /// A number that grows after each change of the permissions.
    fn version(&self) -> u64;

    /// Resolves once [`TopicTerms::version`] is not `seen`, immediately if it is not already. Must be
    /// cancel-safe: the future may be dropped and the method called again.
    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The topic permissions of a peer, as its policy says them at each moment. Cloning is cheap.
///
/// [`Peer::topics`](crate::Peer::topics) and [`Grant::topics`](crate::Grant::topics) return it. Every
/// topic is allowed where no policy limits topics: without a ZAP handler, under a handler that issues
/// no grants, and in a domain of an [`Authenticator`](crate::auth::Authenticator) that has no
/// [`TopicTable`](crate::auth::TopicTable). A table that is configured later limits the peers that
/// are connected already. A peer whose admission has ended may use no topic.
///
/// A socket makes [`Topics::changes`] first, then judges the subscriptions of the peer, and judges
/// them again after each change.
#[derive(Clone)]
pub struct Topics(Option<Arc<dyn TopicTerms>>);

impl Topics {
    /// Every topic is allowed, and no change follows.
    #[must_use]
    pub const fn all() -> Self {
        Self(None)
    }

    /// Permissions that an issuer gives.
    #[must_use]
    pub fn new(terms: Arc<dyn TopicTerms>) -> Self {
        Self(Some(terms))
    }

    /// The permissions now. They do not change with the policy. Keep them together with the
    /// [`Topics::version`] that was read before.
    #[must_use]
    pub fn permissions(&self) -> TopicPermissions {
        let terms = self.0.as_ref();
        terms.map_or_else(TopicPermissions::all, |terms| terms.permissions())
    }

    /// Whether the peer may subscribe now to the topics that begin with `prefix`.
    #[must_use]
    pub fn may_subscribe(&self, prefix: &[u8]) -> bool {
        let terms = self.0.as_ref();
        terms.is_none_or(|terms| terms.permissions().may_subscribe(prefix))
    }

    /// Whether the peer may publish now a message of this topic.
    #[must_use]
    #[inline]
    pub fn may_publish(&self, topic: &[u8]) -> bool {
        let terms = self.0.as_ref();
        terms.is_none_or(|terms| terms.permissions().may_publish(topic))
    }

    /// A number that grows after each change of the permissions. Reading it is one load of an atomic.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u64 {
        self.0.as_ref().map_or(0, |terms| terms.version())
    }

    /// Notifications of all changes from now on.
    #[must_use]
    pub fn changes(&self) -> TopicChanges {
        TopicChanges {
            topics: self.clone(),
            seen: self.version(),
            waiting: None,
        }
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topics").field(&self.permissions()).finish()
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Notifies of changes of a peer's topic permissions. Several changes between two calls are one
/// notification. It is `Send`, `Sync` and `'static`, so a socket can keep it as a field.
pub struct TopicChanges {
    topics: Topics,
    seen: u64,
    /// The lock is never taken, because polling has exclusive access. It makes the type `Sync`.
    waiting: Option<Mutex<Waiting>>,
}

impl TopicChanges {
    /// Whether the permissions have changed since the last notification. If not, the task of `cx` is
    /// woken when they do. As with [`Future::poll`], only the task of the last call is woken.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(terms) = &self.topics.0 else {
            return Poll::Pending;
        };
        loop {
            let version = terms.version();
            if version != self.seen {
                self.seen = version;
                self.waiting = None;
                return Poll::Ready(());
            }
            let waiting = self.waiting.get_or_insert_with(|| {
                let (terms, seen) = (Arc::clone(terms), self.seen);
                Mutex::new(Box::pin(async move { terms.changed(seen).await }))
            });
            let waiting = waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
            if waiting.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.waiting = None;
        }
    }

    /// Waits until the permissions have changed since the last notification. It never resolves for
    /// [`Topics::all`].
    ///
    /// Cancel-safe: dropping the future loses no notification.
    pub async fn changed(&mut self) {
        poll_fn(|cx| self.poll_changed(cx)).await;
    }
}

impl fmt::Debug for TopicChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicChanges")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn may(prefixes: &[&str]) -> TopicPermissions {
        let none = TopicPermissions::none();
        none.with_subscribe(prefixes).unwrap()
    }

    #[test]
    fn a_subscription_is_allowed_if_it_begins_with_a_prefix_and_a_shorter_one_is_refused() {
        let weather = may(&["weather.", "news"]);
        for (prefix, allowed) in [
            ("weather.", true),
            ("weather.london", true),
            ("weather", false),
            ("", false),
            ("news", true),
            ("newspaper", true),
            ("new", false),
            ("stocks", false),
            ("Weather.", false),
        ] {
            assert_eq!(
                weather.may_subscribe(prefix.as_bytes()),
                allowed,
                "{prefix}"
            );
            assert!(!weather.may_publish(prefix.as_bytes()));
        }
        for topic in ["", "a", "\u{FF}"] {
            let topic = topic.as_bytes();
            let all = TopicPermissions::all();
            assert!(all.may_subscribe(topic) && all.may_publish(topic));
            let none = TopicPermissions::none();
            assert!(!none.may_subscribe(topic) && !none.may_publish(topic));
        }
        assert!(TopicPermissions::all().allow_all());
        assert!(!may(&[""]).allow_all());
        let both = may(&["", "a"]).with_publish([""]).unwrap();
        assert_eq!(both, TopicPermissions::all());
    }

    #[test]
    fn the_length_and_the_number_of_prefixes_are_bounded() {
        let none = TopicPermissions::none();
        assert!(none.clone().with_publish(["a".repeat(255)]).is_ok());
        assert_eq!(
            none.clone().with_publish(["a".repeat(256)]),
            Err(TopicPermissionError::PrefixTooLong(256))
        );
        let numbers = |count: u32| (0..count).map(|number| format!("{number:04}"));
        let full = none.with_subscribe(numbers(1024)).unwrap();
        assert_eq!(
            full.clone().with_subscribe(["x"]),
            Err(TopicPermissionError::TooManyPrefixes)
        );
        let shown = may(&["b", "a", "ab"]).with_publish(["c"]).unwrap();
        assert!(shown.subscribe_prefixes().eq(["a", "b"]));
        assert!(shown.publish_prefixes().eq(["c"]));
        // What a shorter prefix covers does not count.
        let again = full.with_subscribe(numbers(1024)).unwrap();
        assert_eq!(again.with_subscribe([""]).unwrap(), may(&[""]));
    }

    #[test]
    fn permissions_show_as_one_escaped_line() {
        let shown = may(&["b\n", "a"]).to_string();
        assert_eq!(
            shown,
            "may subscribe to \"a\", \"b\\n\" and publish nothing"
        );
        let all = TopicPermissions::all().to_string();
        assert_eq!(all, "may subscribe to everything and publish everything");
    }

    proptest! {
        #[test]
        fn the_search_finds_what_a_look_at_each_prefix_finds(
            prefixes in proptest::collection::vec("[ab]{0,4}", 0..8),
            topic in "[abc]{0,6}",
        ) {
            let naive = prefixes.iter().any(|prefix| topic.starts_with(prefix));
            let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
            prop_assert_eq!(may(&prefixes).may_subscribe(topic.as_bytes()), naive);
        }
    }
}
