//! Words to records, by SQLite's FTS5 and bm25.

use super::bibtex::Record;
use crate::error::{Error, Result};
use rusqlite::{Connection, params};

/// Words of a query that count; the rest of a longer one adds nothing.
const MOST_WORDS: usize = 48;

/// An index in memory.
pub struct Index {
    connection: Connection,
}

impl Index {
    /// Errors only when SQLite does.
    pub fn of(records: &[Record]) -> Result<Self> {
        let fill = || -> rusqlite::Result<Connection> {
            let mut connection = Connection::open_in_memory()?;
            connection.execute_batch(
                "CREATE VIRTUAL TABLE papers USING fts5(
                     key, title, authors, factors, note, summary,
                     tokenize = \"porter unicode61 remove_diacritics 2\")",
            )?;
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction.prepare(
                    "INSERT INTO papers (rowid, key, title, authors, factors, note, summary)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?;
                for (idx, record) in records.iter().enumerate() {
                    let factors = [&record.factors[..], &record.keywords[..]].concat();
                    insert.execute(params![
                        idx as i64,
                        format!("{} {}", record.key, record.identifier()),
                        record.title,
                        record.authors.join(" "),
                        factors.join(" "),
                        record.note,
                        record.summary,
                    ])?;
                }
            }
            transaction.commit()?;
            Ok(connection)
        };
        let connection = fill().map_err(|e| failed(&e))?;
        Ok(Self { connection })
    }

    /// At most `n` records by their numbers with scores, best first; equal ones in the records' order.
    pub fn search(&self, query: &str, n: usize) -> Result<Vec<(usize, f64)>> {
        let Some(expression) = expression(query) else {
            return Ok(Vec::new());
        };
        let run = || -> rusqlite::Result<Vec<(usize, f64)>> {
            // bm25 is the lower the better; weights in the order of the columns.
            let mut statement = self.connection.prepare_cached(
                "SELECT rowid, -bm25(papers, 4.0, 8.0, 4.0, 6.0, 3.0, 1.0) AS score
                 FROM papers WHERE papers MATCH ?1 ORDER BY score DESC, rowid LIMIT ?2",
            )?;
            let limit = i64::try_from(n).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![expression, limit], |row| {
                Ok((row.get::<_, i64>(0)? as usize, row.get(1)?))
            })?;
            rows.collect()
        };
        run().map_err(|e| failed(&e))
    }
}

/// Any of the query's words, each in quotes, so that none is taken for FTS5's own syntax.
fn expression(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MOST_WORDS)
        .map(|word| format!("\"{word}\""))
        .collect();
    (!words.is_empty()).then(|| words.join(" OR "))
}

fn failed(error: &rusqlite::Error) -> Error {
    Error::failed(
        "the library's index",
        error.to_string(),
        "run it again; the index is in memory and made from the .bib files each time",
    )
}
