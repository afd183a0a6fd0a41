//! How a server proves itself, and which peers it admits, as arguments say it.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::security::argument_source;
use crate::security::client::ClientCredentials;
use crate::security::key_file::load_key_pair;
use crate::security::reloads::{Came, MAX_LOADS, PATIENCE, Reloads};
use clap::Args;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use zmtp_auth::auth::{
    Authenticator, DomainSettings, PolicyFile, PolicyFileError, PolicyFileErrorKind,
    PolicySettings, PolicyWarning,
};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    Authorizing, Builder, Config, CurveServer, Domain, MechanismKind, NoPolicy, WantsAccess,
    WantsMechanism,
};

/// The mechanism of a server, and its policy.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ServerSecurity {
    /// No security; a policy can still look at addresses
    #[arg(long, group = "mechanism")]
    null: bool,
    /// Names and passwords, in clear on the wire
    #[arg(long, group = "mechanism")]
    plain: bool,
    /// Encrypted and authenticated, by keys
    #[arg(long, group = "mechanism")]
    curve: bool,
    /// Our secret key: a certificate with the secret in it, or what `keygen` writes, in a file, -
    /// for standard input, or env:NAME. Up to four, so that clients may still know an older one
    #[arg(long, value_name = "FILE", requires = "curve")]
    key: Vec<PathBuf>,
    /// Who may come in: a policy file, - for standard input, or env:NAME. SIGHUP loads a file again,
    /// once it was read twice the same, two seconds apart: replace it by renaming a whole one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The domain of the policy that rules this socket
    #[arg(long, value_name = "NAME", default_value = "", requires = "policy")]
    domain: String,
    /// Let everybody in (not with --plain)
    #[arg(long, conflicts_with = "policy")]
    accept_any_peer: bool,
    /// Be the client of CURVE, although we bind: the server with this public key connects to us.
    /// 40 characters, or a certificate file
    #[arg(long, value_name = "Z85|FILE", requires = "curve", allow_hyphen_values = true, conflicts_with_all = ["policy", "accept_any_peer"])]
    server_key: Option<String>,
    /// Be the client of PLAIN, although we bind: the user's name; the password comes from
    /// --password-file, from $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "USER", requires = "plain", conflicts_with_all = ["policy", "accept_any_peer"])]
    user: Option<String>,
    /// What holds the password of --user and nothing else: a file, - for standard input, or env:NAME
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// A server's configuration.
pub(crate) enum ServerConfig {
    /// Every peer is asked about.
    Authorizing(Config<Authorizing>, ZapRouter, LoadedPolicy),
    /// No policy is asked: everybody is let in, or we are the client.
    NoPolicy(Config<NoPolicy>),
}

/// The time between the two readings of a policy that is loaded again. 2 s, as for files that are
/// loaded again by themselves.
const PAUSE: Duration = Duration::from_secs(2);

/// The policy in force, and where it came from.
pub(crate) struct LoadedPolicy {
    authenticator: Authenticator,
    path: PathBuf,
    scope: Option<Scope>,
    /// Whether it can be read again. Looked at once, since the disk may not answer later.
    is_lasting: bool,
    reloads: Reloads<Reloaded>,
}

/// The warnings, and the settings that they are about if they can still be read.
type Reloaded = Result<(Vec<PolicyWarning>, Option<PolicyFile>), PolicyFileError>;

/// What a socket asks a policy about.
pub(crate) struct Scope {
    pub(crate) domain: String,
    pub(crate) mechanism: MechanismKind,
}

impl Scope {
    /// Says why no peer can come in by this policy, if that is so. Warns where `*` stands in for a
    /// domain that was named and has no section.
    fn check(&self, settings: &PolicySettings) -> Result<(), String> {
        let Self { domain, mechanism } = self;
        let names = |section: &DomainSettings| match mechanism {
            MechanismKind::Null => section.null.is_some(),
            MechanismKind::Plain => section.plain.is_some(),
            _ => section.curve.is_some(),
        };
        let star = settings.domain.get("*");
        let ruling = match settings.domain.get(domain) {
            Some(own) if names(own) || !own.inherit => Some(own),
            Some(_) => star,
            None => {
                if star.is_some() && !domain.is_empty() {
                    tracing::warn!("domain {domain:?} has no section: \"*\" rules it");
                }
                star
            }
        };
        if ruling.is_some_and(names) {
            return Ok(());
        }
        let sections: Vec<_> = settings
            .domain
            .keys()
            .map(|name| format!("{name:?}"))
            .collect();
        let sections = match sections.is_empty() {
            true => "it has no section of any domain".to_owned(),
            false => format!("it has sections of {}", sections.join(", ")),
        };
        Err(format!(
            "the policy admits no peer by {mechanism} in domain {domain:?}: {sections}; --domain \
             says which of them rules"
        ))
    }
}

