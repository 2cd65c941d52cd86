//! `holdfast schema`: the shape of what `--json` prints, as JSON Schema (draft 2020-12).
//!
//! The schemas are derived from the very types that are serialised, and their words are those of the
//! types' documentation. [`answers`] says which command prints which; a test holds that every command
//! with `--json` is there, and `tests/commands` that what is printed fits.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};

use super::lines::{Lost, ProgressLine};
use super::table::{Column, render};
use super::{
    Failure, bench_floor, bench_limits, bench_memory, config, connect, print, profile, repair, top,
};
use crate::control::api::{
    ConfigReloadView, DrainView, EventView, EventsView, ExportView, GroupView, HistoryEntryView,
    HistoryView, PreemptCheckView, ReservationClearView, ReservationView, ServerStatus,
    ServerUpgradeView, SessionView, SnapshotView, VolumeView,
};
use crate::control::config::Config;
use crate::load::compare::json as compare_json;
use crate::load::report::json as report_json;
use crate::profile::Difference;

/// Counts up when something that programs rely on changes; [`EXAMPLES`] says what that is.
const VERSION: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  holdfast schema
      which commands print JSON, and how
  holdfast schema volume show
      the shape of what `holdfast volume show --json` prints
  holdfast schema --all > holdfast-json.json
      the shapes of all commands, by their names

The schemas are JSON Schema, draft 2020-12, made from what is printed itself. `$id` ends in the
version and the command. Within a version, objects get new fields, texts that are listed get new
values, and commands get new flags that print other lines: a program reads what it knows, and
leaves the rest. No field goes away, gets another name, type, unit or meaning, or becomes null where
it never was; for that the version counts up. Fields whose value is null are printed.

Errors are text on standard error with --json too; the exit code tells them apart. What `bench
--output-format fio` prints has the shape of fio.";

/// Flags of `schema`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SchemaArguments {
    /// The command, such as `volume show` [default: a list of all that print JSON]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// The schemas of all commands in one document
    #[arg(long, conflicts_with = "command")]
    all: bool,
}

/// A command that answers in JSON.
struct Answer {
    command: &'static str,
    shapes: Vec<Shape>,
}

/// One shape of what it prints.
struct Shape {
    /// Where it is printed.
    place: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Answer {
    /// Of a command that prints one document.
    fn of<T: JsonSchema>(command: &'static str) -> Self {
        Self::empty(command).or::<T>("one document")
    }

    fn empty(command: &'static str) -> Self {
        Self {
            command,
            shapes: Vec::new(),
        }
    }

    /// And that, there.
    fn or<T: JsonSchema>(mut self, place: &'static str) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.shapes.push(Shape { place, schema });
        self
    }

    /// Of a command whose work may be long.
    fn of_long<T: JsonSchema>(command: &'static str) -> Self {
        Self::of::<T>(command).or::<ProgressLine<'_>>(
            "if the work is long, lines of how far it is; the document is one line then",
        )
    }

    fn places(&self) -> String {
        let places: Vec<_> = self.shapes.iter().map(|shape| shape.place).collect();
        places.join("; ")
    }

    fn schema(&self) -> Value {
        let mut generator = SchemaSettings::draft2020_12()
            .for_serialize()
            .with_transform(RecursiveTransform(in_plain_words))
            .with_transform(RecursiveTransform(open_to_new_fields))
            .into_generator();
        let schemas: Vec<_> = self
            .shapes
            .iter()
            .map(|shape| (shape.place, (shape.schema)(&mut generator)))
            .collect();
        let mut root = Map::new();
        if let [(_, schema)] = schemas.as_slice() {
            root.extend(schema.as_object().cloned().unwrap_or_default());
        } else {
            let described = schemas.into_iter().map(|(place, mut schema)| {
                schema.insert("description".to_owned(), place.into());
                schema.to_value()
            });
            root.insert("anyOf".to_owned(), described.collect());
        }
        let command = self.command;
        let id = format!("urn:holdfast:json:{VERSION}:{}", command.replace(' ', "-"));
        root.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        root.insert("$id".to_owned(), id.into());
        root.insert(
            "title".to_owned(),
            format!("holdfast {command} --json").into(),
        );
        root.insert("description".to_owned(), self.places().into());
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            root.insert("$defs".to_owned(), definitions.into());
        }
        root.into()
    }
}

