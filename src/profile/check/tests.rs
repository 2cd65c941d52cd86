//! Examiners against hosts made of files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::profile::BUILT_IN;
use crate::ring::Features;

/// A host of four cores, 2 and 3 for reactors, prepared in every point that a file tells.
const PREPARED: [(&str, &str); 34] = [
    ("sys/devices/system/cpu/online", "0-3"),
    ("sys/devices/system/cpu/isolated", "2-3"),
    ("sys/devices/system/cpu/nohz_full", "2-3"),
    (
        "sys/devices/system/cpu/cpu2/topology/thread_siblings_list",
        "2",
    ),
    (
        "sys/devices/system/cpu/cpu3/topology/thread_siblings_list",
        "3",
    ),
    (
        "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
        "performance",
    ),
    (
        "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
        "performance",
    ),
    ("sys/devices/system/cpu/cpu2/cpuidle/state1/name", "C1"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state1/latency", "2"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state2/name", "C6"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state2/latency", "170"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state3/name", "C10"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state3/latency", "890"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state3/disable", "1"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc",
    ),
    ("sys/class/net/eth0/operstate", "up"),
    ("sys/class/net/eth0/device/numa_node", "0"),
    ("sys/class/net/eth0/device/msi_irqs/40", "msix"),
    ("sys/devices/system/node/node0/cpulist", "0-3"),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never",
    ),
    ("sys/block/vda/queue/io_poll", "0"),
    ("proc/irq/40/effective_affinity_list", "1"),
    (
        "proc/stat",
        "cpu 9 9 9 9 9 9 9 9\ncpu2 0 0 500 500 0 0 0 1 0 0\ncpu3 0 0 1 0 0 0 0 0 0 0",
    ),
    ("proc/swaps", "Filename Type Size Used Priority"),
    ("proc/self/limits", LIMITS),
    ("proc/sys/kernel/sched_rt_runtime_us", "-1"),
    ("proc/sys/kernel/io_uring_disabled", "0"),
    ("proc/sys/net/core/busy_read", "50"),
    ("proc/sys/net/core/busy_poll", "50"),
    ("proc/sys/net/ipv4/tcp_congestion_control", "cubic"),
    (
        "proc/sys/net/ipv4/tcp_available_congestion_control",
        "reno cubic",
    ),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    (
        "proc/meminfo",
        "MemTotal:       8000000 kB\nMemAvailable:   7000000 kB\n\
         HugePages_Total:       4\nHugePages_Free:        0",
    ),
];

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            65536                65536                files
Max locked memory         unlimited            unlimited            bytes";

/// A prepared host with other files in some places.
struct Fake {
    directory: TempDir,
    host: Host,
}

impl Fake {
    fn new(changed: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in PREPARED.iter().chain(changed) {
            write(&directory.path().join(path), text);
        }
        let mut host = Host::at(directory.path());
        host.io_uring = Some(Ok(Features {
            defer_taskrun: true,
            coop_taskrun: true,
            taskrun_flag: true,
            provided_buffers: true,
        }));
        let rings = Rings {
            receive: 1024,
            receive_max: 4096,
            send: 512,
            send_max: 512,
        };
        host.rings.insert("eth0".to_owned(), rings);
        Self { directory, host }
    }

    fn without(path: &str) -> Self {
        let fake = Self::new(&[]);
        fs::remove_file(fake.directory.path().join(path)).unwrap();
        fake
    }

    fn findings(&self, profile: &str, cores: &[usize]) -> Vec<Finding> {
        let profile = Profile::find(profile).unwrap();
        examine(&self.host, &Demand::new(&profile, cores, &self.host, 8))
    }

    fn finding(&self, profile: &str, cores: &[usize], name: &str) -> Finding {
        let mut findings = self.findings(profile, cores);
        findings.retain(|finding| finding.name == name);
        assert_eq!(findings.len(), 1, "{name}");
        findings.remove(0)
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
}

fn names(findings: &[Finding], verdict: Verdict) -> Vec<&'static str> {
    let found = findings.iter().filter(|finding| finding.verdict == verdict);
    found.map(|finding| finding.name).collect()
}

/// What `latency` on cores 2 and 3 says of a host that differs from the prepared one in one file.
fn with(path: &str, text: &str, name: &str) -> Finding {
    Fake::new(&[(path, text)]).finding("latency", &[2, 3], name)
}

#[test]
fn a_prepared_host_has_nothing_to_change() {
    let findings = Fake::new(&[]).findings("latency", &[2, 3]);
    assert_eq!(names(&findings, Verdict::Change), [""; 0]);
    assert_eq!(names(&findings, Verdict::Unknown), [""; 0]);
}

