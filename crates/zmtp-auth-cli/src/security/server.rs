//! The arguments of a server: its mechanism, its keys and the policy that admits peers.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::security::argument_source;
use crate::security::client::ClientCredentials;
use crate::security::key_file::load_key_pair;
use crate::security::reloads::{Came, MAX_LOADS, PATIENCE, Reloads};
use crate::security::scope::Scope;
use clap::Args;
use std::fmt;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use zmtp_auth::auth::{
    Authenticator, PolicyFile, PolicyFileError, PolicyFileErrorKind, PolicyWarning,
};
use zmtp_auth::config::{CurveServer, WantsAccess, WantsMechanism};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Authorizing, Builder, Config, Domain, MechanismKind, NoPolicy, WithCauses};

/// The options for a socket that binds: a server, or with some options a client.
///
/// clap drops a `requires` if the required option conflicts with one that is present. Each option
/// therefore also conflicts with those that would ignore it.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ServerSecurity {
    /// Use NULL: no security, but a policy can still check addresses
    #[arg(long, group = "mechanism", conflicts_with = "max_connections_per_user")]
    null: bool,
    /// Use PLAIN: user names and passwords, sent in clear text
    #[arg(long, group = "mechanism")]
    plain: bool,
    /// Use CURVE: encryption, and authentication by keys
    #[arg(long, group = "mechanism")]
    curve: bool,
    /// The server's secret key: a secret certificate or the output of `keygen`, from a file, standard
    /// input (-) or a variable (env:NAME). Give up to four keys while clients change from an old key
    /// to a new one
    #[arg(long, value_name = "FILE", requires = "curve", conflicts_with_all = ["null", "plain"])]
    key: Vec<PathBuf>,
    /// Which peers are admitted: a policy file, standard input (-) or a variable (env:NAME). SIGHUP
    /// reloads a file, which takes two seconds. To replace the file, rename a complete new one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The section of the policy that applies to this socket: [domain.NAME]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        requires = "policy",
        conflicts_with_all = ["accept_any_peer", "server_key", "user"]
    )]
    domain: String,
    /// Admit every peer, without a policy (not with --plain)
    #[arg(long, conflicts_with_all = ["policy", "max_connections_per_user"])]
    accept_any_peer: bool,
    /// Be the CURVE client, although this side binds: only the server with this public key can
    /// connect. Give the 40 characters of the key, or a certificate file
    #[arg(long, value_name = "Z85|FILE", requires = "curve", allow_hyphen_values = true, conflicts_with_all = ["null", "plain", "policy", "accept_any_peer", "max_connections_per_user"])]
    server_key: Option<String>,
    /// Be the PLAIN client, although this side binds, as this user. The password comes from
    /// --password-file, from $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "USER", requires = "plain", conflicts_with_all = ["null", "curve", "policy", "accept_any_peer", "max_connections_per_user"])]
    user: Option<String>,
    /// Read the password of --user from this file, standard input (-) or a variable (env:NAME)
    #[arg(
        long,
        value_name = "FILE",
        requires = "user",
        conflicts_with_all = ["null", "curve", "policy", "accept_any_peer"]
    )]
    password_file: Option<PathBuf>,
}

/// A server's configuration.
pub(crate) enum ServerConfig {
    /// The policy decides about every peer.
    Authorizing(Config<Authorizing>, ZapRouter, LoadedPolicy),
    /// There is no policy: every peer is admitted, or this socket is the client.
    NoPolicy(Config<NoPolicy>),
}

/// The time between the two readings of a policy that is reloaded. 2 s, as for files that the
/// library reloads by itself.
const PAUSE: Duration = Duration::from_secs(2);

/// The policy in force, and where it came from.
pub(crate) struct LoadedPolicy {
    authenticator: Authenticator,
    path: PathBuf,
    scope: Option<Scope>,
    /// Whether the file can be read again. Checked once, since the disk may not answer later.
    is_lasting: bool,
    reloads: Reloads<Reloaded>,
}