/// Reads a policy from what an argument names.
pub(crate) fn load_policy(path: &Path) -> Result<Result<PolicyFile, PolicyFileError>, Failure> {
    /// As many bytes as a policy file may have.
    const MAX_LEN: usize = 1024 * 1024;
    if argument_source::is_lasting(path) {
        return Ok(PolicyFile::load(path));
    }
    let given = argument_source::read(path, MAX_LEN)?;
    Ok(PolicyFile::parse(&given.content, ""))
}

impl LoadedPolicy {
    /// Puts the policy in force.
    ///
    /// # Errors
    /// Returns wrong usage if it cannot be used, or could admit no peer in this scope.
    pub(crate) fn load(path: &Path, scope: Option<Scope>) -> Result<Self, Failure> {
        let is_lasting = argument_source::is_lasting(path);
        let policy = load_policy(path)?.map_err(Failure::usage)?;
        if let Some(scope) = &scope {
            scope.check(policy.settings()).map_err(Failure::usage)?;
        }
        let authenticator = Authenticator::new();
        let warnings = authenticator.load_policy(&policy);
        warnings.map_err(Failure::usage)?;
        Ok(Self {
            authenticator,
            path: path.to_owned(),
            scope,
            is_lasting,
            reloads: Reloads::new(),
        })
    }

    /// A router that asks it, whatever the domain.
    pub(crate) fn router(&self) -> Result<ZapRouter, Failure> {
        let router = ZapRouter::new();
        let handler = self.authenticator.clone();
        router.bind("*", handler).map_err(Failure::new)?;
        Ok(router)
    }

    pub(crate) const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Begins to load it again, all or nothing. What it withdraws is withdrawn, even if that is all.
    /// It takes seconds, or for ever if the disk does not answer, so it has a thread of its own that
    /// does not keep the process.
    pub(crate) fn reload(&mut self) {
        let Some(tell) = self.reloads.ask() else {
            if self.reloads.all_hang() {
                tracing::error!(
                    "{MAX_LOADS} loads of the policy hang: another begins once one of them has ended"
                );
            }
            return;
        };
        let (authenticator, path) = (self.authenticator.clone(), self.path.clone());
        let reload = move || {
            let warnings = authenticator.reload_policy(&path, PAUSE)?;
            Ok((warnings, PolicyFile::load(path).ok()))
        };
        // What can be read only once is not read again.
        let is_lasting = self.is_lasting;
        let spawned = thread::Builder::new().name("reload".into()).spawn(move || {
            if is_lasting {
                // Fails if nothing waits for it, because the program ends.
                let _ = tell.send(reload());
            }
        });
        if let Err(error) = spawned {
            tracing::error!("no thread to load the policy again: {error}");
        }
    }

    pub(crate) fn is_reloading(&self) -> bool {
        self.reloads.are_running()
    }

    /// What has come of loading it again, or that it hangs; never, while that was not asked for.
    /// Cancel-safe.
    pub(crate) async fn reloaded(&mut self) -> Result<Vec<PolicyWarning>, Failure> {
        loop {
            let came = self.reloads.next().await;
            if self.reloads.is_asked_again() {
                self.reload();
            }
            let outcome = match came {
                Came::Hangs => {
                    let hangs = format!(
                        "the policy is not loaded after {} s: the disk does not answer, or the \
                         files keep changing; what was in force stays until it is, or until \
                         another SIGHUP",
                        PATIENCE.as_secs()
                    );
                    tracing::error!("{hangs}");
                    return Err(Failure::new(hangs));
                }
                Came::Outcome(outcome) => outcome,
            };
            if !self.is_lasting {
                let once = format_args!("{:?} is no file, and cannot be read again", self.path);
                return Err(Failure::usage(once));
            }
            let outcome = outcome.ok_or_else(|| Failure::new("the policy was not loaded again"))?;
            if let Err(error) = &outcome
                && error.reason == PolicyFileErrorKind::Overtaken
            {
                // It hung until a later one had ended, which was told.
                tracing::info!("{error}");
                continue;
            }
            let (warnings, policy) = outcome.map_err(Failure::usage)?;
            if let (Some(scope), Some(policy)) = (&self.scope, policy)
                && let Err(why) = scope.check(policy.settings())
            {
                tracing::warn!("{why}");
            }
            return Ok(warnings);
        }
    }
}

