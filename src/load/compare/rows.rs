//! A comparison as cells for people: the terminal's table and the page show the same ones.

use super::{Comparison, Line, Measure, Role, Verdict};
use crate::load::report::human;

/// One measure of one line.
#[derive(Debug)]
pub struct Row<'a> {
    /// Whose.
    pub line: &'a Line,
    /// Of what.
    pub measure: Measure,
    /// The median of the bursts, with its unit.
    pub median: String,
    /// The median of the ratios to the reference.
    pub ratio: String,
    /// Their quartiles.
    pub quartiles: String,
    /// The least and the greatest of them.
    pub extremes: String,
    /// What that means.
    pub verdict: &'static str,
}

impl Comparison {
    /// All of them, measure by measure; measures that a line does not have are left out.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let of_measure = |measure| self.lines.iter().map(move |line| (measure, line));
        let all = Measure::ALL.into_iter().flat_map(of_measure);
        all.filter_map(|(measure, line)| self.row(line, measure))
    }

    fn row<'a>(&self, line: &'a Line, measure: Measure) -> Option<Row<'a>> {
        let median = line.median(measure)?;
        let spread = self.ratios(line, measure);
        let spread = spread.filter(|_| line.role != Role::Reference);
        let none = || ["1", "–", "–"].map(str::to_owned);
        let [ratio, quartiles, extremes] = spread.map_or_else(none, |spread| {
            [
                format!("{:.3}", spread.median),
                format!("{:.3}–{:.3}", spread.q1, spread.q3),
                format!("{:.3}–{:.3}", spread.min, spread.max),
            ]
        });
        let verdict = match line.role {
            Role::Reference => "reference",
            Role::Control => "control",
            Role::Candidate => self.verdict(line, measure).map_or("–", Verdict::name),
        };
        Some(Row {
            line,
            measure,
            median: amount(measure, median),
            ratio,
            quartiles,
            extremes,
            verdict,
        })
    }
}

fn amount(measure: Measure, value: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds for people, never negative"
    )]
    match measure {
        Measure::Iops => human::count(value),
        Measure::P50 | Measure::ClientCpu | Measure::ServerCpu => human::time(value.round() as u64),
        Measure::SlowestSession => format!("{value:.2}"),
    }
}
