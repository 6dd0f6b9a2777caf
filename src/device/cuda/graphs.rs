//! Work that is written down once and done many times.

use super::stream::Stream;
use crate::{
    device::gpu::Graph,
    error::{Error, Result},
};
use cudarc::driver::{result, sys};
use std::sync::Arc;

#[derive(Debug)]
pub struct Captured {
    whole: sys::CUgraphExec,
    stream: Arc<Stream>,
}

// SAFETY: a graph may be launched from any thread in which its context is current, by one at a time:
// it is not `Sync`.
unsafe impl Send for Captured {}

/// Begins to write down what is asked for in the stream. What is not allowed meanwhile is an error in
/// this thread alone: other threads may allocate on the same device, as a mode for all would forbid.
pub fn begin(stream: &Stream) -> Result<()> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(|| {
        // SAFETY: the stream is held by the caller.
        stream.done("beginning a graph", unsafe {
            result::stream::begin_capture(stream.raw, mode)
        })
    })
}

/// Ends it, also when something in between failed, which is an error here.
pub fn end(stream: &Arc<Stream>) -> Result<Captured> {
    let graph = stream.end_capture(|| {
        // SAFETY: the stream is held by the caller.
        stream.done("ending a graph", unsafe {
            result::stream::end_capture(stream.raw)
        })
    })?;
    if graph.is_null() {
        return Err(Error::failed(
            format!("cuda:{}", stream.index),
            "the graph is empty, since something failed while it was captured",
            "train without graphs",
        ));
    }
    let no_flags = sys::CUgraphInstantiate_flags(0);
    // SAFETY: the graph is whole, and destroyed once, after what was made of it.
    let whole = unsafe { result::graph::instantiate(graph, no_flags) };
    // SAFETY: as above.
    let _ = unsafe { result::graph::destroy(graph) };
    Ok(Captured {
        whole: stream.done("making a graph ready", whole)?,
        stream: stream.clone(),
    })
}

impl Graph for Captured {
    fn replay(&self) -> Result<()> {
        let _turn = self.stream.turn_outside("replaying a graph")?;
        // SAFETY: both are held by `self`; what the graph's kernels read and write is what it was when
        // they were captured, which the trait leaves to the caller.
        self.stream.done("replaying a graph", unsafe {
            result::graph::launch(self.whole, self.stream.raw)
        })
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // A graph must not go while it runs.
        if self.stream.wait().is_ok() {
            // SAFETY: it is ours and does not run.
            let _ = unsafe { result::graph::exec_destroy(self.whole) };
        }
    }
}
