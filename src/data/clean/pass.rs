//! Documents looked at by all threads, and taken one by one in their order.

use crate::{
    data::{ingest::Settings, split::Part},
    error::Result,
};
use std::thread::{ScopedJoinHandle, scope};

/// A document that is looked at.
pub type Document = (String, Part);

/// Hands what `look` makes of every document that `read` gives to `take`, in the same order. About
/// three chunks are held at a time. Errors of `read` and `take` end it.
pub fn in_order<T: Send>(
    settings: &Settings,
    read: impl FnOnce(&mut dyn FnMut(Document) -> Result<()>) -> Result<()>,
    look: impl Fn(Document) -> T + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let (look, threads) = (&look, settings.threads.max(1));
    scope(|scope| {
        let mut running: Option<ScopedJoinHandle<Vec<T>>> = None;
        // While a chunk is looked at, the one before it is taken and the next one read.
        let mut hand_over = |chunk: Vec<Document>| {
            let next = scope.spawn(move || looked_at(chunk, look, threads));
            let before = running.replace(next).map(joined);
            before.into_iter().flatten().try_for_each(&mut take)
        };
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        read(&mut |document| {
            bytes += document.0.len();
            chunk.push(document);
            if bytes < settings.chunk_bytes {
                return Ok(());
            }
            bytes = 0;
            hand_over(std::mem::take(&mut chunk))
        })?;
        hand_over(chunk)?;
        hand_over(Vec::new())
    })
}

fn joined<T>(thread: ScopedJoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A chunk in shares of about as many bytes, one for each thread.
fn looked_at<T: Send>(
    chunk: Vec<Document>,
    look: &(impl Fn(Document) -> T + Sync),
    threads: usize,
) -> Vec<T> {
    let bytes: usize = chunk.iter().map(|(text, _)| text.len()).sum();
    let share = bytes.div_ceil(threads).max(1);
    let mut shares: Vec<Vec<Document>> = Vec::new();
    let mut before = 0;
    for document in chunk {
        let idx = before / share;
        before += document.0.len();
        while shares.len() <= idx {
            shares.push(Vec::new());
        }
        shares[idx].push(document);
    }
    scope(|scope| {
        let looking = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(look).collect::<Vec<T>>()));
        let looking: Vec<_> = looking.collect();
        looking.into_iter().flat_map(joined).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn run(threads: usize, chunk_bytes: usize, stop_at: usize) -> (Vec<usize>, Result<()>) {
        let settings = Settings {
            threads,
            chunk_bytes,
            ..Settings::default()
        };
        let mut taken = Vec::new();
        let result = in_order(
            &settings,
            |give| (0..500).try_for_each(|n| give(("x".repeat(n % 7), Part::Train))),
            |(text, _)| text.len(),
            |length| {
                taken.push(length);
                match taken.len() == stop_at {
                    false => Ok(()),
                    true => Err(Error::input("here", "stop", "go on")),
                }
            },
        );
        (taken, result)
    }

    #[test]
    fn documents_keep_their_order_whatever_the_threads_and_chunks() {
        let expected: Vec<usize> = (0..500).map(|n| n % 7).collect();
        for threads in [1, 2, 5] {
            for chunk in [1, 10, 100_000] {
                let (taken, result) = run(threads, chunk, 0);
                assert_eq!(taken, expected);
                result.unwrap();
            }
        }
    }

    #[test]
    fn an_error_ends_it_at_once() {
        let (taken, result) = run(2, 10, 77);
        assert_eq!(
            (taken.len(), result.unwrap_err().place),
            (77, "here".into())
        );
    }
}
