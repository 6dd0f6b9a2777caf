//! The program itself, with a driver that does as it is told.

use super::driver;
use std::{
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn windtunnel(libraries: &Path, told: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command.env("CUDA_LIB_DIRS", libraries).args(args);
    command
        .envs(told.iter().copied())
        .arg("--home")
        .arg(home.path());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn doctor_says_what_the_device_is_and_that_it_computes() {
    // With and without a library that does what follows a product.
    for told in [&[][..], &[("EMULATED_CUBLASLT_BARE", "1")]] {
        for dtype in ["f32", "tf32", "bf16"] {
            let args = ["doctor", "--device", "cuda", "--dtype", dtype];
            let (status, out, err) = windtunnel(driver(), told, &args);
            assert_eq!(status, 0, "{dtype}: {out}{err}");
            assert!(out.contains("emulated GPU, 4 multiprocessors"), "{out}");
            assert!(
                out.contains("CUDA 13.0, cuBLASLt 13.0.0, kernels by nvcc"),
                "{out}"
            );
            assert!(
                out.contains("ok        a product of bf16 with bias and GELU"),
                "{out}"
            );
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_bad_input_and_auto_is_the_cpu_and_says_so() {
    let told = [("EMULATED_CUDA_ABSENT", "1")];
    let (status, _, err) = windtunnel(driver(), &told, &["doctor", "--device", "cuda"]);
    assert_eq!(status, 2, "{err}");
    assert!(
        err.contains("--device cuda:0") && err.contains("CUDA_ERROR_NO_DEVICE"),
        "{err}"
    );
    let (status, _, err) = windtunnel(driver(), &[], &["doctor", "--device", "cuda:3"]);
    assert_eq!(status, 2, "{err}");
    assert!(
        err.contains("--device cuda:3") && err.contains("CUDA_ERROR_INVALID_DEVICE"),
        "{err}"
    );
    let (status, out, err) = windtunnel(driver(), &told, &["doctor"]);
    assert_eq!(status, 0, "{err}");
    assert!(
        out.contains("cpu-") && err.contains("using the CPU: no such device"),
        "{out}{err}"
    );
}

#[test]
fn a_device_that_fails_or_fills_ends_the_command_with_status_4_and_its_own_name_for_it() {
    for (launches, expected) in [("0", 4), ("7", 4), ("60", 4)] {
        let told = [("EMULATED_CUDA_LAUNCHES", launches)];
        let (status, _, err) = windtunnel(driver(), &told, &["doctor", "--device", "cuda"]);
        assert_eq!(status, expected, "{err}");
        assert!(
            err.contains("cuda:0: CUDA_ERROR_LAUNCH_FAILED while"),
            "{err}"
        );
        assert!(
            err.contains("compute-sanitizer") && !err.contains("panicked"),
            "{err}"
        );
    }
    // Enough for the workspace of products, and too little for a model.
    let told = [("EMULATED_CUDA_BYTES", "34000000")];
    let (status, _, err) = windtunnel(driver(), &told, &["doctor", "--device", "cuda"]);
    assert_eq!(status, 4, "{err}");
    assert!(
        err.contains("cuda:0: no memory for") && err.contains("GiB are free"),
        "{err}"
    );
}
