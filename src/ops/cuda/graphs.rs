//! Work that is the same every time, captured as a graph and replayed.
//!
//! A step of a small model is some hundred kernels of a few microseconds each: less than it takes to
//! launch them. Captured once, all of them are one launch. That needs arguments that stay the same, so
//! steps, rates, random counters and batches lie in the device's memory, and slabs come from a free list
//! that hands out the same ones when it is asked in the same order.

use super::staged::Slot;
use crate::{device::gpu::Graph, error::Result, real::Real, tape::Tape};

/// What is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A whole training step.
    Step,
    /// The losses of one batch of an evaluation, of so many targets.
    Eval(usize),
}

/// How far a piece of work is on its way to a graph.
#[derive(Debug)]
pub enum Repeated {
    /// Done once, launch by launch: what it needs has been allocated.
    Once,
    Graph(Box<dyn Graph>),
    /// Done launch by launch for good, and why.
    Never(String),
}

impl<R: Real> Tape<R> {
    /// Does `work`: the first time launch by launch, then from a graph. All that differs from one time to
    /// the next must be on the device already. Where there are no graphs, or the work can't be one, it is
    /// done launch by launch every time. Errors are the work's own.
    pub fn repeat(
        &mut self,
        key: Key,
        mut work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let Some(device) = &mut self.device else {
            return work(self);
        };
        match device.graphs.get(&key) {
            Some(Repeated::Graph(graph)) => return graph.replay(),
            Some(Repeated::Never(_)) => return work(self),
            Some(Repeated::Once) => {}
            None => {
                device.went_through_host = false;
                work(self)?;
                let device = self.on_mut();
                let next = match device.went_through_host {
                    false => Repeated::Once,
                    true => Repeated::Never("a part of it goes through the host".into()),
                };
                device.graphs.insert(key, next);
                return Ok(());
            }
        }
        match self.captured(&mut work) {
            Ok(graph) => {
                graph.replay()?;
                let graphs = &mut self.on_mut().graphs;
                graphs.insert(key, Repeated::Graph(graph));
                Ok(())
            }
            Err(error) => {
                let never = Repeated::Never(error.problem);
                self.on_mut().graphs.insert(key, never);
                work(self)
            }
        }
    }

    /// [`Tape::repeat`] of a batch of an evaluation, which is sent to the device first.
    pub fn repeat_eval(
        &mut self,
        (tokens, targets): (&[u32], &[u32]),
        vocab: usize,
        denominators: &[f64],
        work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let len = targets.len();
        if let Some(device) = &mut self.device {
            device.stage(Slot::Eval(len), (tokens, targets), vocab)?;
            device.set_denominators(denominators)?;
            self.position.staged = Some(Slot::Eval(len));
        }
        let done = self.repeat(Key::Eval(len), work);
        self.position.staged = None;
        done
    }

    fn captured(
        &mut self,
        work: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<Box<dyn Graph>> {
        let device = self.on_mut();
        let gpu = device.gpu.clone();
        gpu.begin_capture()?;
        device.capturing = true;
        let done = work(self);
        self.on_mut().capturing = false;
        // Ended in any case, or nothing would run any more.
        let graph = gpu.end_capture();
        done.and(graph)
    }

    /// Why a piece of work is not a graph; `None` where it is, or may become one.
    pub fn why_not_a_graph(&self, key: Key) -> Option<&str> {
        match self.device.as_ref()?.graphs.get(&key)? {
            Repeated::Never(why) => Some(why),
            Repeated::Once | Repeated::Graph(_) => None,
        }
    }

    /// Forgets what was captured: something that it was made of has changed.
    pub fn forget_graphs(&mut self) {
        if let Some(device) = &mut self.device {
            device.graphs.clear();
        }
    }
}
