//! What the integration tests share: the server under test as a child process, and an independent
//! initiator. Nothing here uses the target's own protocol code, because these helpers judge it.
#![allow(dead_code, reason = "each test file uses its own part of the helpers")]
#![allow(
    unreachable_pub,
    reason = "a module shared by test crates has no outside"
)]
#![allow(
    missing_docs,
    reason = "names that repeat the standard's need no sentence"
)]

pub mod chap;
pub mod cluster;
pub mod confine;
pub mod copy;
pub mod gate;
pub mod initiator;
pub mod login;
pub mod pdu;
pub mod places;
pub mod reserve;
pub mod rig;
pub mod scsi;
pub mod seccomp;
pub mod server;

/// Says that a test, or a part of one, has nothing to judge on this machine.
///
/// It is said on standard error itself: what `eprintln!` says of a test that passes, the harness keeps to
/// itself. `tests/run` counts these lines.
pub fn skip(why: impl std::fmt::Display) {
    use std::io::Write;
    writeln!(std::io::stderr(), "SKIPPED: {why}").expect("standard error is open");
}

/// Makes one `#[test]` of each function for both engines with one and with three reactors.
///
/// The functions take a [`server::Setup`] by value; the volumes they make are in RAM.
#[macro_export]
macro_rules! on_every_engine {
    ($($name:ident),* $(,)?) => {
        $crate::engine_tests!(uring_one_reactor, Uring, 1, "ram", $($name),*);
        $crate::engine_tests!(uring_three_reactors, Uring, 3, "ram", $($name),*);
        $crate::engine_tests!(mio_one_reactor, Mio, 1, "ram", $($name),*);
        $crate::engine_tests!(mio_three_reactors, Mio, 3, "ram", $($name),*);
    };
}

/// As `on_every_engine`, with file and RAM volumes each.
#[macro_export]
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        $crate::engine_tests!(uring_one_reactor_ram, Uring, 1, "ram", $($name),*);
        $crate::engine_tests!(uring_three_reactors_ram, Uring, 3, "ram", $($name),*);
        $crate::engine_tests!(mio_one_reactor_ram, Mio, 1, "ram", $($name),*);
        $crate::engine_tests!(mio_three_reactors_ram, Mio, 3, "ram", $($name),*);
        $crate::on_every_file_engine!($($name),*);
    };
}

/// As `on_every_engine`, with file volumes.
#[macro_export]
macro_rules! on_every_file_engine {
    ($($name:ident),* $(,)?) => {
        $crate::engine_tests!(uring_one_reactor_file, Uring, 1, "file", $($name),*);
        $crate::engine_tests!(uring_three_reactors_file, Uring, 3, "file", $($name),*);
        $crate::engine_tests!(mio_one_reactor_file, Mio, 1, "file", $($name),*);
        $crate::engine_tests!(mio_three_reactors_file, Mio, 3, "file", $($name),*);
    };
}

/// One module of tests on one setup.
#[macro_export]
macro_rules! engine_tests {
    ($module:ident, $engine:ident, $reactors:literal, $backend:literal, $($name:ident),*) => {
        mod $module {
            use $crate::support::server::{Engine, Setup};
            $(
                #[test]
                fn $name() {
                    let setup = Setup::new(Engine::$engine, $reactors, $backend);
                    if setup.is_possible() {
                        super::$name(setup);
                    }
                }
            )*
        }
    };
}
