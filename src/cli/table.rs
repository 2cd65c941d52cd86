//! Tables for people: a header, aligned columns, no lines to get in the way of `awk`.

use comfy_table::{CellAlignment, Table, presets};

/// A column's title, and how it is aligned.
pub(super) enum Column {
    /// Text, to the left.
    Text(&'static str),
    /// A number, to the right.
    Number(&'static str),
}

/// The rows under their titles, one line each.
pub(super) fn render(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(title) | Column::Number(title) => *title,
    }));
    table.add_rows(rows);
    for (shape, column) in table.column_iter_mut().zip(columns) {
        shape.set_padding((0, 2));
        if matches!(column, Column::Number(_)) {
            shape.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// Names and values below each other.
pub(super) fn describe(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            vec!["a".into(), "10".into()],
            vec!["long".into(), "9".into()],
        ];
        let text = render(&[Column::Text("NAME"), Column::Number("SIZE")], rows);
        assert_eq!(text, "NAME  SIZE\na       10\nlong     9\n");
        assert_eq!(
            describe(&[("a", "1".into()), ("bcd", "2".into())]),
            "a    1\nbcd  2\n"
        );
    }
}
