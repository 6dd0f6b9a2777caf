//! A GPU that is not there: [`Gpu`] on the CPU, with the kernels that a GPU would run.
//!
//! `src/ops/cuda/all.cu` is compiled by the system's C++ compiler with `tests/emulator/emulated.h` in the
//! place of CUDA, and run thread by thread in an order that a test chooses; products are plain loops.
//! What a GPU passes over in silence is an error here: a step outside of memory, a lane that does not
//! come, an argument of another type, an allocation during a capture.
//!
//! ```
//! #[path = "support/emulated/mod.rs"]
//! mod emulated;
//!
//! let gpu = Emulated::new();
//! let device = gpu.device(); // Arc<dyn Gpu>
//! let x = gpu.slab(Dtype::Bf16, &numbers);
//! let y = emulated::same_in_any_order(|gpu| { ... gpu.numbers(Dtype::F32, &slab) });
//! ```

#![allow(dead_code, reason = "each test binary uses its part of it")]

pub mod library;
mod memory;
pub mod numbers;
mod product;

use library::Library;
use memory::Memory;
use std::{
    fmt::Debug,
    ptr, slice,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use windtunnel::{
    device::gpu::{Arg, At, Dtype, Gpu, Graph, Launch, Product, Slab},
    error::{Error, Kind, Result},
};

/// Enough for a test, unless it says otherwise.
const MEMORY: u64 = 1 << 30;

/// The orders of blocks and threads in which kernels must give the same bits; 0 is ascending.
const ORDERS: [u64; 4] = [0, 1, 2, 3];

/// What was asked of the device since the last [`Emulated::mark`]. A replay counts as one, whatever is
/// in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub launches: u64,
    pub products: u64,
    pub copies: u64,
    pub zeros: u64,
    pub allocations: u64,
    pub frees: u64,
    pub uploads: u64,
    pub downloads: u64,
    pub waits: u64,
    pub captures: u64,
    pub replays: u64,
}

/// One thing that a device does, as it is written down in a graph.
#[derive(Debug, Clone)]
enum Work {
    Launch {
        kernel: &'static str,
        grid: [u32; 3],
        threads: u32,
        shared: u32,
        args: Vec<Arg>,
    },
    Product(Product),
    Copy {
        from: At,
        to: At,
        bytes: usize,
    },
    Zero {
        at: At,
        bytes: usize,
    },
}

/// What is being captured.
#[derive(Debug, Default)]
struct Capture {
    work: Vec<Work>,
    /// What was done that a capture does not allow.
    broken: Option<String>,
}

#[derive(Debug)]
struct State {
    memory: Memory,
    counts: Counts,
    seed: u64,
    capture: Option<Capture>,
    has_graphs: bool,
    /// Launches, products, copies and zeros until the device vanishes.
    left: Option<u64>,
    /// Why nothing goes on.
    dead: Option<String>,
}

#[derive(Debug)]
struct Inner {
    kernels: &'static Library,
    state: Mutex<State>,
}

/// A handle of an emulated device; clones are the same device.
#[derive(Debug, Clone)]
pub struct Emulated(Arc<Inner>);

impl Emulated {
    /// With the kernels of `src/ops/cuda`.
    pub fn new() -> Self {
        static KERNELS: OnceLock<Library> = OnceLock::new();
        Self::with(KERNELS.get_or_init(|| Library::of("src/ops/cuda/all.cu")))
    }

    /// With kernels of the test's own.
    pub fn with(kernels: &'static Library) -> Self {
        Self(Arc::new(Inner {
            kernels,
            state: Mutex::new(State {
                memory: Memory::new(MEMORY),
                counts: Counts::default(),
                seed: 0,
                capture: None,
                has_graphs: true,
                left: None,
                dead: None,
            }),
        }))
    }

    /// What ops are given.
    pub fn device(&self) -> Arc<dyn Gpu> {
        Arc::new(self.clone())
    }

    /// The order of blocks and threads from here on; 0 is ascending.
    pub fn set_order(&self, seed: u64) {
        self.state().seed = seed;
    }

    /// How much memory there is, with what is in use.
    pub fn set_memory(&self, bytes: u64) {
        self.state().memory.total = bytes;
    }

    /// Whether it has graphs, as it does at first.
    pub fn set_graphs(&self, has: bool) {
        self.state().has_graphs = has;
    }

