//! What the thread that reloads knows about a watched source.
#![forbid(unsafe_code)]

use crate::auth::policy::watched::reading::{Entry, Name, Reading};
use crate::auth::policy::watched::source::Source;
use crate::auth::policy::watched::watches::Watched;
use crate::auth::reload::schedule::{self, Schedule};
use crate::auth::reload::settling::Settling;
use crate::cert::known_files::{KnownFiles, Scope};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A watched source.
pub(crate) struct Followed {
    pub(crate) source: Source,
    /// See [`Watched::base_version`].
    pub(crate) base_version: u64,
    /// The base version when it was followed first. Earlier readings are of a source that it has replaced.
    pub(crate) first_version: u64,
    pub(crate) settling: Settling<Name, Entry>,
    /// Whether the rule in force is that of the entries in force.
    pub(crate) is_ruling: bool,
    pub(crate) schedule: Schedule,
    /// Whether files may have changed since the last reading began.
    pub(crate) has_news: bool,
    /// The permission bits of the latest warning about them.
    warned_of: Option<u32>,
    /// The files that were read.
    pub(crate) known: Arc<Mutex<KnownFiles>>,
    /// When the last reading of all files began, or the source was followed.
    read_whole: Instant,
    /// Whether `settling` has seen the reading before. The next one may then be about changes alone.
    pub(crate) follows: bool,
}

impl Followed {
    /// Follows a source from `now` on.
    pub(crate) fn new(watched: &Watched, now: Instant) -> Self {
        Self {
            source: watched.source.clone(),
            base_version: watched.base_version,
            first_version: watched.base_version,
            settling: Self::settling(watched),
            is_ruling: watched.base.is_some(),
            schedule: Schedule::new(now),
            has_news: true,
            warned_of: Self::warned_of(watched),
            known: Arc::default(),
            read_whole: now,
            follows: false,
        }
    }

    /// Starts again from what an explicit call has put in force.
    pub(crate) fn restart(&mut self, watched: &Watched, now: Instant) {
        self.base_version = watched.base_version;
        self.settling = Self::settling(watched);
        self.is_ruling = watched.base.is_some();
        self.warned_of = Self::warned_of(watched).or(self.warned_of);
        self.schedule.make_due_by(now);
        self.has_news = true;
        self.follows = false;
    }

    fn settling(watched: &Watched) -> Settling<Name, Entry> {
        Settling::new(match &watched.base {
            Some(base) => base.entries.clone(),
            None => [(Name::Whole, Entry::Unloaded)].into(),
        })
    }

    /// Records that a reading begins at `now`. Returns which files it looks at.
    pub(crate) fn begin(&mut self, now: Instant, poll: Duration) -> Scope {
        let scope = self.take_scope(now, poll);
        // Readings in between do not delay the next one of all files.
        let passed = now.saturating_duration_since(self.read_whole);
        self.schedule.begin(now, poll.saturating_sub(passed));
        scope
    }

    /// Records that a reading has shown nothing at `now`. The next one comes after the debounce, and looks at
    /// all files again.
    pub(crate) fn show_nothing(&mut self, now: Instant, debounce: Duration) {
        self.schedule.make_due_by(schedule::later(now, debounce));
        // What is known may be half changed.
        self.known = Arc::default();
        self.follows = false;
        self.has_news = true;
    }

    /// Which files the next reading looks at. At least one reading in the time of a poll reads all files,
    /// because a file system over a network may be slow to tell that a file has changed. A reading without
    /// news confirms the changes that the one before has shown, and looks at their files.
    fn take_scope(&mut self, now: Instant, poll: Duration) -> Scope {
        let has_news = std::mem::take(&mut self.has_news);
        if now.saturating_duration_since(self.read_whole) >= poll {
            self.read_whole = now;
            Scope::Contents
        } else if has_news {
            Scope::Stamps
        } else {
            let changing = self.settling.changing().filter_map(Name::file);
            let names = changing.filter_map(|file| Path::new(file).file_name());
            Scope::Only(names.map(ToOwned::to_owned).collect())
        }
    }

    /// The permission bits that an explicit call has warned of.
    fn warned_of(watched: &Watched) -> Option<u32> {
        watched.base.as_ref()?.loose_mode
    }

