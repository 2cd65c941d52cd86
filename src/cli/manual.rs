//! `holdfast man`: the manual, one page for each command, from what `--help` is made of.
//!
//! A page's examples, notes and exit codes come from the long help's last part. There, `Examples:` begins
//! lines that stay as they are, `Exit codes:` a paragraph of its own section, and everything else is
//! notes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, Failure, print};

const EXAMPLES: &str = "\
Examples:
  holdfast man | man -l -
      the page of holdfast itself; the other pages stand at its end
  holdfast man volume create | man -l -
      the page of one command
  holdfast man --output /usr/local/share/man/man1 && mandb
      all pages, holdfast.1, holdfast-volume.1, holdfast-volume-create.1 and so on, for `man`

The same version writes the same pages on every machine. The Debian package brings them along.";

/// User commands.
const SECTION: &str = "1";
const EXAMPLES_BEGIN: &str = "Examples:";
const EXIT_CODES_BEGIN: &str = "Exit codes:";

/// Flags of `man`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ManualArguments {
    /// The command whose page is printed, such as `volume create` [default: holdfast itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write all pages to this directory, which is made if it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

/// Prints a page, or writes them all.
pub(super) fn run(arguments: &ManualArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let root = root();
    match &arguments.output {
        Some(directory) => {
            let count = write_all(&root, directory)?;
            print(
                out,
                &format!("wrote {count} pages to {}\n", directory.display()),
            );
        }
        None => {
            let chain = find(&root, &arguments.command)?;
            print(out, &page(&root, &chain)?);
        }
    }
    Ok(())
}

/// All commands. What clap adds by itself, `help`, has no page.
fn root() -> Command {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    root
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
}

/// The command of that path with all that it is below of, the root first.
fn find<'a>(root: &'a Command, path: &[String]) -> Result<Vec<&'a Command>, Failure> {
    let mut chain = vec![root];
    let mut at = root;
    for word in path {
        let below = shown(at).find(|below| below.get_name() == word);
        at = below.ok_or_else(|| no_such_command(at, path))?;
        chain.push(at);
    }
    Ok(chain)
}

fn no_such_command(at: &Command, path: &[String]) -> Failure {
    let name = at.get_bin_name().unwrap_or_else(|| at.get_name());
    let known: Vec<_> = shown(at).map(Command::get_name).collect();
    let known = match known.is_empty() {
        true => "nothing behind it".to_owned(),
        false => known.join(", "),
    };
    Failure::new(format!(
        "no command `holdfast {}`; behind `{name}`, expected {known}",
        path.join(" ")
    ))
}

/// Writes every page, and says how many there are.
fn write_all(root: &Command, directory: &Path) -> Result<usize, Failure> {
    let failure = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| {
            Failure::new(format!("{path}: the manual can't be written: {error}"))
        }
    };
    std::fs::create_dir_all(directory).map_err(failure(directory))?;
    let mut count = 0;
    let mut chains = vec![vec![root]];
    while let Some(chain) = chains.pop() {
        let Some(command) = chain.last() else {
            continue;
        };
        let path = directory.join(format!("{}.{SECTION}", page_name(command)));
        std::fs::write(&path, page(root, &chain)?).map_err(failure(&path))?;
        count += 1;
        chains.extend(shown(command).map(|below| [&chain[..], &[below]].concat()));
    }
    Ok(count)
}

/// `holdfast-volume-create`.
fn page_name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// The page of the last command of `chain`.
fn page(root: &Command, chain: &[&Command]) -> Result<String, Failure> {
    let command = chain.last().copied().unwrap_or(root);
    let mut text = Vec::new();
    sections(root, chain, command, &mut text).map_err(Failure::new)?;
    String::from_utf8(text).map_err(Failure::new)
}

fn sections(
    root: &Command,
    chain: &[&Command],
    command: &Command,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    // `Man` would leave an empty date out, and what is behind it would be taken for one. A page has no
    // date of its own: it is as old as its program.
    let version = root.get_version().unwrap_or_default();
    let title = page_name(command).to_uppercase();
    writeln!(
        out,
        ".TH \"{title}\" {SECTION} \"\" \"Holdfast {version}\" \"Holdfast\""
    )?;
    let man = Man::new(command.clone());
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        man.render_options_section(out)?;
    }
    let mut rest = Roff::new();
    commands(&mut rest, command);
    let last = Last::of(command.get_after_long_help().or(command.get_after_help()));
    last.render(&mut rest);
    let exit_codes = last
        .exit_codes
        .or(Last::of(root.get_after_long_help()).exit_codes);
    if let Some(exit_codes) = exit_codes {
        rest.control("SH", ["EXIT STATUS"]);
        rest.text([roman(exit_codes)]);
    }
    see_also(&mut rest, chain, command);
    rest.to_writer(out)
}