/// What is printed by which command.
fn answers() -> Vec<Answer> {
    vec![
        Answer::of::<report_json::Document>("bench"),
        Answer::of::<compare_json::Document<'_>>("bench compare"),
        Answer::of::<bench_floor::Document>("bench floor"),
        Answer::of::<bench_limits::Document<'_>>("bench limits"),
        Answer::of::<bench_memory::Document<'_>>("bench memory"),
        Answer::of::<config::Checked>("config check"),
        Answer::of::<ConfigReloadView>("config reload"),
        Answer::of::<Config>("config show"),
        Answer::empty("connect")
            .or::<connect::Script<'_>>("with --client, one document")
            .or::<connect::Report>("with --check, one document"),
        Answer::of::<EventsView>("events")
            .or::<EventView>("with --follow, a line for each event")
            .or::<Lost>("with --follow, a line where events are missing"),
        Answer::of::<GroupView>("group create"),
        Answer::of::<GroupView>("group delete"),
        Answer::of::<Vec<GroupView>>("group list"),
        Answer::of::<GroupView>("group set"),
        Answer::of::<GroupView>("group show"),
        Answer::of::<profile::Checked<'_>>("profile check"),
        Answer::of::<Vec<Difference>>("profile diff"),
        Answer::of::<Vec<profile::Listed>>("profile list"),
        Answer::of::<profile::Shown>("profile show"),
        Answer::of::<repair::Report<'_>>("repair"),
        Answer::of::<PreemptCheckView>("reservation check"),
        Answer::of::<ReservationClearView>("reservation clear"),
        Answer::of::<HistoryView>("reservation history")
            .or::<HistoryEntryView>("with --follow, a line for each entry")
            .or::<Lost>("with --follow, a line where entries are missing"),
        Answer::of::<ReservationView>("reservation show"),
        Answer::of::<DrainView>("server admit"),
        Answer::of::<DrainView>("server drain"),
        Answer::of::<ServerStatus>("server status"),
        Answer::of::<()>("server stop"),
        Answer::of::<DrainView>("session admit"),
        Answer::of::<DrainView>("session drain"),
        Answer::of::<Vec<DrainView>>("session drains"),
        Answer::of::<Vec<SessionView>>("session list"),
        Answer::of_long::<Vec<SnapshotView>>("snapshot create"),
        Answer::of::<SnapshotView>("snapshot delete"),
        Answer::of::<Vec<SnapshotView>>("snapshot list"),
        Answer::of::<SnapshotView>("snapshot show"),
        Answer::empty("top").or::<top::Rates>("a line for each look; with --once, one"),
        Answer::of::<ServerUpgradeView>("upgrade"),
        Answer::of_long::<VolumeView>("volume create"),
        Answer::of::<VolumeView>("volume delete"),
        Answer::of_long::<ExportView>("volume export"),
        Answer::of::<Vec<VolumeView>>("volume list"),
        Answer::of::<VolumeView>("volume resize"),
        Answer::of::<VolumeView>("volume restore"),
        Answer::of_long::<VolumeView>("volume revert"),
        Answer::of::<VolumeView>("volume set"),
        Answer::of::<VolumeView>("volume show"),
    ]
}

/// All of them.
#[derive(Serialize)]
struct All {
    version: u32,
    commands: Map<String, Value>,
}

/// Prints the schemas that `arguments` asks for, or which there are.
pub(super) fn run(arguments: &SchemaArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let answers = answers();
    let text = if arguments.all {
        let schemas = answers
            .iter()
            .map(|answer| (answer.command.to_owned(), answer.schema()));
        pretty(&All {
            version: VERSION,
            commands: schemas.collect(),
        })?
    } else if arguments.command.is_empty() {
        list(&answers)
    } else {
        let command = arguments.command.join(" ");
        let answer = answers.iter().find(|answer| answer.command == command);
        pretty(&answer.ok_or_else(|| unknown(&command, &answers))?.schema())?
    };
    print(out, &text);
    Ok(())
}

fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    Ok(text + "\n")
}

fn list(answers: &[Answer]) -> String {
    let columns = [Column::Text("COMMAND"), Column::Text("PRINTS WITH --json")];
    let row = |answer: &Answer| vec![answer.command.to_owned(), answer.places()];
    let mut text = render(&columns, answers.iter().map(row));
    let _ = writeln!(text, "\nversion {VERSION} of the shapes");
    text
}

fn unknown(command: &str, answers: &[Answer]) -> Failure {
    let noun = command.split(' ').next().unwrap_or_default();
    let below = |answer: &&Answer| answer.command.split(' ').next() == Some(noun);
    let mut known: Vec<_> = answers
        .iter()
        .filter(below)
        .map(|answer| answer.command)
        .collect();
    if known.is_empty() {
        known = answers.iter().map(|answer| answer.command).collect();
    }
    Failure::new(format!(
        "`holdfast {command}` prints no JSON; expected {}",
        known.join(", ")
    ))
}

/// Takes the marks of rustdoc's links out of a description: who reads a schema can't follow them.
fn in_plain_words(schema: &mut Schema) {
    let Some(Value::String(text)) = schema.get_mut("description") else {
        return;
    };
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else {
            break;
        };
        let name = name.rsplit("::").next().unwrap_or(name);
        let target = after
            .strip_prefix('(')
            .and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
        let _ = write!(plain, "{before}`{name}`");
    }
    plain.push_str(rest);
    *text = plain;
}

/// Types that refuse unknown fields when they are read get new ones all the same.
fn open_to_new_fields(schema: &mut Schema) {
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Command, CommandFactory};

    use super::*;

    /// Commands with a flag `--json`, by their words behind `holdfast`.
    fn answering(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        if command
            .get_arguments()
            .any(|argument| argument.get_id() == "json")
        {
            found.insert(path.to_owned());
        }
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            answering(below, path.trim_start(), found);
        }
    }

    #[test]
    fn every_command_with_json_has_a_schema() {
        let mut root = super::super::Cli::command();
        root.build();
        let mut expected = BTreeSet::new();
        answering(&root, "", &mut expected);
        let answers = answers();
        let known: BTreeSet<_> = answers
            .iter()
            .map(|answer| answer.command.to_owned())
            .collect();
        assert_eq!(known, expected);
        assert!(answers.is_sorted_by_key(|answer| answer.command));
    }

    /// Calls `see` with every field of every object, by its path.
    fn fields(at: &Value, path: &str, see: &mut impl FnMut(&str, &Value, bool)) {
        match at {
            Value::Object(object) => {
                // An enum's variant with its content is described as a whole.
                let properties = object.get("properties").and_then(Value::as_object);
                let is_variant = object.contains_key("description")
                    && properties.is_some_and(|properties| properties.len() == 1);
                for (key, value) in object {
                    if key == "properties"
                        && let Value::Object(properties) = value
                    {
                        for (name, property) in properties {
                            see(&format!("{path} {name}"), property, is_variant);
                        }
                    }
                    fields(value, &format!("{path}/{key}"), see);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| fields(value, path, see)),
            _ => {}
        }
    }

    #[test]
    fn every_field_is_described_in_words_for_programs_authors() {
        let mut problems = BTreeSet::new();
        for answer in answers() {
            fields(
                &answer.schema(),
                answer.command,
                &mut |path, property, is_variant| {
                    let text = property["description"].as_str().unwrap_or_default();
                    // So is the one value of a variant's mark.
                    let is_mark = property.get("const").is_some() || is_variant;
                    if (text.is_empty() && !is_mark)
                        || text.contains("[`")
                        || text.contains("crate::")
                    {
                        problems.insert(format!("{path}: {text:?}"));
                    }
                },
            );
        }
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn links_become_words() {
        let plain = |text: &str| {
            let mut schema = schemars::json_schema!({ "description": text });
            in_plain_words(&mut schema);
            schema
                .get("description")
                .and_then(Value::as_str)
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            plain("[`A::b`] says, [`c`](crate::c) too."),
            "`b` says, `c` too."
        );
        assert_eq!(plain("a [list], [`open"), "a [list], [`open");
    }
}
