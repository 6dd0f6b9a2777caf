//! `windtunnel doctor`: what this machine has, and whether training works on it.

use super::{Global, output::Output};
use crate::{
    device::{Backend, CUDA_COMPILED, Compute, Machine, Precision, agreement, gpu::Gpu},
    error::{Error, Result},
    model::{Gpt, GptConfig},
    ops::grad_norm::grad_norm,
    optim::{Optimizer, OptimizerConfig},
    params::Params,
    pool::Pool,
    tape::{Mode, Tape},
};
use serde::Serialize;
use std::{fs, sync::Arc, time::Instant};

#[derive(clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Diagnosis {
    version: &'static str,
    revision: &'static str,
    numerics: &'static str,
    machine: Machine,
    device: String,
    cuda_compiled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<Found>,
    home: String,
    checks: Vec<Check>,
}

/// A GPU.
#[derive(Serialize)]
struct Found {
    name: String,
    driver: Option<String>,
    multiprocessors: u32,
    memory_bytes: u64,
    available_bytes: u64,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

pub fn run(global: &Global, _: Args, output: Output) -> Result<()> {
    let compute = global.compute(output)?;
    let mut checks = vec![home_is_writable(global)];
    let mut gpu = None;
    if let Backend::Gpu(found) = &compute.backend {
        gpu = Some(Found::look(found.as_ref())?);
        checks.extend(agreement::check(found)?.into_iter().map(Check::from));
    }
    checks.push(fused_equals_composed(&compute)?);
    checks.push(a_step_lowers_the_loss(&compute)?);
    checks.push(speed(&compute)?);
    let diagnosis = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("WINDTUNNEL_REVISION"),
        numerics: env!("WINDTUNNEL_NUMERICS"),
        machine: Machine::read(),
        device: compute.class.class.clone(),
        cuda_compiled: CUDA_COMPILED,
        gpu,
        home: global.home.display().to_string(),
        checks,
    };
    let failed = diagnosis.checks.iter().find(|check| !check.ok);
    output.result(
        "windtunnel.doctor.v1",
        &diagnosis,
        &text(&diagnosis, &compute),
    );
    match failed {
        None => Ok(()),
        Some(check) => Err(Error::failed(
            "doctor",
            format!("{}: {}", check.name, check.detail),
            remedy(check.name),
        )),
    }
}

impl Found {
    fn look(gpu: &dyn Gpu) -> Result<Self> {
        let (available_bytes, memory_bytes) = gpu.memory()?;
        Ok(Self {
            name: gpu.name(),
            driver: gpu.driver(),
            multiprocessors: gpu.multiprocessors(),
            memory_bytes,
            available_bytes,
        })
    }
}

impl From<agreement::Agreement> for Check {
    fn from(agreement: agreement::Agreement) -> Self {
        let agreement::Agreement { what, error, bound } = agreement;
        Self {
            name: what,
            ok: agreement.holds(),
            detail: format!("as on the host to {error:.1e}, of {bound:.1e} allowed"),
        }
    }
}

fn remedy(check: &str) -> &'static str {
    match check {
        "home is writable" => "choose another folder with --home",
        _ => "report this with the output of `windtunnel doctor --json`",
    }
}

fn text(d: &Diagnosis, compute: &Compute) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let mut text = format!(
        "windtunnel {} (revision {}, numerics {})\n\
         machine   {}, {} cores, {}, {:.1} of {:.1} GiB memory free\n\
         device    {} with {} threads, {}\n\
         cuda      {}\n\
         home      {}\n",
        d.version,
        d.revision,
        d.numerics,
        d.machine.cpu,
        d.machine.cores,
        d.machine.instruction_set,
        gib(d.machine.available_bytes),
        gib(d.machine.memory_bytes),
        d.device,
        compute.class.threads,
        compute.class.dtype,
        if d.cuda_compiled {
            "compiled in"
        } else {
            "not compiled in (--features cuda)"
        },
        d.home,
    );
    if let Some(gpu) = &d.gpu {
        text += &format!(
            "gpu       {}, {} multiprocessors, {:.1} of {:.1} GiB memory free, {}\n",
            gpu.name,
            gpu.multiprocessors,
            gib(gpu.available_bytes),
            gib(gpu.memory_bytes),
            gpu.driver.as_deref().unwrap_or("no driver")
        );
    }
    for check in &d.checks {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        text += &format!("{mark}      {}: {}\n", check.name, check.detail);
    }
    text
}

fn home_is_writable(global: &Global) -> Check {
    let probe = global.home.join(".doctor");
    let existed = global.home.exists();
    let result = fs::create_dir_all(&global.home)
        .and_then(|()| fs::write(&probe, b"ok"))
        .and_then(|()| fs::remove_file(&probe));
    if !existed {
        // Looking must leave no trace.
        let _ = fs::remove_dir(&global.home);
    }
    Check {
        name: "home is writable",
        ok: result.is_ok(),
        detail: result.map_or_else(|e| e.to_string(), |()| "yes".into()),
    }
}

