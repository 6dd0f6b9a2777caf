//! A GPU that captures no graphs, so that a stopwatch can stand between the launches of a step.

use crate::{
    device::gpu::{At, Gpu, Graph, Launch, Product},
    error::{Error, Result},
};
use std::sync::Arc;

/// The device itself, launch by launch.
#[derive(Debug)]
pub struct Launches(pub Arc<dyn Gpu>);

fn refused() -> Error {
    Error::failed(
        "a bench of ops",
        "times them launch by launch",
        "nothing is wrong: steps are timed as graphs",
    )
}

impl Gpu for Launches {
    fn name(&self) -> String {
        self.0.name()
    }

    fn class(&self) -> String {
        self.0.class()
    }

    fn multiprocessors(&self) -> u32 {
        self.0.multiprocessors()
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.0.memory()
    }

    fn alloc(&self, bytes: usize) -> Result<At> {
        self.0.alloc(bytes)
    }

    fn free(&self, at: At) {
        self.0.free(at);
    }

    fn upload(&self, to: At, bytes: &[u8]) -> Result<()> {
        self.0.upload(to, bytes)
    }

    fn download(&self, from: At, bytes: &mut [u8]) -> Result<()> {
        self.0.download(from, bytes)
    }

    fn zero(&self, at: At, bytes: usize) -> Result<()> {
        self.0.zero(at, bytes)
    }

    fn copy(&self, from: At, to: At, bytes: usize) -> Result<()> {
        self.0.copy(from, to, bytes)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        self.0.launch(launch)
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        self.0.multiply(product)
    }

    fn wait(&self) -> Result<()> {
        self.0.wait()
    }

    fn begin_capture(&self) -> Result<()> {
        Err(refused())
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        Err(refused())
    }
}
