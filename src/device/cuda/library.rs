//! Finds CUDA's shared libraries before anything is called, since what opens them at the first call
//! ends the program when they are missing.

use crate::error::{Error, Result};
use std::{env, ffi::CString, path::Path};

/// Where they lie on machines whose loader was not told.
const FOLDERS: [&str; 4] = [
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
];

/// Opens the driver and cuBLASLt for good. Errors for the one that is not there.
pub fn open_all(index: usize) -> Result<()> {
    let missing = |problem: String, remedy: &str| {
        Error::input(format!("--device cuda:{index}"), problem, remedy)
    };
    if !open("cuda") {
        return Err(missing(
            "no NVIDIA driver is on this machine (libcuda.so.1)".into(),
            "install the driver, or use --device cpu",
        ));
    }
    if !open("cublasLt") {
        return Err(missing(
            "there is a driver, but no cuBLASLt of CUDA 12 or 13 (libcublasLt.so)".into(),
            "install CUDA's libraries, or name the folder that has them: CUDA_LIB_DIRS=/path (of Python's: site-packages/nvidia/cu13/lib)",
        ));
    }
    Ok(())
}

/// Whether a library can be opened by its name from now on: one in the folders of `CUDA_LIB_DIRS`, one
/// that the loader finds, or one in the usual folders. What is open already the loader knows by the name
/// that the library gives itself, whatever its folder.
fn open(name: &str) -> bool {
    let files = cudarc::get_lib_name_candidates(name);
    let by_name = || files.iter().any(|file| open_file(Path::new(file)));
    let in_folder = |folder: &Path| files.iter().any(|file| open_file(&folder.join(file)));
    let named = env::var_os("CUDA_LIB_DIRS").unwrap_or_default();
    let mut named = env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty());
    named.any(|folder| in_folder(&folder));
    by_name() || FOLDERS.iter().any(|folder| in_folder(Path::new(folder))) && by_name()
}

fn open_file(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    // SAFETY: the path is a string that ends in a zero; opening a library runs its initialisers, which
    // NVIDIA's libraries are made for. The handle is kept until the program ends.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
    !handle.is_null()
}