/// The warnings, and the policy itself if it can still be read.
type Reloaded = Result<(Vec<PolicyWarning>, Option<PolicyFile>), PolicyFileError>;

/// Reads the policy that an argument names.
pub(crate) fn load_policy(path: &Path) -> Result<Result<PolicyFile, PolicyFileError>, Failure> {
    /// The longest policy file in bytes, as for the library: 1 MiB.
    const MAX_LEN: usize = 1024 * 1024;
    if argument_source::is_lasting(path) {
        return Ok(PolicyFile::load(path));
    }
    let given = argument_source::read(path, MAX_LEN)?;
    Ok(PolicyFile::parse(&given.content, ""))
}

impl LoadedPolicy {
    /// Reads the policy and applies it to a new Authenticator.
    ///
    /// # Errors
    /// Returns a usage failure if the policy is not valid, or can admit no peer in this scope.
    pub(crate) fn load(path: &Path, scope: Option<Scope>) -> Result<Self, Failure> {
        let is_lasting = argument_source::is_lasting(path);
        let policy = load_policy(path)?.map_err(Failure::usage_of)?;
        if let Some(scope) = &scope {
            scope.check(policy.settings()).map_err(Failure::usage)?;
        }
        let authenticator = Authenticator::new();
        let warnings = authenticator.load_policy(&policy);
        warnings.map_err(Failure::usage_of)?;
        Ok(Self {
            authenticator,
            path: path.to_owned(),
            scope,
            is_lasting,
            reloads: Reloads::new(),
        })
    }

    /// A router that asks this policy for every domain.
    pub(crate) fn router(&self) -> Result<ZapRouter, Failure> {
        let router = ZapRouter::new();
        let handler = self.authenticator.clone();
        router.bind("*", handler).map_err(Failure::of)?;
        Ok(router)
    }

    pub(crate) const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Begins to reload the policy. Either all of the new policy applies or the old one stays, except
    /// for admissions that the new one withdraws: they end in any case.
    /// A reload takes seconds, and never ends if the disk does not answer. It therefore has a thread
    /// of its own, which does not keep the process alive.
    pub(crate) fn reload(&mut self) {
        let Some(tell) = self.reloads.ask() else {
            if self.reloads.all_hang() {
                tracing::error!(
                    "{MAX_LOADS} reloads of the policy hang: another one begins when one of them ends"
                );
            }
            return;
        };
        let (authenticator, path) = (self.authenticator.clone(), self.path.clone());
        let reload = move || {
            let warnings = authenticator.reload_policy(&path, PAUSE)?;
            Ok((warnings, PolicyFile::load(path).ok()))
        };
        // A pipe or variable is not read again.
        let is_lasting = self.is_lasting;
        let spawned = thread::Builder::new().name("reload".into()).spawn(move || {
            if is_lasting {
                // Fails if the program ends and no longer waits.
                let _ = tell.send(reload());
            }
        });
        if let Err(error) = spawned {
            tracing::error!("cannot start a thread to reload the policy: {error}");
        }
    }

    pub(crate) fn is_reloading(&self) -> bool {
        self.reloads.are_running()
    }

