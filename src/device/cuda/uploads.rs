//! Uploads through pinned memory: the host's bytes are copied, and the device takes them from there
//! when its turn comes.

use super::stream::Stream;
use crate::{
    device::{gpu::At, staging::Ring},
    error::Result,
};
use cudarc::driver::{result, sys};
use std::{slice, sync::Arc};

/// Enough for the batches of several steps, so that the host can be as far ahead.
const BYTES: usize = 32 << 20;
const EVENTS: usize = 256;

#[derive(Debug)]
pub struct Uploads {
    ring: Ring,
    memory: *mut u8,
    events: Vec<sys::CUevent>,
    stream: Arc<Stream>,
}

// SAFETY: pinned memory and events may be used from any thread in which the context is current.
unsafe impl Send for Uploads {}

impl Uploads {
    pub fn new(stream: &Arc<Stream>) -> Result<Self> {
        stream.bind()?;
        // SAFETY: the context is current; nobody reads the memory before something is written to it.
        let memory = stream.done("taking pinned memory", unsafe {
            result::malloc_host(BYTES, 0)
        })?;
        let mut uploads = Self {
            ring: Ring::new(BYTES, EVENTS),
            memory: memory.cast(),
            events: Vec::with_capacity(EVENTS),
            stream: stream.clone(),
        };
        for _ in 0..EVENTS {
            // Without times, which cost more than the event.
            let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
            uploads.events.push(stream.done("making an event", event)?);
        }
        Ok(uploads)
    }

    pub fn upload(&mut self, to: At, bytes: &[u8]) -> Result<()> {
        let mut to = to;
        for piece in bytes.chunks(self.ring.piece()) {
            self.upload_piece(to, piece)?;
            to += piece.len() as u64;
        }
        Ok(())
    }

    fn upload_piece(&mut self, to: At, piece: &[u8]) -> Result<()> {
        let place = self.ring.place(piece.len());
        if let Some(event) = place.wait_for {
            // SAFETY: the event is one of ours, and was recorded when its part was placed.
            let waited = unsafe { result::event::synchronize(self.events[event]) };
            self.stream.done("waiting for an upload", waited)?;
        }
        // SAFETY: the ring's places lie inside its memory, and the device has read what was here.
        let pinned =
            unsafe { slice::from_raw_parts_mut(self.memory.add(place.start), piece.len()) };
        pinned.copy_from_slice(piece);
        // SAFETY: the caller's target is as long; the part stays as it is until the event has come.
        let copied = unsafe { result::memcpy_htod_async(to, pinned, self.stream.raw) };
        self.stream.done("uploading", copied)?;
        // SAFETY: event and stream are held by `self`.
        let recorded = unsafe { result::event::record(self.events[place.event], self.stream.raw) };
        self.stream.done("uploading", recorded)
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        // The device may still read what was uploaded last.
        if self.stream.wait().is_err() {
            return;
        }
        // SAFETY: all of this is ours, and nothing is in flight.
        unsafe {
            for event in self.events.drain(..) {
                let _ = result::event::destroy(event);
            }
            let _ = result::free_host(self.memory.cast());
        }
    }
}
