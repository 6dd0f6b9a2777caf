//! The device that the tests run on: an emulated one, or the GPU that `WINDTUNNEL_TEST_DEVICE` names, with
//! the same counts, limits and failures put before it.

use crate::emulated::{Counts, Emulated};
use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use windtunnel::{
    device::{
        Backend, Compute, DeviceChoice,
        gpu::{At, Gpu, Graph, Launch, Product},
    },
    error::{Error, Kind, Result},
};

/// Which GPU to test, instead of emulating one: "cuda:0".
const VARIABLE: &str = "WINDTUNNEL_TEST_DEVICE";

/// Orders of threads in which kernels must give the same bits; a GPU, which has its own, is asked twice.
const ORDERS: [u64; 2] = [0, 1];

#[derive(Debug, Clone)]
pub enum Device {
    Emulated(Emulated),
    Real(Watched),
}

/// Does one or the other.
macro_rules! either {
    ($self:ident, $device:ident => $do:expr) => {
        match $self {
            Self::Emulated($device) => $do,
            Self::Real($device) => $do,
        }
    };
}

impl Device {
    pub fn new() -> Self {
        match real() {
            Some(gpu) => Self::Real(Watched::new(gpu)),
            None => Self::Emulated(Emulated::new()),
        }
    }

    /// One that captures nothing.
    pub fn without_graphs() -> Self {
        let device = Self::new();
        device.set_graphs(false);
        device
    }

    fn set_graphs(&self, has: bool) {
        either!(self, device => device.set_graphs(has));
    }

    /// What ops are given.
    pub fn gpu(&self) -> Arc<dyn Gpu> {
        match self {
            Self::Emulated(emulated) => emulated.device(),
            Self::Real(watched) => Arc::new(watched.clone()),
        }
    }

    pub fn is_emulated(&self) -> bool {
        matches!(self, Self::Emulated(_))
    }

    /// The order of blocks and threads from here on, where that can be said.
    pub fn set_order(&self, seed: u64) {
        if let Self::Emulated(emulated) = self {
            emulated.set_order(seed);
        }
    }

    /// How much memory there is, with what is in use.
    pub fn set_memory(&self, bytes: u64) {
        either!(self, device => device.set_memory(bytes));
    }

    /// The device does this many more launches, products, copies and zeros, and then is gone.
    pub fn vanish_after(&self, works: u64) {
        either!(self, device => device.vanish_after(works));
    }

    /// Counts from here.
    pub fn mark(&self) {
        either!(self, device => device.mark());
    }

    pub fn counts(&self) -> Counts {
        either!(self, device => device.counts())
    }

    /// Bytes that are allocated.
    pub fn used(&self) -> u64 {
        either!(self, device => device.used())
    }
}

/// What `compute` gives on a device, after making sure that other orders of threads give the same.
pub fn same_in_any_order<T: PartialEq + Debug>(compute: impl Fn(&Device) -> T) -> T {
    let in_order = |seed| {
        let device = Device::new();
        device.set_order(seed);
        compute(&device)
    };
    let first = in_order(ORDERS[0]);
    for seed in &ORDERS[1..] {
        assert_eq!(in_order(*seed), first, "another order of threads: {seed}");
    }
    first
}

/// The GPU that was named, opened once.
fn real() -> Option<Arc<dyn Gpu>> {
    static GPU: OnceLock<Option<Arc<dyn Gpu>>> = OnceLock::new();
    let open = || {
        let name = std::env::var(VARIABLE).ok()?;
        let choice: DeviceChoice = name.parse().unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
        let compute = Compute::open(choice, 1).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
        match compute.backend {
            Backend::Gpu(gpu) => Some(gpu),
            _ => panic!("{VARIABLE}={name} is no GPU"),
        }
    };
    GPU.get_or_init(open).clone()
}

/// A GPU, with what was asked of it, and the troubles that a test wants it to have.
#[derive(Debug, Clone)]
pub struct Watched {
    gpu: Arc<dyn Gpu>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    sizes: HashMap<At, u64>,
    total: u64,
    has_graphs: bool,
    left: Option<u64>,
}

