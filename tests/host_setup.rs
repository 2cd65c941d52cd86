//! `tuning/host-setup` on a copy of a host's files: it does what it says, once, and undoes it to the
//! byte; and `holdfast profile check` has nothing more to ask for that can change while a host runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A host of four cores as a distribution leaves it, with a virtio interface.
const UNPREPARED: [(&str, &str); 23] = [
    ("sys/devices/system/cpu/online", "0-3\n"),
    (
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "schedutil\n",
    ),
    (
        "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
        "powersave\n",
    ),
    (
        "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
        "powersave\n",
    ),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/devices/pci/msi_irqs/40", "msix\n"),
    ("sys/devices/pci/msi_irqs/41", "msix\n"),
    ("sys/devices/pci/virtio0/features", "1\n"),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always madvise [never]\n",
    ),
    ("proc/irq/40/smp_affinity_list", "0-3\n"),
    ("proc/irq/41/smp_affinity_list", "1\n"),
    ("proc/77/comm", "irqbalance\n"),
    (
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/vda2 partition 9 0 -2\n",
    ),
    ("proc/sys/kernel/sched_rt_runtime_us", "950000\n"),
    ("proc/sys/kernel/io_uring_disabled", "2\n"),
    ("proc/sys/net/core/busy_read", "0\n"),
    ("proc/sys/net/core/busy_poll", "0\n"),
    ("proc/sys/net/core/rmem_max", "212992\n"),
    ("proc/sys/net/core/wmem_max", "212992\n"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t1048576\n"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("proc/sys/net/ipv4/tcp_congestion_control", "bbr\n"),
    ("proc/sys/vm/swappiness", "60\n"),
];

/// What is wrong with [`UNPREPARED`] and can be changed while the host runs.
const AT_RUN_TIME: [&str; 9] = [
    "frequency governor",
    "real-time throttling",
    "interrupts",
    "irqbalance",
    "busy polling",
    "receive buffers",
    "transparent huge pages",
    "swap",
    "io_uring permission",
];

struct Fake {
    directory: TempDir,
}

impl Fake {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fake = Self { directory };
        for (path, text) in UNPREPARED {
            fake.write(path, text);
        }
        for core in 0..4 {
            fs::create_dir_all(fake.at(&format!("sys/devices/system/cpu/cpu{core}")))
                .expect("made");
        }
        let device = fake.at("sys/class/net/eth0/device");
        symlink("../../../devices/pci/virtio0", device).expect("linked");
        // As a file without a newline at its end, with a line that is to be replaced.
        fake.write(
            "etc/default/irqbalance",
            "# options\nIRQBALANCE_BANNED_CPULIST=0",
        );
        fs::create_dir_all(fake.at("var/lib/holdfast")).expect("made");
        fake
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).expect(path)
    }

    /// Every file with its bytes, every directory with none.
    fn snapshot(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![self.root().to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    found.insert(path.clone(), Some(fs::read(path).expect("a file")));
                } else {
                    found.insert(path.clone(), None);
                    if !path.is_symlink() {
                        waiting.push(path);
                    }
                }
            }
        }
        found
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/host-setup");
        let mut command = Command::new("bash");
        command
            .arg(script)
            .arg("--root")
            .arg(self.root())
            .args(arguments);
        command.output().expect("bash")
    }

    /// What it printed; the last line counts the changes.
    fn setup(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The points that `holdfast profile check` wants changed.
    fn to_change(&self, profile: &str, cores: &str) -> Vec<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args([
            "profile", "check", profile, "--cores", cores, "--json", "--root",
        ]);
        let output = command.arg(self.root()).output().expect("holdfast");
        assert!(output.status.success(), "{output:?}");
        let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = checked["findings"].as_array().expect("findings");
        let name = |finding: &Value| finding["name"].as_str().expect("a name").to_owned();
        findings
            .iter()
            .filter(|found| found["verdict"] == "change")
            .map(name)
            .collect()
    }
}

const LATENCY: [&str; 4] = ["--profile", "latency", "--cores", "2-3"];

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn a_dry_run_tells_everything_and_changes_nothing() {
    let fake = Fake::new();
    let before = fake.snapshot();
    let dry = fake.setup(&[&LATENCY[..], &["--dry-run"]].concat());
    assert_eq!(fake.snapshot(), before);
    assert!(
        dry.contains("/proc/irq/40/smp_affinity_list: 0-3 -> 0,1\n"),
        "{dry}"
    );
    let applied = fake.setup(&LATENCY);
    assert_eq!(last_line(&dry), format!("would be {}", last_line(&applied)));
    assert_eq!(dry.lines().count(), applied.lines().count());
}

