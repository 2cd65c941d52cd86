//! Whether io_uring can be used here, and precisely why not.

use super::setup;
use io_uring::{IoUring, Probe, opcode};
use std::io;

/// What the kernel grants a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Completion work runs only when the reactor asks (`IORING_SETUP_DEFER_TASKRUN`, Linux 6.1).
    pub defer_taskrun: bool,
    /// Completion work does not interrupt the reactor (`IORING_SETUP_COOP_TASKRUN`, Linux 5.19).
    pub coop_taskrun: bool,
    /// The kernel flags completion work that waits (`IORING_SETUP_TASKRUN_FLAG`, Linux 5.19).
    pub taskrun_flag: bool,
    /// Sockets at rest hold no buffer (provided-buffer rings, Linux 5.19).
    pub provided_buffers: bool,
}

/// Why io_uring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// `ENOSYS`: the kernel has no io_uring, or a seccomp filter says so.
    #[error("this kernel has no io_uring (ENOSYS){}", hint(*filtered))]
    NotInKernel {
        /// Whether a seccomp filter is in force, which may be what answered.
        filtered: bool,
    },
    /// `EPERM` or `EACCES` while `kernel.io_uring_disabled` is set.
    #[error("io_uring is switched off on this host (sysctl kernel.io_uring_disabled = {setting})")]
    SwitchedOff {
        /// 1: only for the privileged and `kernel.io_uring_group`; 2: for all.
        setting: u8,
    },
    /// `EPERM` or `EACCES` for another reason: a container's seccomp filter or a security module.
    #[error("io_uring is not permitted to this process{}", hint(*filtered))]
    NotPermitted {
        /// Whether a seccomp filter is in force.
        filtered: bool,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel is too old for some operations.
    #[error("this kernel's io_uring lacks {}", .0.join(", "))]
    MissingOperations(Vec<&'static str>),
    /// The kernel cannot wait with a time limit (`IORING_FEAT_EXT_ARG`, Linux 5.11).
    #[error("this kernel's io_uring cannot wait with a time limit (before Linux 5.11)")]
    NoTimedWait,
    /// Anything else, such as `ENOMEM` or `EMFILE`.
    #[error("setting up an io_uring failed")]
    Failed(#[source] io::Error),
}

const fn hint(filtered: bool) -> &'static str {
    if filtered {
        "; a seccomp filter is in force, as containers set it"
    } else {
        ""
    }
}

impl Unavailable {
    /// Names what an error of `io_uring_setup` means.
    pub(super) fn from_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::NotInKernel {
                filtered: seccomp_filter(),
            },
            Some(libc::EPERM | libc::EACCES) => match switched_off() {
                Some(setting) => Self::SwitchedOff { setting },
                None => Self::NotPermitted {
                    filtered: seccomp_filter(),
                    source: error,
                },
            },
            _ => Self::Failed(error),
        }
    }
}

impl From<Unavailable> for io::Error {
    fn from(unavailable: Unavailable) -> Self {
        Self::new(io::ErrorKind::Unsupported, unavailable)
    }
}

/// Tries a small ring and asks it which operations it knows.
pub(super) fn probe() -> Result<Features, Unavailable> {
    let ring = setup::build(&IoUring::builder(), 2).map_err(Unavailable::from_setup)?;
    if !ring.params().is_feature_ext_arg() {
        return Err(Unavailable::NoTimedWait);
    }
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(Unavailable::Failed)?;
    let missing = missing_operations(|code| known.is_supported(code));
    if !missing.is_empty() {
        return Err(Unavailable::MissingOperations(missing));
    }
    let grants = |build: fn(&mut io_uring::Builder) -> &mut io_uring::Builder| {
        setup::build(build(&mut IoUring::builder()), 2).is_ok()
    };
    Ok(Features {
        defer_taskrun: grants(|ring| ring.setup_single_issuer().setup_defer_taskrun()),
        coop_taskrun: grants(|ring| ring.setup_coop_taskrun()),
        taskrun_flag: grants(|ring| ring.setup_coop_taskrun().setup_taskrun_flag()),
        provided_buffers: super::provided::supported(&ring),
    })
}

fn missing_operations(supported: impl Fn(u8) -> bool) -> Vec<&'static str> {
    const NEEDED: [(u8, &str); 12] = [
        (opcode::Recv::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::SendMsg::CODE, "SENDMSG"),
        (opcode::Accept::CODE, "ACCEPT"),
        (opcode::Read::CODE, "READ"),
        (opcode::Write::CODE, "WRITE"),
        (opcode::ReadFixed::CODE, "READ_FIXED"),
        (opcode::WriteFixed::CODE, "WRITE_FIXED"),
        (opcode::Fsync::CODE, "FSYNC"),
        (opcode::Fallocate::CODE, "FALLOCATE"),
        (opcode::PollAdd::CODE, "POLL_ADD"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    ];
    NEEDED
        .iter()
        .filter(|(code, _)| !supported(*code))
        .map(|(_, name)| *name)
        .collect()
}

fn switched_off() -> Option<u8> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok().filter(|&setting| setting > 0)
}

fn seccomp_filter() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_cause() {
        let text = |code| Unavailable::from_setup(io::Error::from_raw_os_error(code)).to_string();
        assert!(text(libc::ENOSYS).contains("ENOSYS"));
        assert!(
            text(libc::EPERM).contains("not permitted") || text(libc::EPERM).contains("sysctl")
        );
        let old = Unavailable::MissingOperations(vec!["SEND", "FALLOCATE"]).to_string();
        assert_eq!(old, "this kernel's io_uring lacks SEND, FALLOCATE");
        let filtered = Unavailable::NotInKernel { filtered: true }.to_string();
        assert!(filtered.contains("seccomp"));
    }

    #[test]
    fn every_operation_that_the_kernel_lacks_is_listed() {
        assert_eq!(missing_operations(|_| true), Vec::<&str>::new());
        assert_eq!(
            missing_operations(|code| code != opcode::Fallocate::CODE),
            ["FALLOCATE"]
        );
    }

    #[test]
    fn this_machine_has_io_uring() {
        if let Err(unavailable) = probe() {
            panic!("the tests of `ring` and `net` need io_uring: {unavailable}");
        }
    }
}
