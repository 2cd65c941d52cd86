//! A host of which a script sees what it would see, and nothing real: programs that record how they were
//! called, and a root directory of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Keeps node records as open-iscsi does, and sessions as the kernel does.
const ISCSIADM: &str = r#"#!/bin/sh
set -eu
target= portal= operation= name= value= login= mode=
while [ $# -gt 0 ]; do
    case $1 in
        -m) mode=$2; shift 2 ;;
        -T) target=$2; shift 2 ;;
        -p) portal=$2; shift 2 ;;
        -o) operation=$2; shift 2 ;;
        -n) name=$2; shift 2 ;;
        -v) value=$2; shift 2 ;;
        --login) login=yes; shift ;;
        *) echo "iscsiadm: unexpected $1" >&2; exit 7 ;;
    esac
done
touch "$FAKE/sessions"
if [ "$mode" = session ]; then
    [ -s "$FAKE/sessions" ] || { echo 'iscsiadm: No active sessions.' >&2; exit 21; }
    exec cat "$FAKE/sessions"
fi
host=${portal%:*}
host=${host#"["}
host=${host%"]"}
record=$HOLDFAST_ROOT/etc/iscsi/nodes/$target/$host,${portal##*:},-1/default
if [ "$operation" = new ]; then
    mkdir -p "${record%/*}"
    printf '%s\n' '# BEGIN RECORD 2.1.8' "node.name = $target" 'node.startup = manual' \
        'node.session.nr_sessions = 1' 'node.session.auth.password = <empty>' '# END RECORD' >"$record"
    exit 0
fi
[ -f "$record" ] || { echo 'iscsiadm: No records found' >&2; exit 21; }
if [ "$operation" = update ]; then
    awk -v name="$name" -v value="$value" '
        index($0, name " = ") == 1 { next }
        /^# END RECORD/ { print name " = " value }
        { print }' "$record" >"$record.new"
    mv "$record.new" "$record"
elif [ -n "$login" ]; then
    wanted=$(sed -n 's/^node.session.nr_sessions = //p' "$record")
    present=$(grep -cF "$portal,1 $target " "$FAKE/sessions" || :)
    [ "$present" -lt "$wanted" ] || exit 15
    limit=${FAKE_SESSIONS_MAX:-$wanted}
    while [ "$present" -lt "$wanted" ] && [ "$present" -lt "$limit" ]; do
        present=$((present + 1))
        echo "tcp: [$present] $portal,1 $target (non-flash)" >>"$FAKE/sessions"
    done
    mkdir -p "$HOLDFAST_ROOT/dev/disk/by-path"
    : >"$HOLDFAST_ROOT/dev/disk/by-path/ip-$portal-iscsi-$target-lun-0"
fi
"#;

const NOTHING: &str = "#!/bin/sh\nexit 0\n";

/// Puts the call on record before the program does what it does.
fn recording(name: &str, body: &str) -> String {
    let record = format!(
        "{{ printf %s {name}; for word in \"$@\"; do printf ' %s' \"$word\"; done; echo; }} >>\"$FAKE/calls\"\n"
    );
    let (first, rest) = body.split_once('\n').expect("a first line");
    format!("{first}\n{record}{rest}")
}

pub(crate) struct Host {
    directory: TempDir,
    pub(crate) shell: &'static str,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Host {
    pub(crate) fn new(shell: &'static str) -> Self {
        let host = Self {
            directory: TempDir::new().expect("a directory"),
            shell,
            variables: Vec::new(),
        };
        for directory in ["bin", "state", "root/etc/iscsi"] {
            fs::create_dir_all(host.path(directory)).expect("a directory");
        }
        host.program("iscsiadm", ISCSIADM);
        for name in ["multipath", "multipathd", "systemctl", "udevadm"] {
            host.program(name, NOTHING);
        }
        host
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Makes a program that scripts find before any other of that name.
    pub(crate) fn program(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, recording(name, body)).expect("a program");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("our file");
    }

    /// Makes a file and says where it is.
    pub(crate) fn file(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our file");
        path.to_str().expect("text").to_owned()
    }

    pub(crate) fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let file = self.file("script.sh", script, 0o644);
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new(self.shell)
            .arg(file)
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("FAKE", self.path("state"))
            .env("HOLDFAST_ROOT", self.path("root"))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .expect("a shell")
    }

    /// Runs a script that has to succeed; the calls it made.
    pub(crate) fn succeed(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let _before = self.take_calls();
        let output = self.run(script, arguments);
        assert!(output.status.success(), "{}: {output:?}", self.shell);
        self.take_calls()
    }

    /// Runs a script that has to fail; what it says.
    pub(crate) fn fail(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        assert!(!output.status.success(), "{}: {output:?}", self.shell);
        String::from_utf8(output.stderr).expect("text")
    }

    pub(crate) fn take_calls(&self) -> Vec<String> {
        let path = self.path("state/calls");
        let calls = fs::read_to_string(&path).unwrap_or_default();
        let _none = fs::remove_file(path);
        calls.lines().map(str::to_owned).collect()
    }

    /// Every file below the host's root with its mode and its content.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u32, String)> {
        let mut found = Vec::new();
        walk(&self.path("root"), &mut found);
        found.sort();
        found
    }
}

fn walk(directory: &Path, found: &mut Vec<(PathBuf, u32, String)>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            let content = fs::read_to_string(&path).expect("text");
            found.push((path, mode, content));
        }
    }
}
