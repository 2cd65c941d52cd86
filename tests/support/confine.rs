//! A process to which permissions, of files and of other processes, and limits of the file system apply
//! as to an ordinary user, also where the tests run as root.
#![allow(
    unsafe_code,
    reason = "a child is changed between fork and exec, by system calls without a safe wrapper"
)]

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What lets a process past the permissions of files (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) and of other
/// processes (CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON).
const PRIVILEGES: [libc::c_ulong; 5] = [1, 2, 19, 21, 38];

/// In the process that `command` will start, a mode that forbids something forbids it to root as
/// well, and a file that would grow past RLIMIT_FSIZE is an error, not a signal.
pub fn confine(command: &mut Command) {
    let change = || {
        for capability in PRIVILEGES {
            // Who is not root has none to lose.
            // SAFETY: this operation takes numbers only.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
        // SAFETY: to ignore a signal needs no handler; it stays ignored over exec.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may run; the closure makes
    // system calls and nothing else.
    unsafe { command.pre_exec(change) };
}
