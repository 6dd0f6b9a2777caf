//! What ops ask of a GPU: memory, launches of kernels by name, matrix products, graphs.
//!
//! [`cuda`](super::cuda) does it on an NVIDIA device. The tests have a second implementation that
//! runs the same kernels on the CPU, thread by thread, so that indices, reductions and masks are
//! tested where there is no GPU.
//!
//! Everything is ordered: one stream, in which each call begins when the one before it has ended.

use crate::error::Result;
use std::{collections::HashMap, fmt::Debug, sync::Arc};

/// An address in the device's memory.
pub type At = u64;

/// The numbers of an activation or a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    F32,
    Bf16,
}

impl Dtype {
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// A kernel's argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    At(At),
    U32(u32),
    U64(u64),
    F32(f32),
}

/// One launch: `grid` blocks of `threads` threads, with `shared` bytes of dynamic shared memory each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Launch<'a> {
    pub kernel: &'static str,
    pub grid: [u32; 3],
    pub threads: u32,
    pub shared: u32,
    pub args: &'a [Arg],
}

/// A factor of a product, as it lies in memory: rows of `row` elements from one to the next, and
/// `each` elements from one of the batch to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix {
    pub at: At,
    pub dtype: Dtype,
    pub row: usize,
    pub each: usize,
    /// What is meant is the transpose of what lies there.
    pub transposed: bool,
}

/// What happens to a product on its way to memory; only to one that is not added to what is there.
/// Biases have a number for each column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epilogue {
    Plain,
    /// Plus a bias of the target's number type; `each` elements from one of the batch to the next.
    Bias {
        at: At,
        each: usize,
    },
    /// GELU by its tanh approximation; what it was computed from goes to `before`, laid out as the
    /// target is, in its number type.
    Gelu {
        before: At,
        bias: Option<(At, usize)>,
    },
    /// Times GELU's slope at `before`.
    GeluBack {
        before: At,
    },
}

/// D ← α·A·B, or D ← D + α·A·B: `count` matrices of `rows`×`depth` times `depth`×`cols`, side by side,
/// row by row in memory, summed in f32. Factors have one number type, and a target of f32 factors is f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    pub count: usize,
    pub rows: usize,
    pub cols: usize,
    pub depth: usize,
    pub alpha: f32,
    pub a: Matrix,
    pub b: Matrix,
    /// Never transposed.
    pub d: Matrix,
    pub add: bool,
    pub epilogue: Epilogue,
    /// Factors of f32 may be rounded to TF32's ten bits of mantissa.
    pub tf32: bool,
}

/// A device, and the order in which it works.
pub trait Gpu: Send + Sync + Debug {
    /// "NVIDIA H100 80GB HBM3".
    fn name(&self) -> String;

    /// The version of what drives it, where there is one: "CUDA 13.0".
    fn driver(&self) -> Option<String> {
        None
    }

    /// Equal for devices that give the same bits: "cuda-sm_90x132-nvcc13.0-lt130100".
    fn class(&self) -> String;

    /// Whether it only counts what it is asked for; see [`Dry`](super::dry::Dry).
    fn is_dry(&self) -> bool {
        false
    }

    /// Blocks that run side by side on a device that is full: its multiprocessors.
    fn multiprocessors(&self) -> u32;

    /// Bytes that are free, and that there are.
    fn memory(&self) -> Result<(u64, u64)>;

    /// Memory of this size, with unspecified contents, aligned to 256 bytes. Errors with
    /// [`Kind::Memory`](crate::error::Kind::Memory) when there is none left.
    fn alloc(&self, bytes: usize) -> Result<At>;

    /// Gives back what [`Gpu::alloc`] gave; what was asked for before may still read it.
    fn free(&self, at: At);

    /// Writes host bytes, which may be changed as soon as this returns.
    fn upload(&self, to: At, bytes: &[u8]) -> Result<()>;

    /// Waits until all before is done, and reads. Errors when any of it failed.
    fn download(&self, from: At, bytes: &mut [u8]) -> Result<()>;

    fn zero(&self, at: At, bytes: usize) -> Result<()>;

    fn copy(&self, from: At, to: At, bytes: usize) -> Result<()>;

    fn launch(&self, launch: Launch) -> Result<()>;

    fn multiply(&self, product: &Product) -> Result<()>;

    /// Waits until all that was asked for is done. Errors when any of it failed.
    fn wait(&self) -> Result<()>;

    /// From here on work is written down instead of done, until [`Gpu::end_capture`]; allocations,
    /// uploads and downloads are errors. Errors where there are no graphs.
    fn begin_capture(&self) -> Result<()>;

    /// What was written down, to be done as often as one likes. Also ends a capture that failed, with
    /// an error.
    fn end_capture(&self) -> Result<Box<dyn Graph>>;
}

/// Work that was written down once.
pub trait Graph: Send + Debug {
    /// Does all of it, after what was asked for before.
    fn replay(&self) -> Result<()>;
}

/// Memory on a device, given back when dropped.
#[derive(Debug)]
pub struct Slab {
    gpu: Arc<dyn Gpu>,
    at: At,
    bytes: usize,
}

impl Slab {
    /// Unspecified contents.
    pub fn new(gpu: &Arc<dyn Gpu>, bytes: usize) -> Result<Self> {
        Ok(Self {
            gpu: gpu.clone(),
            // An empty one has an address too.
            at: gpu.alloc(bytes.max(1))?,
            bytes,
        })
    }

    pub fn zeros(gpu: &Arc<dyn Gpu>, bytes: usize) -> Result<Self> {
        let slab = Self::new(gpu, bytes)?;
        gpu.zero(slab.at, bytes)?;
        Ok(slab)
    }

    pub fn at(&self) -> At {
        self.at
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.gpu.free(self.at);
    }
}

/// A free list of slabs by size: after the first step nothing is allocated. What one op gives back the
/// next may take, since the device does one thing after the other. What is to last longer than a pass has
/// a slab of its own: a captured graph goes on writing to those that were free when it was captured.
#[derive(Debug)]
pub struct Slabs {
    gpu: Arc<dyn Gpu>,
    free: HashMap<usize, Vec<Slab>>,
    held: usize,
}

impl Slabs {
    pub fn new(gpu: Arc<dyn Gpu>) -> Self {
        Self {
            gpu,
            free: HashMap::new(),
            held: 0,
        }
    }

    /// A slab of at least `bytes`, with unspecified contents: one given back earlier, or a new one.
    pub fn take(&mut self, bytes: usize) -> Result<Slab> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        if let Some(slab) = self.free.get_mut(&bytes).and_then(Vec::pop) {
            return Ok(slab);
        }
        let slab = Slab::new(&self.gpu, bytes)?;
        self.held += bytes;
        Ok(slab)
    }

    pub fn give(&mut self, slab: Slab) {
        self.free.entry(slab.bytes).or_default().push(slab);
    }

    /// Bytes ever taken from the device through this list: the peak, since nothing goes back.
    pub fn held(&self) -> usize {
        self.held
    }
}

/// Of sizes, so that slabs of nearly the same size are the same.
const ALIGNMENT: usize = 256;
