//! The Debian package without building it: what it brings along is there, its parts agree about paths,
//! and its maintainer scripts lose nothing and end no session. `tuning/debian/build` builds it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use toml::Value;

/// What `tuning/debian/build` writes, as `Cargo.toml` calls the place.
const GENERATED: &str = "target/release/package/";
const BINARY: &str = "target/release/holdfast";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn metadata() -> Value {
    let manifest: Value = toml::from_str(&text("Cargo.toml")).expect("TOML");
    manifest["package"]["metadata"]["deb"].clone()
}

/// One file, or several: where from, where to below `/`, with which mode.
#[derive(Debug)]
struct Asset {
    from: String,
    to: String,
    mode: String,
}

fn assets() -> Vec<Asset> {
    let assets = metadata()["assets"].clone().try_into::<Vec<[String; 3]>>();
    let assets = assets.expect("lists of three texts").into_iter();
    assets
        .map(|[from, to, mode]| Asset { from, to, mode })
        .collect()
}

impl Asset {
    /// Where a single file is installed.
    fn path(&self) -> String {
        let name = match self.to.ends_with('/') {
            true => self.from.rsplit('/').next().unwrap_or_default(),
            false => "",
        };
        format!("/{}{name}", self.to)
    }
}

/// What the build script generates, by the binary under test.
fn staged() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stage = directory.path().join("package");
    let output = Command::new(root().join("tuning/debian/build"))
        .arg("--stage")
        .arg(&stage)
        .args(["--binary", env!("CARGO_BIN_EXE_holdfast")])
        .output()
        .expect("the script starts");
    assert!(output.status.success(), "{output:?}");
    (directory, stage)
}

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => BTreeSet::from([path]),
        })
        .collect()
}

/// A path, or one with a `*` for a part of it.
fn fits(pattern: &str, path: &Path) -> bool {
    let path = path.to_string_lossy();
    match pattern.split_once('*') {
        Some((before, after)) => path.starts_with(before) && path.ends_with(after),
        None => path == pattern,
    }
}

#[test]
fn everything_that_is_packed_is_there_and_everything_generated_is_packed() {
    let (_directory, stage) = staged();
    let mut generated = files(&stage);
    let mut places = BTreeSet::new();
    for asset in assets() {
        assert!(!asset.to.starts_with('/'), "{asset:?}");
        if let Some(pattern) = asset.from.strip_prefix(GENERATED) {
            let taken: Vec<_> = generated
                .iter()
                .filter(|path| fits(pattern, path.strip_prefix(&stage).expect("below")))
                .cloned()
                .collect();
            assert!(!taken.is_empty(), "{asset:?}");
            generated.retain(|path| !taken.contains(path));
        } else if asset.from != BINARY {
            let file = fs::metadata(root().join(&asset.from));
            let file = file.unwrap_or_else(|error| panic!("{asset:?}: {error}"));
            let runs = file.permissions().mode() & 0o111 != 0;
            assert_eq!(runs, asset.mode == "755", "{asset:?}");
        }
        if !asset.from.contains('*') {
            assert!(places.insert(asset.path()), "{asset:?}: twice");
        }
    }
    assert!(
        generated.is_empty(),
        "generated and not packed: {generated:?}"
    );
}

#[test]
fn every_profile_is_packed() {
    let packed: BTreeSet<String> = assets().into_iter().map(|asset| asset.from).collect();
    for file in files(&root().join("tuning")) {
        let name = file
            .strip_prefix(root())
            .expect("below")
            .display()
            .to_string();
        let is_profile = name.ends_with(".toml") && name != "tuning/holdfast.toml";
        assert!(!is_profile || packed.contains(&name), "{name}");
    }
}

/// cargo-deb marks what lies below `etc`, and nothing else unless it is told to.
#[test]
fn the_configuration_and_nothing_else_is_a_conffile() {
    let below_etc: Vec<_> = assets()
        .iter()
        .map(Asset::path)
        .filter(|path| path.starts_with("/etc/"))
        .collect();
    assert_eq!(below_etc, ["/etc/holdfast/holdfast.toml"]);
    assert!(metadata().get("conf-files").is_none());
}

/// The value of a key of the unit, as it stands behind `=`.
fn unit(key: &str) -> String {
    let unit = text("tuning/holdfast.service");
    let prefix = format!("{key}=");
    let line = unit.lines().find(|line| line.starts_with(&prefix));
    line.unwrap_or_else(|| panic!("no {key}"))[prefix.len()..].to_owned()
}

