//! The device halves of the ops, and training by them, on an emulated device against the CPU: values,
//! gradients of inputs and of parameters, steps and whole runs, in f32 and in bf16, for one lane and for
//! three.
//!
//! The emulated device runs the CUDA kernels themselves, thread by thread; see `tests/emulator`. With
//! `WINDTUNNEL_TEST_DEVICE=cuda:0`, and built with the `cuda` feature, the same tests run on a GPU.

#[path = "gpu/activation.rs"]
mod activation;
#[path = "gpu/attention.rs"]
mod attention;
#[path = "gpu/classifier.rs"]
mod classifier;
#[path = "gpu/compare.rs"]
mod compare;
#[path = "gpu/device.rs"]
mod device;
#[path = "gpu/dropout.rs"]
mod dropout;
#[path = "gpu/elementwise.rs"]
mod elementwise;
#[path = "gpu/embedding.rs"]
mod embedding;
#[path = "support/emulated/mod.rs"]
mod emulated;
#[path = "gpu/lanes.rs"]
mod lanes;
#[path = "gpu/linear.rs"]
mod linear;
#[path = "gpu/model.rs"]
mod model;
#[path = "gpu/muon.rs"]
mod muon;
#[path = "gpu/norm.rs"]
mod norm;
#[path = "gpu/rates.rs"]
mod rates;
#[path = "gpu/rotary.rs"]
mod rotary;
#[path = "gpu/step.rs"]
mod step;
#[path = "gpu/train.rs"]
mod train;
