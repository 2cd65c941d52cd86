//! Memory: huge pages, locked memory, swap.

use bytesize::ByteSize;

use super::{Demand, Finding, Host, Point, Weight, storage};

/// Beside the arenas a ring locks its queues: a few pages each, and room for more than one ring.
const RING_BYTES: u64 = 1 << 20;
/// The bit of `CAP_IPC_LOCK` in `CapEff`: who has it is not held to the limit.
const CAPABILITY_IPC_LOCK: u32 = 14;

pub(super) fn transparent_huge_pages(host: &Host, _: &Demand<'_>) -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let point = Point::new(
        "transparent huge pages",
        Weight::Medium,
        "madvise or always",
        "arenas and RAM volumes ask for them; a copy of 4 KiB out of cold memory costs 240 to 490 ns \
         against 90, and page walks are part of that",
    );
    match host.choice(path) {
        None => point.unknown(),
        Some(choice) => {
            let good = choice != "never";
            point.judged(good, choice, format!("echo madvise > {path}"))
        }
    }
}

pub(super) fn reserved_huge_pages(host: &Host, _: &Demand<'_>) -> Finding {
    let point = Point::new(
        "reserved huge pages",
        Weight::Low,
        "none that nobody uses",
        "Holdfast uses transparent ones; what is reserved is lost to its volumes and to the page cache",
    );
    let report = host.text("/proc/meminfo").unwrap_or_default();
    let pages = |name: &str| {
        let line = report.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let (Some(total), Some(free)) = (pages("HugePages_Total:"), pages("HugePages_Free:")) else {
        return point.unknown();
    };
    point.judged(
        free == 0,
        format!("{total}, of which {free} unused"),
        format!("sysctl -w vm.nr_hugepages={}", total.saturating_sub(free)),
    )
}

/// Payload memory is registered with each reactor's ring, which counts as locked.
pub(super) fn locked(host: &Host, demand: &Demand<'_>) -> Finding {
    let reactors = demand.cores().len() as u64;
    let arena = demand.tuning().arena_bytes as u64;
    // Every ring registers the arenas of all reactors; disks that are polled have one of their own, and
    // NVMe commands another.
    let disks = host.names("/sys/block");
    let mut polled = disks.iter().filter(|disk| storage::polls(host, disk));
    let polls = demand.polls_disks() && polled.clone().next().is_some();
    let sends = demand.sends_nvme_commands() && polled.any(|disk| disk.starts_with("nvme"));
    let rings = reactors.saturating_mul(1 + u64::from(polls) + u64::from(sends));
    let wanted = rings.saturating_mul(reactors.saturating_mul(arena).saturating_add(RING_BYTES));
    let point = Point::new(
        "locked memory",
        Weight::Medium,
        match demand.uses_io_uring() {
            true => format!("{}, with reactors: {reactors}", ByteSize::b(wanted)),
            false => "any: nothing is registered without io_uring".to_owned(),
        },
        "without it buffers are not registered, and the kernel pins pages anew for each disk request",
    );
    let Some(limit) = host.limit("Max locked memory") else {
        return point.unknown();
    };
    let exempt = host
        .text("/proc/self/status")
        .is_some_and(|status| may_lock(&status));
    let mut state = show_limit(limit);
    if exempt {
        state.push_str(", which CAP_IPC_LOCK lifts here");
    }
    point.judged(
        !demand.uses_io_uring() || exempt || limit >= wanted,
        state,
        "LimitMEMLOCK=infinity in the systemd unit, or memlock in /etc/security/limits.d",
    )
}

fn show_limit(bytes: u64) -> String {
    match bytes {
        u64::MAX => "unlimited".to_owned(),
        bytes => ByteSize::b(bytes).to_string(),
    }
}

fn may_lock(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> CAPABILITY_IPC_LOCK & 1 == 1)
}

/// RAM volumes that are found beforehand take no more than this leaves.
pub(super) fn prefault(host: &Host, demand: &Demand<'_>) -> Finding {
    let wanted = demand.tuning().prefault;
    let point = Point::new(
        "memory for RAM volumes",
        Weight::Low,
        match wanted {
            true => "as much as they hold, and an eighth of all memory for others",
            false => "any: it is found as it is first written",
        },
        "a write to memory that was never touched waits while the kernel zeroes a huge page",
    );
    let report = host.text("/proc/meminfo").unwrap_or_default();
    let kibibytes = |name: &str| -> Option<u64> {
        let line = report.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let (Some(total), Some(available)) = (kibibytes("MemTotal:"), kibibytes("MemAvailable:"))
    else {
        return point.unknown();
    };
    let left = available.saturating_sub(total / 8) << 10;
    point.judged(
        !wanted || left > 0,
        format!("{} can be prefaulted", ByteSize::b(left)),
        "free memory: more of a RAM volume than that is found as it is first written",
    )
}

pub(super) fn swap(host: &Host, _: &Demand<'_>) -> Finding {
    let point = Point::new(
        "swap",
        Weight::Low,
        "none, or vm.swappiness at most 1",
        "a page of a RAM volume or of the program that was swapped out costs a disk read, 55 us and more",
    );
    let Some(swaps) = host.text("/proc/swaps") else {
        return point.unknown();
    };
    // The first line is a title.
    let areas = swaps.lines().skip(1).count();
    if areas == 0 {
        return point.good("none");
    }
    let Some(swappiness) = host.number("/proc/sys/vm/swappiness") else {
        return point.unknown();
    };
    point.judged(
        swappiness <= 1,
        format!("{areas} in use, vm.swappiness = {swappiness}"),
        "sysctl -w vm.swappiness=1",
    )
}