#[test]
fn unit_configuration_and_package_agree_about_places() {
    let (_directory, stage) = staged();
    let config = fs::read_to_string(stage.join("holdfast.toml")).expect("generated");
    let parsed: Value = toml::from_str(&config).expect("TOML");
    let places: BTreeSet<String> = assets().iter().map(Asset::path).collect();
    let start = unit("ExecStart");
    let mut words = start.split(' ');
    assert!(places.contains(words.next().expect("a program")), "{start}");
    let mut config_of_unit = words.skip_while(|word| *word != "--config").skip(1);
    assert!(
        places.contains(config_of_unit.next().expect("a file")),
        "{start}"
    );
    let control = parsed["control"].as_str().expect("a path");
    assert!(unit("ExecReload").ends_with(&format!(" --control {control}")));
    assert_eq!(
        control,
        format!("/run/{}/control.sock", unit("RuntimeDirectory"))
    );
    assert_eq!(
        parsed["data"].as_str(),
        Some(format!("/var/lib/{}", unit("StateDirectory")).as_str())
    );
    // All other lines are those of the annotated configuration.
    let annotated = text("tuning/holdfast.toml");
    let differing = annotated
        .lines()
        .zip(config.lines())
        .filter(|(one, other)| one != other);
    assert_eq!(
        (differing.count(), annotated.lines().count()),
        (3, config.lines().count())
    );
}

#[test]
fn the_changelog_is_of_this_version() {
    let first = format!("holdfast ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(
        text("tuning/debian/changelog").starts_with(&first),
        "expected {first:?}"
    );
}