    /// The outcome of a reload, or a failure that says that it hangs. Never completes while no reload
    /// was asked for. Cancel-safe.
    pub(crate) async fn reloaded(&mut self) -> Result<Vec<PolicyWarning>, Failure> {
        loop {
            let came = self.reloads.next().await;
            if self.reloads.is_asked_again() {
                self.reload();
            }
            let outcome = match came {
                Came::Hangs => {
                    let hangs = format!(
                        "the policy is not reloaded after {} s: the disk does not answer, or the \
                         files keep changing; the old policy applies until the reload ends or \
                         another SIGHUP comes",
                        PATIENCE.as_secs()
                    );
                    tracing::error!("{hangs}");
                    return Err(Failure::new(hangs));
                }
                Came::Outcome(outcome) => outcome,
            };
            if !self.is_lasting {
                let why = format_args!("{:?} is not a file and cannot be read again", self.path);
                return Err(not_reloaded(&why));
            }
            let outcome = outcome.ok_or_else(|| not_reloaded(&"the policy was not reloaded"))?;
            if let Err(error) = &outcome
                && error.reason == PolicyFileErrorKind::Overtaken
            {
                // A later reload has ended first, and its outcome was reported.
                tracing::info!("{}", WithCauses(error));
                continue;
            }
            let (warnings, policy) = outcome.map_err(|error| not_reloaded(&WithCauses(&error)))?;
            if let (Some(scope), Some(policy)) = (&self.scope, policy)
                && let Err(why) = scope.check(policy.settings())
            {
                tracing::warn!("{why}");
            }
            return Ok(warnings);
        }
    }
}

/// A reload that changes nothing.
fn not_reloaded(why: &dyn fmt::Display) -> Failure {
    Failure::usage(format_args!("{why}; the policy before stays in force"))
}

/// As [`LoadedPolicy::reloaded`]. Never completes without a policy.
pub(crate) async fn reloaded(
    policy: Option<&mut LoadedPolicy>,
) -> Result<Vec<PolicyWarning>, Failure> {
    match policy {
        Some(policy) => policy.reloaded().await,
        None => pending().await,
    }
}

impl ServerSecurity {
    /// The configuration of a socket that binds, as a server or as the client that the arguments
    /// describe. Reads files, and may ask for a password.
    ///
    /// # Errors
    /// Returns a usage failure if the mechanism is missing, or neither a policy nor
    /// `--accept-any-peer` was given, and a failure if a file cannot be read.
    pub(crate) fn config(&self, builder: Builder<WantsMechanism>) -> Result<ServerConfig, Failure> {
        if let Some(user) = &self.user {
            let credentials = ClientCredentials::plain(user, self.password_file.as_deref())?;
            return credentials.config(builder).map(ServerConfig::NoPolicy);
        }
        if let Some(server) = &self.server_key {
            let key = match self.key.as_slice() {
                [] => None,
                [key] => Some(key.as_path()),
                _ => return Err(Failure::usage("a CURVE client takes one --key")),
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

/// The settings of a server, whichever side binds.
pub(crate) struct ServerRole<'a> {
    pub(crate) mechanism: MechanismKind,
    pub(crate) keys: Vec<&'a Path>,
    pub(crate) policy: Option<&'a Path>,
    pub(crate) domain: &'a str,
    pub(crate) accept_any_peer: bool,
}

impl ServerRole<'_> {
    /// # Errors
    /// Returns a usage failure if neither a policy nor `--accept-any-peer` was given, and a failure
    /// if a file cannot be read.
    pub(crate) fn config(&self, builder: Builder<WantsMechanism>) -> Result<ServerConfig, Failure> {
        if let Some(path) = self.policy {
            let config = self.asking(builder)?;
            let scope = Scope {
                domain: self.domain.to_owned(),
                mechanism: self.mechanism,
                applies_topics: true,
            };
            let policy = LoadedPolicy::load(path, Some(scope))?;
            let router = policy.router()?;
            return Ok(ServerConfig::Authorizing(config, router, policy));
        }
        if !self.accept_any_peer {
            return Err(Failure::usage(
                "say which peers are admitted: --policy FILE, or --accept-any-peer",
            ));
        }
        self.open(builder).map(ServerConfig::NoPolicy)
    }

    fn asking(&self, builder: Builder<WantsMechanism>) -> Result<Config<Authorizing>, Failure> {
        let domain = Domain::from(self.domain.to_owned());
        let ready = match self.mechanism {
            MechanismKind::Null => builder.null().authorize(domain),
            // All clients understand libzmq's spelling, and libzmq's clients only this one.
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
                    "--plain needs --policy FILE: a PLAIN server always checks the password",
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
