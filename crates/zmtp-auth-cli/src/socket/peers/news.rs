//! Where the task of a socket hears of its peers.
#![forbid(unsafe_code)]

use std::future::{Future, pending};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc;
use zmtp_sockets::{Events, SocketEvent};

/// What the socket's task is told about its peers.
pub(crate) enum News {
    Event(SocketEvent),
    /// Events were dropped because the reader of stdout was slow.
    Missed,
}

/// Where news come from.
pub(crate) enum NewsSource {
    /// From a task that keeps refusals for itself.
    Forwarded(mpsc::Receiver<News>),
    /// From the socket.
    Direct(Direct),
}

/// The events of a socket.
pub(crate) struct Direct {
    events: Events,
    /// What the events have missed that is told already.
    missed: u64,
    /// An event that comes after the news that others were missed.
    next: Option<SocketEvent>,
}

impl NewsSource {
    pub(crate) const fn direct(events: Events) -> Self {
        Self::Direct(Direct {
            events,
            missed: 0,
            next: None,
        })
    }

    /// The next news. Never completes once the socket is closed. Cancel-safe.
    pub(crate) async fn next(&mut self) -> News {
        let news = match self {
            Self::Forwarded(news) => news.recv().await,
            Self::Direct(direct) => direct.next().await,
        };
        match news {
            Some(news) => news,
            None => pending().await,
        }
    }

    /// The next news, if there are some by now.
    pub(crate) fn try_next(&mut self) -> Option<News> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(self.next()).poll(&mut context) {
            Poll::Ready(news) => Some(news),
            Poll::Pending => None,
        }
    }
}

impl Direct {
    async fn next(&mut self) -> Option<News> {
        if let Some(event) = self.next.take() {
            return Some(News::Event(event));
        }
        let event = self.events.next().await?;
        let missed = self.events.missed();
        if std::mem::replace(&mut self.missed, missed) == missed {
            return Some(News::Event(event));
        }
        self.next = Some(event);
        Some(News::Missed)
    }
}