#[test]
fn shellcheck_finds_nothing_wrong_with_the_scripts() {
    for script in ["build", "postinst", "prerm", "postrm"] {
        let path = root().join("tuning/debian").join(script);
        let Ok(output) = Command::new("shellcheck").arg(&path).output() else {
            support::skip("no shellcheck here");
            return;
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

/// A host below a directory, whose systemd only writes down what it is told.
struct Host {
    directory: TempDir,
}

const STUBS: [(&str, &str); 4] = [
    (
        "systemctl",
        "case \"$*\" in *is-active*) exit \"${INACTIVE:-0}\" ;; esac",
    ),
    ("deb-systemd-invoke", ""),
    ("holdfast", "exit \"${UPGRADE:-0}\""),
    (
        "deb-systemd-helper",
        "case \"$*\" in *was-enabled*) exit \"${DISABLED:-0}\" ;; esac",
    ),
];

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let host = Self { directory };
        for (name, body) in STUBS {
            let script = format!("#!/bin/sh\necho \"{name} $*\" >>\"$CALLS\"\n{body}\n");
            host.write(&format!("stubs/{name}"), &script);
            let path = host.path(&format!("stubs/{name}"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
        }
        fs::create_dir_all(host.path("run/systemd/system")).expect("made");
        host.write("etc/holdfast/holdfast.toml", "");
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// Runs a maintainer script: what it says, and what it told systemd.
    fn run(
        &self,
        script: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> (Output, Vec<String>) {
        let calls = self.path("calls");
        fs::write(&calls, "").expect("written");
        let path = format!("{}:/usr/bin:/bin", self.path("stubs").display());
        let output = Command::new("sh")
            .arg(root().join("tuning/debian").join(script))
            .args(arguments)
            .env("DPKG_ROOT", self.directory.path())
            .env("PATH", path)
            .env("CALLS", &calls)
            .envs(variables.iter().copied())
            .output()
            .expect("sh is there");
        assert!(
            output.status.success(),
            "{script} {arguments:?}: {output:?}"
        );
        let calls = fs::read_to_string(calls).expect("readable");
        (output, calls.lines().map(str::to_owned).collect())
    }
}

/// What is started, stopped, reloaded, restarted or replaced.
fn of_service(calls: &[String]) -> Vec<&str> {
    let told = calls.iter().filter_map(|call| {
        let told = call.strip_prefix("deb-systemd-invoke ");
        told.or_else(|| call.strip_prefix("holdfast "))
    });
    told.filter_map(|call| call.split(' ').next()).collect()
}

const INACTIVE: (&str, &str) = ("INACTIVE", "3");

#[test]
fn a_first_installation_enables_and_starts() {
    let host = Host::new();
    let (_, calls) = host.run("postinst", &["configure", ""], &[INACTIVE]);
    assert_eq!(of_service(&calls), ["start"]);
    assert!(calls.contains(&"deb-systemd-helper enable holdfast.service".to_owned()));
    let data = fs::metadata(host.path("var/lib/holdfast")).expect("made");
    assert_eq!(data.permissions().mode() & 0o777, 0o700);
}

#[test]
fn nothing_starts_without_a_configuration_or_without_systemd() {
    let host = Host::new();
    fs::remove_file(host.path("etc/holdfast/holdfast.toml")).expect("removed");
    let (output, calls) = host.run("postinst", &["configure", ""], &[INACTIVE]);
    assert_eq!(of_service(&calls), [""; 0]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("not started, there is no /etc/holdfast/holdfast.toml"),
        "{told}"
    );

    let host = Host::new();
    fs::remove_dir(host.path("run/systemd/system")).expect("removed");
    for (script, arguments) in [
        ("postinst", &["configure", ""][..]),
        ("prerm", &["remove"]),
        ("postrm", &["remove"]),
    ] {
        let (_, calls) = host.run(script, arguments, &[INACTIVE]);
        assert_eq!(of_service(&calls), [""; 0], "{script}");
        assert!(
            !calls.iter().any(|call| call.starts_with("systemctl")),
            "{calls:?}"
        );
    }
}

#[test]
fn an_upgrade_replaces_what_runs_and_starts_nothing_else() {
    let host = Host::new();
    host.write("var/lib/holdfast/catalogue.redb", "everything");
    let (_, calls) = host.run("prerm", &["upgrade", "0.2.0-1"], &[]);
    assert_eq!(of_service(&calls), [""; 0]);
    let (_, calls) = host.run("postinst", &["configure", "0.0.9-1"], &[]);
    assert_eq!(of_service(&calls), ["upgrade"]);
    let stopped = [INACTIVE];
    let (_, calls) = host.run("postinst", &["configure", "0.0.9-1"], &stopped);
    assert_eq!(of_service(&calls), [""; 0]);
    let (_, calls) = host.run("postinst", &["configure", "0.0.9-1"], &[("DISABLED", "1")]);
    assert!(
        !calls.iter().any(|call| call.contains("helper enable")),
        "{calls:?}"
    );
    let kept = fs::read_to_string(host.path("var/lib/holdfast/catalogue.redb"));
    assert_eq!(kept.expect("kept"), "everything");
}

#[test]
fn an_upgrade_that_can_not_take_over_leaves_the_server_alone() {
    let host = Host::new();
    let (output, calls) = host.run("postinst", &["configure", "0.0.9-1"], &[("UPGRADE", "1")]);
    assert_eq!(of_service(&calls), ["upgrade"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the server of before goes on"), "{told}");
}

#[test]
fn removal_stops_and_a_purge_keeps_volumes_and_says_so() {
    let host = Host::new();
    host.write("var/lib/holdfast/volumes/db-1", "data");
    let (_, calls) = host.run("prerm", &["remove"], &[]);
    assert_eq!(of_service(&calls), ["stop"]);
    host.run("postrm", &["remove"], &[]);
    host.write("var/log/holdfast/audit.jsonl", "who did what");
    // dpkg takes the conffiles away before it purges.
    fs::remove_file(host.path("etc/holdfast/holdfast.toml")).expect("removed");
    host.write("etc/holdfast/chap.toml", "secret");
    let (output, _) = host.run("postrm", &["purge"], &[]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("kept /var/lib/holdfast with the catalogue"),
        "{told}"
    );
    assert!(
        told.contains("kept what the package has not brought in /etc/holdfast"),
        "{told}"
    );
    assert!(
        told.contains("kept /var/log/holdfast with the audit log"),
        "{told}"
    );
    assert!(host.path("var/log/holdfast/audit.jsonl").exists());
    assert!(host.path("var/lib/holdfast/volumes/db-1").exists());
    assert!(host.path("etc/holdfast/chap.toml").exists());
}

#[test]
fn a_purge_of_nothing_leaves_nothing() {
    let host = Host::new();
    host.run("postinst", &["configure", ""], &[INACTIVE]);
    fs::remove_dir_all(host.path("etc/holdfast")).expect("removed");
    let (output, calls) = host.run("postrm", &["purge"], &[]);
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(!host.path("var/lib/holdfast").exists());
    assert!(calls.contains(&"deb-systemd-helper purge holdfast.service".to_owned()));
}