#[test]
fn a_host_that_says_nothing_is_not_known_and_nothing_fails() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::at(directory.path());
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name).unwrap();
        let findings = examine(&host, &Demand::new(&profile, &[0], &host, 8));
        assert_eq!(names(&findings, Verdict::Change), [""; 0]);
        for finding in findings
            .iter()
            .filter(|found| found.verdict == Verdict::Unknown)
        {
            assert_eq!(
                (finding.state.as_str(), &finding.remedy),
                (NOT_KNOWN, &None)
            );
        }
    }
}

#[test]
fn every_missing_file_is_forgiven() {
    for (path, _) in PREPARED {
        Fake::without(path).findings("latency", &[2, 3]);
    }
}

#[test]
fn each_point_is_seen_and_has_its_remedy() {
    let cpu = "sys/devices/system/cpu";
    let planted = [
        (
            format!("{cpu}/isolated"),
            "2",
            "core isolation",
            "isolcpus=managed_irq,domain,2-3",
        ),
        (
            format!("{cpu}/nohz_full"),
            "(null)",
            "timer tick",
            "nohz_full=2-3",
        ),
        (
            format!("{cpu}/cpu2/topology/thread_siblings_list"),
            "0,2",
            "hyper-threads",
            "echo 0 > /sys/devices/system/cpu/cpu0/online",
        ),
        (
            format!("{cpu}/cpu3/cpufreq/scaling_governor"),
            "powersave",
            "frequency governor",
            "cpupower -c 2-3 frequency-set -g performance",
        ),
        (
            "proc/sys/kernel/sched_rt_runtime_us".to_owned(),
            "950000",
            "real-time throttling",
            "kernel.sched_rt_runtime_us=-1",
        ),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource".to_owned(),
            "hpet",
            "clock source",
            "tsc",
        ),
        (
            "proc/stat".to_owned(),
            "cpu2 0 0 500 480 0 0 0 20 0 0",
            "stolen time",
            "dedicated",
        ),
        (
            "proc/irq/40/effective_affinity_list".to_owned(),
            "3",
            "interrupts",
            "echo 0-1 > /proc/irq/40/smp_affinity_list",
        ),
        (
            "proc/77/comm".to_owned(),
            "irqbalance",
            "irqbalance",
            "IRQBALANCE_BANNED_CPULIST=2-3",
        ),
        (
            "sys/devices/system/node/node0/cpulist".to_owned(),
            "0-2",
            "memory node",
            "choose among 0-2",
        ),
        (
            "proc/sys/net/core/busy_poll".to_owned(),
            "0",
            "busy polling",
            "net.core.busy_poll=50",
        ),
        (
            "proc/sys/net/ipv4/tcp_rmem".to_owned(),
            "4096 131072 1048576",
            "receive buffers",
            "tcp_rmem='4096 131072 4194304'",
        ),
        (
            "proc/sys/net/ipv4/tcp_wmem".to_owned(),
            "4096 16384 65536",
            "send buffers",
            "tcp_wmem='4096 16384 4194304'",
        ),
        (
            "sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
            "always madvise [never]",
            "transparent huge pages",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        (
            "proc/meminfo".to_owned(),
            "HugePages_Total:     512\nHugePages_Free:      500",
            "reserved huge pages",
            "vm.nr_hugepages=12",
        ),
        (
            "proc/sys/kernel/io_uring_disabled".to_owned(),
            "1",
            "io_uring permission",
            "kernel.io_uring_disabled=0",
        ),
        (
            "proc/self/limits".to_owned(),
            "Max open files            1024                 524288               files",
            "open files",
            "LimitNOFILE=65536",
        ),
        (
            "proc/self/limits".to_owned(),
            "Max locked memory         8388608              8388608              bytes",
            "locked memory",
            "LimitMEMLOCK=infinity",
        ),
    ];
    for (path, text, name, remedy) in planted {
        let found = with(&path, text, name);
        assert_eq!(found.verdict, Verdict::Change, "{found:?}");
        assert!(found.remedy.as_ref().unwrap().contains(remedy), "{found:?}");
    }
}

#[test]
fn cores_that_are_not_there_are_told() {
    let found = Fake::new(&[]).finding("latency", &[3, 4], "reactor cores");
    assert_eq!(found.state, "not online: 4");
    assert_eq!(found.remedy.as_deref(), Some("choose among 0-3"));
}

