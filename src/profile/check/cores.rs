//! The cores that reactors run on.

use std::collections::BTreeSet;

use super::host::show_cores;
use super::{Demand, Finding, Host, Point, Weight};
use crate::base::tuning::Idle;

const CPU: &str = "/sys/devices/system/cpu";
/// From that share of a core's time on, a hypervisor's other guests show in every percentile.
const STEAL_PERMILLE_MAX: u64 = 10;
/// Clocks that user space reads without a system call.
const FAST_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

pub(super) fn pinning(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "reactor cores",
        demand.if_spinning(Weight::High, Weight::Low),
        demand.if_spinning("one core for each reactor", "any"),
        "a reactor that shares its core, or is moved, waits for whole time slices of the scheduler",
    );
    let state = show_cores(demand.cores());
    let online = host.online();
    let absent: BTreeSet<usize> = demand
        .cores()
        .iter()
        .copied()
        .filter(|core| !online.contains(core))
        .collect();
    if !online.is_empty() && !absent.is_empty() {
        return point.change(
            format!("not online: {}", show_cores(&absent)),
            format!("choose among {}", show_cores(&online)),
        );
    }
    if demand.pinned {
        return point.good(state);
    }
    point.judged(
        !demand.spins(),
        format!("any of {state}"),
        "choose cores: holdfast serve --cores LIST, and holdfast profile check --cores LIST",
    )
}

/// Cores that neither `isolcpus` nor an isolated cpuset keeps the scheduler away from.
pub(super) fn isolation(host: &Host, demand: &Demand<'_>) -> Finding {
    let list = show_cores(demand.cores());
    let point = Point::new(
        "core isolation",
        demand.if_spinning(Weight::High, Weight::Low),
        demand.if_spinning(format!("{list} isolated"), "any".to_owned()),
        "another task on a spinning reactor's core stops it for a whole time slice of the scheduler",
    );
    let boot = host.cores(&format!("{CPU}/isolated"));
    let cpuset = host.cores("/sys/fs/cgroup/cpuset.cpus.isolated");
    if boot.is_none() && cpuset.is_none() {
        return point.unknown();
    }
    let isolated: BTreeSet<usize> = boot.into_iter().chain(cpuset).flatten().collect();
    point.judged(
        !demand.spins() || demand.cores().iter().all(|core| isolated.contains(core)),
        format!("isolated: {}", show_cores(&isolated)),
        format!("kernel command line: isolcpus=managed_irq,domain,{list}"),
    )
}

pub(super) fn tickless(host: &Host, demand: &Demand<'_>) -> Finding {
    let list = show_cores(demand.cores());
    let point = Point::new(
        "timer tick",
        demand.if_spinning(Weight::Medium, Weight::Low),
        demand.if_spinning(format!("nohz_full={list}"), "any".to_owned()),
        "the tick stops a spinning core 100 to 1000 times a second for some microseconds",
    );
    let Some(tickless) = host.cores(&format!("{CPU}/nohz_full")) else {
        // A kernel without CONFIG_NO_HZ_FULL has no such file: nothing to set.
        return point.unknown();
    };
    point.judged(
        !demand.spins() || demand.cores().iter().all(|core| tickless.contains(core)),
        format!("nohz_full: {}", show_cores(&tickless)),
        format!("kernel command line: nohz_full={list} rcu_nocbs={list}"),
    )
}

pub(super) fn siblings(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "hyper-threads",
        demand.if_spinning(Weight::High, Weight::Medium),
        "no other thread online on a reactor's physical core",
        "two threads of a physical core share its units and its caches: each is slower for the other",
    );
    let mut shared = BTreeSet::new();
    for core in demand.cores() {
        let path = format!("{CPU}/cpu{core}/topology/thread_siblings_list");
        let Some(threads) = host.cores(&path) else {
            return point.unknown();
        };
        // Without pinned cores, the first thread of a physical core is the one to keep.
        let keep = match demand.pinned {
            true => Some(core),
            false => threads.first(),
        };
        shared.extend(
            threads
                .iter()
                .copied()
                .filter(|thread| Some(thread) != keep),
        );
    }
    if shared.is_empty() {
        return point.good("none");
    }
    let both: BTreeSet<usize> = demand
        .cores()
        .iter()
        .copied()
        .filter(|core| shared.contains(core))
        .collect();
    if demand.pinned && !both.is_empty() {
        return point.change(
            format!("reactors share physical cores: {}", show_cores(&both)),
            "choose one thread of each physical core: see \
             /sys/devices/system/cpu/cpu*/topology/thread_siblings_list",
        );
    }
    let off: Vec<String> = shared
        .iter()
        .map(|core| format!("echo 0 > {CPU}/cpu{core}/online"))
        .collect();
    point.judged(
        !demand.spins(),
        format!("online beside reactors: {}", show_cores(&shared)),
        off.join("; "),
    )
}

