//! `holdfast bench report`: what fio measured, as the page that comparisons get.

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::bench::write_file;
use super::bench_load::usage;
use super::bench_ratios::table;
use super::{Failure, print};
use crate::load::compare::page;
use crate::load::compare::runs::{Run, Runs};
use crate::load::report::explain;

const EXAMPLES: &str = "\
Examples:
  holdfast bench report kernel.json --output report.html
      one run of bench/fio/run as a page
  holdfast bench report before=monday.json after=tuesday.json --output report.html
      two of them, compared
  holdfast bench URL --depth 32 --output-format fio > own.json
  holdfast bench report kernel.json own.json --output report.html
      a kernel initiator beside the load generator

Each file is what fio printed with --output-format=json+, or json, or what `holdfast bench
--output-format fio` printed; the first one is what the others are compared with. Jobs of the same rw,
bs, numjobs and iodepth are compared, whatever they are called. Runs that did not take turns have no
control, so ratios come without a verdict: `bench compare` is better at that where it can be used.

Exit codes: 0 done, 1 a file can't be read or written, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ReportArguments {
    /// What fio printed; without a name, a file is called what its name begins with
    #[arg(value_name = "[NAME=]FILE", required = true)]
    files: Vec<NamedFile>,
    /// Write the page there; it needs nothing but itself
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Clone)]
struct NamedFile {
    name: String,
    path: PathBuf,
}

impl FromStr for NamedFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A name has no slash: what stands before a `=` behind one is part of the path.
        let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
        let (name, path) = match named {
            Some(("", _) | (_, "")) => return Err("expected [NAME=]FILE"),
            Some((name, path)) => (Some(name.to_owned()), PathBuf::from(path)),
            None => (None, PathBuf::from(text)),
        };
        let stem = path.file_stem().ok_or("expected [NAME=]FILE")?;
        let name = name.unwrap_or_else(|| stem.to_string_lossy().into_owned());
        Ok(Self { name, path })
    }
}

pub(super) fn run(arguments: &ReportArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let mut runs: Vec<Run> = Vec::with_capacity(arguments.files.len());
    for (index, file) in arguments.files.iter().enumerate() {
        let before = &arguments.files[..index];
        if before.iter().any(|other| other.name == file.name) {
            return Err(usage(&format!("two files are called {}", file.name)));
        }
        let named = |error: String| Failure::new(format!("{}: {error}", file.path.display()));
        let text = std::fs::read_to_string(&file.path).map_err(|error| named(error.to_string()))?;
        runs.push(Run::read(&file.name, &text).map_err(|error| named(explain(&error)))?);
    }
    let runs = Runs::compare(&runs).map_err(Failure::new)?;
    write_file(&arguments.output, |file| {
        file.write_all(page::render_runs(&runs).as_bytes())
    })?;
    for (shape, comparison) in &runs.shapes {
        print(out, &format!("{shape}\n{}\n", table(comparison)));
    }
    for shape in &runs.left_out {
        print(out, &format!("{shape}: not in all files\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names() {
        let read = |text: &str| text.parse::<NamedFile>().map(|file| (file.name, file.path));
        let named = |name: &str, path: &str| Ok((name.to_owned(), PathBuf::from(path)));
        assert_eq!(read("a/kernel.json"), named("kernel", "a/kernel.json"));
        assert_eq!(read("old=a/b=c.json"), named("old", "a/b=c.json"));
        assert_eq!(read("a/b=c.json"), named("b=c", "a/b=c.json"));
        for wrong in ["", "=a.json", "a="] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
