//! `holdfast profile`: what profiles set, how they differ, and what they ask of the host.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::table::{Column, render};
use super::values::ProfileName;
use super::{Failure, print};
use crate::control::config::{Config, CoreList};
use crate::profile::check::{Demand, Finding, Host, Verdict, Weight, examine};
use crate::profile::{BUILT_IN, Difference, Knob, Profile};

const CHECK_EXAMPLES: &str = "\
Examples:
  holdfast profile check latency --cores 2,3
      what stands in the way of two reactors that spin on cores 2 and 3

  holdfast profile check ./mine.toml --strict && holdfast serve --profile ./mine.toml
      serves only on a host that is prepared

It changes nothing. tuning/host-setup, with the same --profile and --cores, changes what can be
changed while the host runs, and undoes it again. What can't be read is `not known here`. Limits of
locked memory and open files are those of the shell that runs this, not those of a systemd unit.";

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub(super) enum ProfileCommand {
    /// List the built-in profiles
    List(Output),
    /// Show every knob of a profile, and what it does
    Show(ShowArguments),
    /// Show the knobs that two profiles set to different values
    Diff(DiffArguments),
    /// Examine this host for a profile: what to change, and how much it matters
    Check(CheckArguments),
}

/// How to print.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Its name, or its file
    #[arg(value_name = "NAME|FILE", value_parser = ProfileName, hide_possible_values = true)]
    profile: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// One profile: its name, or its file
    #[arg(value_name = "NAME|FILE", value_parser = ProfileName, hide_possible_values = true)]
    first: String,
    /// The other one
    #[arg(value_name = "NAME|FILE", value_parser = ProfileName, hide_possible_values = true)]
    second: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_long_help = CHECK_EXAMPLES)]
pub(super) struct CheckArguments {
    /// Its name, or its file
    #[arg(value_name = "NAME|FILE", default_value = "efficiency", value_parser = ProfileName, hide_possible_values = true)]
    profile: String,
    /// Cores that reactors are to be pinned to, such as 0,2,4-7 [default: pinned to none]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,
    /// Exit with code 1 if anything is to be changed
    #[arg(long)]
    strict: bool,
    /// Examine a copy of a host's /sys, /proc and /etc below this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// A profile in a list.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// Its name.
    name: String,
    /// One line on what it is for.
    description: String,
    /// Whether it is used where none is named.
    default: bool,
}

/// A profile with all that it sets.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shown {
    /// Its name, or its file.
    name: String,
    /// One line on what it is for.
    description: String,
    /// What it sets, in its file's order.
    knobs: Vec<Knob>,
}

/// What was found on a host.
#[derive(Serialize, JsonSchema)]
pub(super) struct Checked<'a> {
    /// The profile's name, or its file.
    profile: &'a str,
    /// The cores that reactors run on, or may.
    cores: &'a [usize],
    /// One for each point that was looked at.
    findings: &'a [Finding],
}

/// Does what the command says.
pub(super) fn run(command: ProfileCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        ProfileCommand::List(output) => list(&output, out),
        ProfileCommand::Show(arguments) => show(arguments, out),
        ProfileCommand::Diff(arguments) => diff(&arguments, out),
        ProfileCommand::Check(arguments) => check(arguments, out),
    }
}

fn find(name: &str) -> Result<Profile, Failure> {
    Profile::find(name).map_err(Failure::new)
}

fn tell<T: Serialize>(
    value: &T,
    output: &Output,
    out: &mut dyn Write,
    show: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let text = match output.json {
        true => serde_json::to_string_pretty(value).map_err(Failure::new)? + "\n",
        false => show(value),
    };
    print(out, &text);
    Ok(())
}

fn list(output: &Output, out: &mut dyn Write) -> Result<(), Failure> {
    let default = Config::default().profile;
    let mut listed = Vec::with_capacity(BUILT_IN.len());
    for (name, _) in BUILT_IN {
        let profile = find(name)?;
        listed.push(Listed {
            default: profile.name == default,
            name: profile.name,
            description: profile.description,
        });
    }
    tell(&listed, output, out, |listed| {
        let columns = [
            Column::Text("NAME"),
            Column::Text("DEFAULT"),
            Column::Text("WHAT FOR"),
        ];
        let row = |profile: &Listed| {
            let default = if profile.default { "yes" } else { "-" };
            vec![
                profile.name.clone(),
                default.to_owned(),
                profile.description.clone(),
            ]
        };
        render(&columns, listed.iter().map(row))
    })
}

fn show(arguments: ShowArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let profile = find(&arguments.profile)?;
    let shown = Shown {
        name: profile.name,
        description: profile.description,
        knobs: profile.knobs,
    };
    tell(&shown, &arguments.output, out, |shown| {
        let mut text = format!("{}: {}\n", shown.name, shown.description);
        // Knobs that share a comment stand together, as in the file.
        for group in shown.knobs.chunk_by(|a, b| a.meaning == b.meaning) {
            text.push('\n');
            for knob in group {
                let _ = writeln!(text, "{} = {}", knob.name, knob.value);
            }
            text.push_str(&indented(group.first().map_or("", |knob| &knob.meaning)));
        }
        text
    })
}

fn diff(arguments: &DiffArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (first, second) = (find(&arguments.first)?, find(&arguments.second)?);
    let differences = first.differences(&second);
    tell(&differences, &arguments.output, out, |differences| {
        let columns = [&arguments.first, &arguments.second];
        match differences.is_empty() {
            true => format!("{} and {} set every knob alike\n", columns[0], columns[1]),
            false => differences
                .iter()
                .map(|found| show_difference(found, columns))
                .collect(),
        }
    })
}

