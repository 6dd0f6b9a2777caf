//! Where a run computes: the CPU with some threads, or one CUDA device.
//!
//! With `ops/`, the only place that asks whether the `cuda` feature is on.

pub mod agreement;
#[cfg(any(test, feature = "cuda"))]
mod column_major;
#[cfg(feature = "cuda")]
mod cuda;
pub mod dry;
pub mod gpu;
pub mod signatures;
#[cfg(any(test, feature = "cuda"))]
mod staging;

use crate::{
    error::{Error, Result},
    real::instruction_set,
};
use candle_core::Device;
use gpu::Gpu;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What `--device` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, else the CPU.
    #[default]
    Auto,
    Cpu,
    Cuda(usize),
}

impl DeviceChoice {
    /// As it is parsed.
    pub fn name(self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::Cpu => "cpu".into(),
            Self::Cuda(idx) => format!("cuda:{idx}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) => index
                .parse()
                .map(Self::Cuda)
                .map_err(|_| format!("\"{index}\" is not the number of a device")),
            _ => Err("choose auto, cpu, cuda or cuda:N".into()),
        }
    }
}

/// In what the products of linear layers and attention read their inputs. Weights, their gradients
/// and all sums are f32; so are activations, except for [`Precision::Bf16`] on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    F32,
    /// May be rounded to TF32's 11 bits of significand by the tensor cores of a GPU, which are the only
    /// ones that do.
    Tf32,
    /// Rounded to bf16's 8 bits of mantissa, to nearest, ties to even. On a GPU activations and
    /// their gradients are kept so, too.
    Bf16,
}

impl Precision {
    /// Whether this processor multiplies such numbers by instructions of their own; where it does
    /// not, they are rounded first and multiplied in f32.
    pub fn is_native(self) -> bool {
        match self {
            Self::F32 | Self::Tf32 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Bf16 => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("choose f32, tf32 or bf16".into()),
        }
    }
}

/// Whether this binary can open CUDA devices.
pub const CUDA_COMPILED: bool = cfg!(feature = "cuda");

/// What decides the last bits of a result besides recipe, seed and data. A study never mixes two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceClass {
    /// "cpu-x86-64-v3", "cuda-sm_90x132-nvcc13.0-lt13.1.0" …
    pub class: String,
    pub dtype: String,
    /// Threads that share one trial's work.
    pub threads: usize,
}

/// What computes.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Our own loops on the CPU.
    Fused,
    /// Our own kernels on a GPU.
    Gpu(Arc<dyn Gpu>),
    /// candle expressions, differentiated by candle: what tests hold the other two against.
    Composed(Device),
}

/// A device that was opened.
#[derive(Debug, Clone)]
pub struct Compute {
    pub backend: Backend,
    pub precision: Precision,
    pub class: DeviceClass,
    /// What to tell the user of the choice, when it needs words.
    pub note: Option<String>,
}

