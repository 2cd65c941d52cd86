//! `holdfast serve`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::{Failure, logging};
use crate::base::tuning::{Engine, Overrides};
use crate::control::config::chap::ACCOUNTS_VARIABLE;
use crate::control::config::{
    Advertise, Config, CoreList, Listen, LogFilter, LogFormat, MetricsListen, PortalConfig,
};
use crate::control::plane::Launch;
use crate::control::server;
use crate::control::succession::{Heir, TAKE_OVER_FLAG};
use crate::profile::Profile;

const EXAMPLES: &str = "\
Examples:
  holdfast serve
      makes ./holdfast-data with a group and a 1 GiB volume on the first start, listens on
      127.0.0.1:3260 and prints how to connect

  holdfast serve --data /srv/holdfast --listen 10.0.0.5:3260 --listen 10.0.1.5:3260
      two portals: initiators that log in through both have two paths to every volume

  holdfast serve --listen 0.0.0.0:3260 --advertise san.example.org:3260
      behind NAT: discovery tells initiators the address that reaches it

  holdfast serve --profile latency --cores 2,3
      two reactors that never sleep, on cores of their own

  holdfast serve --config /etc/holdfast.toml --log holdfast=debug --log-format json

When everything is ready it prints one line `listening on ADDR:PORT` for each portal; port 0 picks a
free one and the line tells it. The first Ctrl-C or SIGTERM drains: no more logins, sessions are
asked to log out, data is flushed, exit code 0. A second one ends at once.

Flags override the configuration file; the file overrides the profile. Every key of the file is
explained in tuning/holdfast.toml. CHAP accounts come from a file that the configuration names, or
from HOLDFAST_CHAP_ACCOUNTS=user:secret,…; never from the command line.";

/// Flags of `serve`. What is not given is as in the configuration file.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ServeArguments {
    /// Directory of everything that outlives a restart [default: ./holdfast-data]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_DATA")]
    data: Option<PathBuf>,

    /// Portal to listen on; may be repeated [default: 127.0.0.1:3260]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<Listen>,

    /// Address that discovery gives out for a portal; in the order of --listen
    #[arg(long, value_name = "ADDR:PORT")]
    advertise: Vec<Advertise>,

    /// Control socket [default: control.sock in the data directory]
    #[arg(long, value_name = "SOCKET", env = "HOLDFAST_CONTROL")]
    control: Option<PathBuf>,

    /// How many reactors do the I/O [default: one per core, at most 8]
    #[arg(long, value_name = "N", conflicts_with = "cores",
          value_parser = clap::value_parser!(u32).range(1..=128))]
    reactors: Option<u32>,

    /// Cores to pin reactors to, one each, such as 0,2,4-7
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,

    /// What drives sockets and disks [default: auto, which takes io_uring where it is permitted]
    #[arg(long, value_enum)]
    engine: Option<EngineArgument>,

    /// Performance profile: latency, throughput, efficiency, compat or a file [default: efficiency]
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,

    /// Where to serve /metrics for Prometheus, /healthz and /readyz, such as 127.0.0.1:9260
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<MetricsListen>,

    /// Configuration file; every key is explained in tuning/holdfast.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or directives [default: info]
    #[arg(long, value_name = "FILTER", env = "HOLDFAST_LOG")]
    log: Option<LogFilter>,

    /// How log lines look, on standard error [default: text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormatArgument>,

    /// Take the place of the server at the other end of standard input; for `holdfast upgrade`
    #[arg(long, hide = true)]
    take_over: bool,
}

/// [`Engine`] as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineArgument {
    /// io_uring, or an error
    Uring,
    /// epoll, by mio
    Mio,
    /// io_uring where the kernel permits it, else mio
    Auto,
}

impl From<EngineArgument> for Engine {
    fn from(argument: EngineArgument) -> Self {
        match argument {
            EngineArgument::Uring => Self::Uring,
            EngineArgument::Mio => Self::Mio,
            EngineArgument::Auto => Self::Auto,
        }
    }
}

/// [`LogFormat`] as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArgument {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl ServeArguments {
    /// The configuration file, if one is named.
    pub(super) fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The configuration file, with the flags over it.
    pub(super) fn configure(self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::read(path).map_err(Failure::new)?,
            None => Config::default(),
        };
        if !self.listen.is_empty() {
            let portal = |listen| PortalConfig {
                listen,
                ..PortalConfig::default()
            };
            config.portals = self.listen.into_iter().map(portal).collect();
        }
        let portals = config.portals.len();
        if self.advertise.len() > portals {
            return Err(Failure::new(format!(
                "--advertise was given {} times for {portals} portals; expected one for each \
                 --listen, in the same order",
                self.advertise.len()
            )));
        }
        for (portal, advertise) in config.portals.iter_mut().zip(self.advertise) {
            portal.advertise = Some(advertise);
        }
        if self.reactors.is_some() || self.cores.is_some() {
            config.reactors = self.reactors;
            config.cores = self.cores;
        }
        config.data = self.data.unwrap_or(config.data);
        config.control = self.control.or(config.control);
        config.profile = self.profile.unwrap_or(config.profile);
        config.metrics.listen = self.metrics.or(config.metrics.listen);
        config.log.level = self.log.unwrap_or(config.log.level);
        config.log.format = match self.log_format {
            None => config.log.format,
            Some(LogFormatArgument::Text) => LogFormat::Text,
            Some(LogFormatArgument::Json) => LogFormat::Json,
        };
        let engine = self.engine.map(Engine::from).or(config.tuning.engine);
        config.tuning = Overrides {
            engine,
            ..config.tuning
        };
        config.check().map_err(Failure::new)?;
        Ok(config)
    }
}

