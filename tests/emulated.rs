//! The emulated GPU itself: that it computes what a GPU computes, and that it finds the mistakes that a
//! GPU passes over in silence. What ops do with it is in other tests.

#[path = "emulator/device.rs"]
mod device;
#[path = "support/emulated/mod.rs"]
mod emulated;
#[path = "emulator/faults.rs"]
mod faults;
#[path = "emulator/products.rs"]
mod products;
#[path = "emulator/tensor.rs"]
mod tensor;
#[path = "emulator/threads.rs"]
mod threads;

use emulated::{Emulated, library::Library};
use std::sync::OnceLock;
use windtunnel::{
    device::gpu::{Arg, Gpu, Launch, Slab},
    error::Result,
    rng::Rng,
};

/// A device with the kernels of `selftest.cu`.
fn gpu() -> Emulated {
    static KERNELS: OnceLock<Library> = OnceLock::new();
    Emulated::with(KERNELS.get_or_init(|| Library::of("tests/emulator/selftest.cu")))
}

/// Launches one block without dynamic shared memory.
fn one_block(gpu: &Emulated, kernel: &'static str, threads: u32, args: &[Arg]) -> Result<()> {
    gpu.launch(Launch {
        kernel,
        grid: [1, 1, 1],
        threads,
        shared: 0,
        args,
    })
}

/// What went wrong in such a launch.
fn fault(gpu: &Emulated, kernel: &'static str, threads: u32, args: &[Arg]) -> String {
    one_block(gpu, kernel, threads, args).unwrap_err().problem
}

fn at(slab: &Slab) -> Arg {
    Arg::At(slab.at())
}

/// Room for `n` numbers of f32.
fn room(gpu: &Emulated, n: usize) -> Slab {
    Slab::new(&gpu.device(), 4 * n).unwrap()
}

fn random(name: &str, n: usize) -> Vec<f32> {
    let mut rng = Rng::named(8, name);
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// Whole numbers that bf16 holds, so that their products' sums are exact in f32.
fn whole(name: &str, n: usize) -> Vec<f32> {
    let mut rng = Rng::named(8, name);
    (0..n).map(|_| rng.below(17) as f32 - 8.0).collect()
}

fn words(gpu: &Emulated, slab: &Slab) -> Vec<u32> {
    let mut bytes = vec![0; slab.bytes()];
    gpu.download(slab.at(), &mut bytes).unwrap();
    let words = bytes.chunks_exact(4);
    words
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