fn commands(roff: &mut Roff, command: &Command) {
    if shown(command).next().is_none() {
        return;
    }
    roff.control("SH", ["COMMANDS"]);
    for below in shown(command) {
        roff.control("TP", []);
        roff.text([bold(
            below.get_bin_name().unwrap_or_else(|| below.get_name()),
        )]);
        let about = below.get_about().map(ToString::to_string);
        roff.text([roman(about.unwrap_or_default())]);
    }
}

fn see_also(roff: &mut Roff, chain: &[&Command], command: &Command) {
    let above = chain.iter().rev().skip(1).rev().copied();
    let pages: Vec<_> = above.chain(shown(command)).map(page_name).collect();
    let Some((last, others)) = pages.split_last() else {
        return;
    };
    roff.control("SH", ["SEE ALSO"]);
    for page in others {
        roff.control("BR", [*page, &format!("({SECTION}),")]);
    }
    roff.control("BR", [*last, &format!("({SECTION})")]);
}

/// The last part of a long help.
#[derive(Debug, Default, PartialEq, Eq)]
struct Last {
    /// Lines as they stand.
    examples: Vec<String>,
    /// Paragraphs.
    notes: Vec<String>,
    exit_codes: Option<String>,
}

impl Last {
    fn of(text: Option<&StyledStr>) -> Self {
        let text = text.map(ToString::to_string).unwrap_or_default();
        let mut last = Self::default();
        let mut blocks = text.split("\n\n").peekable();
        while let Some(block) = blocks.next() {
            if let Some(lines) = block.strip_prefix(EXAMPLES_BEGIN) {
                last.examples
                    .extend(lines.lines().skip(1).map(str::to_owned));
                // What is indented goes on with them.
                while let Some(more) = blocks.next_if(|more| more.starts_with(' ')) {
                    last.examples.push(String::new());
                    last.examples.extend(more.lines().map(str::to_owned));
                }
            } else if let Some(codes) = block.strip_prefix(EXIT_CODES_BEGIN) {
                last.exit_codes = Some(codes.trim().replace('\n', " "));
            } else if !block.trim().is_empty() {
                last.notes.push(block.to_owned());
            }
        }
        last
    }

    fn render(&self, roff: &mut Roff) {
        if !self.examples.is_empty() {
            roff.control("SH", ["EXAMPLES"]);
            roff.control("nf", []);
            for line in &self.examples {
                roff.text([roman(line.as_str())]);
            }
            roff.control("fi", []);
        }
        if !self.notes.is_empty() {
            roff.control("SH", ["NOTES"]);
            for (at, note) in self.notes.iter().enumerate() {
                if at > 0 {
                    roff.control("PP", []);
                }
                for line in note.lines() {
                    roff.text([roman(line)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_help_is_told_apart() {
        let text = StyledStr::from(
            "Examples:\n  one\n      what it does\n\n  two\n\nA note\nof two lines.\n\nAnother.\n\n\
             Exit codes: 0 done,\n1 failed.",
        );
        let last = Last::of(Some(&text));
        assert_eq!(last.examples, ["  one", "      what it does", "", "  two"]);
        assert_eq!(last.notes, ["A note\nof two lines.", "Another."]);
        assert_eq!(last.exit_codes.as_deref(), Some("0 done, 1 failed."));
        assert_eq!(Last::of(None), Last::default());
    }

    #[test]
    fn every_page_says_how_a_command_ends() {
        let root = root();
        let path = ["volume".to_owned(), "create".to_owned()];
        let text = page(&root, &find(&root, &path).unwrap()).unwrap();
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "NOTES"] {
            assert!(
                text.contains(&format!(".SH {section}\n")),
                "{section}: {text}"
            );
        }
        assert!(text.contains(".SH \"EXIT STATUS\"\n0 done"), "{text}");
        assert!(
            text.ends_with(".BR holdfast (1),\n.BR holdfast-volume (1)\n"),
            "{text}"
        );
        assert!(!text.contains("test-wrapper") && !text.contains("test\\-wrapper"));
    }
}
