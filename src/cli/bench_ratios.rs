//! What `bench compare` found, as a table for people.

use super::bench_show::{human_count, human_time};
use super::table::{Column, render};
use crate::load::compare::{Comparison, Line, Measure, Role, Verdict};

/// The result for people: a row for each line and measure.
pub(super) fn table(comparison: &Comparison) -> String {
    let columns = [
        Column::Text("CANDIDATE"),
        Column::Text("MEASURE"),
        Column::Number("MEDIAN"),
        Column::Number("RATIO"),
        Column::Number("Q1–Q3"),
        Column::Number("MIN–MAX"),
        Column::Text("VERDICT"),
    ];
    let mut rows = Vec::new();
    for measure in Measure::ALL {
        for line in &comparison.lines {
            if let Some(median) = line.median(measure) {
                rows.push(row(comparison, line, measure, median));
            }
        }
    }
    render(&columns, rows)
}

fn row(comparison: &Comparison, line: &Line, measure: Measure, median: f64) -> Vec<String> {
    let mut cells = vec![
        line.name.clone(),
        title(measure).to_owned(),
        amount(measure, median),
    ];
    let ratios = comparison.ratios(line, measure);
    match (line.role, ratios) {
        (Role::Reference, _) | (_, None) => cells.extend(["1", "–", "–"].map(str::to_owned)),
        (_, Some(ratios)) => cells.extend([
            format!("{:.3}", ratios.median),
            format!("{:.3}–{:.3}", ratios.q1, ratios.q3),
            format!("{:.3}–{:.3}", ratios.min, ratios.max),
        ]),
    }
    let verdict = match line.role {
        Role::Reference => "reference",
        Role::Control => "control",
        Role::Candidate => comparison.verdict(line, measure).map_or("–", Verdict::name),
    };
    cells.push(verdict.to_owned());
    cells
}

const fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Iops => "IOPS",
        Measure::P50 => "p50",
        Measure::ClientCpu => "client CPU",
        Measure::ServerCpu => "server CPU",
        Measure::SlowestSession => "slowest session",
    }
}

fn amount(measure: Measure, value: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds for people, never negative"
    )]
    match measure {
        Measure::Iops => human_count(value),
        Measure::P50 | Measure::ClientCpu | Measure::ServerCpu => human_time(value.round() as u64),
        Measure::SlowestSession => format!("{value:.2}"),
    }
}
