//! The way of a packet: interrupts, network interfaces, TCP.

use std::collections::BTreeSet;

use bytesize::ByteSize;

use super::host::{parse_cores, show_cores};
use super::{Demand, Finding, Host, Point, Weight};

/// What TCP's own growth should reach where the profile leaves buffers to the kernel: below 0.5 MiB
/// large transfers stall, above 4 MiB nothing more is won.
const AUTOTUNED_BYTES_MIN: u64 = 4 << 20;
/// Microseconds that the kernel polls an interface's queue on behalf of a receive.
const BUSY_POLL_MICROSECONDS: i64 = 50;
/// Descriptors of a receive ring that hold a burst of 128 KiB requests from some initiators.
const RING_DESCRIPTORS: u64 = 1024;

pub(super) fn interrupts(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "interrupts",
        demand.if_spinning(Weight::High, Weight::Low),
        demand.if_spinning("of network queues, on no reactor's core", "anywhere"),
        "an interrupt and the packets' way up the stack (2.8 us each) stop the reactor below them",
    );
    let all: Vec<u32> = host
        .interfaces()
        .into_iter()
        .flat_map(|found| found.interrupts)
        .collect();
    let mut on_reactors = BTreeSet::new();
    let mut known = 0_usize;
    for irq in all {
        let Some(cores) = interrupt_cores(host, irq) else {
            continue;
        };
        known += 1;
        if demand.cores().iter().any(|core| cores.contains(core)) {
            on_reactors.insert(irq);
        }
    }
    if known == 0 {
        return point.unknown();
    }
    let reactors: BTreeSet<usize> = demand.cores().iter().copied().collect();
    let others: BTreeSet<usize> = host.online().difference(&reactors).copied().collect();
    let state = format!(
        "{} of {known} may run on reactors' cores",
        on_reactors.len()
    );
    if others.is_empty() {
        return point.judged(
            !demand.spins(),
            state,
            "leave at least one core without a reactor: holdfast serve --cores LIST",
        );
    }
    let moves: Vec<String> = on_reactors
        .iter()
        .map(|irq| {
            format!(
                "echo {} > /proc/irq/{irq}/smp_affinity_list",
                show_cores(&others)
            )
        })
        .collect();
    point.judged(
        !demand.spins() || on_reactors.is_empty(),
        state,
        moves.join("; "),
    )
}

/// Where an interrupt runs: what the hardware was told, else what it may be told.
fn interrupt_cores(host: &Host, irq: u32) -> Option<BTreeSet<usize>> {
    ["effective_affinity_list", "smp_affinity_list"]
        .iter()
        .filter_map(|file| host.cores(&format!("/proc/irq/{irq}/{file}")))
        .find(|cores| !cores.is_empty())
}

pub(super) fn balancer(host: &Host, demand: &Demand<'_>) -> Finding {
    let list = show_cores(demand.cores());
    let point = Point::new(
        "irqbalance",
        demand.if_spinning(Weight::Medium, Weight::Low),
        demand.if_spinning(
            format!("not running, or keeping off {list}"),
            "any".to_owned(),
        ),
        "it moves interrupts back to reactors' cores every ten seconds",
    );
    if !host.runs("irqbalance") {
        return point.good("not running");
    }
    let banned = host
        .text("/etc/default/irqbalance")
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("IRQBALANCE_BANNED_CPULIST="))
                .map(|value| parse_cores(value.trim_matches(['"', '\''])))
        })
        .unwrap_or_default();
    point.judged(
        !demand.spins() || demand.cores().iter().all(|core| banned.contains(core)),
        format!("running, kept off {}", show_cores(&banned)),
        format!("IRQBALANCE_BANNED_CPULIST={list} in /etc/default/irqbalance, and restart it"),
    )
}

pub(super) fn locality(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "memory node",
        Weight::Medium,
        "reactors on the network interface's NUMA node",
        "each packet and each buffer crosses the link between sockets otherwise",
    );
    let nodes: BTreeSet<u32> = host
        .interfaces()
        .iter()
        .filter_map(|found| found.node)
        .collect();
    if nodes.is_empty() {
        return match host.exists("/sys/devices/system/node/node1") {
            true => point.unknown(),
            false => point.good("one node"),
        };
    }
    let near: BTreeSet<usize> = nodes
        .iter()
        .filter_map(|node| host.cores(&format!("/sys/devices/system/node/node{node}/cpulist")))
        .flatten()
        .collect();
    if near.is_empty() {
        return point.unknown();
    }
    let far: BTreeSet<usize> = demand
        .cores()
        .iter()
        .copied()
        .filter(|core| !near.contains(core))
        .collect();
    point.judged(
        far.is_empty(),
        match far.is_empty() {
            true => "near".to_owned(),
            false => format!("cores far from it: {}", show_cores(&far)),
        },
        format!(
            "choose among {}: holdfast serve --cores LIST",
            show_cores(&near)
        ),
    )
}