/// Serves until a signal or a request stops it.
pub(super) fn run(
    arguments: ServeArguments,
    launch: &dyn Launch,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if !arguments.take_over {
        return serve(arguments, launch, None, out);
    }
    // Before anything else: its clock has to be that of the server that it replaces.
    let heir = Heir::greet().map_err(|error| {
        let flag = TAKE_OVER_FLAG;
        Failure::new(format!("{flag} is for `holdfast upgrade` alone: {error}"))
    })?;
    let served = serve(arguments, launch, Some(&heir), out);
    if let Err(failure) = &served {
        // Where it serves already, nobody listens any more.
        heir.refuse(&failure.message);
    }
    served
}

fn serve(
    arguments: ServeArguments,
    launch: &dyn Launch,
    heir: Option<&Heir>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = arguments.configure()?;
    logging::start(&config.log)?;
    close_environment();
    let profile = Profile::find(&config.profile).map_err(Failure::new)?;
    tracing::info!(profile = profile.name, "{}", profile.description);
    let tuning = profile.tuning.overridden(&config.tuning);
    server::run(config, tuning, launch, heir, out).map_err(Failure::new)
}

/// Where the environment holds secrets, keeps other processes of this user from reading it in
/// `/proc/PID/environ`, from tracing this process, and the kernel from dumping its core.
fn close_environment() {
    if std::env::var_os(ACCOUNTS_VARIABLE).is_none() {
        return;
    }
    match set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        Ok(()) => tracing::info!(
            "{ACCOUNTS_VARIABLE} holds secrets, so this process dumps no core and no other process of \
             its user may look into it; chap_accounts in the configuration takes them from a file"
        ),
        Err(error) => tracing::warn!(
            %error,
            "{ACCOUNTS_VARIABLE} holds secrets that other processes of this user can read; name a file \
             of mode 0600 with chap_accounts in the configuration"
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bare {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn configure(arguments: &[&str]) -> Result<Config, Failure> {
        let parsed = Bare::try_parse_from([&["serve"], arguments].concat());
        parsed.map_err(Failure::new)?.serve.configure()
    }

    #[test]
    fn flags_override_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("holdfast.toml");
        let text = "data = \"/a\"\nreactors = 4\nprofile = \"latency\"\n\
                    [[portal]]\nlisten = \"127.0.0.1:1\"\ntag = 9\n[tuning]\nengine = \"mio\"\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let config = configure(&["--config", path]).unwrap();
        assert_eq!(
            (config.reactors, config.tuning.engine),
            (Some(4), Some(Engine::Mio))
        );

        let flags = [
            "--data", "/b", "--cores", "0,1", "--engine", "uring", "--listen", "[::1]:0",
        ];
        let config = configure(&[&["--config", path], &flags[..]].concat()).unwrap();
        assert_eq!(config.data, PathBuf::from("/b"));
        assert_eq!((config.reactors, config.reactor_count()), (None, 2));
        assert_eq!(config.tuning.engine, Some(Engine::Uring));
        assert_eq!(config.portals[0].listen.to_string(), "[::1]:0");
        assert_eq!(config.profile, "latency");
    }

    #[test]
    fn advertised_addresses_go_to_portals_in_order() {
        let listen = ["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"];
        let advertise = ["--advertise", "a.example:1", "--advertise", "b.example:2"];
        let config = configure(&[&listen[..], &advertise[..]].concat()).unwrap();
        let told: Vec<_> = config
            .portals
            .iter()
            .map(|portal| portal.advertise.clone().unwrap())
            .collect();
        assert_eq!(
            told,
            [
                "a.example:1".parse().unwrap(),
                "b.example:2".parse().unwrap()
            ]
        );
        let many = configure(&[&listen[..2], &advertise[..]].concat()).unwrap_err();
        assert!(
            many.message.contains("2 times for 1 portals"),
            "{}",
            many.message
        );
    }

    #[test]
    fn wrong_flags_are_told_precisely() {
        let told = |arguments: &[&str]| configure(arguments).unwrap_err().message;
        assert!(told(&["--reactors", "2", "--cores", "1"]).contains("cannot be used with"));
        assert!(told(&["--reactors", "0"]).contains("1..=128"));
        assert!(told(&["--listen", "here"]).contains("ADDR:PORT such as"));
        assert!(told(&["--engine", "warp"]).contains("uring, mio, auto"));
        assert!(told(&["--config", "/nowhere"]).contains("/nowhere: can't be read"));
        assert!(told(&["--log", "a=b=c"]).contains("expected error, warn"));
    }
}
