//! How far long work is: a bar for people, a line of JSON each for programs.

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::ProgressLine;
use super::print;
use super::values::human;
use crate::control::api::ProgressView;

/// Hundredths of a percent.
const STEPS: u64 = 10_000;

/// Shows how far it is.
pub(super) enum Shown<'a> {
    /// As a bar on standard error, if that is a terminal.
    Bar(RefCell<Option<ProgressBar>>),
    /// `{"progress": …}` lines.
    Lines(RefCell<&'a mut dyn Write>),
}

impl<'a> Shown<'a> {
    /// For programs to `out`, else for people.
    pub(super) fn new(is_json: bool, out: &'a mut dyn Write) -> Self {
        match is_json {
            true => Self::Lines(RefCell::new(out)),
            false => Self::Bar(RefCell::new(None)),
        }
    }

    /// Tells how far it is now.
    pub(super) fn tell(&self, progress: &ProgressView) {
        match self {
            Self::Lines(out) => {
                // It is made of numbers and texts: it can always be written.
                let line = serde_json::to_string(&ProgressLine { progress });
                print(*out.borrow_mut(), &(line.unwrap_or_default() + "\n"));
            }
            Self::Bar(bar) => {
                let mut bar = bar.borrow_mut();
                let bar = bar.get_or_insert_with(|| new_bar(progress));
                bar.set_position(steps(progress.percent));
            }
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(progress: &ProgressView) -> ProgressBar {
    let style = "{prefix} {wide_bar} {percent:>3}%  {elapsed} gone, {eta} left";
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let of = human(progress.total_bytes);
    bar.set_prefix(format!("{} {} ({of})", progress.task, progress.volume));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn steps(percent: f64) -> u64 {
    // A percentage has two decimals, and is never negative.
    let text = format!("{:.0}", percent.clamp(0.0, 100.0) * 100.0);
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_a_line_each() {
        let mut out = Vec::new();
        let shown = Shown::new(true, &mut out);
        for percent in [0.0, 12.5] {
            shown.tell(&ProgressView {
                task: "import".to_owned(),
                volume: "db-1".to_owned(),
                percent,
                total_bytes: 7,
            });
        }
        drop(shown);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["progress"]["percent"], 12.5);
        assert_eq!([steps(12.5), steps(100.0), steps(-1.0)], [1250, STEPS, 0]);
    }
}
