//! Reloading of password files and certificate directories when they change.
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
use crate::cert::directory::CertificateDirectory;
use crate::cert::load::DirectoryReport;
use crate::cert::problem::CertificateError;
use crate::cert::validity::Validity;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Reloads password files and certificate directories when their contents change, on threads of its
/// own, until it is dropped.
///
/// | what is found | effect |
/// |---|---|
/// | the directory is absent or cannot be read | no peer is admitted |
/// | a certificate file is absent or not valid | its key is removed |
/// | the password file is absent or cannot be read | no peer is admitted |
/// | the password file has a line that is not valid | its users before the change stay in force |
/// | a read does not return | what was read before stays in force, and there is an event |
///
/// A change comes into force after the debounce of [`ReloadSettings`]. Each certificate file and
/// each user is debounced independently, so one that keeps changing does not delay others. An entry
/// that no reading has shown for four debounces is removed, even if nothing else has settled.
/// Notifications of the file system only cause a reading. What was read decides. A reading passes over
/// certificate files whose length, times and place on disk are those of an earlier reading. A reading that
/// confirms a change looks only at the files that change, and at others that may hold a secret key. Where a
/// directory has links, it also lists the directory. At least once in the time of [`ReloadSettings::poll`] a reading reads all files.
///
/// Explicit calls of the [`Authenticator`] take precedence. A call that loads the same directory or
/// file keeps the watch. Any other call for the same domain and mechanism ends the watch, and so do
/// [`Authenticator::unconfigure`] and `load_policy` (feature `policy-file`). Later changes on
/// disk then have no effect. The end of a watch is reported in the call's return value, and as
/// [`Change::WatchEnded`]. If two watches name the same domain and mechanism, the later one applies.
pub struct Reload {
    auth: Authenticator,
    watch: Watch,
}

impl Reload {
    /// Starts the thread, which watches nothing yet. It calls `on_event` for every change that comes
    /// into force, and waits for it to return.
    ///
    /// If the file system reports no changes, a warning is logged, and changes are noticed after
    /// [`ReloadSettings::poll`].
    ///
    /// # Errors
    /// Returns the error of [`thread::Builder::spawn`](std::thread::Builder::spawn) if the operating
    /// system cannot start a thread.
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

    /// Calls [`Authenticator::configure_curve`], and reloads the directory after each change, even
    /// if this first load fails.
    ///
    /// # Errors
    /// Returns the error of [`Authenticator::configure_curve`] if the first load fails.
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

    /// Calls [`Authenticator::configure_plain_file`], and reloads the file after each change, even
    /// if this first load fails.
    ///
    /// # Errors
    /// Returns the error of [`Authenticator::configure_plain_file`] if the first load fails.
    pub fn plain_file(
        &self,
        domain: impl Into<Domain>,
        file: impl Into<PathBuf>,
    ) -> Result<Configured, PasswordFileError> {
        let (domain, file) = (domain.into(), file.into());
        let before = self.follow(Source::PasswordFile(domain.clone(), file.clone()));
        let loaded = self.auth.configure_plain_file(domain, file);
        self.watch.hint();
        loaded.map(|loaded| before.plus(loaded.changed_admissions))
    }

    /// Watches `source`, which is not loaded yet.
    fn follow(&self, source: Source) -> Configured {
        let mut configured = Configured::default();
        let changed_admissions = self.auth.change(|policy| {
            let (mechanism, domain) = source.rules();
            policy.claim(mechanism, &domain);
            configured.ended_watch =
                policy
                    .watches
                    .follow(self.watch.id, source, None, policy.version);
            Change::Claimed(mechanism, domain)
        });
        Configured {
            changed_admissions,
            ..configured
        }
    }

    /// Ends the watches of `domain`. What is in force stays in force.
    pub fn forget(&self, domain: impl Into<Domain>) {
        let domain = domain.into();
        self.end(|watched| *watched.source.domain() == domain);
    }

    /// Ends the watches of this handle for which `ends` returns true. What is in force stays in
    /// force.
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
