//! How a server proves itself, and whom it admits, as arguments say it.
#![forbid(unsafe_code)]

use crate::cli::exit::Failure;
use crate::cli::key_file::load_key_pair;
use clap::Args;
use std::path::{Path, PathBuf};
use zmtp_auth::auth::{Authenticator, PolicyFile, PolicyWarning};
use zmtp_auth::zap::{ZapHandler, ZapReply, ZapRequest, ZapRouter};
use zmtp_auth::{Asks, Config, Domain, Open, SocketType};

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
    #[arg(long, group = "mechanism", requires = "key")]
    curve: bool,
    /// Our secret key: a certificate with the secret in it, or the file of `keygen --secret`.
    /// Up to four, so that clients may still know an older one
    #[arg(long, value_name = "FILE", requires = "curve")]
    key: Vec<PathBuf>,
    /// Who may come in: a policy file. SIGHUP loads it again
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The domain of the policy that rules this socket
    #[arg(long, value_name = "NAME", default_value = "", requires = "policy")]
    domain: String,
    /// Let everybody in, whoever it is (not with --plain)
    #[arg(long, conflicts_with = "policy")]
    accept_any_peer: bool,
}

/// A server's configuration.
pub(crate) enum ServerConfig {
    /// Every peer is asked about.
    Asks(Config<Asks>, ZapRouter, LoadedPolicy),
    /// Everybody is let in.
    Open(Config<Open>),
}

/// The policy in force, and where it came from.
pub(crate) struct LoadedPolicy {
    authenticator: Authenticator,
    path: PathBuf,
}

impl LoadedPolicy {
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let policy = Self {
            authenticator: Authenticator::new(),
            path: path.to_owned(),
        };
        policy.reload()?;
        Ok(policy)
    }

    /// A router that asks it, whatever the domain.
    pub(crate) fn router(&self) -> Result<ZapRouter, Failure> {
        let router = ZapRouter::new();
        let handler = Explaining(self.authenticator.clone());
        router.bind("*", handler).map_err(Failure::new)?;
        Ok(router)
    }

    pub(crate) const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Loads it again, all or nothing.
    pub(crate) fn reload(&self) -> Result<Vec<PolicyWarning>, Failure> {
        let policy = PolicyFile::load(&self.path).map_err(Failure::usage)?;
        let warnings = self.authenticator.load_policy(&policy);
        let warnings = warnings.map_err(Failure::usage)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(warnings)
    }
}

impl ServerSecurity {
    /// A server of this type, as the arguments have it. Reads files.
    ///
    /// # Errors
    /// Wrong usage if the mechanism or who may come in was not said; what cannot be read.
    pub(crate) fn config(&self, socket_type: SocketType) -> Result<ServerConfig, Failure> {
        if let Some(path) = &self.policy {
            let policy = LoadedPolicy::load(path)?;
            let router = policy.router()?;
            let config = self.asking(socket_type)?;
            return Ok(ServerConfig::Asks(config, router, policy));
        }
        if !self.accept_any_peer {
            return Err(Failure::usage(
                "say who may come in: --policy FILE, or --accept-any-peer for everybody",
            ));
        }
        self.open(socket_type).map(ServerConfig::Open)
    }

    fn asking(&self, socket_type: SocketType) -> Result<Config<Asks>, Failure> {
        let domain = Domain::from(self.domain.clone());
        let builder = Config::builder(socket_type);
        if self.null {
            return Ok(builder.null().authorize(domain).finish()?);
        }
        if self.plain {
            // Every client understands libzmq's spelling, and libzmq's clients no other.
            let builder = builder.plain_server().libzmq_error_spelling();
            return Ok(builder.authorize(domain).finish()?);
        }
        let (first, more) = self.keys()?;
        let mut builder = builder.curve_server(first);
        for keys in more {
            builder = builder.also_accept(keys);
        }
        Ok(builder.authorize(domain).finish()?)
    }

    fn open(&self, socket_type: SocketType) -> Result<Config<Open>, Failure> {
        let builder = Config::builder(socket_type);
        if self.null {
            return Ok(builder.null().accept_any_peer().finish()?);
        }
        if self.plain {
            return Err(Failure::usage(
                "--plain needs --policy FILE: it always asks",
            ));
        }
        let (first, more) = self.keys()?;
        let mut builder = builder.curve_server(first);
        for keys in more {
            builder = builder.also_accept(keys);
        }
        Ok(builder.accept_any_peer().finish()?)
    }

    fn keys(&self) -> Result<(zmtp_auth::KeyPair, Vec<zmtp_auth::KeyPair>), Failure> {
        let Some((first, more)) = self.key.split_first() else {
            return Err(Failure::usage("choose one of --curve, --plain, --null"));
        };
        let more: Result<_, _> = more.iter().map(|path| load_key_pair(path)).collect();
        Ok((load_key_pair(first)?, more?))
    }
}

/// Between a reason and the rule behind it, in the texts of [`Explaining`].
const BEHIND: &str = ": ";

/// The Authenticator, which says also which rule has refused a peer. The text of a reply stays in
/// this process.
struct Explaining(Authenticator);

impl ZapHandler for Explaining {
    async fn handle(&self, request: ZapRequest) -> ZapReply {
        let (mut reply, rule) = self.0.handle_explained(&request).await;
        let reason = String::from_utf8_lossy(&reply.text);
        reply.text = format!("{reason}{BEHIND}{rule}").into();
        reply
    }
}

/// Reason and rule of a denial.
pub(crate) fn reason_and_rule(text: &str) -> (&str, Option<String>) {
    match text.split_once(BEHIND) {
        // The router has made one harmless line of it.
        Some((reason, rule)) => (reason, Some(rule.replace("\\\"", "\""))),
        None => (text, None),
    }
}