#[test]
fn a_second_run_changes_nothing() {
    let fake = Fake::new();
    assert_ne!(last_line(&fake.setup(&LATENCY)), "changed: 0");
    let prepared = fake.snapshot();
    assert_eq!(fake.setup(&LATENCY), "changed: 0\n");
    assert_eq!(fake.snapshot(), prepared);
}

#[test]
fn undo_restores_every_byte() {
    let fake = Fake::new();
    let before = fake.snapshot();
    fake.setup(&[&LATENCY[..], &["--user", "holdfast"]].concat());
    // What a later run changes again is restored to what the first one found.
    fake.setup(&["--profile", "latency", "--cores", "1,3"]);
    assert_eq!(fake.text("proc/sys/kernel/io_uring_disabled"), "0\n");
    let dry = fake.setup(&["--undo", "--dry-run"]);
    let undone = fake.setup(&["--undo"]);
    assert_eq!(dry.lines().count(), undone.lines().count());
    assert_eq!(fake.snapshot(), before);
    assert!(fake.setup(&["--undo"]).starts_with("nothing to undo"));
}

#[test]
fn it_does_what_profile_check_asks_for() {
    let fake = Fake::new();
    let before = fake.to_change("latency", "2-3");
    for name in AT_RUN_TIME {
        assert!(
            before.iter().any(|found| found == name),
            "{name} is not in {before:?}"
        );
    }
    fake.setup(&LATENCY);
    let left = fake.to_change("latency", "2-3");
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_profile_that_sleeps_leaves_cores_and_interrupts_alone() {
    let fake = Fake::new();
    fake.setup(&["--profile", "throughput"]);
    assert_eq!(fake.text("proc/sys/net/core/rmem_max"), "4194304\n");
    assert_eq!(fake.text("proc/sys/net/core/busy_read"), "0\n");
    assert_eq!(fake.text("proc/irq/40/smp_affinity_list"), "0-3\n");
    assert_eq!(fake.to_change("throughput", "2-3"), [""; 0]);
}

#[test]
fn a_profile_without_io_uring_does_not_switch_it_on() {
    let fake = Fake::new();
    fake.setup(&["--profile", "compat"]);
    assert_eq!(fake.text("proc/sys/kernel/io_uring_disabled"), "2\n");
    assert_eq!(fake.to_change("compat", "2-3"), [""; 0]);
}

#[test]
fn only_what_differs_is_written() {
    let fake = Fake::new();
    fake.setup(&LATENCY);
    let untouched = "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";
    assert_eq!(fake.text(untouched), "schedutil\n");
    assert_eq!(fake.text("proc/irq/41/smp_affinity_list"), "1\n");
    assert_eq!(
        fake.text("proc/sys/net/ipv4/tcp_wmem"),
        "4096\t16384\t4194304\n"
    );
    let options = "# options\nIRQBALANCE_BANNED_CPULIST=2-3\n";
    assert_eq!(fake.text("etc/default/irqbalance"), options);
}

#[test]
fn a_host_without_any_of_the_files_gets_only_the_limits() {
    let fake = Fake {
        directory: tempfile::tempdir().expect("a temporary directory"),
    };
    let told = fake.setup(&["--profile", "efficiency"]);
    assert!(
        told.contains("holdfast.service.d/limits.conf: added"),
        "{told}"
    );
    assert!(!told.contains("/proc/"), "{told}");
}

#[test]
fn mistakes_are_told_before_anything_changes() {
    let fake = Fake::new();
    let before = fake.snapshot();
    for (arguments, code, told) in [
        (
            &["--profile", "latency"][..],
            2,
            "choose its cores with --cores",
        ),
        (
            &["--profile", "latency", "--cores", "2-"],
            2,
            "expected cores such as",
        ),
        (
            &["--profile", "latency", "--cores", "9"],
            1,
            "no such core: 9",
        ),
        (&["--profile", "fastest"], 1, "no such profile: fastest"),
        (
            &["--user", "a b", "--profile", "compat"],
            2,
            "expected a user's name",
        ),
        (&["--cores"], 2, "--cores needs a value"),
        (&["--warp"], 2, "unknown argument: --warp"),
    ] {
        let output = fake.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(told), "{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    assert_eq!(fake.snapshot(), before);
}
