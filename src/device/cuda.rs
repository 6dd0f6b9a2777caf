//! One NVIDIA device: memory, launches, products and graphs in one stream.
//!
//! Through cudarc's thin bindings of the driver and of cuBLASLt. Nothing is looked up, allocated or
//! waited for in the steady state: memory comes from the driver's pool, which gives none back, uploads
//! go through pinned memory, kernels and algorithms are kept after their first use.

mod errors;
mod graphs;
mod kernels;
mod library;
mod products;
mod stream;
mod uploads;

use super::{
    column_major::Plan,
    gpu::{Arg, At, Dtype, Epilogue, Gpu, Graph, Launch, Product},
};
use crate::error::{Error, Kind, Result};
use cudarc::driver::{result, sys};
use kernels::{Kernels, NVCC};
use products::Products;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::Stream;
use uploads::Uploads;

/// The oldest devices with bf16 tensor cores: Ampere.
const OLDEST: i32 = 8;

/// The oldest driver that has all functions that are called here.
const OLDEST_DRIVER: i32 = 12_000;

#[derive(Debug)]
pub struct Cuda {
    // In the order in which they are given up.
    uploads: Mutex<Uploads>,
    products: Products,
    kernels: Kernels,
    facts: Facts,
    pool: sys::CUmemoryPool,
    /// What was given back during a capture, in which nothing can be freed.
    freed_late: Mutex<Vec<At>>,
    stream: Arc<Stream>,
}

/// What does not change.
#[derive(Debug)]
struct Facts {
    name: String,
    driver: i32,
    capability: (i32, i32),
    multiprocessors: u32,
}

// SAFETY: the pool's handle may be used from any thread in which the context is current.
unsafe impl Send for Cuda {}
// SAFETY: as above; the driver locks what it shares.
unsafe impl Sync for Cuda {}

impl Cuda {
    /// Errors with bad input when the device, its driver or cuBLASLt is not there or too old.
    pub fn open(index: usize) -> Result<Self> {
        library::open_all(index)?;
        let stream = Arc::new(Stream::open(index)?);
        let facts = Facts::read(&stream)?;
        facts.check(index)?;
        let pool = pool(&stream)?;
        let kernels = Kernels::load(&stream)?;
        let products = Products::new(&stream)?;
        Ok(Self {
            uploads: Mutex::new(Uploads::new(&stream)?),
            products,
            kernels,
            facts,
            pool,
            freed_late: Mutex::default(),
            stream,
        })
    }

    fn take(&self, bytes: usize) -> std::result::Result<At, result::DriverError> {
        // SAFETY: the stream is held by `self`.
        unsafe { result::malloc_async(self.stream.raw, bytes) }
    }