fn show_difference(found: &Difference, profiles: [&String; 2]) -> String {
    let width = profiles
        .map(|name| name.len())
        .into_iter()
        .max()
        .unwrap_or(0);
    let mut text = format!("{}\n", found.name);
    for (profile, value) in profiles.into_iter().zip([&found.first, &found.second]) {
        let _ = writeln!(text, "  {profile:width$}  {value}");
    }
    text + &indented(&found.meaning) + "\n"
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn check(arguments: CheckArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let profile = find(&arguments.profile)?;
    let host = arguments.root.as_deref().map_or_else(Host::here, Host::at);
    let cores = arguments.cores.as_ref().map_or(&[][..], CoreList::cores);
    let demand = Demand::new(&profile, cores, &host, Config::default().reactor_count());
    let findings = examine(&host, &demand);
    let checked = Checked {
        profile: &profile.name,
        cores: demand.cores(),
        findings: &findings,
    };
    tell(&checked, &arguments.output, out, |checked| {
        show_findings(checked.findings)
    })?;
    let changes = changes(&findings).len();
    match arguments.strict && changes > 0 {
        true => Err(Failure::new(format!(
            "this host is not as profile {} wants it: points to change: {changes}",
            profile.name
        ))),
        false => Ok(()),
    }
}

/// What is to be changed, the weightiest first.
fn changes(findings: &[Finding]) -> Vec<&Finding> {
    let mut changes: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Change)
        .collect();
    changes.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    changes
}

fn show_findings(findings: &[Finding]) -> String {
    let columns = [
        Column::Text("POINT"),
        Column::Text("VERDICT"),
        Column::Text("WEIGHT"),
        Column::Text("STATE"),
        Column::Text("WANTED"),
    ];
    let row = |finding: &Finding| {
        vec![
            finding.name.to_owned(),
            verdict(finding.verdict).to_owned(),
            weight(finding.weight).to_owned(),
            finding.state.clone(),
            finding.wanted.clone(),
        ]
    };
    let mut text = render(&columns, findings.iter().map(row));
    let changes = changes(findings);
    if changes.is_empty() {
        return text + "\nnothing to change\n";
    }
    text.push_str("\nto change, the weightiest first:\n");
    for finding in changes {
        let _ = writeln!(text, "\n{} ({})", finding.name, weight(finding.weight));
        let _ = writeln!(text, "    {}", finding.why);
        for remedy in finding.remedy.iter().flat_map(|remedy| remedy.split("; ")) {
            let _ = writeln!(text, "    > {remedy}");
        }
    }
    text
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Change => "change",
        Verdict::Unknown => "-",
    }
}

fn weight(weight: Weight) -> &'static str {
    match weight {
        Weight::Low => "low",
        Weight::Medium => "medium",
        Weight::High => "high",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bare {
        #[command(subcommand)]
        command: ProfileCommand,
    }

    fn run_line(arguments: &[&str]) -> (String, Result<(), Failure>) {
        let parsed = Bare::try_parse_from([&["profile"], arguments].concat()).unwrap();
        let mut out = Vec::new();
        let outcome = run(parsed.command, &mut out);
        (String::from_utf8(out).unwrap(), outcome)
    }

    fn told(arguments: &[&str]) -> String {
        let (text, outcome) = run_line(arguments);
        outcome.unwrap();
        text
    }

    fn json(arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&told(&[arguments, &["--json"]].concat())).unwrap()
    }

    #[test]
    fn the_list_has_one_default() {
        let listed = json(&["list"]);
        let listed = listed.as_array().unwrap();
        assert_eq!(listed.len(), BUILT_IN.len());
        let defaults: Vec<_> = listed
            .iter()
            .filter(|profile| profile["default"] == true)
            .collect();
        assert_eq!(defaults.len(), 1);
        assert_eq!(defaults[0]["name"], "efficiency");
        assert!(told(&["list"]).contains("latency"));
    }

    #[test]
    fn show_has_every_knob_with_its_meaning() {
        let text = told(&["show", "latency"]);
        assert!(text.contains("\nidle = \"spin\"\n    How a reactor with nothing to do waits:\n"));
        let shown = json(&["show", "latency"]);
        for knob in shown["knobs"].as_array().unwrap() {
            assert!(text.contains(knob["name"].as_str().unwrap()), "{knob}");
        }
        let (_, outcome) = run_line(&["show", "fastest"]);
        assert!(outcome.unwrap_err().message.contains("expected latency"));
    }

    #[test]
    fn diff_has_only_what_differs() {
        let text = told(&["diff", "latency", "efficiency"]);
        assert!(text.contains("idle\n  latency     \"spin\"\n  efficiency  \"adaptive\"\n    How"));
        assert!(!text.contains("shard_size"), "{text}");
        assert!(told(&["diff", "compat", "compat"]).contains("alike"));
        assert_eq!(json(&["diff", "compat", "compat"]), serde_json::json!([]));
    }

    #[test]
    fn check_of_a_host_that_says_nothing_knows_nothing_and_fails_only_if_strict() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let line = ["check", "latency", "--cores", "1", "--root", root];
        let found = json(&line);
        assert_eq!(
            (&found["profile"], &found["cores"][0]),
            (&"latency".into(), &1.into())
        );
        let text = told(&line);
        assert!(
            text.contains("not known here") && text.ends_with("\nnothing to change\n"),
            "{text}"
        );

        let line = ["check", "latency", "--strict", "--root", root];
        let (text, outcome) = run_line(&line);
        assert!(text.contains("\nreactor cores (high)\n"), "{text}");
        assert!(text.contains("    > choose cores"), "{text}");
        assert!(outcome.unwrap_err().message.contains("points to change: 1"));
    }
}
