//! The code that drives an NVIDIA device, against an emulated driver: `tests/emulator/driver.cpp` stands
//! in for libcuda and libcublasLt, runs our kernels on the CPU, and is as late and as strict as the real
//! ones may be. With `--features cuda` alone.
#![cfg(feature = "cuda")]

#[path = "driver/commands.rs"]
mod commands;
#[path = "driver/products.rs"]
mod products;

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use windtunnel::{
    device::{
        Backend, Compute, DeviceChoice, agreement,
        gpu::{Arg, Gpu, Launch, Slab},
    },
    digest,
    error::Kind,
};

/// The folder with the emulated driver, compiled when it or a kernel has changed.
pub fn driver() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = ["src/ops/cuda", "tests/emulator"].map(|folder| root.join(folder));
        let mut files: Vec<PathBuf> = sources
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension() != Some(OsStr::new("rs")))
            .collect();
        files.sort();
        // This file says how they are compiled.
        let mut bytes = include_bytes!("driver.rs").to_vec();
        for file in &files {
            bytes.extend(fs::read(file).unwrap());
        }
        let digest = &digest::sha256(&bytes)[..16];
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tmp.join(format!("driver-{digest}"));
        if !folder.exists() {
            // Moved there when it is whole: tests of several processes may do this at once.
            let building = tempfile::tempdir_in(tmp).unwrap();
            let library = building.path().join("libcuda.so.1");
            let cxx = env::var("CXX").unwrap_or_else(|_| "c++".into());
            let mut compiler = Command::new(&cxx);
            compiler.args([
                "-std=c++17",
                "-O2",
                "-g1",
                "-fPIC",
                "-shared",
                "-Wno-unknown-pragmas",
            ]);
            compiler.args([
                "-ffp-contract=off",
                "-fno-strict-aliasing",
                "-DWINDTUNNEL_EMULATED",
            ]);
            compiler.arg("-o").arg(&library);
            compiler.arg(root.join("tests/emulator/driver.cpp"));
            compiler.args(
                sources
                    .iter()
                    .flat_map(|folder| [OsStr::new("-I"), folder.as_os_str()]),
            );
            run(compiler.args(["-Wl,-soname,libcuda.so.1", "-ldl", "-lpthread"]));
            // The same under its other name.
            let mut compiler = Command::new(&cxx);
            compiler.args(["-shared", "-Wl,-soname,libcublasLt.so.13", "-o"]);
            compiler.arg(building.path().join("libcublasLt.so.13"));
            compiler
                .args(["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN"])
                .arg(&library);
            run(&mut compiler);
            let _ = fs::rename(building.keep(), &folder);
        }
        folder
    })
}

fn run(compiler: &mut Command) {
    let status = compiler.status();
    let status = status.expect("a C++ compiler: install g++, or name one in CXX");
    assert!(status.success(), "{compiler:?}");
}

/// The device, of which there is one in this process: tests take turns.
fn device() -> (Arc<dyn Gpu>, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    static DEVICE: OnceLock<Arc<dyn Gpu>> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = DEVICE.get_or_init(|| {
        // SAFETY: while this test holds its turn nothing in this process reads the environment but
        // through std, which has a lock.
        unsafe { env::set_var("CUDA_LIB_DIRS", driver()) };
        match Compute::open(DeviceChoice::Cuda(0), 1).unwrap().backend {
            Backend::Gpu(gpu) => gpu,
            _ => panic!("not a GPU"),
        }
    });
    (gpu.clone(), turn)
}

fn floats(gpu: &Arc<dyn Gpu>, values: &[f32]) -> Slab {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let slab = Slab::new(gpu, bytes.len()).unwrap();
    gpu.upload(slab.at(), &bytes).unwrap();
    slab
}

fn read(gpu: &Arc<dyn Gpu>, slab: &Slab) -> Vec<f32> {
    let mut bytes = vec![0; slab.bytes()];
    gpu.download(slab.at(), &mut bytes).unwrap();
    let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks(4).map(float).collect()
}

/// Adds a bias of one column to a column, in place.
fn add(gpu: &Arc<dyn Gpu>, to: &Slab, bias: &Slab) -> windtunnel::error::Result<()> {
    let rows = (to.bytes() / 4) as u32;
    gpu.launch(Launch {
        kernel: "epilogue_f32",
        grid: [1, rows, 1],
        threads: 256,
        shared: 0,
        args: &[
            Arg::At(to.at()),
            Arg::At(bias.at()),
            Arg::At(0),
            Arg::U32(0),
            Arg::U32(rows),
            Arg::U32(1),
            Arg::U64(1),
            Arg::U64(0),
            Arg::U64(0),
        ],
    })
}

#[test]
fn kernels_and_products_are_the_host_s() {
    let (gpu, _turn) = device();
    for found in agreement::check(&gpu).unwrap() {
        assert!(found.holds(), "{found:?}");
    }
    assert!(gpu.class().starts_with("cuda-sm_90x4-nvcc"));
    assert!(gpu.class().ends_with("-lt130000"));
}

