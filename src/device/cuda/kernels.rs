//! Our kernels: compiled by `build.rs`, part of the binary, loaded once, found by name.

use super::stream::Stream;
use crate::{
    device::{
        gpu::{Arg, Launch},
        signatures::Signatures,
    },
    error::{Error, Result},
};
use cudarc::driver::{
    result::{self, function},
    sys,
};
use std::{
    collections::HashMap,
    ffi::{CString, c_void},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

/// For each architecture one binary, and PTX for what comes later.
static FATBIN: &Aligned<[u8]> = &Aligned {
    bytes: *include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")),
};

/// As nvcc's own objects have it, whose header is of 64-bit numbers.
#[repr(C, align(16))]
struct Aligned<T: ?Sized> {
    bytes: T,
}

static SIGNATURES: &str = include_str!(concat!(env!("OUT_DIR"), "/signatures.txt"));

/// The compiler that made them, which decides bits as their sources do.
pub const NVCC: &str = env!("WINDTUNNEL_NVCC");

/// Dynamic shared memory that every kernel may have; more must be asked for, once.
const SHARED_BYTES: u32 = 48 << 10;

const MOST_ARGS: usize = 48;

#[derive(Debug)]
pub struct Kernels {
    module: sys::CUmodule,
    signatures: Signatures,
    known: Mutex<HashMap<&'static str, Kernel>>,
    stream: Arc<Stream>,
}

#[derive(Debug, Clone, Copy)]
struct Kernel {
    function: sys::CUfunction,
    /// The most dynamic shared memory that it was given so far.
    shared: u32,
}

// SAFETY: modules and functions may be used from any thread in which the context is current; what
// changes is behind a lock.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    pub fn load(stream: &Arc<Stream>) -> Result<Self> {
        stream.bind()?;
        // SAFETY: the bytes are a whole fat binary, as nvcc wrote it, whose header says how long it is.
        let module = stream.done("loading kernels", unsafe {
            result::module::load_data(FATBIN.bytes.as_ptr().cast())
        })?;
        Ok(Self {
            module,
            signatures: Signatures::read(SIGNATURES)?,
            known: Mutex::default(),
            stream: stream.clone(),
        })
    }

    /// Asks for a launch. Errors when the kernel takes other arguments, so that no address is read as a
    /// number.
    pub fn launch(&self, launch: &Launch) -> Result<()> {
        let _turn = self.stream.turn("launching a kernel")?;
        let function = self.function(launch)?;
        let mut values = [0_u64; MOST_ARGS];
        let mut pointers = [ptr::null_mut::<c_void>(); MOST_ARGS];
        let n_args = launch.args.len();
        for (i, arg) in launch.args.iter().enumerate() {
            // Of four bytes the first four of eight: both architectures that CUDA has are little-endian.
            values[i] = match *arg {
                Arg::At(x) | Arg::U64(x) => x,
                Arg::U32(x) => u64::from(x),
                Arg::F32(x) => u64::from(x.to_bits()),
            };
            pointers[i] = ptr::from_mut(&mut values[i]).cast();
        }
        let [x, y, z] = launch.grid;
        // SAFETY: the arguments are those of the kernel's signature, and the driver copies them before
        // it returns; that addresses hold what the kernel reads is what ops are tested for.
        let launched = unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (launch.threads, 1, 1),
                launch.shared,
                self.stream.raw,
                &mut pointers[..n_args],
            )
        };
        let Launch {
            kernel,
            threads,
            shared,
            ..
        } = launch;
        launched.or_else(|error| {
            let doing = format!(
                "launching {kernel} in {x}×{y}×{z} blocks of {threads} threads with {shared} bytes"
            );
            self.stream.done(&doing, Err(error))
        })
    }

    fn function(&self, launch: &Launch) -> Result<sys::CUfunction> {
        let Launch {
            kernel: name,
            shared,
            ..
        } = *launch;
        self.signatures.check(launch)?;
        if launch.args.len() > MOST_ARGS {
            return Err(Error::failed(
                format!("kernel {name}"),
                format!("takes more than {MOST_ARGS} arguments"),
                "raise MOST_ARGS in src/device/cuda/kernels.rs",
            ));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = match known.get_mut(name) {
            Some(kernel) => kernel,
            None => known.entry(name).or_insert(self.find(name)?),
        };
        if shared > SHARED_BYTES.max(kernel.shared) {
            use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
            let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
            // SAFETY: the function is one of the module's.
            let set = unsafe { function::set_function_attribute(kernel.function, MOST, bytes) };
            self.stream.done(
                &format!("giving {name} {shared} bytes of shared memory"),
                set,
            )?;
            kernel.shared = shared;
        }
        Ok(kernel.function)
    }

    fn find(&self, name: &str) -> Result<Kernel> {
        let text = CString::new(name).map_err(|_| {
            Error::failed(
                format!("kernel {name:?}"),
                "has a zero in its name",
                "rename it",
            )
        })?;
        // SAFETY: the module is held by `self`.
        let found = unsafe { result::module::get_function(self.module, text) };
        Ok(Kernel {
            function: self.stream.done(&format!("looking for {name}"), found)?,
            shared: 0,
        })
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.stream.wait().is_ok() {
            // SAFETY: nothing of the module runs any more.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}
