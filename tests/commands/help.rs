//! `--help` of every command: it is what teaches.

use crate::transcript::Transcript;

/// The commands that stand in the `Commands:` section of a help text.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The paths of all commands, that of `holdfast` itself, which is empty, first.
pub(crate) fn every_command() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        let help = crate::support::server::holdfast(&words).stdout;
        for name in subcommands(&String::from_utf8_lossy(&help)) {
            found.push([&path[..], &[name]].concat());
        }
        at += 1;
    }
    found
}

#[test]
fn every_command_explains_itself() {
    for path in every_command() {
        let line: String = path.iter().map(|word| format!("{word} ")).collect();
        Transcript::alone()
            .run(&format!("{line}--help"))
            .matches(&["help", &path.join("_")].join("_"));
    }
}
