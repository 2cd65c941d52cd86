//! A machine that forbids io_uring, as containers do: a filter on one child's system calls.
#![allow(
    unsafe_code,
    reason = "a child is changed between fork and exec, by system calls without a safe wrapper"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel answer `io_uring_setup` with EPERM in the process that `command` will start.
pub fn forbid_io_uring(command: &mut Command) {
    // SAFETY: between fork and exec only what is safe in a signal handler may run; the closure makes
    // system calls, on memory of its own, and nothing else.
    unsafe { command.pre_exec(install_filter) };
}

/// Where the number of the system call stands in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's constants fit where the kernel takes them"
)]
fn install_filter() -> io::Result<()> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut steps = [
        step(LOAD, 0, 0, NUMBER_OFFSET),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, REFUSE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    let (yes, none, mode): (libc::c_ulong, libc::c_ulong, _) = (1, 0, libc::SECCOMP_MODE_FILTER);
    // SAFETY: this operation takes numbers only. Without it an ordinary user may set no filter.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) })?;
    // SAFETY: the program and its steps outlive the call, which copies them.
    done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::c_ulong::from(mode), &program) })
}

fn done(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
