//! Parquet: the strings of one column, read page by page.

use super::pieces::{self, Piece};
use crate::error::{Error, Result};
use parquet::{
    basic::Type as Physical,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, ByteArrayType},
    file::reader::{FileReader, Length, SerializedFileReader},
};
use std::{
    collections::VecDeque,
    fs::File,
    path::{Path, PathBuf},
};

/// Rows that are decoded at a time.
const ROWS: usize = 256;

/// One Parquet file, read row by row.
pub struct Column {
    path: PathBuf,
    file: SerializedFileReader<File>,
    field: String,
    column: usize,
    /// Whether the column may have nulls.
    nullable: bool,
    longest: u64,
    group: usize,
    /// The row group that is being read, and rows of it that were not decoded yet.
    reader: Option<(ColumnReaderImpl<ByteArrayType>, usize)>,
    decoded: VecDeque<ByteArray>,
    bytes: u64,
    /// Rows before the next one.
    pub row: u64,
    /// Rows left out so far, for there is no text in them.
    pub empty: u64,
}

impl Column {
    /// The column `field` of the file at `path`, from a row on. Errors when there is no such column
    /// of strings.
    pub fn open(path: &Path, field: &str, row: u64, longest: u64) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", &e))?;
        let bytes = file.len();
        let file = SerializedFileReader::new(file).map_err(|e| damaged(path, &e))?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let columns = schema.columns();
        let column = columns.iter().position(|c| c.path().string() == field);
        let Some(column) = column else {
            let names: Vec<String> = columns.iter().map(|c| c.path().string()).collect();
            return Err(Error::input(
                path.display().to_string(),
                format!("there is no column \"{field}\""),
                format!(
                    "say which column holds the text with --field; there are {}",
                    names.join(", ")
                ),
            ));
        };
        let description = &columns[column];
        if description.physical_type() != Physical::BYTE_ARRAY || description.max_rep_level() > 0 {
            return Err(Error::input(
                path.display().to_string(),
                format!("the column \"{field}\" does not hold one text a row"),
                "say which column does with --field",
            ));
        }
        let nullable = description.max_def_level() > 0;
        let mut column = Self {
            path: path.into(),
            file,
            field: field.into(),
            column,
            nullable,
            longest,
            group: 0,
            reader: None,
            decoded: VecDeque::new(),
            bytes,
            row,
            empty: 0,
        };
        column.skip(row)?;
        Ok(column)
    }

    /// Bytes of the file that were read so far, as its row groups go.
    pub fn read(&self) -> u64 {
        let rows = self.file.metadata().file_metadata().num_rows().max(1) as u64;
        (u128::from(self.bytes) * u128::from(self.row) / u128::from(rows)) as u64
    }

    /// The next row that has a text. Errors, with the row counted from 1, at one that is null or not
    /// UTF-8.
    pub fn read_next(&mut self) -> Result<Option<Piece>> {
        loop {
            let Some(bytes) = self.value()? else {
                return Ok(None);
            };
            self.row += 1;
            let line = self.row;
            let place = || format!("{}: row {line}", self.path.display());
            if bytes.len() as u64 > self.longest {
                return Err(pieces::too_long(&self.path, line, self.longest));
            }
            let text = String::from_utf8(bytes.data().to_vec()).map_err(|e| {
                Error::input(
                    place(),
                    format!("the text is not UTF-8: {}", e.utf8_error()),
                    "repair or take out this row",
                )
            })?;
            match text.trim().is_empty() {
                true => self.empty += 1,
                false => {
                    return Ok(Some(Piece {
                        text,
                        line,
                        last: false,
                    }));
                }
            }
        }
    }

    fn value(&mut self) -> Result<Option<ByteArray>> {
        while self.decoded.is_empty() {
            if !self.turn()? {
                return Ok(None);
            }
            let Some((reader, left)) = &mut self.reader else {
                return Ok(None);
            };
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let levels_of = self.nullable.then_some(&mut levels);
            let (rows, found, _) = reader
                .read_records(ROWS.min(*left), levels_of, None, &mut values)
                .map_err(|e| damaged(&self.path, &e))?;
            if rows == 0 {
                return Err(damaged(&self.path, &"a row group ends too early"));
            }
            if found < rows {
                let null = levels.iter().position(|level| *level == 0).unwrap_or(0);
                return Err(Error::input(
                    format!(
                        "{}: row {}",
                        self.path.display(),
                        self.row + 1 + null as u64
                    ),
                    format!("\"{}\" is null, not a text", self.field),
                    "take out this row",
                ));
            }
            *left -= rows;
            self.decoded.extend(values);
        }
        Ok(self.decoded.pop_front())
    }

    /// Opens the next row group where one is read; says whether there is anything left.
    fn turn(&mut self) -> Result<bool> {
        while self.reader.as_ref().is_none_or(|(_, left)| *left == 0) {
            if self.group == self.file.num_row_groups() {
                return Ok(false);
            }
            let group = self.file.get_row_group(self.group);
            let group = group.map_err(|e| damaged(&self.path, &e))?;
            let rows = group.metadata().num_rows() as usize;
            let reader = group.get_column_reader(self.column);
            match reader.map_err(|e| damaged(&self.path, &e))? {
                ColumnReader::ByteArrayColumnReader(reader) => {
                    self.reader = Some((reader, rows));
                }
                _ => return Err(damaged(&self.path, &"a column changes its type")),
            }
            self.group += 1;
        }
        Ok(true)
    }

    /// Goes `rows` rows on from the start of the file.
    fn skip(&mut self, mut rows: u64) -> Result<()> {
        while rows > 0 && self.turn()? {
            let Some((reader, left)) = &mut self.reader else {
                break;
            };
            let n = (*left as u64).min(rows) as usize;
            let skipped = reader.skip_records(n);
            skipped.map_err(|e| damaged(&self.path, &e))?;
            *left -= n;
            rows -= n as u64;
        }
        Ok(())
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::input(
        path.display().to_string(),
        format!("cannot be read as Parquet: {error}"),
        "get or make this file again",
    )
}