pub(super) fn rings(host: &Host, _: &Demand<'_>) -> Finding {
    let point = Point::new(
        "interface rings",
        Weight::Low,
        format!("at least {RING_DESCRIPTORS} descriptors, where the hardware has them"),
        "a burst beyond the ring is dropped, and TCP waits 200 ms to send its end again",
    );
    let mut states = Vec::new();
    let mut remedies = Vec::new();
    for interface in host.interfaces() {
        let name = interface.name;
        let Some(rings) = host.rings.get(&name) else {
            continue;
        };
        states.push(format!("{name} rx {} tx {}", rings.receive, rings.send));
        let wanted = [rings.receive_max, rings.send_max].map(|most| most.min(RING_DESCRIPTORS));
        if rings.receive < wanted[0] || rings.send < wanted[1] {
            let [receive, send] = [rings.receive.max(wanted[0]), rings.send.max(wanted[1])];
            remedies.push(format!("ethtool -G {name} rx {receive} tx {send}"));
        }
    }
    if states.is_empty() {
        return point.unknown();
    }
    point.judged(remedies.is_empty(), states.join(", "), remedies.join("; "))
}

pub(super) fn busy_polling(host: &Host, demand: &Demand<'_>) -> Finding {
    let point = Point::new(
        "busy polling",
        demand.if_spinning(Weight::Medium, Weight::Low),
        demand.if_spinning(
            format!("net.core.busy_read and busy_poll {BUSY_POLL_MICROSECONDS} or more"),
            "any".to_owned(),
        ),
        "the reactor fetches packets from the interface itself instead of waiting for an interrupt; \
         loopback has no use for it",
    );
    let values = ["busy_read", "busy_poll"]
        .map(|name| (name, host.number(&format!("/proc/sys/net/core/{name}"))));
    let [(_, Some(read)), (_, Some(poll))] = values else {
        return point.unknown();
    };
    let state = format!("busy_read {read}, busy_poll {poll}");
    if host.interfaces().is_empty() {
        return point.good(format!("{state}; no network interface but loopback"));
    }
    point.judged(
        !demand.spins() || read.min(poll) >= BUSY_POLL_MICROSECONDS,
        state,
        format!(
            "sysctl -w net.core.busy_read={BUSY_POLL_MICROSECONDS} \
             net.core.busy_poll={BUSY_POLL_MICROSECONDS}"
        ),
    )
}

/// What connections take unless the profile chooses for them; then that it can be had.
pub(super) fn congestion(host: &Host, demand: &Demand<'_>) -> Finding {
    let chosen = demand
        .profile
        .text_knob("congestion_control")
        .filter(|name| *name != "system");
    let point = Point::new(
        "congestion control",
        Weight::Medium,
        chosen.map_or_else(
            || "any but bbr".to_owned(),
            |name| format!("{name} available"),
        ),
        "bbr paces every send by a timer: 28 k against cubic's 45 k requests of 128 KiB a second",
    );
    let directory = "/proc/sys/net/ipv4";
    if let Some(name) = chosen {
        let path = format!("{directory}/tcp_available_congestion_control");
        let Some(available) = host.text(&path) else {
            return point.unknown();
        };
        let there = available.split_whitespace().any(|found| found == name);
        return point.judged(there, available, format!("modprobe tcp_{name}"));
    }
    let Some(current) = host.text(&format!("{directory}/tcp_congestion_control")) else {
        return point.unknown();
    };
    let good = current != "bbr";
    point.judged(
        good,
        current,
        "sysctl -w net.ipv4.tcp_congestion_control=cubic",
    )
}

pub(super) fn receive_buffer(host: &Host, demand: &Demand<'_>) -> Finding {
    socket_buffer(host, demand, "receive buffers", "rmem")
}

pub(super) fn send_buffer(host: &Host, demand: &Demand<'_>) -> Finding {
    socket_buffer(host, demand, "send buffers", "wmem")
}

/// A size that the profile sets is cut to `net.core.*mem_max`; what it leaves to the kernel grows up
/// to the third value of `net.ipv4.tcp_*mem`.
fn socket_buffer(host: &Host, demand: &Demand<'_>, name: &'static str, kind: &str) -> Finding {
    let set = demand.tuning().socket_buffer_bytes;
    let wanted = set.map_or(AUTOTUNED_BYTES_MIN, |bytes| bytes as u64);
    let point = Point::new(
        name,
        Weight::Medium,
        format!("up to {} or more", ByteSize::b(wanted)),
        "a window smaller than the data in flight makes large transfers wait for acknowledgements; \
         0.5 to 4 MiB were best",
    );
    let growing = host
        .text(&format!("/proc/sys/net/ipv4/tcp_{kind}"))
        .unwrap_or_default();
    let (most, remedy) = match set {
        Some(_) => (
            host.text(&format!("/proc/sys/net/core/{kind}_max"))
                .unwrap_or_default(),
            format!("sysctl -w net.core.{kind}_max={wanted}"),
        ),
        None => {
            let values: Vec<&str> = growing.split_whitespace().collect();
            let [least, usual, most] = values[..] else {
                return point.unknown();
            };
            let remedy = format!("sysctl -w net.ipv4.tcp_{kind}='{least} {usual} {wanted}'");
            (most.to_owned(), remedy)
        }
    };
    match most.parse::<u64>() {
        Ok(most) => point.judged(most >= wanted, ByteSize::b(most).to_string(), remedy),
        Err(_) => point.unknown(),
    }
}
