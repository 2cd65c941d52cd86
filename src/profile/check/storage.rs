//! The way of a disk request: io_uring, poll queues, open files.

use super::{Demand, Finding, Host, Point, Weight};

/// A descriptor for each session, each volume and its store: some volumes at 128 sessions each.
const OPEN_FILES_MIN: u64 = 65_536;

pub(super) fn io_uring(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "io_uring",
        demand.if_spinning(Weight::High, Weight::Medium),
        match demand.uses_io_uring() {
            true => "with DEFER_TASKRUN, TASKRUN_FLAG and provided buffers (Linux 6.1)",
            false => "not used: the profile's engine is mio",
        },
        "without DEFER_TASKRUN completions interrupt the reactor: 31 us at depth 1 instead of 8",
    );
    if !demand.uses_io_uring() {
        return point.good("not used");
    }
    let features = match &host.io_uring {
        None => return point.unknown(),
        Some(Err(reason)) => {
            return point.change(reason.clone(), "allow it, or take --profile compat");
        }
        Some(Ok(features)) => features,
    };
    let granted = [
        ("DEFER_TASKRUN", features.defer_taskrun),
        ("TASKRUN_FLAG", features.taskrun_flag),
        ("provided buffers", features.provided_buffers),
    ];
    let missing: Vec<&str> = granted
        .iter()
        .filter(|(_, granted)| !granted)
        .map(|(name, _)| *name)
        .collect();
    let state = match missing.is_empty() {
        true => "has all of it".to_owned(),
        false => format!("lacks {}", missing.join(", ")),
    };
    point.judged(missing.is_empty(), state, "Linux 6.1 or newer")
}

pub(super) fn io_uring_setting(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "io_uring permission",
        demand.if_spinning(Weight::High, Weight::Medium),
        match demand.uses_io_uring() {
            true => "kernel.io_uring_disabled = 0",
            false => "any",
        },
        "without io_uring sockets and disks go through epoll and blocking calls",
    );
    match host.number("/proc/sys/kernel/io_uring_disabled") {
        None => point.unknown(),
        Some(setting) => point.judged(
            setting == 0 || !demand.uses_io_uring(),
            setting.to_string(),
            "sysctl -w kernel.io_uring_disabled=0",
        ),
    }
}

pub(super) fn poll_queues(host: &Host, demand: &Demand<'_>) -> Finding {
    let reactors = demand.cores().len();
    let point = Point::new(
        "NVMe poll queues",
        match demand.polls_disks() {
            true => Weight::Medium,
            false => Weight::Low,
        },
        match demand.polls_disks() {
            true => format!("{reactors}, one for each reactor"),
            false => "any: the profile does not poll disks".to_owned(),
        },
        "a disk without them answers by interrupt: 83 to 98 us for 4 KiB against 55 to 61 polled",
    );
    let disks = host.names("/sys/block");
    let (nvme, others): (Vec<_>, Vec<_>) = disks.iter().partition(|disk| disk.starts_with("nvme"));
    let is_polled = |disk: &&&String| polls(host, disk);
    let polled_others: Vec<&str> = others
        .iter()
        .filter(is_polled)
        .map(|d| d.as_str())
        .collect();
    if nvme.is_empty() {
        return point.good(match polled_others.as_slice() {
            [] => "no NVMe disk; no other has poll queues".to_owned(),
            polled => format!("no NVMe disk; {} polled", polled.join(", ")),
        });
    }
    let Some(queues) = host.number("/sys/module/nvme/parameters/poll_queues") else {
        return point.unknown();
    };
    let polled = nvme.iter().filter(is_polled).count();
    let enough = usize::try_from(queues).is_ok_and(|queues| queues >= reactors);
    point.judged(
        !demand.polls_disks() || (enough && polled == nvme.len()),
        format!("{queues}; {polled} of {} disks polled", nvme.len()),
        format!("kernel command line: nvme.poll_queues={reactors}"),
    )
}

pub(super) fn nvme_passthrough(host: &Host, demand: &Demand<'_>) -> Finding {
    let sends = demand.sends_nvme_commands();
    let point = Point::new(
        "NVMe passthrough",
        Weight::Low,
        match sends {
            true => "Linux 6.12, and /dev/ng* of each disk",
            false => "any: the profile sends no NVMe commands",
        },
        "without it requests go through the block layer; older kernels pin pages for each command",
    );
    let disks = host.names("/sys/block");
    let numbers = disks.iter().filter_map(|disk| disk.strip_prefix("nvme"));
    let disks: Vec<&str> = numbers.collect();
    if disks.is_empty() {
        return point.good("no NVMe disk");
    }
    let release = host.text("/proc/sys/kernel/osrelease");
    let Some((release, version)) = release.as_deref().and_then(version) else {
        return point.unknown();
    };
    let takes = |numbers: &&&str| host.exists(&format!("/dev/ng{numbers}"));
    let taking = disks.iter().filter(takes).count();
    point.judged(
        !sends || (taking == disks.len() && version >= (6, 12)),
        format!(
            "Linux {release}; {taking} of {} disks take commands",
            disks.len()
        ),
        "a newer kernel, or nvme_passthrough = false",
    )
}

/// A kernel's release, and the first two numbers of it.
fn version(release: &str) -> Option<(&str, (u32, u32))> {
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((release, (major, minor)))
}

/// Whether the disk of that name has poll queues.
pub(super) fn polls(host: &Host, disk: &str) -> bool {
    host.number(&format!("/sys/block/{disk}/queue/io_poll")) == Some(1)
}

pub(super) fn open_files(host: &Host, _: &Demand<'_>) -> Finding {
    let point = Point::new(
        "open files",
        Weight::Low,
        format!("at least {OPEN_FILES_MIN}"),
        "each session is a descriptor; beyond the limit logins are turned away",
    );
    match host.limit("Max open files") {
        None => point.unknown(),
        Some(limit) => point.judged(
            limit >= OPEN_FILES_MIN,
            match limit {
                u64::MAX => "unlimited".to_owned(),
                limit => limit.to_string(),
            },
            format!(
                "LimitNOFILE={OPEN_FILES_MIN} in the systemd unit, or nofile in \
                 /etc/security/limits.d"
            ),
        ),
    }
}
