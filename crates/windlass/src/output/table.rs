//! Tables for people. No cell is wrapped, so identifiers can be copied.
//!
//! In a narrow terminal columns are shortened or dropped, in an order that each table chooses; a
//! pipe and the other output formats have everything.

use std::io::IsTerminal;

const GAP: &str = "  ";

pub(super) struct Column {
    name: &'static str,
    cells: Vec<String>,
    narrow: Narrow,
}

/// What happens to a column in a narrow terminal.
#[derive(Clone, Copy)]
pub(super) enum Narrow {
    Keep,
    Shorten(fn(&str) -> String),
    Drop,
}

impl Column {
    pub(super) const fn new(name: &'static str, narrow: Narrow) -> Self {
        Self {
            name,
            cells: Vec::new(),
            narrow,
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(self.name.chars().count())
    }
}

/// Adds a row.
pub(super) fn push<const N: usize>(columns: &mut [Column; N], row: [String; N]) {
    for (column, cell) in columns.iter_mut().zip(row) {
        column.cells.push(cell);
    }
}

/// Renders the table. Columns are shortened or dropped one after the other, the last one first,
/// until the rest fits into `width`; `None`: no limit.
pub(super) fn render(columns: impl IntoIterator<Item = Column>, width: Option<usize>) -> String {
    let mut columns: Vec<Column> = columns.into_iter().collect();
    let mut next = columns.len();
    while width.is_some_and(|width| width < total(&columns)) && 0 < next {
        next -= 1;
        match columns[next].narrow {
            Narrow::Keep => {}
            Narrow::Shorten(short) => {
                for cell in &mut columns[next].cells {
                    *cell = short(cell);
                }
            }
            Narrow::Drop => {
                columns.remove(next);
            }
        }
    }
    let n_rows = columns.first().map_or(0, |column| column.cells.len());
    let widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths);
        let padded: Vec<String> = padded
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        padded.join(GAP).trim_end().to_owned()
    };
    let mut lines = vec![line(columns.iter().map(|column| column.name).collect())];
    lines.extend((0..n_rows).map(|row| line(columns.iter().map(|it| &*it.cells[row]).collect())));
    lines.join("\n")
}

fn total(columns: &[Column]) -> usize {
    let widths: usize = columns.iter().map(Column::width).sum();
    widths + GAP.len() * columns.len().saturating_sub(1)
}

/// Characters per line of standard output; `None` if it is not a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    let output = std::io::stdout();
    if !output.is_terminal() {
        return None;
    }
    let (width, _) = terminal_size::terminal_size_of(output)?;
    Some(usize::from(width.0))
}

/// The resource part of an ARN: `stream/orders`.
pub(super) fn resource(arn: &str) -> String {
    arn.splitn(6, ':').last().unwrap_or(arn).to_owned()
}

/// The last digits of a sequence number, which are the ones that change.
pub(super) fn tail(number: &str) -> String {
    const MAX_LEN: usize = 12;
    let length = number.chars().count();
    if length <= MAX_LEN || !number.bytes().all(|it| it.is_ascii_digit()) {
        return number.to_owned();
    }
    let tail: String = number.chars().skip(length - MAX_LEN).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let mut columns = [
            Column::new("id", Narrow::Keep),
            Column::new("position", Narrow::Shorten(tail)),
            Column::new("result", Narrow::Drop),
        ];
        let row = ["shard-1", "49590338271490256608", "OK"];
        push(&mut columns, row.map(str::to_owned));
        render(columns, width)
    }

    #[test]
    fn columns_are_shortened_and_dropped_from_the_end() {
        assert_eq!(
            table(None),
            "id       position              result\nshard-1  49590338271490256608  OK"
        );
        assert_eq!(
            table(Some(30)),
            "id       position\nshard-1  49590338271490256608"
        );
        assert_eq!(
            table(Some(25)),
            "id       position\nshard-1  …490256608".replace('…', "…271")
        );
        assert!(table(Some(3)).contains("shard-1  …"));
    }

    #[test]
    fn arns_are_shortened_to_their_resource() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f:live";
        assert_eq!(resource(arn), "function:f:live");
        assert_eq!(resource("f"), "f");
    }
}
