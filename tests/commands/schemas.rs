//! What `--json` prints, against the schemas that `holdfast schema` prints.
//!
//! [`judge`] sees every answer of every transcript. The schemas are closed first: within a version a
//! new field is allowed, but not one that its own program's schema does not name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

use crate::support::server::{Engine, Server, Setup, holdfast};
use crate::support::skip;
use crate::transcript::Transcript;

fn schemas() -> &'static BTreeMap<String, Value> {
    static SCHEMAS: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let output = holdfast(&["schema", "--all"]).stdout;
        let all: Value = serde_json::from_slice(&output).expect("JSON");
        serde_json::from_value(all["commands"].clone()).expect("schemas by command")
    })
}

fn validators() -> &'static BTreeMap<String, Validator> {
    static VALIDATORS: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let compiled = schemas().iter().map(|(command, schema)| {
            let mut schema = schema.clone();
            close(&mut schema);
            let validator = jsonschema::draft202012::new(&schema);
            (command.clone(), validator.expect("a schema of the draft"))
        });
        compiled.collect()
    })
}

/// Lets no object have a property that is not named.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
            {
                object.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        _ => {}
    }
}

/// The command that the words begin with, as its schema is called.
fn command_of(words: &[&str]) -> Option<&'static str> {
    let longest = words.len().min(2);
    (1..=longest)
        .rev()
        .find_map(|count| validators().get_key_value(&words[..count].join(" ")))
        .map(|(command, _)| command.as_str())
}

/// Fails unless what a command has printed is what its schema says; nothing if it was not asked for
/// JSON. Hands back the command.
pub(crate) fn judge(words: &[&str], printed: &[u8]) -> Option<&'static str> {
    if !words.contains(&"--json") || printed.is_empty() {
        return None;
    }
    let command = command_of(words).unwrap_or_else(|| panic!("{words:?}: no schema"));
    let documents = serde_json::Deserializer::from_slice(printed).into_iter::<Value>();
    for document in documents {
        let document = document.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let problems: Vec<_> = validators()[command]
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{words:?}: {problems:#?}");
    }
    Some(command)
}

/// Commands whose answers were judged.
#[derive(Default)]
struct Seen(BTreeSet<&'static str>);

impl Seen {
    /// Runs a command with `--json`, which must answer.
    fn run(&mut self, server: Option<&Server>, line: &str) {
        let line = format!("{line} --json");
        let words: Vec<_> = line.split(' ').collect();
        let output = match server {
            Some(server) => server.command(&words),
            None => holdfast(&words),
        };
        let command = judge(&words, &output.stdout);
        self.0.extend(command);
        assert!(command.is_some(), "{line}: {output:?}");
    }

    /// Judges the first line that a command prints which would go on for ever.
    fn follow(&mut self, server: &Server, line: &str) {
        let line = format!("{line} --json");
        let words: Vec<_> = line.split(' ').collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(&words)
            .arg("--control")
            .arg(server.control())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut printed = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut printed)
            .expect("UTF-8");
        child.kill().expect("our child");
        child.wait().expect("our child");
        assert!(judge(&words, printed.as_bytes()).is_some(), "{line}");
    }
}

