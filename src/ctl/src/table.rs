//! A table without lines, for people.

use tabled::builder::Builder;
use tabled::settings::object::{Cell, Rows};
use tabled::settings::{Color, Padding, Style};

use crate::output::{Output, Tone, WriteError};
use crate::words::printable;

/// One row: a cell per column, and how the cell below `STATE` stands out.
pub(crate) struct Row {
    pub(crate) tone: Tone,
    pub(crate) cells: Vec<String>,
}

/// Prints a table without lines; the column headed `STATE` has colours where they are shown.
pub(crate) fn table(
    headings: &[&str],
    rows: &[Row],
    output: &mut Output<'_>,
) -> Result<(), WriteError> {
    let mut builder = Builder::with_capacity(rows.len() + 1, headings.len());
    builder.push_record(headings.iter().copied());
    for row in rows {
        builder.push_record(row.cells.iter().map(|cell| printable(cell)));
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    if output.out.has_colour() {
        table.modify(Rows::first(), Color::BOLD);
        let column = headings.iter().position(|heading| *heading == "STATE").unwrap_or_default();
        for (index, row) in (1..).zip(rows) {
            let color = match row.tone {
                Tone::Good => Color::FG_GREEN,
                Tone::Notice => Color::FG_YELLOW,
                Tone::Bad => Color::FG_RED,
                Tone::Faint | Tone::Strong | Tone::Plain => continue,
            };
            table.modify(Cell::new(index, column), color);
        }
    }
    for line in table.to_string().lines() {
        output.out.line(line.trim_end())?;
    }
    Ok(())
}

/// A cell, or the sign for nothing.
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