/// As [`LoadedPolicy::reloaded`], where there may be no policy.
pub(crate) async fn reloaded(
    policy: Option<&mut LoadedPolicy>,
) -> Result<Vec<PolicyWarning>, Failure> {
    match policy {
        Some(policy) => policy.reloaded().await,
        None => pending().await,
    }
}

impl ServerSecurity {
    /// A socket of ours that others connect to, as the arguments have it: as a server, or as the
    /// client that they say. Reads files, and may ask for a password.
    ///
    /// # Errors
    /// Wrong usage if the mechanism or who may come in was not said; what cannot be read.
    pub(crate) fn config(&self, builder: Builder<WantsMechanism>) -> Result<ServerConfig, Failure> {
        if let Some(user) = &self.user {
            let credentials = ClientCredentials::plain(user, self.password_file.as_deref())?;
            return credentials.config(builder).map(ServerConfig::NoPolicy);
        }
        if let Some(server) = &self.server_key {
            let key = match self.key.as_slice() {
                [] => None,
                [key] => Some(key.as_path()),
                _ => return Err(Failure::usage("a client of CURVE has one --key")),
            };
            let credentials = ClientCredentials::curve(server, key)?;
            return credentials.config(builder).map(ServerConfig::NoPolicy);
        }
        let mechanism = match (self.null, self.plain, self.curve) {
            (true, _, _) => MechanismKind::Null,
            (_, true, _) => MechanismKind::Plain,
            (_, _, true) => MechanismKind::Curve,
            _ => return Err(Failure::usage("choose one of --curve, --plain, --null")),
        };
        let role = ServerRole {
            mechanism,
            keys: self.key.iter().map(PathBuf::as_path).collect(),
            policy: self.policy.as_deref(),
            domain: &self.domain,
            accept_any_peer: self.accept_any_peer,
        };
        role.config(builder)
    }
}

/// The part of a server, whichever side binds.
pub(crate) struct ServerRole<'a> {
    pub(crate) mechanism: MechanismKind,
    pub(crate) keys: Vec<&'a Path>,
    pub(crate) policy: Option<&'a Path>,
    pub(crate) domain: &'a str,
    pub(crate) accept_any_peer: bool,
}

impl ServerRole<'_> {
    /// # Errors
    /// Wrong usage if it was not said who may come in; what cannot be read.
    pub(crate) fn config(&self, builder: Builder<WantsMechanism>) -> Result<ServerConfig, Failure> {
        if let Some(path) = self.policy {
            let config = self.asking(builder)?;
            let scope = Scope {
                domain: self.domain.to_owned(),
                mechanism: self.mechanism,
            };
            let policy = LoadedPolicy::load(path, Some(scope))?;
            let router = policy.router()?;
            return Ok(ServerConfig::Authorizing(config, router, policy));
        }
        if !self.accept_any_peer {
            return Err(Failure::usage(
                "say who may come in: --policy FILE, or --accept-any-peer for everybody",
            ));
        }
        self.open(builder).map(ServerConfig::NoPolicy)
    }

    fn asking(&self, builder: Builder<WantsMechanism>) -> Result<Config<Authorizing>, Failure> {
        let domain = Domain::from(self.domain.to_owned());
        let ready = match self.mechanism {
            MechanismKind::Null => builder.null().authorize(domain),
            // Every client understands libzmq's spelling, and libzmq's clients no other.
            MechanismKind::Plain => {
                let builder = builder.plain_server().libzmq_error_spelling();
                builder.authorize(domain)
            }
            _ => self.curve(builder)?.authorize(domain),
        };
        Ok(ready.finish()?)
    }

    fn open(&self, builder: Builder<WantsMechanism>) -> Result<Config<NoPolicy>, Failure> {
        let ready = match self.mechanism {
            MechanismKind::Null => builder.null().accept_any_peer(),
            MechanismKind::Plain => {
                return Err(Failure::usage(
                    "--plain needs --policy FILE: it always asks",
                ));
            }
            _ => self.curve(builder)?.accept_any_peer(),
        };
        Ok(ready.finish()?)
    }

    fn curve(
        &self,
        builder: Builder<WantsMechanism>,
    ) -> Result<Builder<WantsAccess<CurveServer>>, Failure> {
        let Some((first, more)) = self.keys.split_first() else {
            return Err(Failure::usage("--curve needs --key FILE"));
        };
        let mut builder = builder.curve_server(load_key_pair(first)?);
        for path in more {
            builder = builder.also_accept(load_key_pair(path)?);
        }
        Ok(builder)
    }
}
