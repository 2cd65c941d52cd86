//! `holdfast completions`: what shells make of the scripts.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::server::holdfast;
use crate::support::skip;
use crate::transcript::Transcript;

fn script(shell: &str) -> String {
    let output = holdfast(&["completions", shell]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a shell prints that reads `input`; `None` if this machine has no such shell.
fn shell(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip(format!("no {program} here"));
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{program}: {errors}"
    );
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// What bash offers for the last of `words`, by the function that the script says is for `holdfast`.
fn bash_offers(words: &[&str]) -> Vec<String> {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let input = format!(
        "{}\n\
         registered=$(complete -p holdfast)\n\
         [[ $registered =~ -F\\ ([^ ]+) ]] || exit 1\n\
         COMP_WORDS=({}) COMP_CWORD={last}\n\
         \"${{BASH_REMATCH[1]}}\" holdfast '{}' '{}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script("bash"),
        quoted.join(" "),
        words[last],
        words[last - 1],
    );
    let told = shell("bash", &["--norc", "--noprofile"], &input).expect("bash runs the tests");
    told.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_nouns_verbs_flags_and_values() {
    for (words, expected) in [
        (&["holdfast", "vol"][..], &["volume"][..]),
        (&["holdfast", "re"], &["reservation", "repair"]),
        (
            &["holdfast", "volume", "re"],
            &["resize", "revert", "restore"],
        ),
        (&["holdfast", "volume", "create", "--snap"], &[]),
        (
            &["holdfast", "volume", "create", "--from-s"],
            &["--from-snapshot"],
        ),
        (
            &["holdfast", "volume", "create", "--backend", ""],
            &["file", "ram", "null", "block"],
        ),
        (
            &["holdfast", "serve", "--profile", ""],
            &["latency", "throughput", "efficiency", "compat"],
        ),
        (&["holdfast", "profile", "show", "eff"], &["efficiency"]),
        (&["holdfast", "connect", "db-1", "--client", "e"], &["esxi"]),
        (&["holdfast", "completions", "z"], &["zsh"]),
    ] {
        assert_eq!(bash_offers(words), expected, "{words:?}");
    }
}

#[test]
fn fish_completes_nouns_and_profiles() {
    for (line, expected) in [
        ("holdfast vol", "volume"),
        ("holdfast serve --profile thr", "throughput"),
    ] {
        let input = format!("{}\ncomplete --do-complete='{line}'\n", script("fish"));
        let Some(told) = shell("fish", &["--no-config"], &input) else {
            return;
        };
        let offered: Vec<_> = told
            .lines()
            .filter_map(|line| line.split('\t').next())
            .collect();
        assert_eq!(offered, [expected], "{line}");
    }
}

#[test]
fn zsh_can_read_its_script() {
    let text = script("zsh");
    assert!(text.starts_with("#compdef holdfast\n"), "{text}");
    shell("zsh", &["-n"], &text);
}

#[test]
fn every_shell_has_a_script_that_knows_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = script(shell);
        for word in ["holdfast", "reservation", "drain", "efficiency"] {
            assert!(text.contains(word), "{shell}: no {word}");
        }
        assert_eq!(text, script(shell), "{shell}: the same each time");
    }
}

#[test]
fn other_shells_are_refused() {
    Transcript::alone()
        .run("completions")
        .run("completions tcsh")
        .matches("completions");
}
