//! A driver's errors in the words of this crate.

use crate::error::{Error, Kind};
use cudarc::{
    cublaslt::result::CublasError,
    driver::{result::DriverError, sys::CUresult},
};
use std::{borrow::Cow, ffi::CStr};

/// What went wrong on device `index` while `doing` something. Once a kernel has failed or a device has
/// gone, every later call ends here with the same error.
pub fn driver(index: usize, doing: &str, error: DriverError) -> Error {
    let problem = format!(
        "{} while {doing}: {}",
        text(error.error_name()),
        text(error.error_string())
    );
    let (kind, remedy) = remedy(error.0);
    Error::new(kind, format!("cuda:{index}"), problem, remedy)
}

fn text(found: Result<&CStr, DriverError>) -> Cow<'_, str> {
    found.map_or("an unknown error".into(), CStr::to_string_lossy)
}

fn remedy(error: CUresult) -> (Kind, &'static str) {
    use CUresult as R;
    match error {
        R::CUDA_ERROR_OUT_OF_MEMORY => (Kind::Memory, MEMORY),
        R::CUDA_ERROR_ILLEGAL_ADDRESS
        | R::CUDA_ERROR_MISALIGNED_ADDRESS
        | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | R::CUDA_ERROR_INVALID_PC
        | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | R::CUDA_ERROR_HARDWARE_STACK_ERROR
        | R::CUDA_ERROR_LAUNCH_FAILED
        | R::CUDA_ERROR_ASSERT => (
            Kind::Failed,
            "a kernel is wrong: report this with what `compute-sanitizer` says of the same command, which goes on from its last checkpoint",
        ),
        R::CUDA_ERROR_ECC_UNCORRECTABLE
        | R::CUDA_ERROR_CONTAINED
        | R::CUDA_ERROR_NVLINK_UNCORRECTABLE => (
            Kind::Failed,
            "the device's memory failed: look at `nvidia-smi -q -d ECC`; the same command goes on from its last checkpoint, on another device too",
        ),
        R::CUDA_ERROR_NO_BINARY_FOR_GPU
        | R::CUDA_ERROR_INVALID_IMAGE
        | R::CUDA_ERROR_INVALID_PTX
        | R::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => (
            Kind::Failed,
            "the driver does not know what this binary's kernels were compiled to: update it, or build with an older CUDA toolkit",
        ),
        _ => (
            Kind::Failed,
            "see whether `nvidia-smi` still finds the device; the same command goes on from its last checkpoint",
        ),
    }
}

/// What helps when a device's memory is full.
pub const MEMORY: &str =
    "train fewer runs at once (--pack), or a smaller batch.rows_per_pass or model";

/// What cuBLASLt refused.
pub fn products(index: usize, doing: &str, error: CublasError) -> Error {
    Error::failed(
        format!("cuda:{index}"),
        format!("cuBLASLt: {error} while {doing}"),
        "see whether `windtunnel doctor --device cuda` passes; the same command goes on from its last checkpoint",
    )
}
