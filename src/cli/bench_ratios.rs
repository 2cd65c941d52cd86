//! What `bench compare` found, as a table for people.

use super::table::{Column, render};
use crate::load::compare::rows::Row;
use crate::load::compare::{Comparison, Measure};

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
    render(&columns, comparison.rows().map(cells))
}

fn cells(row: Row<'_>) -> Vec<String> {
    vec![
        row.line.name.clone(),
        title(row.measure).to_owned(),
        row.median,
        row.ratio,
        row.quartiles,
        row.extremes,
        row.verdict.to_owned(),
    ]
}

/// Short: the table is as wide as a terminal.
const fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Iops => "IOPS",
        Measure::P50 => "p50",
        Measure::ClientCpu => "client CPU",
        Measure::ServerCpu => "server CPU",
        Measure::SlowestSession => "slowest session",
    }
}