pub(super) fn governor(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "frequency governor",
        demand.if_spinning(Weight::High, Weight::Low),
        demand.if_spinning("performance", "any"),
        "a core below its full clock answers slower in proportion, until it is raised",
    );
    let governors: BTreeSet<String> = demand
        .cores()
        .iter()
        .filter_map(|core| host.text(&format!("{CPU}/cpu{core}/cpufreq/scaling_governor")))
        .collect();
    if governors.is_empty() {
        // As in most virtual machines: the clock is not this kernel's to set.
        return point.unknown();
    }
    point.judged(
        !demand.spins() || governors.iter().all(|governor| governor == "performance"),
        governors.into_iter().collect::<Vec<_>>().join(", "),
        format!(
            "cpupower -c {} frequency-set -g performance",
            show_cores(demand.cores())
        ),
    )
}

pub(super) fn idle_states(host: &Host, demand: &Demand<'_>) -> Finding {
    let exit_max = match demand.tuning().idle {
        Idle::Adaptive => i64::try_from(demand.tuning().spin_max.as_micros()).ok(),
        // A core that spins never idles; one that waits at once is to save what it can.
        Idle::Spin | Idle::Wait => None,
    };
    let point = Point::new(
        "idle states",
        Weight::Low,
        exit_max.map_or_else(
            || "any".to_owned(),
            |exit| format!("left within the {exit} us of polling"),
        ),
        "waking a thread costs 20 to 28 us, and the time to leave the idle state on top of it",
    );
    let Some((name, exit)) = deepest_idle_state(host, demand) else {
        return point.unknown();
    };
    point.judged(
        exit_max.is_none_or(|most| exit <= most),
        format!("deepest {name}, left within {exit} us"),
        format!(
            "cpupower -c {} idle-set -D {}",
            show_cores(demand.cores()),
            exit_max.unwrap_or(exit)
        ),
    )
}

/// The state with the longest way out that is not disabled, over all reactors' cores, and how long
/// that is in microseconds.
fn deepest_idle_state(host: &Host, demand: &Demand<'_>) -> Option<(String, i64)> {
    let states = demand.cores().iter().flat_map(|core| {
        let directory = format!("{CPU}/cpu{core}/cpuidle");
        let names = host.names(&directory);
        names
            .into_iter()
            .map(move |state| format!("{directory}/{state}"))
    });
    states
        .filter(|state| host.number(&format!("{state}/disable")) != Some(1))
        .filter_map(|state| {
            Some((
                host.text(&format!("{state}/name"))?,
                host.number(&format!("{state}/latency"))?,
            ))
        })
        .max_by_key(|(_, exit)| *exit)
}

pub(super) fn real_time(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "real-time throttling",
        Weight::Low,
        demand.if_spinning("-1, if reactors run as SCHED_FIFO", "any"),
        "takes 5% of each second away from a SCHED_FIFO thread that spins; others are not concerned",
    );
    let Some(runtime) = host.number("/proc/sys/kernel/sched_rt_runtime_us") else {
        return point.unknown();
    };
    point.judged(
        !demand.spins() || runtime == -1,
        format!("kernel.sched_rt_runtime_us = {runtime}"),
        "sysctl -w kernel.sched_rt_runtime_us=-1",
    )
}

pub(super) fn clock_source(host: &Host, _: &Demand<'_>) -> Finding {
    let point = Point::new(
        "clock source",
        Weight::Medium,
        format!("one of {}", FAST_CLOCKS.join(", ")),
        "a reactor reads the clock in every tick; these need no system call (100 ns and more)",
    );
    let directory = "/sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.text(&format!("{directory}/current_clocksource")) else {
        return point.unknown();
    };
    let available = host
        .text(&format!("{directory}/available_clocksource"))
        .unwrap_or_default();
    let better = FAST_CLOCKS
        .iter()
        .find(|clock| available.split_whitespace().any(|name| name == **clock));
    let remedy = better.map_or_else(
        || "kernel command line: tsc=reliable, if the machine's TSC is".to_owned(),
        |clock| format!("echo {clock} > {directory}/current_clocksource"),
    );
    point.judged(FAST_CLOCKS.contains(&current.as_str()), current, remedy)
}

pub(super) fn steal(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "stolen time",
        Weight::Medium,
        format!("less than {} of a core's time", percent(STEAL_PERMILLE_MAX)),
        "while the hypervisor runs another guest a reactor stands: p99 and p99.9 measure that",
    );
    let Some(stat) = host.text("/proc/stat") else {
        return point.unknown();
    };
    let shares = demand
        .cores()
        .iter()
        .filter_map(|core| steal_permille(&stat, *core));
    let Some(worst) = shares.max() else {
        return point.unknown();
    };
    point.judged(
        worst < STEAL_PERMILLE_MAX,
        format!("{} since boot", percent(worst)),
        "dedicated cores from whoever runs the hypervisor",
    )
}

fn percent(permille: u64) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}

/// Columns of a `cpuN` line: user, nice, system, idle, iowait, irq, softirq, steal; the guests' time
/// that follows is part of user time.
fn steal_permille(stat: &str, core: usize) -> Option<u64> {
    const COLUMNS: usize = 8;
    let name = format!("cpu{core}");
    let words = stat
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next() == Some(name.as_str())).then_some(words))?;
    let ticks: Vec<u64> = words
        .take(COLUMNS)
        .filter_map(|tick| tick.parse().ok())
        .collect();
    let total: u64 = ticks.iter().fold(0, |sum, tick| sum.saturating_add(*tick));
    ticks
        .get(COLUMNS - 1)?
        .saturating_mul(1000)
        .checked_div(total)
}