/// A small model in training, with its fixed batch.
struct Small {
    gpt: Gpt,
    tape: Tape<f32>,
    on_device: bool,
    tokens: Arc<[u32]>,
    targets: Vec<u32>,
    t: usize,
}

impl Small {
    /// Errors when a device has no memory for it.
    fn new(config: &GptConfig, rows: usize, compute: &Compute) -> Result<Self> {
        let vocab = 65;
        let (gpt, specs) = Gpt::new(config, vocab);
        let mut params = Params::new(1, specs);
        params.init(0, 1);
        let t = config.block_size;
        let ids: Vec<u32> = (0..rows * t + 1).map(|i| (i * i % vocab) as u32).collect();
        let tape = match &compute.backend {
            Backend::Gpu(gpu) => Tape::on_device(params, gpu, compute.precision)?,
            backend => {
                let pool = Arc::new(Pool::new(compute.class.threads));
                Tape::new(params, backend.clone(), pool)
            }
        };
        Ok(Self {
            gpt,
            tape,
            on_device: matches!(compute.backend, Backend::Gpu(_)),
            tokens: ids[..rows * t].into(),
            targets: ids[1..].to_vec(),
            t,
        })
    }

    /// The loss, with gradients made.
    fn loss(&mut self) -> Result<f64> {
        self.tape.zero_grads()?;
        self.tape.begin(Mode::Train);
        let batch = (&self.tokens, &*self.targets);
        let loss = self
            .gpt
            .loss(&mut self.tape, batch, self.t, self.targets.len() as f64)?[0];
        self.tape.backward()?;
        Ok(loss)
    }

    /// The loss and the norm of its gradient, which the host's arena has from then on.
    fn loss_and_norm(&mut self) -> Result<(f64, f64)> {
        let loss = self.loss()?;
        if self.on_device {
            self.tape.download_grads()?;
        }
        Ok((loss, grad_norm(&self.tape.params, &Pool::new(1))[0]))
    }
}

fn fused_equals_composed(compute: &Compute) -> Result<Check> {
    let config = GptConfig {
        n_embd: 32,
        n_layer: 2,
        ..Default::default()
    };
    let by_candle = Compute {
        backend: match &compute.backend {
            Backend::Fused | Backend::Gpu(_) => Backend::Composed(candle_core::Device::Cpu),
            composed => composed.clone(),
        },
        ..compute.clone()
    };
    let fused = Small::new(&config, 2, compute)?.loss_and_norm()?;
    let composed = Small::new(&config, 2, &by_candle)?.loss_and_norm()?;
    let off = |a: f64, b: f64| ((a - b) / b).abs();
    let error = off(fused.0, composed.0).max(off(fused.1, composed.1));
    let bound = match compute.precision {
        Precision::F32 => 1e-4,
        // Of activations that are rounded to 8 or 11 bits.
        Precision::Tf32 | Precision::Bf16 => 2e-2,
    };
    Ok(Check {
        name: "fused ops agree with candle's",
        ok: error < bound,
        detail: format!("loss and gradient norm to {error:.1e}"),
    })
}

fn a_step_lowers_the_loss(compute: &Compute) -> Result<Check> {
    let mut model = Small::new(&GptConfig::default(), 4, compute)?;
    let config = OptimizerConfig::default();
    let mut adamw = Optimizer::new(&model.tape.params, &config);
    let pool = Pool::new(1);
    let (first, mut norm) = model.loss_and_norm()?;
    let mut last = first;
    for step in 1..=5 {
        adamw.step((&mut model.tape.params, 0), (step, 1e-3), norm, &pool);
        if model.on_device {
            model.tape.upload_values()?;
        }
        (last, norm) = model.loss_and_norm()?;
    }
    Ok(Check {
        name: "five steps lower the loss",
        ok: last < first,
        detail: format!("{first:.3} to {last:.3} nats"),
    })
}

fn speed(compute: &Compute) -> Result<Check> {
    let config = GptConfig::default();
    let mut model = Small::new(&config, 12, compute)?;
    model.loss()?;
    let started = Instant::now();
    let mut passes = 0;
    while passes < 3 || started.elapsed().as_millis() < 500 {
        model.loss()?;
        passes += 1;
    }
    let tokens = (passes * model.targets.len()) as f64 / started.elapsed().as_secs_f64();
    Ok(Check {
        name: "speed",
        ok: tokens > 0.0,
        detail: format!(
            "{tokens:.0} tokens/s forward and backward, 4 layers of width 128 ({:.1} GFLOP/s)",
            tokens * config.flops_per_token(65) / 1e9
        ),
    })
}
