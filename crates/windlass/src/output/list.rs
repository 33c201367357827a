//! Lists that are printed page by page, so that their length takes no memory.

use serde_json::Value;

use super::{serialize, show, terminal_width};
use crate::cli::OutputFormat;

/// A list, with what makes a table of a page that is as wide as the terminal.
pub(crate) struct List<T> {
    format: OutputFormat,
    /// What is printed for people if there is nothing to list.
    empty: &'static str,
    table: T,
    is_first: bool,
}

impl<T: FnMut(&[Value], Option<usize>) -> String> List<T> {
    pub(crate) const fn new(format: OutputFormat, empty: &'static str, table: T) -> Self {
        Self {
            format,
            empty,
            table,
            is_first: true,
        }
    }

    /// Prints a page, which is not empty unless it is the only one; `false` if standard output is
    /// closed.
    pub(crate) fn show(&mut self, page: &[Value], is_last: bool) -> anyhow::Result<bool> {
        let text = self.render(page, is_last)?;
        self.is_first = false;
        show(&text)
    }

    fn render(&mut self, page: &[Value], is_last: bool) -> anyhow::Result<String> {
        match self.format {
            OutputFormat::Table if page.is_empty() => Ok(self.empty.to_owned()),
            OutputFormat::Table => {
                let table = (self.table)(page, terminal_width());
                let rows = table.split_once('\n').filter(|_| !self.is_first);
                Ok(rows.map_or_else(|| table.clone(), |(_, rows)| rows.to_owned()))
            }
            // The items of a sequence need nothing around or between them.
            OutputFormat::Yaml => serialize(self.format, &page),
            OutputFormat::Json => {
                let array = serialize(self.format, &page)?;
                let items = match self.is_first {
                    true => array.as_str(),
                    false => array.trim_start_matches("[\n"),
                };
                Ok(match items.strip_suffix("\n]").filter(|_| !is_last) {
                    Some(items) => format!("{items},"),
                    None => items.to_owned(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::dead_letter_table;
    use super::*;

    #[test]
    fn pages_are_one_list_in_every_format() {
        let letters: Vec<_> = (0..5).map(|id| json!({"id": id.to_string()})).collect();
        let print = |format, pages: &[&[Value]]| {
            let mut list = List::new(format, "no dead letters", dead_letter_table);
            let mut text = String::new();
            for (number, page) in (1..).zip(pages) {
                let page = list.render(page, number == pages.len()).unwrap();
                list.is_first = false;
                text.push_str(page.trim_end());
                text.push('\n');
            }
            text
        };
        let split: [&[Value]; 3] = [&letters[..2], &letters[2..4], &letters[4..]];
        for format in [OutputFormat::Json, OutputFormat::Yaml] {
            assert_eq!(print(format, &split), print(format, &[&letters]));
            assert_eq!(
                print(format, &[&letters]).trim_end(),
                serialize(format, &letters).unwrap().trim_end()
            );
        }
        let empty = print(OutputFormat::Json, &[&[]]);
        assert_eq!(empty, "[]\n");
        let table = print(OutputFormat::Table, &split);
        assert_eq!(
            (table.lines().count(), table.matches("GivenUpAt").count()),
            (6, 1)
        );
        assert_eq!(print(OutputFormat::Table, &[&[]]), "no dead letters\n");
    }
}