    /// Bytes that the pool holds and nobody uses.
    fn idle(&self) -> Result<u64> {
        use sys::CUmemPool_attribute as A;
        let read = |attribute| -> Result<u64> {
            let mut bytes = 0_u64;
            // SAFETY: the pool is the device's own, and both attributes are of 64 bits.
            let answer = unsafe {
                let bytes = std::ptr::from_mut(&mut bytes).cast();
                result::mem_pool::get_attribute(self.pool, attribute, bytes)
            };
            self.stream.done("asking for its memory", answer)?;
            Ok(bytes)
        };
        let held = read(A::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        Ok(held.saturating_sub(read(A::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?))
    }

    /// What follows a product, by a kernel of our own.
    fn follow(&self, p: &Product) -> Result<()> {
        let (what, bias, before) = match p.epilogue {
            Epilogue::Plain => return Ok(()),
            Epilogue::Bias { at, each } => (0, (at, each), 0),
            Epilogue::Gelu { before, bias } => (1, bias.unwrap_or((0, 0)), before),
            Epilogue::GeluBack { before } => (2, (0, 0), before),
        };
        let kernel = match p.d.dtype {
            Dtype::F32 => "epilogue_f32",
            Dtype::Bf16 => "epilogue_bf16",
        };
        let (rows, cols, count) = (p.rows as u32, p.cols as u32, p.count as u32);
        self.kernels.launch(&Launch {
            kernel,
            grid: [cols.div_ceil(256), rows.min(MOST_ROWS), count],
            threads: 256,
            shared: 0,
            args: &[
                Arg::At(p.d.at),
                Arg::At(bias.0),
                Arg::At(before),
                Arg::U32(what),
                Arg::U32(rows),
                Arg::U32(cols),
                Arg::U64(p.d.row as u64),
                Arg::U64(p.d.each as u64),
                Arg::U64(bias.1 as u64),
            ],
        })
    }

    fn freed_late(&self) -> MutexGuard<'_, Vec<At>> {
        self.freed_late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of a grid's second and third dimensions.
const MOST_ROWS: u32 = 65_535;

impl Gpu for Cuda {
    fn name(&self) -> String {
        self.facts.name.clone()
    }

    fn driver(&self) -> Option<String> {
        let (version, lt) = (self.facts.driver, Products::version());
        Some(format!(
            "CUDA {}.{}, cuBLASLt {}.{}.{}, kernels by nvcc {NVCC}",
            version / 1000,
            version % 1000 / 10,
            lt / 10_000,
            lt / 100 % 100,
            lt % 100
        ))
    }

    fn class(&self) -> String {
        let (major, minor) = self.facts.capability;
        format!(
            "cuda-sm_{major}{minor}x{}-nvcc{NVCC}-lt{}",
            self.facts.multiprocessors,
            Products::version()
        )
    }

    fn multiprocessors(&self) -> u32 {
        self.facts.multiprocessors
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.stream.bind()?;
        let answer = result::mem_get_info();
        let (free, all) = self.stream.done("asking for its memory", answer)?;
        Ok((free as u64 + self.idle()?, all as u64))
    }

    fn alloc(&self, bytes: usize) -> Result<At> {
        let _turn = self.stream.turn_outside("allocating")?;
        let full = |e: &result::DriverError| e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let taken = match self.take(bytes) {
            // What lies idle in pieces that are too small may together be enough.
            Err(error) if full(&error) => {
                self.stream.wait()?;
                // SAFETY: the pool is the device's own.
                let trimmed = unsafe { result::mem_pool::trim_to(self.pool, 0) };
                self.stream.done("giving back idle memory", trimmed)?;
                self.take(bytes)
            }
            taken => taken,
        };
        match taken {
            Err(error) if full(&error) => {
                let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
                let (free, all) = self.memory()?;
                Err(Error::new(
                    Kind::Memory,
                    format!("cuda:{}", self.stream.index),
                    format!(
                        "no memory for {bytes} bytes ({:.2} GiB): {:.2} of {:.2} GiB are free",
                        gib(bytes as u64),
                        gib(free),
                        gib(all)
                    ),
                    errors::MEMORY,
                ))
            }
            taken => self.stream.done("allocating", taken),
        }
    }

    fn free(&self, at: At) {
        let capturer = self.stream.capturer();
        if capturer.is_some() {
            self.freed_late().push(at);
        } else if self.stream.bind().is_ok() {
            // SAFETY: the trait's caller got it from `alloc` and gives it back once; what was asked for
            // before comes before in the stream. An error is of a device that failed before.
            let _ = unsafe { result::free_async(at, self.stream.raw) };
        }
    }

    fn upload(&self, to: At, bytes: &[u8]) -> Result<()> {
        let _turn = self.stream.turn_outside("uploading")?;
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.upload(to, bytes)
    }

    fn download(&self, from: At, bytes: &mut [u8]) -> Result<()> {
        let _turn = self.stream.turn_outside("downloading")?;
        if !bytes.is_empty() {
            // SAFETY: the trait's caller has as many bytes there; they are not read before the wait.
            let asked = unsafe { result::memcpy_dtoh_async(bytes, from, self.stream.raw) };
            self.stream.done("downloading", asked)?;
        }
        self.stream.wait()
    }

    fn zero(&self, at: At, bytes: usize) -> Result<()> {
        let _turn = self.stream.turn("clearing memory")?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the trait's caller has as many bytes there.
        let asked = unsafe { result::memset_d8_async(at, 0, bytes, self.stream.raw) };
        self.stream.done("clearing memory", asked)
    }

    fn copy(&self, from: At, to: At, bytes: usize) -> Result<()> {
        let _turn = self.stream.turn("copying")?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the trait's caller has as many bytes at both.
        let asked = unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.raw) };
        self.stream.done("copying", asked)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        self.kernels.launch(&launch)
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        if product.count * product.rows * product.cols == 0 {
            return Ok(());
        }
        let plan = Plan::of(product)?;
        if self.products.multiply(product, &plan)? {
            return Ok(());
        }
        self.products.multiply(product, &plan.bare())?;
        self.follow(product)
    }

    fn wait(&self) -> Result<()> {
        let _turn = self.stream.turn_outside("waiting")?;
        self.stream.wait()
    }

    fn begin_capture(&self) -> Result<()> {
        graphs::begin(&self.stream)
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        let captured = graphs::end(&self.stream);
        let late = std::mem::take(&mut *self.freed_late());
        late.into_iter().for_each(|at| self.free(at));
        Ok(Box::new(captured?))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What was asked for may still read what is given up next.
        let _ = self.stream.wait();
    }
}

impl Facts {
    fn read(stream: &Stream) -> Result<Self> {
        use sys::CUdevice_attribute as A;
        let attribute = |attribute| {
            // SAFETY: the device is one that the driver gave.
            let answer = unsafe { result::device::get_attribute(stream.device, attribute) };
            stream.done("asking for its properties", answer)
        };
        let mut driver = 0;
        // SAFETY: the number is the call's to write.
        let answer = unsafe { sys::cuDriverGetVersion(&mut driver) }.result();
        stream.done("asking for the driver's version", answer)?;
        let name = result::device::get_name(stream.device);
        Ok(Self {
            name: stream.done("asking for its name", name)?,
            driver,
            capability: (
                attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs(),
        })
    }

    fn check(&self, index: usize) -> Result<()> {
        let (place, (major, minor)) = (format!("--device cuda:{index}"), self.capability);
        if major < OLDEST {
            return Err(Error::input(
                place,
                format!(
                    "{} has compute capability {major}.{minor}; kernels need {OLDEST}.0",
                    self.name
                ),
                "use a device from Ampere on, or --device cpu",
            ));
        }
        if self.driver < OLDEST_DRIVER {
            let (version, minor) = (self.driver / 1000, self.driver % 1000 / 10);
            return Err(Error::input(
                place,
                format!("the driver is of CUDA {version}.{minor}; it must be of 12.0 or later"),
                "update the driver, or use --device cpu",
            ));
        }
        Ok(())
    }
}

/// The device's own memory pool, told to keep what it once took: it would give all back at each wait.
fn pool(stream: &Stream) -> Result<sys::CUmemoryPool> {
    stream.bind()?;
    // SAFETY: the device is one that the driver gave.
    let pool = unsafe { result::device::get_default_mem_pool(stream.device) };
    let pool = stream.done("asking for its memory pool", pool)?;
    let mut most = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool was just given, and the attribute is of 64 bits.
    let answer = unsafe {
        result::mem_pool::set_attribute(pool, threshold, std::ptr::from_mut(&mut most).cast())
    };
    stream.done("keeping its memory", answer)?;
    Ok(pool)
}