impl Compute {
    /// Opens what was asked for, with `threads` threads a trial on the CPU. Errors when a CUDA
    /// device is named and can't be had.
    pub fn open(choice: DeviceChoice, threads: usize) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::cpu(threads, None)),
            DeviceChoice::Cuda(index) => Ok(Self::gpu(open_cuda(index)?)),
            DeviceChoice::Auto if !CUDA_COMPILED => Ok(Self::cpu(threads, None)),
            DeviceChoice::Auto => Ok(match open_cuda(0) {
                Ok(gpu) => Self::gpu(gpu),
                Err(error) => Self::cpu(threads, Some(format!("using the CPU: {}", error.problem))),
            }),
        }
    }

    /// On a device that is open.
    pub fn gpu(gpu: Arc<dyn Gpu>) -> Self {
        Self {
            class: DeviceClass {
                class: gpu.class(),
                dtype: Precision::F32.name().into(),
                threads: 1,
            },
            backend: Backend::Gpu(gpu),
            precision: Precision::F32,
            note: None,
        }
    }

    /// The same device, whose products read their inputs in `precision`. Errors for what the device
    /// does not do.
    pub fn multiplying_in(mut self, precision: Precision) -> Result<Self> {
        if precision == self.precision {
            return Ok(self);
        }
        let refused = |problem: &str, remedy: &str| {
            let place = format!("--dtype {}", precision.name());
            Err(Error::input(place, problem, remedy))
        };
        match (&self.backend, precision) {
            (Backend::Composed(_), _) => {
                return refused("candle computes in f32 here", "use --dtype f32");
            }
            (Backend::Fused, Precision::Tf32) => {
                return refused(
                    "only a GPU multiplies in TF32, and this is the CPU",
                    "use --device cuda; or --dtype f32, or bf16",
                );
            }
            _ => {}
        }
        self.precision = precision;
        self.class.dtype = precision.name().into();
        if let Backend::Gpu(_) = self.backend {
            return Ok(self);
        }
        if precision.is_native() {
            // Its sums are rounded otherwise than those of the detour over f32.
            self.class.class = format!("{}-{}", self.class.class, precision.name());
        } else {
            self.note = Some(format!(
                "this processor has no {} instructions: inputs are rounded and multiplied in f32, which is slower than f32",
                precision.name()
            ));
        }
        Ok(self)
    }

    fn cpu(threads: usize, note: Option<String>) -> Self {
        Self {
            backend: Backend::Fused,
            precision: Precision::F32,
            class: DeviceClass {
                class: format!("cpu-{}", instruction_set()),
                dtype: "f32".into(),
                threads,
            },
            note,
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Arc<dyn Gpu>> {
    Ok(Arc::new(cuda::Cuda::open(index)?))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Arc<dyn Gpu>> {
    Err(Error::input(
        format!("--device cuda:{index}"),
        "this binary was built without CUDA",
        "build with `cargo build --release --features cuda`, or use --device cpu",
    ))
}

/// What this machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub instruction_set: String,
    /// Bytes of memory in all and free for use; 0 where the system does not say.
    pub memory_bytes: u64,
    pub available_bytes: u64,
    pub os: String,
}

impl Machine {
    pub fn read() -> Self {
        let field = |file: &str, name: &str| -> Option<String> {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let kib = |name: &str| -> u64 {
            let text = field("/proc/meminfo", name).unwrap_or_default();
            let number = text
                .split_whitespace()
                .next()
                .and_then(|n| n.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        Self {
            cpu: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: cores(),
            instruction_set: instruction_set().into(),
            memory_bytes: kib("MemTotal"),
            available_bytes: kib("MemAvailable"),
            os: std::env::consts::OS.into(),
        }
    }
}

/// Bytes that this process holds in memory at present, and the most that it ever held since the
/// last [`Resident::forget_peak`]; zeros where the system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resident {
    pub now: u64,
    pub peak: u64,
}

impl Resident {
    pub fn read() -> Self {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or(0) * 1024
        };
        Self {
            now: kib("VmRSS:"),
            peak: kib("VmHWM:"),
        }
    }

    /// Counts the peak anew from now on, for this process alone; [`peak_memory_bytes`] remembers
    /// the old one. Whether the system does that.
    pub fn forget_peak() -> bool {
        EARLIER_PEAK.fetch_max(Self::read().peak, Ordering::Relaxed);
        fs::write("/proc/self/clear_refs", "5").is_ok()
    }
}

/// Peaks that [`Resident::forget_peak`] forgot.
static EARLIER_PEAK: AtomicU64 = AtomicU64::new(0);

/// The most bytes that this process ever held in memory; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    // In this order: what is forgotten in between has been put among the earlier ones before.
    let peak = Resident::read().peak;
    peak.max(EARLIER_PEAK.load(Ordering::Relaxed))
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_choices_parse_and_others_are_refused() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
        assert!("gpu".parse::<DeviceChoice>().is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_is_what_was_held_at_once() {
        const BYTES: usize = 64 << 20;
        let held = std::hint::black_box(vec![1u8; BYTES]);
        let now = Resident::read().now;
        drop(held);
        assert!(now >= BYTES as u64);
        // The system counts a few pages late on each core.
        let late = BYTES as u64 / 16;
        assert!(peak_memory_bytes() + late >= now);
        assert!(Resident::forget_peak());
        // What was forgotten is not what the process held at most.
        assert!(peak_memory_bytes() + late >= now);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_the_feature_is_bad_input_and_auto_is_the_cpu() {
        let error = Compute::open(DeviceChoice::Cuda(0), 1)
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let auto = Compute::open(DeviceChoice::Auto, 3).unwrap();
        assert_eq!(auto.class.threads, 3);
        assert!(auto.class.class.starts_with("cpu-"));
    }

    #[test]
    fn tf32_on_the_cpu_is_bad_input_that_names_the_way_out() {
        let cpu = Compute::open(DeviceChoice::Cpu, 1).unwrap();
        let error = cpu.multiplying_in(Precision::Tf32).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.place, "--dtype tf32");
        assert!(error.remedy.contains("--device cuda"));
    }
}