    /// The device does this many more launches, products, copies and zeros, and then is gone.
    pub fn vanish_after(&self, works: u64) {
        self.state().left = Some(works);
    }

    /// Counts from here.
    pub fn mark(&self) {
        self.state().counts = Counts::default();
    }

    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Bytes that are allocated.
    pub fn used(&self) -> u64 {
        self.state().memory.used
    }

    /// A slab that holds these numbers, rounded to the type.
    pub fn slab(&self, dtype: Dtype, numbers: &[f32]) -> Slab {
        self.slab_of(&numbers::to_bytes(dtype, numbers))
    }

    /// A slab that holds these bytes.
    pub fn slab_of(&self, bytes: &[u8]) -> Slab {
        let slab = Slab::new(&self.device(), bytes.len()).unwrap();
        self.upload(slab.at(), bytes).unwrap();
        slab
    }

    /// All numbers of a slab.
    pub fn numbers(&self, dtype: Dtype, slab: &Slab) -> Vec<f32> {
        let mut bytes = vec![0; slab.bytes()];
        self.download(slab.at(), &mut bytes).unwrap();
        numbers::of_bytes(dtype, &bytes)
    }

    /// A test that has panicked has its own story; the state is whole at any time.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a device that is not gone.
    fn alive(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        match &state.dead {
            Some(why) => Err(failed(why)),
            None => Ok(state),
        }
    }

    /// What a capture does not allow breaks it, and is an error.
    fn at_once(&self, doing: &str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        if let Some(capture) = &mut state.capture {
            let why = format!("{doing} during a capture");
            capture.broken.get_or_insert(why.clone());
            return Err(failed(&why));
        }
        Ok(state)
    }

    /// Does it, or writes it down.
    fn ask(&self, work: Work, count: impl Fn(&mut Counts) -> &mut u64) -> Result<()> {
        let mut state = self.alive()?;
        *count(&mut state.counts) += 1;
        if let Work::Launch { kernel, .. } = &work
            && !self.0.kernels.has(kernel)
        {
            return Err(failed(&format!("there is no kernel {kernel}")));
        }
        match &mut state.capture {
            Some(capture) => capture.work.push(work),
            None => state.perform(self.0.kernels, &work)?,
        }
        Ok(())
    }
}

impl State {
    /// Does one thing. What goes wrong is the device's end, as on a GPU.
    fn perform(&mut self, kernels: &Library, work: &Work) -> Result<()> {
        if self.left == Some(0) {
            self.dead = Some("the device is gone".into());
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.dead.is_none() {
            self.dead = self.attempt(kernels, work).err();
        }
        match &self.dead {
            Some(why) => Err(failed(why)),
            None => Ok(()),
        }
    }

    fn attempt(&self, kernels: &Library, work: &Work) -> std::result::Result<(), String> {
        match work {
            Work::Launch {
                kernel,
                grid,
                threads,
                shared,
                args,
            } => {
                let launch = Launch {
                    kernel,
                    grid: *grid,
                    threads: *threads,
                    shared: *shared,
                    args,
                };
                kernels
                    .launch(&launch, self.seed)
                    .map_err(|fault| match fault.at {
                        Some(at) => format!("{}: {}", fault.why, self.memory.describe(at)),
                        None => fault.why,
                    })
            }
            Work::Product(product) => match product::refused(product, &self.memory) {
                Some(why) => Err(format!("{product:?}: {why}")),
                None => {
                    product::multiply(product);
                    Ok(())
                }
            },
            &Work::Copy { from, to, bytes } => {
                self.inside("a copy from", from, bytes)?;
                self.inside("a copy to", to, bytes)?;
                // SAFETY: both ends lie in allocations.
                unsafe { ptr::copy(from as *const u8, to as *mut u8, bytes) };
                Ok(())
            }
            &Work::Zero { at, bytes } => {
                self.inside("zeros at", at, bytes)?;
                // SAFETY: all of it lies in an allocation.
                unsafe { ptr::write_bytes(at as *mut u8, 0, bytes) };
                Ok(())
            }
        }
    }

    fn inside(&self, what: &str, at: At, bytes: usize) -> std::result::Result<(), String> {
        match self.memory.outside(at, bytes) {
            Some(where_) => Err(format!("{what} {at:#x} of {bytes} bytes reaches {where_}")),
            None => Ok(()),
        }
    }
}

impl Gpu for Emulated {
    fn name(&self) -> String {
        "Emulated GPU".into()
    }