#[test]
fn idle_states_may_take_as_long_as_the_profile_polls() {
    let polled = Fake::new(&[]).finding("throughput", &[2], "idle states");
    assert_eq!(
        (polled.verdict, polled.state.as_str()),
        (Verdict::Good, "deepest C6, left within 170 us")
    );
    let deep = Fake::without("sys/devices/system/cpu/cpu2/cpuidle/state3/disable");
    let found = deep.finding("throughput", &[2], "idle states");
    assert_eq!(
        found.remedy.as_deref(),
        Some("cpupower -c 2 idle-set -D 200")
    );
    assert_eq!(
        deep.finding("compat", &[2], "idle states").verdict,
        Verdict::Good
    );
}

#[test]
fn irqbalance_may_run_if_it_keeps_off_the_reactors() {
    let runs = ("proc/77/comm", "irqbalance");
    let banned = (
        "etc/default/irqbalance",
        "# options\nIRQBALANCE_BANNED_CPULIST=\"2-3\"",
    );
    let found = Fake::new(&[runs, banned]).finding("latency", &[2, 3], "irqbalance");
    assert_eq!(found.verdict, Verdict::Good, "{found:?}");
}

#[test]
fn two_reactors_of_one_physical_core_are_told_apart() {
    let siblings = |core| format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let (second, third) = (siblings(2), siblings(3));
    let fake = Fake::new(&[(&second, "2-3"), (&third, "2-3")]);
    let found = fake.finding("latency", &[2, 3], "hyper-threads");
    assert_eq!(found.state, "reactors share physical cores: 2-3");
}

#[test]
fn socket_buffers_that_a_profile_sets_are_held_to_their_maximum() {
    let fake = Fake::new(&[
        ("proc/sys/net/core/rmem_max", "212992"),
        ("proc/sys/net/core/wmem_max", "8388608"),
    ]);
    let found = fake.finding("throughput", &[2], "receive buffers");
    assert_eq!(
        found.remedy.as_deref(),
        Some("sysctl -w net.core.rmem_max=4194304")
    );
    assert_eq!(
        fake.finding("throughput", &[2], "send buffers").verdict,
        Verdict::Good
    );
}

#[test]
fn a_virtio_interface_has_its_interrupts_one_level_up() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(&root.join("sys/devices/pci/msi_irqs/29"), "msix");
    write(&root.join("sys/devices/pci/virtio0/features"), "1");
    write(&root.join("sys/class/net/eth0/operstate"), "up");
    std::os::unix::fs::symlink(
        "../../../devices/pci/virtio0",
        root.join("sys/class/net/eth0/device"),
    )
    .unwrap();
    let interfaces = Host::at(root).interfaces();
    assert_eq!(interfaces[0].interrupts, [29]);
}

#[test]
fn rings_grow_to_what_the_hardware_has() {
    let mut fake = Fake::new(&[]);
    let rings = Rings {
        receive: 256,
        receive_max: 512,
        send: 2048,
        send_max: 4096,
    };
    fake.host.rings.insert("eth0".to_owned(), rings);
    let found = fake.finding("latency", &[2], "interface rings");
    assert_eq!(
        found.remedy.as_deref(),
        Some("ethtool -G eth0 rx 512 tx 2048")
    );
}

#[test]
fn io_uring_is_wanted_unless_the_profile_does_without() {
    let mut fake = Fake::new(&[]);
    fake.host.io_uring = Some(Err("no io_uring here".to_owned()));
    let found = fake.finding("latency", &[2], "io_uring");
    assert_eq!(
        (found.verdict, found.state.as_str()),
        (Verdict::Change, "no io_uring here")
    );
    assert_eq!(
        fake.finding("compat", &[2], "io_uring").verdict,
        Verdict::Good
    );
    fake.host.io_uring = Some(Ok(Features::default()));
    let found = fake.finding("latency", &[2], "io_uring");
    assert_eq!(
        found.state,
        "lacks DEFER_TASKRUN, TASKRUN_FLAG, provided buffers"
    );
}

#[test]
fn poll_queues_are_wanted_where_there_are_nvme_disks() {
    let disk = ("sys/block/nvme0n1/queue/io_poll", "1");
    let one = ("sys/module/nvme/parameters/poll_queues", "1");
    let found = Fake::new(&[disk, one]).finding("latency", &[2, 3], "NVMe poll queues");
    assert_eq!(
        found.remedy.as_deref(),
        Some("kernel command line: nvme.poll_queues=2")
    );
    let two = ("sys/module/nvme/parameters/poll_queues", "2");
    let found = Fake::new(&[disk, two]).finding("latency", &[2, 3], "NVMe poll queues");
    assert_eq!(found.verdict, Verdict::Good, "{found:?}");
    let found = Fake::new(&[disk, one]).finding("efficiency", &[2, 3], "NVMe poll queues");
    assert_eq!(found.verdict, Verdict::Good, "it does not poll");
    let found = Fake::new(&[("sys/block/vda/queue/io_poll", "1")]);
    let found = found.finding("latency", &[2], "NVMe poll queues");
    assert_eq!(found.state, "no NVMe disk; vda polled");
}

