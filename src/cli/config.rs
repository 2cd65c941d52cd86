//! `holdfast config`: what a configuration says, without starting anything, and what a running server
//! makes of it.

use std::io::Write;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::client::Nothing;
use super::serve::ServeArguments;
use super::{Failure, reload};
use crate::base::tuning::Tuning;
use crate::control::api::{RunningConfigView, method};
use crate::control::config::Config;
use crate::control::rpc::Client;
use crate::profile::Profile;

const CHECK_EXAMPLES: &str = "\
Examples:
  holdfast config check --config /etc/holdfast.toml
      reads the file, the profile that it names and the CHAP accounts, and starts nothing
  holdfast config check --config /etc/holdfast.toml --listen 10.0.0.5:3260 && systemctl restart holdfast
      the flags of `serve` are checked together with the file

What only a start can tell is not checked: whether ports are free, the data directory can be had, and
volumes can be opened.";

const SHOW_EXAMPLES: &str = "\
Examples:
  holdfast config show
      what holds without a file, as one that `serve` takes; keys without a value are left out
  holdfast config show --config /etc/holdfast.toml --profile latency
      what holds when flags, file and profile are put together: every knob of [tuning] is there
  holdfast config show --config /etc/holdfast.toml --json | jq .tuning.idle
  holdfast config show --running
      what is in force in a server that runs; --control or --data say which one

No secret is shown: CHAP accounts stand in files of their own. What a group inherits from [access] is
told by `holdfast group show`.";

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check a configuration file, flags and all files that they name
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check(Box<ConfigArguments>),
    /// Show every value that holds, wherever it comes from
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show(Box<ShowArguments>),
    /// Have a running server read its configuration again, and say what became of each key
    #[command(after_long_help = reload::EXAMPLES)]
    Reload(reload::ReloadArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// What is in force in a running server, instead
    #[arg(long, conflicts_with_all = [
        "config", "profile", "listen", "advertise", "reactors", "cores", "engine", "metrics",
    ])]
    running: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(flatten)]
    serve: ServeArguments,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What `config check` found, in JSON.
#[derive(Serialize, JsonSchema)]
pub(super) struct Checked {
    /// The configuration file; `null`: what holds without one.
    file: Option<String>,
    /// The profile's name, or its file.
    profile: String,
    /// How many reactors would run.
    reactors: u32,
    /// The `ADDR:PORT` of each portal.
    portals: Vec<String>,
    /// Groups with rules of their own.
    groups: Vec<String>,
}

pub(super) fn run(command: ConfigCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(arguments) => check(*arguments, out),
        ConfigCommand::Show(arguments) => show(*arguments, out),
        ConfigCommand::Reload(arguments) => reload::run(arguments, out),
    }
}

fn check(arguments: ConfigArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let ConfigArguments { serve, json } = arguments;
    let file = serve.config_file().map(|path| path.display().to_string());
    let (config, _) = effective(&serve)?;
    config.policy().map_err(Failure::new)?;
    let checked = Checked {
        file,
        profile: config.profile.clone(),
        reactors: u32::try_from(config.reactor_count()).unwrap_or(u32::MAX),
        portals: config
            .portals
            .iter()
            .map(|portal| portal.listen.to_string())
            .collect(),
        groups: config.groups.keys().map(ToString::to_string).collect(),
    };
    let text = if json {
        pretty(&checked)?
    } else {
        checked.to_text()
    };
    out.write_all(text.as_bytes()).map_err(Failure::new)
}

fn show(arguments: ShowArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let ConfigArguments { serve, json } = arguments.config;
    let config = if arguments.running {
        let asked = serve.connection(json).client()?;
        running(asked)?
    } else {
        let (mut config, tuning) = effective(&serve)?;
        config.tuning = tuning.written();
        config
    };
    let text = if json {
        pretty(&config)?
    } else {
        toml::to_string(&config).map_err(Failure::new)?
    };
    out.write_all(text.as_bytes()).map_err(Failure::new)
}

/// The configuration in force in a server.
fn running(mut server: Client) -> Result<Config, Failure> {
    let view: RunningConfigView = server.call(method::CONFIG_SHOW, &Nothing {})?;
    serde_json::from_value(view.config).map_err(Failure::new)
}

/// The configuration with the flags over it, and every knob as it then is.
fn effective(serve: &ServeArguments) -> Result<(Config, Tuning), Failure> {
    let config = serve.configure().map_err(Failure::new)?;
    let profile = Profile::find(&config.profile).map_err(Failure::new)?;
    let tuning = profile.tuning.overridden(&config.tuning);
    Ok((config, tuning))
}

fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    Ok(text + "\n")
}

impl Checked {
    fn to_text(&self) -> String {
        let groups = match self.groups.as_slice() {
            [] => "none of their own".to_owned(),
            groups => groups.join(", "),
        };
        format!(
            "{} can be used\nprofile   {}\nreactors  {}\nportals   {}\ngroups    {groups}\n",
            self.file.as_deref().unwrap_or("the default configuration"),
            self.profile,
            self.reactors,
            self.portals.join(", "),
        )
    }
}
