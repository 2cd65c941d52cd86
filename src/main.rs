//! The `holdfast` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::cli::main(&holdfast::control::data_path::TargetLauncher)
}
