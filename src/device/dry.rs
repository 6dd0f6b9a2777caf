//! A device that does nothing and counts the bytes that it is asked for.
//!
//! A step of training on it takes the memory that the step takes on a GPU, by the same code: what a run
//! needs is known before it is launched, without a formula that could be wrong.

use super::gpu::{At, Gpu, Graph, Launch, Product};
use crate::error::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Nothing but its books.
#[derive(Debug, Default)]
pub struct Dry {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    sizes: HashMap<At, usize>,
    next: At,
    held: usize,
    peak: usize,
}

/// Of allocations on a GPU.
const ALIGNMENT: usize = 512;

impl Dry {
    /// The most bytes that were held at once.
    pub fn peak(&self) -> usize {
        self.books().peak
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.books().held
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gpu for Dry {
    fn name(&self) -> String {
        "no device, only its books".into()
    }

    fn class(&self) -> String {
        "dry".into()
    }

    fn is_dry(&self) -> bool {
        true
    }

    fn multiprocessors(&self) -> u32 {
        // An H100's.
        132
    }

    fn memory(&self) -> Result<(u64, u64)> {
        Ok((u64::MAX, u64::MAX))
    }

    fn alloc(&self, bytes: usize) -> Result<At> {
        let mut books = self.books();
        let bytes = bytes.next_multiple_of(ALIGNMENT);
        books.next += bytes.max(ALIGNMENT) as At;
        books.held += bytes;
        books.peak = books.peak.max(books.held);
        let at = books.next;
        books.sizes.insert(at, bytes);
        Ok(at)
    }

    fn free(&self, at: At) {
        let mut books = self.books();
        let bytes = books.sizes.remove(&at).unwrap_or(0);
        books.held -= bytes;
    }

    fn upload(&self, _: At, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn download(&self, _: At, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        Ok(())
    }

    fn zero(&self, _: At, _: usize) -> Result<()> {
        Ok(())
    }

    fn copy(&self, _: At, _: At, _: usize) -> Result<()> {
        Ok(())
    }

    fn launch(&self, _: Launch) -> Result<()> {
        Ok(())
    }

    fn multiply(&self, _: &Product) -> Result<()> {
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }

    fn begin_capture(&self) -> Result<()> {
        Err(Error::failed(
            "a dry run",
            "has nothing to capture",
            "report this as a bug",
        ))
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        self.begin_capture()?;
        Err(Error::failed(
            "a dry run",
            "has no graph",
            "report this as a bug",
        ))
    }
}