    /// The permission bits of the file that was read, if there was no warning about them yet.
    pub(crate) fn newly_open(&mut self, reading: &Reading) -> Option<u32> {
        let mode = reading.loose_mode?;
        (self.warned_of.replace(mode) != Some(mode)).then_some(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::domain::Domain;
    use crate::auth::policy::password_file::{PasswordFileError, PasswordFileErrorKind};
    use crate::auth::policy::watched::issue::ReloadIssue;
    use crate::auth::policy::watched::reading::Entries;
    use crate::auth::reload::schedule;
    use crate::cert::validity::Validity;

    const LONG: Duration = Duration::from_secs(20);

    fn followed(source: Source) -> Followed {
        Followed {
            source,
            base_version: 0,
            first_version: 0,
            settling: Settling::new(Entries::new()),
            is_ruling: false,
            schedule: Schedule::new(Instant::now()),
            has_news: true,
            warned_of: None,
            known: Arc::default(),
            read_whole: Instant::now(),
            follows: false,
        }
    }

    #[test]
    fn a_reading_looks_at_all_files_after_news_and_else_at_what_changes_and_reads_all_in_a_poll() {
        let directory = Source::Directory(Domain::ALL, "keys".into(), Validity::default());
        let mut followed = followed(directory);
        let now = followed.read_whole;
        assert_eq!(followed.take_scope(now, LONG), Scope::Stamps);
        let issue = || Entry::Issue(ReloadIssue::Hangs);
        let names = [
            Name::File("keys/a.key".into()),
            Name::Secret("keys/b".into()),
        ];
        let reading = names.map(|name| (name, issue())).into();
        let settled = followed.settling.see(&reading, None, |_| true, now, LONG);
        assert!(settled.is_empty());
        let changing = ["a.key".into(), "b".into()].into();
        assert_eq!(followed.take_scope(now, LONG), Scope::Only(changing));
        followed.has_news = true;
        assert_eq!(followed.take_scope(now, LONG), Scope::Stamps);
        for _ in 0..2 {
            assert_eq!(followed.take_scope(now + LONG, LONG), Scope::Contents);
            followed.read_whole = now;
        }
    }

    #[test]
    fn readings_between_do_not_delay_the_reading_of_all_files() {
        let directory = Source::Directory(Domain::ALL, "keys".into(), Validity::default());
        let mut followed = followed(directory);
        let start = followed.read_whole;
        let due = |followed: &Followed, at| {
            schedule::next([followed.schedule].iter(), 0, start + at).is_some()
        };
        for passed in [Duration::ZERO, LONG * 9 / 10] {
            assert_eq!(followed.begin(start + passed, LONG), Scope::Stamps);
            followed.schedule.end();
            followed.has_news = true;
        }
        assert!(!due(&followed, LONG - Duration::from_nanos(1)));
        assert!(due(&followed, LONG));
        assert_eq!(followed.begin(start + LONG, LONG), Scope::Contents);
        followed.schedule.end();
        assert!(!due(&followed, LONG + Duration::from_secs(1)));
        // A poll that never comes does not keep the thread busy.
        let years = Duration::from_secs(100 * 24 * 60 * 60);
        followed.begin(start + years, Duration::MAX);
        followed.schedule.end();
        assert!(!due(&followed, years));
    }

    #[test]
    fn a_change_is_not_lost_with_the_reading_that_it_has_caused() {
        let directory = Source::Directory(Domain::ALL, "keys".into(), Validity::default());
        let mut followed = followed(directory);
        let (now, known) = (followed.read_whole, Arc::clone(&followed.known));
        followed.follows = true;
        assert_eq!(followed.begin(now, LONG), Scope::Stamps);
        followed.show_nothing(now, LONG);
        assert!(!followed.follows && !Arc::ptr_eq(&followed.known, &known));
        assert_eq!(followed.begin(now, LONG), Scope::Stamps);
        assert_eq!(followed.begin(now, LONG), Scope::Only([].into()));
    }

    #[test]
    fn each_mode_of_a_password_file_is_warned_of_once() {
        let reading = |loose_mode| {
            let mut reading = Reading::of_passwords(&Err(gone()), None);
            reading.loose_mode = loose_mode;
            reading
        };
        let mut followed = followed(Source::PasswordFile(Domain::ALL, "users".into()));
        followed.warned_of = Some(0o640);
        let modes = [Some(0o640), None, Some(0o640), Some(0o644), Some(0o644)];
        let told = modes.map(|mode| followed.newly_open(&reading(mode)));
        assert_eq!(told, [None, None, None, Some(0o644), None]);
    }

    fn gone() -> PasswordFileError {
        PasswordFileError {
            file: "users".into(),
            line: None,
            reason: PasswordFileErrorKind::Random,
        }
    }
}
