//! What can be read of a host: `/sys`, `/proc` and `/etc` below some root, and the few facts that no
//! file tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ring::{Features, Ring};

/// A host to examine: this one, or a copy of the files of another one.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    /// What the kernel says about io_uring; `None` where it can't be asked.
    pub io_uring: Option<Result<Features, String>>,
    /// The receive and send rings of each network interface, where they are known.
    pub rings: BTreeMap<String, Rings>,
}

/// The descriptor rings of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rings {
    /// Receive descriptors at present.
    pub receive: u64,
    /// The most that the hardware has.
    pub receive_max: u64,
    /// Send descriptors at present.
    pub send: u64,
    /// The most that the hardware has.
    pub send_max: u64,
}

/// A network interface with hardware (or a hypervisor's imitation) behind it that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Interrupts of its queues.
    pub(super) interrupts: Vec<u32>,
    /// `None` where the machine has one node or does not say.
    pub(super) node: Option<u32>,
}

impl Host {
    /// This host. Asks the kernel for an io_uring and `ethtool`, if there is one, for rings.
    #[must_use]
    pub fn here() -> Self {
        let mut host = Self::at(Path::new("/"));
        host.io_uring = Some(Ring::probe().map_err(|reason| reason.to_string()));
        host.rings = host
            .interfaces()
            .into_iter()
            .filter_map(|interface| Some((interface.name.clone(), ask_ethtool(&interface.name)?)))
            .collect();
        host
    }

    /// A copy of a host's files below `root`. What only a kernel can answer is not known.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            io_uring: None,
            rings: BTreeMap::new(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without the blanks around it; `None` if it can't be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// The cores of a list such as `0,2,4-7`; none if it is empty, or `(null)` as `nohz_full` is
    /// where the kernel was not started with it.
    pub(super) fn cores(&self, path: &str) -> Option<BTreeSet<usize>> {
        self.text(path).map(|text| parse_cores(&text))
    }

    /// The word in brackets of a choice such as `always [madvise] never`.
    pub(super) fn choice(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }

    /// Names in a directory, sorted; none if it can't be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(path))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The cores that are online.
    pub(super) fn online(&self) -> BTreeSet<usize> {
        self.cores("/sys/devices/system/cpu/online")
            .unwrap_or_default()
    }

    /// Whether a process of that name runs.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.names("/proc")
            .iter()
            .filter(|entry| entry.bytes().all(|byte| byte.is_ascii_digit()))
            .any(|process| self.text(&format!("/proc/{process}/comm")).as_deref() == Some(name))
    }

    /// The soft limit of this process; `u64::MAX` is none.
    pub(super) fn limit(&self, name: &str) -> Option<u64> {
        let text = self.text("/proc/self/limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// Network interfaces that are up and have a device behind them: not loopback, not bridges.
    pub(super) fn interfaces(&self) -> Vec<Interface> {
        let up = |name: &String| {
            let state = self.text(&format!("/sys/class/net/{name}/operstate"));
            self.exists(&format!("/sys/class/net/{name}/device")) && state.as_deref() == Some("up")
        };
        let examine = |name: String| {
            // A virtio device lies one level below the PCI device that has the interrupts.
            let places = ["device", "device/.."].map(|at| format!("/sys/class/net/{name}/{at}"));
            let interrupts = places
                .iter()
                .map(|place| self.names(&format!("{place}/msi_irqs")))
                .find(|found| !found.is_empty())
                .unwrap_or_default();
            let node = places
                .iter()
                .find_map(|place| self.number(&format!("{place}/numa_node")));
            Interface {
                interrupts: interrupts
                    .iter()
                    .filter_map(|irq| irq.parse().ok())
                    .collect(),
                node: node.and_then(|node| u32::try_from(node).ok()),
                name,
            }
        };
        let names = self.names("/sys/class/net");
        names.into_iter().filter(up).map(examine).collect()
    }
}

/// The cores of a list such as `0,2,4-7`. What is no number is left out.
pub(super) fn parse_cores(text: &str) -> BTreeSet<usize> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u16>().ok().map(usize::from);
            Some(number(first)?..=number(last)?)
        })
        .flatten()
        .collect()
}

/// Cores as the kernel writes them, such as `0,2,4-7`; `none` if there are none.
pub(super) fn show_cores<'a>(cores: impl IntoIterator<Item = &'a usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    if runs.is_empty() {
        return "none".to_owned();
    }
    let show = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(show).collect::<Vec<_>>().join(",")
}

/// The rings as `ethtool -g` prints them; `None` without it, or if the driver does not tell.
fn ask_ethtool(interface: &str) -> Option<Rings> {
    let asked = Command::new("ethtool").args(["-g", interface]).output();
    parse_rings(&String::from_utf8_lossy(&asked.ok()?.stdout))
}

/// Reads the two tables of `ethtool -g`: the maxima come first.
fn parse_rings(text: &str) -> Option<Rings> {
    let (maxima, present) = text.split_once("Current hardware settings")?;
    let value = |table: &str, name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(Rings {
        receive: value(present, "RX:")?,
        receive_max: value(maxima, "RX:")?,
        send: value(present, "TX:")?,
        send_max: value(maxima, "TX:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_written() {
        for text in ["0", "0,2,4-7", "1-3,5"] {
            assert_eq!(show_cores(&parse_cores(text)), text);
        }
        assert_eq!(show_cores(&parse_cores("")), "none");
        assert!(parse_cores("(null)").is_empty());
    }

    #[test]
    fn rings_are_read_from_ethtool() {
        let text = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\n\
                    TX:\t\t2048\nCurrent hardware settings:\nRX:\t\t512\nTX:\t\t256\n";
        let rings = Rings {
            receive: 512,
            receive_max: 4096,
            send: 256,
            send_max: 2048,
        };
        assert_eq!(parse_rings(text), Some(rings));
        assert_eq!(parse_rings("netlink error: Operation not supported"), None);
    }
}
