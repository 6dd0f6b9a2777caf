//! Tables of numbers with named columns, as comma-separated text.

use crate::error::{Error, Result, nearest};

/// A header and rows of cells; a cell is a number when somebody asks for it as one.
#[derive(Debug, Clone)]
pub struct Table {
    /// The file, for messages.
    pub place: String,
    pub columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    line: usize,
    cells: Vec<String>,
}

impl Table {
    /// Reads a header line and lines of as many cells; quotes may enclose a cell, empty lines are
    /// skipped. Errors with the line.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty());
        let Some((header, line)) = lines.next() else {
            let remedy = "the first line must name the columns";
            return Err(Error::input(place, "the table is empty", remedy));
        };
        let columns = cells(header).ok_or_else(|| open_quote(place, line))?;
        for (idx, name) in columns.iter().enumerate() {
            if columns[..idx].contains(name) {
                return Err(Error::input(
                    format!("{place}:{line}"),
                    format!("two columns are called \"{name}\""),
                    "give each column a name of its own",
                ));
            }
        }
        let mut rows = Vec::new();
        for (text, line) in lines {
            let cells = cells(text).ok_or_else(|| open_quote(place, line))?;
            if cells.len() != columns.len() {
                return Err(Error::input(
                    format!("{place}:{line}"),
                    format!("{} cells under {} columns", cells.len(), columns.len()),
                    "give every line a cell for each column",
                ));
            }
            rows.push(Row { line, cells });
        }
        if rows.is_empty() {
            let remedy = "put a line for each run below the header";
            return Err(Error::input(place, "the table has no rows", remedy));
        }
        Ok(Self {
            place: place.into(),
            columns,
            rows,
        })
    }

    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Where a column stands. Errors with the nearest name.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|c| c == name).ok_or_else(|| {
            let near = nearest(name, self.columns.iter().map(String::as_str));
            let near = near.map_or(String::new(), |n| format!("did you mean \"{n}\"? "));
            Error::input(
                &self.place,
                format!("there is no column \"{name}\""),
                format!("{near}the columns are {}", self.columns.join(", ")),
            )
        })
    }

    /// The first of these columns that is there, whatever its case.
    pub fn any_column(&self, names: &[&str]) -> Option<usize> {
        let plain = |s: &str| s.to_lowercase().replace(['_', '-'], " ");
        let find = |name: &&str| self.columns.iter().position(|c| plain(c) == plain(name));
        names.iter().find_map(find)
    }

    pub fn cell(&self, row: usize, column: usize) -> &str {
        &self.rows[row].cells[column]
    }

    /// A cell as a finite number. Errors with line and column.
    pub fn number(&self, row: usize, column: usize) -> Result<f64> {
        let cell = self.cell(row, column);
        let number = cell.parse::<f64>().ok().filter(|v| v.is_finite());
        number.ok_or_else(|| {
            Error::input(
                self.place_of(row),
                format!("{} is \"{cell}\"", self.columns[column]),
                "a finite number must stand there; leave out runs that have none",
            )
        })
    }

    /// The file and line of a row.
    pub fn place_of(&self, row: usize) -> String {
        format!("{}:{}", self.place, self.rows[row].line)
    }
}

fn open_quote(place: &str, line: usize) -> Error {
    Error::input(
        format!("{place}:{line}"),
        "a quote is not closed on its line",
        "close it; cells of several lines are not read",
    )
}

/// A line's cells, without surrounding spaces; `None` when a quote stays open.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    let (mut cell, mut quoted) = (String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell).trim().to_string()),
            c => cell.push(c),
        }
    }
    cells.push(cell.trim().to_string());
    (!quoted).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_name_and_errors_say_where() {
        let table = Table::parse("t.csv", "\u{feff}a,\"b, \"\"c\"\"\"\r\n\n1, 2e3\n,x\n").unwrap();
        assert_eq!(table.columns, ["a", "b, \"c\""]);
        assert_eq!((table.n_rows(), table.number(0, 1).unwrap()), (2, 2000.0));
        let words = table.number(1, 1).unwrap_err().to_string();
        assert!(
            words.contains("t.csv:4") && words.contains("\"x\""),
            "{words}"
        );
        assert!(table.number(1, 0).is_err());
        assert!(table.column("A").unwrap_err().remedy.contains("a, b"));
        assert_eq!(table.any_column(&["z", "A"]), Some(0));
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        for (text, words) in [
            ("", "empty"),
            ("a,b\n", "no rows"),
            ("a,a\n1,2\n", "two columns"),
            ("a,b\n1\n", "t.csv:2: 1 cells under 2"),
            ("a,\"b\n1,2\n", "t.csv:1: a quote"),
        ] {
            let error = Table::parse("t.csv", text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
