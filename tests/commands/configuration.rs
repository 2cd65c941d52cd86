//! `holdfast config`.

use std::path::Path;

use crate::support::server::Setup;
use crate::transcript::Transcript;

const GOOD: &str = "\
data = \"/srv/holdfast\"
reactors = 2
profile = \"latency\"

[[portal]]
listen = \"10.0.0.5:3260\"

[groups.databases]
allow = [\"10.7.0.0/16\"]
enforce_crc = true

[tuning]
idle = \"adaptive\"
";

/// A wrong file, and what is wrong with it.
const WRONG: [(&str, &str); 9] = [
    ("key", "[limits]\nsesions_per_volume = 4\n"),
    ("table", "[limit]\nsessions_per_volume = 4\n"),
    ("type", "reactors = \"two\"\n"),
    ("range", "[limits]\nsessions_per_volume = 0\n"),
    ("network", "[access]\nallow = [\"10.7.0.0/33\"]\n"),
    ("address", "[[portal]]\nlisten = \"somewhere\"\n"),
    ("time", "[limits]\nfence_timeout = \"26s\"\n"),
    ("syntax", "data = \n"),
    ("accounts", "[access]\nchap_accounts = \"/no/such/file\"\n"),
];

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("the file is written");
    path.to_str().expect("the path is text").to_owned()
}

fn directory() -> tempfile::TempDir {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::Builder::new()
        .prefix("holdfast-")
        .tempdir_in(parent)
        .expect("a temporary directory")
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let directory = directory();
    let good = write(directory.path(), "good", GOOD);
    Transcript::alone()
        .run(&format!("config check --config {good}"))
        .run(&format!("config check --config {good} --json"))
        .run(&format!("config show --config {good}"))
        .run(&format!(
            "config show --config {good} --cores 1,3 --profile compat --json"
        ))
        .run("config check --profile fastest")
        .run("config check --config /no/such/file")
        .matches("config");
}

#[test]
fn what_is_shown_can_be_used() {
    let directory = directory();
    let good = write(directory.path(), "good", GOOD);
    let shown = |file: &str| {
        let output = crate::support::server::holdfast(&["config", "show", "--config", file]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("output is UTF-8")
    };
    let once = shown(&good);
    let again = write(directory.path(), "again", &once);
    assert_eq!(shown(&again), once);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let directory = directory();
    let mut transcript = Transcript::alone();
    for (name, text) in WRONG {
        let file = write(directory.path(), name, text);
        transcript.run(&format!("config check --config {file}"));
    }
    transcript.matches("config_refusals");
}

#[test]
fn a_running_server_reads_it_again() {
    let rules = |allow: &str| format!("[groups.databases]\nallow = [\"{allow}\"]\n");
    let server = Setup::default().config(&rules("127.0.0.0/8")).start();
    server.text(&[
        "volume",
        "create",
        "db-1",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--group",
        "databases",
    ]);
    let session = server.session(&server.volume("db-1"), "db1");
    let mut transcript = Transcript::with(&server);
    transcript.run("config reload");
    let waits = "reactors = 2\n[san]\nname = \"other\"\nvendor = \"ACME\"\n[log]\nslow_io = \"100ms\"\n\
                 [tuning]\narena = \"64MiB\"\n";
    server.reconfigure(&format!("{waits}{}", rules("10.7.0.0/16")));
    transcript
        .run("config reload --dry-run")
        .run("config reload --dry-run --disconnect")
        .run("config reload")
        .run("config reload --json");
    server.reconfigure(&rules("10.7.0.0/33"));
    transcript.run("config reload");
    server.reconfigure("[audit]\npath = \"/no/such/directory/audit\"\n");
    transcript
        .run("config reload")
        .run("config show --running --profile latency");
    let without = Setup::default().start();
    transcript.matches("config_reload");
    Transcript::with(&without)
        .run("config reload")
        .run("config reload --fast")
        .matches("config_reload_without_a_file");
    session.logout();
}
