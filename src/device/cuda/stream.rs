//! A device's context and the one stream in which everything is done, in order.

use super::errors;
use crate::error::{Error, Result};
use cudarc::driver::{
    result::{self, DriverError},
    sys,
};
use std::{
    ptr,
    sync::{PoisonError, RwLock, RwLockReadGuard},
    thread::{self, ThreadId},
};

/// Not the null stream, which waits for every other one and can't be captured.
#[derive(Debug)]
pub struct Stream {
    pub index: usize,
    pub device: sys::CUdevice,
    context: sys::CUcontext,
    pub raw: sys::CUstream,
    /// Who captures a graph: what anybody else asked for meanwhile would be part of it.
    capturer: RwLock<Option<ThreadId>>,
}

/// While it is held no capture begins or ends.
pub type Turn<'a> = RwLockReadGuard<'a, Option<ThreadId>>;

// SAFETY: the driver's handles may be used from any thread in which their context is current, which
// `bind` sees to; the driver itself locks what it shares.
unsafe impl Send for Stream {}
// SAFETY: as above; what changes after `open` is behind a lock.
unsafe impl Sync for Stream {}

impl Stream {
    /// The device's primary context, which cuBLASLt computes in too, and a new stream in it. Errors with
    /// bad input when there is no such device.
    pub fn open(index: usize) -> Result<Self> {
        let none = |doing: &str, error| {
            let error = errors::driver(index, doing, error);
            Error::input(
                format!("--device cuda:{index}"),
                format!("no such device can be opened: {}", error.problem),
                "check `nvidia-smi`, or use --device cpu",
            )
        };
        result::init().map_err(|e| none("starting the driver", e))?;
        let ordinal = i32::try_from(index).unwrap_or(i32::MAX);
        let device = result::device::get(ordinal).map_err(|e| none("looking for it", e))?;
        // SAFETY: the device is one that the driver just gave.
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = context.map_err(|e| none("making its context", e))?;
        let mut stream = Self {
            index,
            device,
            context,
            raw: ptr::null_mut(),
            capturer: RwLock::new(None),
        };
        stream.bind()?;
        let raw = result::stream::create(result::stream::StreamKind::NonBlocking);
        stream.raw = raw.map_err(|e| none("making a stream", e))?;
        Ok(stream)
    }

    /// Makes the device's context that of the calling thread.
    pub fn bind(&self) -> Result<()> {
        // SAFETY: the context is held by `self`.
        self.done("choosing the device", unsafe {
            result::ctx::set_current(self.context)
        })
    }

    /// Binds, for work that may be part of a graph. Errors while another thread captures one.
    pub fn turn(&self, doing: &str) -> Result<Turn<'_>> {
        let turn = self.capturer();
        match *turn {
            Some(capturer) if capturer != thread::current().id() => Err(self.refused(
                &format!("{doing} while another thread captures a graph"),
                "train one pack of runs on a device at a time",
            )),
            _ => self.bind().map(|()| turn),
        }
    }

    /// Binds, for what no graph can hold. Errors during a capture.
    pub fn turn_outside(&self, doing: &str) -> Result<Turn<'_>> {
        let turn = self.turn(doing)?;
        match *turn {
            Some(_) => Err(self.refused(
                &format!("{doing} while a graph is captured"),
                "train without graphs, and report this",
            )),
            None => Ok(turn),
        }
    }

    /// Who captures a graph at present.
    pub fn capturer(&self) -> Turn<'_> {
        self.capturer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on this thread's work is written down, if `begin` succeeds.
    pub fn begin_capture(&self, begin: impl FnOnce() -> Result<()>) -> Result<()> {
        drop(self.turn_outside("capturing another one")?);
        let mut capturer = self
            .capturer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        begin()?;
        *capturer = Some(thread::current().id());
        Ok(())
    }

    /// It is over, whatever comes of `end`.
    pub fn end_capture<T>(&self, end: impl FnOnce() -> Result<T>) -> Result<T> {
        self.bind()?;
        let mut capturer = self
            .capturer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *capturer = None;
        end()
    }

    fn refused(&self, problem: &str, remedy: &str) -> Error {
        Error::failed(format!("cuda:{}", self.index), problem, remedy)
    }

    /// A driver's answer, with its error in this crate's words.
    pub fn done<T>(&self, doing: &str, answer: std::result::Result<T, DriverError>) -> Result<T> {
        answer.map_err(|error| errors::driver(self.index, doing, error))
    }

    /// Errors when something failed that was asked for before, as far as that is known without waiting.
    pub fn health(&self, doing: &str) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream is held by `self`. This question is allowed during a capture, too.
        let answer = unsafe { result::stream::is_capturing(self.raw) };
        self.done(doing, answer).map(|_| ())
    }

    pub fn wait(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream is held by `self`.
        self.done("waiting for it", unsafe {
            result::stream::synchronize(self.raw)
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.bind().is_err() {
            return;
        }
        // SAFETY: whoever used the stream held `self`, so nobody does any more. Errors are of a device
        // that failed before, and were told then.
        unsafe {
            if !self.raw.is_null() {
                let _ = result::stream::synchronize(self.raw);
                let _ = result::stream::destroy(self.raw);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
