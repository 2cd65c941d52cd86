//! How much memory may be taken without driving the system, or the container, out of it.

use std::path::Path;

/// What is left to everybody else: an eighth of the memory that there is.
const SHARE_LEFT: u64 = 8;
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes that may still be taken, as the system and every control group around this process see it;
/// `None` where nobody tells.
pub(super) fn bytes() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(of_groups(Path::new(CGROUPS), &own).fold(of_system(&told)?, u64::min))
}

/// From `/proc/meminfo`.
fn of_system(told: &str) -> Option<u64> {
    let kibibytes = |name: &str| -> Option<u64> {
        let line = told.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let (total, available) = (kibibytes("MemTotal:")?, kibibytes("MemAvailable:")?);
    Some(available.saturating_sub(total / SHARE_LEFT) << 10)
}

/// Of each control group from this process's up to the root that has a limit; version 2 as
/// `/proc/self/cgroup` tells it. Its own page cache can be taken back from a group, so it is no use.
fn of_groups<'a>(root: &'a Path, own: &'a str) -> impl Iterator<Item = u64> + 'a {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    let group = path.map(|path| Path::new(path.trim_start_matches('/')));
    let groups = group.into_iter().flat_map(Path::ancestors);
    groups.filter_map(|group| {
        let directory = root.join(group);
        let text = |file| std::fs::read_to_string(directory.join(file)).ok();
        let number = |file| text(file)?.trim().parse::<u64>().ok();
        // "max" is no number, and no limit.
        let (limit, used) = (number("memory.max")?, number("memory.current")?);
        let cached = text("memory.stat").and_then(|stat| {
            let line = stat
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file "))?;
            line.trim().parse::<u64>().ok()
        });
        let free = limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0)));
        Some(free.saturating_sub(limit / SHARE_LEFT))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_left_to_others() {
        let told = "MemTotal:       8000 kB\nMemFree: 1 kB\nMemAvailable:   5000 kB\n";
        assert_eq!(of_system(told), Some(4000 << 10));
        let scarce = "MemTotal: 8000 kB\nMemAvailable: 999 kB\n";
        assert_eq!(of_system(scarce), Some(0));
        assert_eq!(of_system("MemTotal: 8000 kB\n"), None);
        assert!(bytes().is_some(), "this machine tells");
    }

    #[test]
    fn every_group_around_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("machine/container");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |directory: &Path, file: &str, text: &str| {
            std::fs::write(directory.join(file), text).unwrap();
        };
        write(&inner, "memory.max", "8000\n");
        write(&inner, "memory.current", "5000\n");
        write(&inner, "memory.stat", "anon 1\ninactive_file 1000\n");
        let outer = root.path().join("machine");
        write(&outer, "memory.max", "max\n");
        write(&outer, "memory.current", "6000\n");
        let free = |own| of_groups(root.path(), own).collect::<Vec<_>>();
        assert_eq!(free("0::/machine/container\n"), [3000]);
        write(&outer, "memory.max", "16000\n");
        assert_eq!(free("0::/machine/container\n"), [3000, 8000]);
        assert_eq!(free("1:memory:/elsewhere\n"), Vec::<u64>::new());
    }
}