#[test]
fn a_polled_disk_locks_the_arenas_once_more() {
    let disk = ("sys/block/nvme0n1/queue/io_poll", "1");
    let other = ("sys/block/vda/queue/io_poll", "1");
    let wanted = |disks: &[_], profile| {
        let found = Fake::new(disks).finding(profile, &[2], "locked memory");
        found.wanted.split(',').next().unwrap().to_owned()
    };
    assert_eq!(wanted(&[], "latency"), "129.0 MiB");
    assert_eq!(wanted(&[other], "latency"), "258.0 MiB");
    // And once more for NVMe commands.
    assert_eq!(wanted(&[disk], "latency"), "387.0 MiB");
    // Twice 513 MiB.
    assert_eq!(wanted(&[disk], "throughput"), "1.0 GiB");
}

#[test]
fn nvme_disks_are_to_take_commands() {
    let disk = ("sys/block/nvme0n1/queue/io_poll", "1");
    let device = ("dev/ng0n1", "");
    let old = ("proc/sys/kernel/osrelease", "6.1.0-41-amd64\n");
    let new = ("proc/sys/kernel/osrelease", "6.12.3\n");
    let found = |files: &[_], profile| Fake::new(files).finding(profile, &[2], "NVMe passthrough");
    for (files, state) in [
        (
            [disk, device, old],
            "Linux 6.1.0-41-amd64; 1 of 1 disks take commands",
        ),
        (
            [disk, disk, new],
            "Linux 6.12.3; 0 of 1 disks take commands",
        ),
    ] {
        let found = found(&files, "latency");
        assert_eq!((found.verdict, &*found.state), (Verdict::Change, state));
    }
    for (files, profile) in [
        (&[disk, device, new][..], "latency"),
        (&[disk, old], "throughput"),
        (&[], "latency"),
    ] {
        let found = found(files, profile);
        assert_eq!(found.verdict, Verdict::Good, "{found:?}");
    }
}

#[test]
fn prefaulting_wants_memory_beyond_the_share_of_others() {
    let scarce = ("proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 900 kB");
    let verdict = |profile| {
        let found = Fake::new(&[scarce]).finding(profile, &[2], "memory for RAM volumes");
        found.verdict
    };
    assert_eq!(verdict("latency"), Verdict::Change);
    assert_eq!(verdict("efficiency"), Verdict::Good);
    let found = Fake::new(&[]).finding("latency", &[2], "memory for RAM volumes");
    assert_eq!(found.state, "5.7 GiB can be prefaulted");
}

#[test]
fn swap_is_told_unless_it_is_hardly_used() {
    let swaps = (
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/vda2 partition 9 0 -2",
    );
    for (swappiness, verdict) in [("60", Verdict::Change), ("1", Verdict::Good)] {
        let fake = Fake::new(&[swaps, ("proc/sys/vm/swappiness", swappiness)]);
        assert_eq!(fake.finding("latency", &[2], "swap").verdict, verdict);
    }
}

#[test]
fn cap_ipc_lock_lifts_the_memlock_limit() {
    let limit = (
        "proc/self/limits",
        "Max locked memory 8388608 8388608 bytes",
    );
    for (set, verdict) in [
        ("0000000000004000", Verdict::Good),
        ("00000000ffffbfff", Verdict::Change),
    ] {
        let status = format!("Name:\tholdfast\nCapEff:\t{set}");
        let fake = Fake::new(&[limit, ("proc/self/status", &status)]);
        assert_eq!(
            fake.finding("latency", &[2], "locked memory").verdict,
            verdict
        );
    }
}

#[test]
fn a_profile_that_sleeps_asks_little_of_the_host() {
    let fake = Fake::new(&[
        ("sys/devices/system/cpu/isolated", ""),
        (
            "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
            "powersave",
        ),
        ("proc/77/comm", "irqbalance"),
        ("proc/irq/40/effective_affinity_list", "0-3"),
    ]);
    let findings = fake.findings("efficiency", &[]);
    assert_eq!(names(&findings, Verdict::Change), [""; 0]);
}
