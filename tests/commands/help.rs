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

fn visit(path: &[String]) {
    let line: String = path.iter().map(|word| format!("{word} ")).collect();
    let line = format!("{line}--help");
    Transcript::alone()
        .run(&line)
        .matches(&["help", &path.join("_")].join("_"));
    let words: Vec<_> = line.split(' ').collect();
    let output = crate::support::server::holdfast(&words).stdout;
    for name in subcommands(&String::from_utf8_lossy(&output)) {
        visit(&[path, &[name]].concat());
    }
}

#[test]
fn every_command_explains_itself() {
    visit(&[]);
}