impl Watched {
    fn new(gpu: Arc<dyn Gpu>) -> Self {
        let state = State {
            counts: Counts::default(),
            sizes: HashMap::new(),
            total: u64::MAX,
            has_graphs: true,
            left: None,
        };
        Self {
            gpu,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_graphs(&self, has: bool) {
        self.state().has_graphs = has;
    }

    fn set_memory(&self, bytes: u64) {
        self.state().total = bytes;
    }

    fn vanish_after(&self, works: u64) {
        self.state().left = Some(works);
    }

    fn mark(&self) {
        self.state().counts = Counts::default();
    }

    fn counts(&self) -> Counts {
        self.state().counts
    }

    fn used(&self) -> u64 {
        self.state().sizes.values().sum()
    }

    /// Counts one piece of work; an error once the device is meant to be gone.
    fn work(&self, count: impl FnOnce(&mut Counts)) -> Result<()> {
        let mut state = self.state();
        count(&mut state.counts);
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(1).ok_or_else(|| refused("is gone"))?;
        }
        Ok(())
    }
}

fn refused(why: &str) -> Error {
    Error::failed("a watched GPU", why, "see what came before")
}

impl Gpu for Watched {
    fn name(&self) -> String {
        self.gpu.name()
    }

    fn class(&self) -> String {
        self.gpu.class()
    }

    fn multiprocessors(&self) -> u32 {
        self.gpu.multiprocessors()
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let (free, total) = self.gpu.memory()?;
        let limit = self.state().total;
        Ok((
            free.min(limit.saturating_sub(self.used())),
            total.min(limit),
        ))
    }

    fn alloc(&self, bytes: usize) -> Result<At> {
        let limit = self.state().total;
        if self.used() + bytes as u64 > limit {
            let problem = format!("{bytes} bytes more are not left of {limit}");
            return Err(Error::new(
                Kind::Memory,
                "a watched GPU",
                problem,
                "ask for less",
            ));
        }
        let at = self.gpu.alloc(bytes)?;
        let mut state = self.state();
        state.counts.allocations += 1;
        state.sizes.insert(at, bytes as u64);
        Ok(at)
    }

    fn free(&self, at: At) {
        let mut state = self.state();
        state.counts.frees += 1;
        state.sizes.remove(&at);
        self.gpu.free(at);
    }

    fn upload(&self, to: At, bytes: &[u8]) -> Result<()> {
        self.work(|counts| counts.uploads += 1)?;
        self.gpu.upload(to, bytes)
    }

    fn download(&self, from: At, bytes: &mut [u8]) -> Result<()> {
        self.work(|counts| counts.downloads += 1)?;
        self.gpu.download(from, bytes)
    }

    fn zero(&self, at: At, bytes: usize) -> Result<()> {
        self.work(|counts| counts.zeros += 1)?;
        self.gpu.zero(at, bytes)
    }

    fn copy(&self, from: At, to: At, bytes: usize) -> Result<()> {
        self.work(|counts| counts.copies += 1)?;
        self.gpu.copy(from, to, bytes)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        self.work(|counts| counts.launches += 1)?;
        self.gpu.launch(launch)
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        self.work(|counts| counts.products += 1)?;
        self.gpu.multiply(product)
    }

    fn wait(&self) -> Result<()> {
        self.work(|counts| counts.waits += 1)?;
        self.gpu.wait()
    }

    fn begin_capture(&self) -> Result<()> {
        if !self.state().has_graphs {
            return Err(refused("captures nothing"));
        }
        self.state().counts.captures += 1;
        self.gpu.begin_capture()
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        let graph = self.gpu.end_capture()?;
        let watched = self.clone();
        Ok(Box::new(WatchedGraph { graph, watched }))
    }
}

#[derive(Debug)]
struct WatchedGraph {
    graph: Box<dyn Graph>,
    watched: Watched,
}

impl Graph for WatchedGraph {
    fn replay(&self) -> Result<()> {
        self.watched.work(|counts| counts.replays += 1)?;
        self.graph.replay()
    }
}
