//! The documents of a source with their parts, as often as they are wanted.

use super::{
    ingest::{
        Format, Position, Progress, Settings, Stream, Watch,
        documents::Documents,
        pieces::Pieces,
        scan::{self, Scan, Subject},
    },
    source::{Source, SplitRule, Text},
    split::{self, Document, Part},
};
use crate::error::{Error, Result};
use std::{borrow::Cow, path::Path};

/// Takes a document and the part that it is in.
pub type Take<'a> = dyn FnMut(Cow<'_, str>, Part) -> Result<()> + 'a;

/// A source that is known to be readable.
pub struct Reading<'a> {
    name: &'a str,
    rule: &'a SplitRule,
    settings: &'a Settings,
    from: From<'a>,
}

enum From<'a> {
    /// A text in memory, by part.
    Text([Vec<Document<'a>>; 3]),
    Files(&'a Stream, Box<Scan>),
}

impl Source {
    /// Gets ready to read the source's documents. Errors when its files can't be read, or hold tokens.
    pub fn reading<'a>(
        &'a self,
        home: &Path,
        settings: &'a Settings,
        watch: &mut Watch,
    ) -> Result<Reading<'a>> {
        let from = match &self.text {
            Text::Whole(text) => From::Text(split::split(text, &self.split)?),
            Text::Files(stream) if stream.format == Format::Tokens => {
                return Err(Error::input(
                    format!("corpus \"{}\"", self.name),
                    "holds tokens, not text",
                    "add the text that they were made of, and name that",
                ));
            }
            Text::Files(stream) => {
                let subject = Subject {
                    name: &self.name,
                    stream,
                    rule: &self.split,
                    tokenizer: None,
                };
                let scan = scan::kept(home, &subject, settings, watch)?;
                From::Files(stream, Box::new(scan))
            }
        };
        Ok(Reading {
            name: &self.name,
            rule: &self.split,
            settings,
            from,
        })
    }
}

impl Reading<'_> {
    /// Whether documents are what stands between blank lines, or rows; not lines or other pieces of a
    /// text that has too few of them.
    pub fn has_documents(&self) -> bool {
        match &self.from {
            From::Files(_, scan) => scan.pieces == Pieces::Documents,
            From::Text(parts) => {
                let mut others = parts.iter().flatten().rev().skip(1);
                others.all(|document| document.0.ends_with("\n\n"))
            }
        }
    }

    /// Hands every document to `take`: of a text in memory part by part, of files in their order.
    pub fn documents(&self, watch: &mut Watch, take: &mut Take) -> Result<()> {
        let (stream, scan) = match &self.from {
            From::Files(stream, scan) => (stream, scan),
            From::Text(parts) => {
                for (part, documents) in [Part::Train, Part::Test, Part::Validation]
                    .into_iter()
                    .zip(parts)
                {
                    documents
                        .iter()
                        .try_for_each(|document| take(Cow::Borrowed(document.0), part))?;
                }
                return Ok(());
            }
        };
        let mut documents =
            Documents::open(stream, self.rule, scan, Position::START, self.settings)?;
        let mut progress = Progress {
            doing: "read",
            name: self.name.into(),
            done: 0,
            all: stream.bytes(),
        };
        while let Some(document) = documents.read_next()? {
            take(Cow::Owned(document.text), document.part)?;
            progress.done = documents.read();
            watch(&progress)?;
        }
        Ok(())
    }
}
