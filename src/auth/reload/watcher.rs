//! Password files and certificate directories that are loaded again when they change.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::configured::Configured;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::password_file::PasswordFileError;
use crate::auth::policy::watched::source::Source;
use crate::auth::policy::watched::watches::Watched;
use crate::auth::reload::event::ReloadEvent;
use crate::auth::reload::settings::ReloadSettings;
use crate::auth::reload::thread::Watch;
use crate::cert::directory::{CertificateDirectory, DirectoryReport};
use crate::cert::problem::CertificateError;
use crate::cert::validity::Validity;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Loads password files and certificate directories again when their content changes, on threads
/// of its own, until it is dropped.
///
/// | what is found | what it means |
/// |---|---|
/// | a directory that is absent or unreadable | it admits no peer |
/// | a certificate file that is gone or bad | its key is withdrawn |
/// | a password file that is absent or unreadable | it admits no peer |
/// | a password file with a bad line | what it held before stays |
/// | a directory or file that does not answer | what it held before stays, with an event |
///
/// All of it after the debounce of [`ReloadSettings`], which each certificate file and each user
/// has by itself: one that keeps changing holds back no other. What no reading has shown for four
/// debounces no longer counts, even if it never settled to something else. The system's hints are
/// only hints: what counts is what is read.
///
/// An explicit call of the [`Authenticator`] rules over the watch. One that loads the same
/// directory or file again keeps the watch. Any other call for the same domain and mechanism ends
/// it, and so do [`Authenticator::unconfigure`] and
/// [`load_policy`](Authenticator::load_policy): what they say stays in force over later changes on
/// disk. They tell by what they return, and as
/// [`Change::WatchEnded`]. Of two watches for one domain and
/// mechanism the later one counts.
pub struct Reload {
    auth: Authenticator,
    watch: Watch,
}

impl Reload {
    /// Starts to watch, nothing yet. `on_event` is told of every change that comes into force,
    /// on the thread that reloads, which waits for it.
    ///
    /// # Errors
    /// As [`thread::Builder::spawn`](std::thread::Builder::spawn), if the system has no thread for
    /// us. If it gives no hints of changes, that is a warning in the log, and
    /// [`ReloadSettings::poll`] has to do.
    pub fn start(
        auth: &Authenticator,
        settings: ReloadSettings,
        on_event: impl Fn(&ReloadEvent) + Send + 'static,
    ) -> io::Result<Self> {
        Ok(Self {
            auth: auth.clone(),
            watch: Watch::start(auth, settings, Box::new(on_event))?,
        })
    }

    /// As [`Authenticator::configure_curve`], and again after each change of the directory: also
    /// if this first load fails.
    ///
    /// # Errors
    /// As [`Authenticator::configure_curve`].
    pub fn curve(
        &self,
        domain: impl Into<Domain>,
        directory: impl Into<CertificateDirectory>,
    ) -> Result<DirectoryReport, CertificateError> {
        let (domain, directory) = (domain.into(), directory.into());
        let source = Source::Directory(domain.clone(), directory.clone(), Validity::default());
        let before = self.follow(source);
        let loaded = self.auth.configure_curve(domain, directory);
        self.watch.hint();
        let mut report = loaded?;
        report.ended_watch = before.ended_watch;
        Ok(report)
    }

    /// As [`Authenticator::configure_plain_file`], and again after each change of the file: also
    /// if this first load fails.
    ///
    /// # Errors
    /// As [`Authenticator::configure_plain_file`].
    pub fn plain_file(
        &self,
        domain: impl Into<Domain>,
        file: impl Into<PathBuf>,
    ) -> Result<Configured, PasswordFileError> {
        let (domain, file) = (domain.into(), file.into());
        let before = self.follow(Source::PasswordFile(domain.clone(), file.clone()));
        let loaded = self.auth.configure_plain_file(domain, file);
        self.watch.hint();
        loaded.map(|_| before)
    }

    /// Follows `source`, of which nothing is loaded yet.
    fn follow(&self, source: Source) -> Configured {
        let mut configured = Configured::default();
        self.auth.change(|policy| {
            let (mechanism, domain) = source.rules();
            policy.claim(mechanism, &domain);
            configured.ended_watch =
                policy
                    .watches
                    .follow(self.watch.id, source, None, policy.version);
            Change::Claimed(mechanism, domain)
        });
        configured
    }

    /// Watches nothing of `domain` from now on. What is in force stays.
    pub fn forget(&self, domain: &Domain) {
        self.end(|watched| watched.source.domain() == domain);
    }

    /// Ends those of our watches of which `ends` says so. What is in force stays.
    fn end(&self, ends: impl Fn(&Watched) -> bool) {
        let is_meant = |watched: &Watched| watched.watch == self.watch.id && ends(watched);
        let policy = self.auth.policy();
        if policy.watches.iter().any(|(_, watched)| is_meant(watched)) {
            self.auth
                .change(|policy| Change::WatchEnded(policy.watches.end(is_meant)));
        }
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.end(|_| true);
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.auth.policy();
        let watches = policy.watches.iter();
        let ours = watches.filter(|(_, watched)| watched.watch == self.watch.id);
        let sources = ours.map(|(_, watched)| &watched.source);
        f.debug_list().entries(sources).finish()
    }
}