/// The ring of pinned memory is 32 MiB: these are several rounds of it.
#[test]
fn host_bytes_may_change_as_soon_as_an_upload_returns() {
    let (gpu, _turn) = device();
    let large = Slab::new(&gpu, (100 << 20) + 3).unwrap();
    let mut bytes: Vec<u8> = (0..large.bytes()).map(|i| (i % 251) as u8).collect();
    gpu.upload(large.at(), &bytes).unwrap();
    let small: Vec<Slab> = (0..1000).map(|_| Slab::new(&gpu, 300).unwrap()).collect();
    let mut text = [0_u8; 300];
    for (i, slab) in small.iter().enumerate() {
        text.fill((i % 256) as u8);
        gpu.upload(slab.at(), &text).unwrap();
    }
    bytes.fill(0);
    text.fill(0);
    gpu.download(large.at(), &mut bytes).unwrap();
    assert!(bytes.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
    for (i, slab) in small.iter().enumerate() {
        gpu.download(slab.at(), &mut text).unwrap();
        assert_eq!(text, [(i % 256) as u8; 300]);
    }
}

#[test]
fn memory_that_is_not_there_is_an_error_that_says_how_much_and_the_device_goes_on() {
    let (gpu, _turn) = device();
    let (free, all) = gpu.memory().unwrap();
    assert!(free <= all);
    let error = gpu.alloc(all as usize + 1).unwrap_err();
    assert_eq!((error.kind, error.exit_code()), (Kind::Memory, 4));
    assert_eq!(error.place, "cuda:0");
    assert!(
        error
            .problem
            .contains("no memory for 268435457 bytes (0.25 GiB)")
    );
    let slab = floats(&gpu, &[1.0, 2.0]);
    assert_eq!(read(&gpu, &slab), [1.0, 2.0]);
    // What is given back can be had again.
    let most = gpu.memory().unwrap().0 as usize;
    for _ in 0..3 {
        drop(Slab::new(&gpu, most).unwrap());
    }
}

#[test]
fn memory_is_cleared_and_copied_in_order() {
    let (gpu, _turn) = device();
    let (x, y) = (floats(&gpu, &[1.0, 2.0, 3.0]), floats(&gpu, &[7.0; 3]));
    gpu.copy(x.at(), y.at() + 4, 8).unwrap();
    gpu.zero(x.at(), 8).unwrap();
    gpu.zero(x.at(), 0).unwrap();
    gpu.copy(x.at(), y.at(), 0).unwrap();
    assert_eq!(read(&gpu, &x), [0.0, 0.0, 3.0]);
    assert_eq!(read(&gpu, &y), [7.0, 1.0, 2.0]);
}

#[test]
fn a_graph_does_again_what_was_captured() {
    let (gpu, _turn) = device();
    let (x, one) = (floats(&gpu, &[0.0; 5]), floats(&gpu, &[1.0]));
    add(&gpu, &x, &one).unwrap();
    gpu.begin_capture().unwrap();
    add(&gpu, &x, &one).unwrap();
    add(&gpu, &x, &one).unwrap();
    let graph = gpu.end_capture().unwrap();
    // Captured, not done.
    assert_eq!(read(&gpu, &x), [1.0; 5]);
    graph.replay().unwrap();
    gpu.upload(one.at(), &10_f32.to_le_bytes()).unwrap();
    graph.replay().unwrap();
    assert_eq!(read(&gpu, &x), [23.0; 5]);
}

#[test]
fn a_capture_holds_no_allocation_and_no_transfer_and_what_is_freed_meanwhile_is_freed_after() {
    let (gpu, _turn) = device();
    let (x, one) = (floats(&gpu, &[0.0]), floats(&gpu, &[1.0]));
    let loose = floats(&gpu, &[5.0]);
    let free = gpu.memory().unwrap().0;
    gpu.begin_capture().unwrap();
    let refused = [
        gpu.alloc(16).map(|_| ()),
        gpu.upload(x.at(), &[0; 4]),
        gpu.download(x.at(), &mut [0; 4]),
        gpu.wait(),
        gpu.begin_capture(),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert!(
            error.problem.ends_with("while a graph is captured"),
            "{error}"
        );
    }
    drop(loose);
    add(&gpu, &x, &one).unwrap();
    // None of that made the capture void.
    gpu.end_capture().unwrap().replay().unwrap();
    assert_eq!(read(&gpu, &x), [1.0]);
    assert_eq!(gpu.memory().unwrap().0, free + 4);
}

#[test]
fn nobody_else_s_work_becomes_part_of_a_graph() {
    let (gpu, _turn) = device();
    let (x, y, one) = (
        floats(&gpu, &[0.0]),
        floats(&gpu, &[0.0]),
        floats(&gpu, &[1.0]),
    );
    gpu.begin_capture().unwrap();
    add(&gpu, &x, &one).unwrap();
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| add(&gpu, &y, &one)).join().unwrap());
    let graph = gpu.end_capture().unwrap();
    let problem = elsewhere.unwrap_err().problem;
    assert!(
        problem.ends_with("while another thread captures a graph"),
        "{problem}"
    );
    add(&gpu, &y, &one).unwrap();
    graph.replay().unwrap();
    assert_eq!((read(&gpu, &x), read(&gpu, &y)), (vec![1.0], vec![1.0]));
}

#[test]
fn a_launch_that_does_not_fit_its_kernel_never_reaches_the_device() {
    let (gpu, _turn) = device();
    let launch = |kernel, args: &[Arg]| {
        let grid = [1, 1, 1];
        gpu.launch(Launch {
            kernel,
            grid,
            threads: 256,
            shared: 0,
            args,
        })
    };
    let error = launch("epilogue_f32", &[Arg::U32(3)]).unwrap_err();
    assert!(error.problem.contains("is given [U32]"), "{error}");
    let error = launch("no_such_kernel", &[]).unwrap_err();
    assert_eq!(error.place, "kernel no_such_kernel");
}
