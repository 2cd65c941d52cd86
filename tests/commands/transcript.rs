//! Commands and what came of them, as text that is the same in every run.

use std::process::Output;

use crate::support::server::{Server, holdfast};

/// What differs from run to run, and the word that stands for it. In this order: a rule sees what the
/// ones before it have left.
const PASSING: [(&str, &str); 13] = [
    (r"/\S*/holdfast-\w{6}/", "[TEMP]/"),
    (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[UUID]",
    ),
    (r"\b[0-9a-f]{32}\b", "[SERIAL]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "[TIME]"),
    (r"(127\.0\.0\.1|\[::1\]):\d{4,5}", "$1:[PORT]"),
    (r#"("(process_id|pid)": )\d+"#, "$1[PID]"),
    (r#"("(since|left)_ms": )\d+"#, "$1[MS]"),
    (r"(process |pid )( *)\d+", "$1$2[PID]"),
    (r#"("span_ms": )\d+"#, "$1[SPAN]"),
    (r"by user \d+", "by user [UID]"),
    (r"\b\d+(\.\d+)? (ms|µs|us)\b", "[SPAN]"),
    (r"\b\d+ ?s\b", "[SPAN]"),
    (r#"("\w+_ms": )\d{13}\b"#, "$1[MS]"),
];

/// A conversation with one server, or with none.
pub(crate) struct Transcript<'a> {
    server: Option<&'a Server>,
    text: String,
}

impl<'a> Transcript<'a> {
    /// Of commands that ask `server`.
    pub(crate) fn with(server: &'a Server) -> Self {
        Self {
            server: Some(server),
            text: String::new(),
        }
    }

    /// Of commands that need no server.
    pub(crate) fn alone() -> Self {
        Self {
            server: None,
            text: String::new(),
        }
    }

    /// Runs a command, its words separated by single spaces.
    pub(crate) fn run(&mut self, line: &str) -> &mut Self {
        let words: Vec<_> = line.split(' ').collect();
        self.run_words(&words)
    }

    /// Runs a command with arguments that contain spaces.
    pub(crate) fn run_words(&mut self, words: &[&str]) -> &mut Self {
        let output = match self.server {
            Some(server) => server.command(words),
            None => holdfast(words),
        };
        self.record(&words.join(" "), &output);
        self
    }

    fn record(&mut self, line: &str, output: &Output) {
        self.text.push_str(&format!("$ holdfast {line}\n"));
        for (bytes, mark) in [(&output.stdout, ""), (&output.stderr, "! ")] {
            let text = std::str::from_utf8(bytes).expect("output is UTF-8");
            for row in text.lines() {
                self.text.push_str(format!("{mark}{row}").trim_end());
                self.text.push('\n');
            }
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => self.text.push_str(&format!("exit {code}\n")),
            None => self.text.push_str(&format!("{}\n", output.status)),
        }
        self.text.push('\n');
    }

    /// Compares all of it with `snapshots/NAME.snap`.
    pub(crate) fn matches(&self, name: &str) {
        self.matches_but_for(name, &[]);
    }

    /// The same of measurements: `measured` are further rules, which come first.
    pub(crate) fn matches_but_for(&self, name: &str, measured: &[(&str, &str)]) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path("snapshots");
        settings.set_filters(measured.iter().copied().chain(PASSING));
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }
}