    fn class(&self) -> String {
        "emulated".into()
    }

    fn multiprocessors(&self) -> u32 {
        4
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let state = self.alive()?;
        let Memory { used, total, .. } = state.memory;
        Ok((total.saturating_sub(used), total))
    }

    fn alloc(&self, bytes: usize) -> Result<At> {
        let mut state = self.at_once("an allocation")?;
        state.counts.allocations += 1;
        let (used, total) = (state.memory.used, state.memory.total);
        state.memory.alloc(bytes).ok_or_else(|| {
            Error::new(
                Kind::Memory,
                "Emulated GPU",
                format!("{bytes} bytes were asked for; {used} of {total} are in use"),
                "ask for less",
            )
        })
    }

    fn free(&self, at: At) {
        let mut state = self.state();
        state.counts.frees += 1;
        state.memory.free(at);
    }

    fn upload(&self, to: At, bytes: &[u8]) -> Result<()> {
        let mut state = self.at_once("an upload")?;
        state.counts.uploads += 1;
        let outside = state.inside("an upload to", to, bytes.len());
        outside.map_err(|why| failed(&why))?;
        // SAFETY: all of it lies in an allocation, and the bytes do not.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, from: At, bytes: &mut [u8]) -> Result<()> {
        let mut state = self.at_once("a download")?;
        state.counts.downloads += 1;
        state.memory.check();
        let outside = state.inside("a download from", from, bytes.len());
        outside.map_err(|why| failed(&why))?;
        // SAFETY: all of it lies in an allocation.
        bytes.copy_from_slice(unsafe { slice::from_raw_parts(from as *const u8, bytes.len()) });
        Ok(())
    }

    fn zero(&self, at: At, bytes: usize) -> Result<()> {
        self.ask(Work::Zero { at, bytes }, |counts| &mut counts.zeros)
    }

    fn copy(&self, from: At, to: At, bytes: usize) -> Result<()> {
        self.ask(Work::Copy { from, to, bytes }, |counts| &mut counts.copies)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        let work = Work::Launch {
            kernel: launch.kernel,
            grid: launch.grid,
            threads: launch.threads,
            shared: launch.shared,
            args: launch.args.to_vec(),
        };
        self.ask(work, |counts| &mut counts.launches)
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        self.ask(Work::Product(*product), |counts| &mut counts.products)
    }

    fn wait(&self) -> Result<()> {
        let mut state = self.at_once("a wait")?;
        state.counts.waits += 1;
        state.memory.check();
        Ok(())
    }

    fn begin_capture(&self) -> Result<()> {
        let mut state = self.at_once("a capture")?;
        if !state.has_graphs {
            return Err(failed("there are no graphs"));
        }
        state.counts.captures += 1;
        state.capture = Some(Capture::default());
        Ok(())
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        let mut state = self.alive()?;
        let Some(capture) = state.capture.take() else {
            return Err(failed("no capture has begun"));
        };
        match capture.broken {
            Some(why) => Err(failed(&why)),
            None => Ok(Box::new(Recorded {
                gpu: self.clone(),
                work: capture.work,
            })),
        }
    }
}

#[derive(Debug)]
struct Recorded {
    gpu: Emulated,
    work: Vec<Work>,
}

impl Graph for Recorded {
    fn replay(&self) -> Result<()> {
        let mut state = self.gpu.at_once("a replay")?;
        state.counts.replays += 1;
        let mut work = self.work.iter();
        work.try_for_each(|work| state.perform(self.gpu.0.kernels, work))
    }
}

fn failed(why: &str) -> Error {
    Error::failed("Emulated GPU", why, "see what came before")
}

/// What `compute` gives on a device that works in ascending order, after making sure that other orders
/// give the same.
pub fn same_in_any_order<T: PartialEq + Debug>(compute: impl Fn(&Emulated) -> T) -> T {
    let in_order = |seed| {
        let gpu = Emulated::new();
        gpu.set_order(seed);
        compute(&gpu)
    };
    let first = in_order(ORDERS[0]);
    for seed in &ORDERS[1..] {
        assert_eq!(in_order(*seed), first, "another order of threads: {seed}");
    }
    first
}
