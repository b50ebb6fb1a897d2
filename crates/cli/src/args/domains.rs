//! `slipway domains` and `slipway dns`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use slipway_domain::name::TeamName;
use slipway_domain::quantity::Span;

use crate::values::{Setting, parse_provider};

/// How long a domain is waited for.
#[derive(Debug, Clone, Args)]
pub struct DomainWatchArgs {
    /// Wait until it has its certificate, asking DNS again and again
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Return at once
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub timeout: Span,
}

/// `slipway domains`
#[derive(Debug, Clone, Subcommand)]
pub enum DomainsCommand {
    /// List the domains of an app
    #[command(visible_alias = "ls")]
    List,
    /// Add a domain; prints the records to make
    Add {
        /// The name, such as `shop.example.com` or `*.shop.example.com`
        host: String,
        /// Send its visitors on to another name of the app, such as `www.example.com`
        #[arg(long, value_name = "HOST")]
        redirect_to: Option<String>,
        #[command(flatten)]
        watch: DomainWatchArgs,
    },
    /// Change where a domain's visitors are sent on to
    #[command(group(clap::ArgGroup::new("where").required(true).args(["redirect_to", "no_redirect"])))]
    Set {
        /// The name
        host: String,
        /// Send its visitors on to another name of the app
        #[arg(long, value_name = "HOST")]
        redirect_to: Option<String>,
        /// Let the app answer here itself
        #[arg(long)]
        no_redirect: bool,
    },
    /// Tell browsers to come by HTTPS only (Strict-Transport-Security): for five minutes at first, then for longer and longer
    Hsts {
        /// The name
        host: String,
        /// Switch it on or off; without it what is told now is shown
        switch: Option<Switch>,
        /// The same for every name below, also those that are elsewhere
        #[arg(long, requires = "switch")]
        include_subdomains: bool,
        /// Let browsers have it built in
        #[arg(long, requires = "switch")]
        preload: bool,
        /// What cannot be taken back quickly is asked twice: the name once more
        #[arg(long, value_name = "HOST")]
        confirm: Option<String>,
    },
    /// Have visitors show a certificate (mTLS), or let anybody in
    #[command(group(clap::ArgGroup::new("who").required(true).args(["file", "off"])))]
    ClientCa {
        /// The name
        host: String,
        /// The certificates of those who vouch for visitors, PEM
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Let anybody in
        #[arg(long)]
        off: bool,
    },
    /// Ask DNS now, say what is wrong, and try at once what was to be tried later
    #[command(visible_alias = "show")]
    Check {
        /// The name
        host: String,
        #[command(flatten)]
        watch: DomainWatchArgs,
    },
    /// Give a domain up
    #[command(visible_alias = "rm")]
    Remove {
        /// The name
        host: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Whose zones are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct ZoneOwnerArgs {
    /// The team, for an administrator; the token's own if not given
    #[arg(long, value_name = "NAME", conflicts_with = "platform")]
    pub team: Option<TeamName>,
    /// The platform's own zones, for an administrator: for the base domain, and for teams with --delegation
    #[arg(long)]
    pub platform: bool,
}

/// `slipway dns`
#[derive(Debug, Clone, Subcommand)]
pub enum DnsCommand {
    /// List the zones that records can be made in
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        owner: ZoneOwnerArgs,
    },
    /// List who may keep a zone, and what each wants to know
    Providers,
    /// Store how a zone is changed; what is secret is read from standard input or asked for without echo
    Set {
        /// Where the zone begins, such as `example.com`
        zone: String,
        /// Who keeps it: see `slipway dns providers`
        #[arg(long, value_name = "NAME", value_parser = parse_provider)]
        provider: &'static slipway_domain::domains::Provider,
        /// What that one wants to know and is no secret; may be repeated
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<Setting>,
        /// What that one wants to know and stands in a file; may be repeated
        #[arg(long = "file", value_name = "KEY=PATH", value_hint = ValueHint::FilePath)]
        files: Vec<Setting>,
        /// Let teams point `_acme-challenge.<name>` into it by a CNAME
        #[arg(long, requires = "platform")]
        delegation: bool,
        #[command(flatten)]
        owner: ZoneOwnerArgs,
    },
    /// Make a record, ask for it and take it back
    Check {
        /// Where the zone begins
        zone: String,
        #[command(flatten)]
        owner: ZoneOwnerArgs,
    },
    /// Forget how a zone is changed
    #[command(visible_alias = "rm")]
    Delete {
        /// Where the zone begins
        zone: String,
        #[command(flatten)]
        owner: ZoneOwnerArgs,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// `slipway certs`
#[derive(Debug, Clone, Subcommand)]
pub enum CertsCommand {
    /// List certificates, when they end, and what is being tried
    #[command(visible_alias = "ls")]
    List,
    /// Put a certificate of your own in use for domains of an app
    Upload {
        /// The site's own certificate first, then those that vouch for it; PEM
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        cert: PathBuf,
        /// Its private key, not encrypted; PEM
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        /// The domains it is for; may be repeated
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Have a certificate ordered in place of the one that was uploaded
    GiveUp {
        /// The domain
        host: String,
    },
    /// Get another certificate now; the old one serves until it is there
    Renew {
        /// The domain
        host: String,
    },
    /// Have the CA told that a certificate holds no more, and get another one
    Revoke {
        /// The domain
        host: String,
        /// Why
        #[arg(long, value_enum, default_value = "unspecified")]
        reason: RevocationReason,
        /// At once, not only when there is another one: until then browsers may refuse the site
        #[arg(long)]
        immediately: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Order at the CA's staging directory, to see whether a real order would succeed: no limit of the CA is spent
    Try {
        /// The domain
        host: String,
    },
    /// Have this machine trust the internal CA, which issues for local names, or say how
    Trust {
        /// Print the root instead
        #[arg(long, conflicts_with = "remove")]
        print: bool,
        /// Take it out again
        #[arg(long)]
        remove: bool,
    },
    /// Give the platform's accounts at CAs new keys; done by itself once a year
    RollAccountKeys,
}

/// Why a certificate is to hold no more
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RevocationReason {
    /// No reason is given
    Unspecified,
    /// Somebody else may have its key
    KeyCompromise,
    /// Another one takes its place
    Superseded,
    /// Nothing is served there any more
    CessationOfOperation,
}