/// Volumes, snapshots and groups from their making to their end.
fn of_volumes(seen: &mut Seen, server: &Server) {
    for line in [
        "group create databases",
        "group set databases --retention 1d --iops-max 5000",
        "group show databases",
        "volume create db-1 --size 4MiB --group databases",
        "volume resize db-1 --size 8MiB",
        "volume set db-1 --sessions-max 4",
        "volume create held --size 4MiB --backend ram --delay 1ms --test-wrapper \
         {\"type\":\"fault\",\"rules\":[{\"on\":\"write\",\"when\":{\"one-in\":50},\"action\":{\"fail\":\"medium\"}}]}",
        "volume list",
        "volume show db-1",
        "volume show held",
        "volume delete held",
        "group list",
        "snapshot create db-1 monday --copy",
        "snapshot list",
        "snapshot show db-1@monday",
        "volume create db-2 --from-snapshot db-1@monday --copy",
        "volume revert db-1 --to monday --copy",
        "volume delete db-2",
        "volume list --deleted",
        "volume restore db-2",
    ] {
        seen.run(Some(server), line);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("db-1.raw");
    if Command::new("qemu-img").arg("--version").output().is_ok() {
        seen.run(
            Some(server),
            &format!("volume export db-1 {}", image.display()),
        );
    } else {
        skip("no qemu-img here");
        seen.0.insert("volume export");
    }
    for line in [
        "snapshot delete db-1@monday",
        "group create short",
        "group delete short",
    ] {
        seen.run(Some(server), line);
    }
}

/// Sessions, reservations and what tells of them.
fn of_sessions(seen: &mut Seen, server: &Server) {
    let volume = server.create_small("shared");
    let mut a = server.session(&volume, "node-a");
    let mut b = server.session(&volume, "node-b");
    a.register(0, 0xA1).good();
    b.register(0, 0xB2).good();
    a.reserve(5, 0xA1).good();
    for line in [
        "session list",
        "top --once --interval 100ms",
        "reservation show shared",
        "reservation check shared --preempt 0xa1",
        "reservation clear shared --yes",
        "reservation history shared",
        "connect shared --client linux --portal 10.0.0.5:3260",
        "connect shared --check",
        "events",
    ] {
        seen.run(Some(server), line);
    }
    seen.follow(server, "events --follow");
    seen.follow(server, "reservation history shared --follow");
    a.logout();
    b.logout();
    let node = "--address 10.0.0.7";
    for line in [
        &format!("session drain {node} --no-wait"),
        "session drains",
        &format!("session admit {node}"),
        "server drain --no-wait",
        "server admit",
        "server status",
        "upgrade --check",
        "config reload --dry-run",
        "config show --running",
    ] {
        seen.run(Some(server), line);
    }
    let url = format!("iscsi://{}/{}/0", server.portal(), volume.iqn);
    let load = holdfast(&[
        "bench", &url, "--time", "20ms", "--cores", "any", "--yield", "--json",
    ]);
    seen.0.extend(judge(&["bench", "--json"], &load.stdout));
}

#[test]
fn every_command_prints_what_its_schema_says() {
    let mut seen = Seen::default();
    let setup = Setup::new(Engine::Mio, 1, "file")
        .data_in(Path::new("/dev/shm"))
        .config("[limits]\n");
    let server = setup.start();
    of_volumes(&mut seen, &server);
    of_sessions(&mut seen, &server);
    seen.run(Some(&server), "server stop");
    server.remaining_output();
    drop(server);
    for line in [
        &format!("repair --data {}", setup.data().display()),
        "config check",
        "config show --profile latency",
        "profile list",
        "profile show latency",
        "profile diff latency efficiency",
        "profile check latency --cores 1",
        "bench floor --burst 1ms --bursts 1 --server-cores any --client-cores any --yield",
        "bench memory --sessions 2 --volumes 2 --profile efficiency --cores any",
        "bench limits --time 20ms --burst 10ms --pairs 1 --profile efficiency --cores any",
        "bench compare floor other=floor --burst 5ms --pairs 2 --depths 2 --server-core any --cores any",
    ] {
        seen.run(None, line);
    }
    let all: BTreeSet<&str> = schemas().keys().map(String::as_str).collect();
    assert_eq!(
        seen.0, all,
        "commands that were judged, and that have a schema"
    );
}

#[test]
fn planted_differences_are_caught() {
    let printed = holdfast(&["config", "check", "--json"]).stdout;
    let right: Value = serde_json::from_slice(&printed).expect("JSON");
    let validator = &validators()["config check"];
    assert!(validator.is_valid(&right));
    let wrong = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut changed = right.clone();
        change(changed.as_object_mut().expect("an object"));
        !validator.is_valid(&changed)
    };
    assert!(wrong(&|object| drop(
        object.insert("surprise".to_owned(), 1.into())
    )));
    assert!(wrong(&|object| drop(object.remove("portals"))));
    assert!(wrong(&|object| drop(
        object.insert("portals".to_owned(), "all".into())
    )));
    assert!(wrong(&|object| drop(
        object.insert("reactors".to_owned(), Value::Null)
    )));
}

/// Every field that a schema names, one a line: `[]` are the elements of a list, `*` any key, `?` stands
/// behind what may be left out, and the type is what JSON calls it.
fn outline(schema: &Value) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    walk(schema, schema, String::new(), &mut Vec::new(), &mut lines);
    lines
}

fn walk<'a>(
    root: &'a Value,
    at: &'a Value,
    path: String,
    inside: &mut Vec<&'a str>,
    lines: &mut BTreeSet<String>,
) {
    if let Some(name) = at["$ref"].as_str() {
        if !inside.contains(&name) {
            inside.push(name);
            let pointer = name.trim_start_matches('#');
            walk(
                root,
                root.pointer(pointer).expect("it is defined"),
                path,
                inside,
                lines,
            );
            inside.pop();
        }
        return;
    }
    for kind in ["anyOf", "oneOf"] {
        for one in at[kind].as_array().into_iter().flatten() {
            walk(root, one, path.clone(), inside, lines);
        }
    }
    let type_name = match &at["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("|"),
        single => single.as_str().unwrap_or_default().to_owned(),
    };
    let values = at["enum"].as_array().cloned().unwrap_or_default();
    for value in values.iter().chain(at.get("const")) {
        lines.insert(format!("{path} = {value}"));
    }
    if !path.is_empty() && !type_name.is_empty() {
        lines.insert(format!("{path}: {type_name}"));
    }
    let required = at["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in at["properties"].as_object().into_iter().flatten() {
        let optional = if required.contains(&Value::from(name.as_str())) {
            ""
        } else {
            "?"
        };
        walk(
            root,
            property,
            format!("{path}.{name}{optional}"),
            inside,
            lines,
        );
    }
    if at["items"].is_object() {
        walk(root, &at["items"], format!("{path}[]"), inside, lines);
    }
    if at["additionalProperties"].is_object() {
        walk(
            root,
            &at["additionalProperties"],
            format!("{path}.*"),
            inside,
            lines,
        );
    }
}

/// In review, lines may come; a line that goes or changes is another version.
#[test]
fn what_version_1_promises() {
    // Commands that print the same stand together.
    let mut commands: BTreeMap<BTreeSet<String>, Vec<&str>> = BTreeMap::new();
    for (command, schema) in schemas() {
        let id = format!("urn:holdfast:json:1:{}", command.replace(' ', "-"));
        assert_eq!(schema["$id"], id);
        commands.entry(outline(schema)).or_default().push(command);
    }
    let mut parts: Vec<String> = commands
        .iter()
        .map(|(lines, commands)| {
            let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
            format!("{}\n{lines}", commands.join(", "))
        })
        .collect();
    parts.sort();
    let text = parts.join("\n");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| insta::assert_snapshot!("json_version_1", text));
}

#[test]
fn schemas_of_commands() {
    Transcript::alone()
        .run("schema")
        .run("schema server status")
        .run("schema volume lst")
        .run("schema serve")
        .run("schema volume list --all")
        .matches("schema");
}
