//! `windtunnel memory RECIPE`: what training takes of a GPU's memory, counted without one.

use super::{Global, output::Output};
use crate::{
    device::{Compute, DeviceChoice},
    error::{Error, Result},
    recipe::Recipe,
    session::Session,
    train::need::{Cut, Need, cut, most_lanes},
};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A recipe, a TOML file
    recipe: PathBuf,
    /// Changes to the recipe
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Memory of the GPU, in GiB
    #[arg(long, default_value_t = 80.0, value_name = "GIB")]
    gib: f64,
}

#[derive(Serialize)]
struct Memory {
    recipe: String,
    dtype: &'static str,
    device_bytes: u64,
    #[serde(flatten)]
    cut: Cut,
    alone: Need,
    /// How many runs fit as one program, in powers of 2, and what they take.
    pack: usize,
    packed: Need,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    if !(args.gib > 0.0 && args.gib <= 1e6) {
        return Err(Error::input(
            "--gib",
            format!("{} is no size of a memory", args.gib),
            "use more than 0, at most 1000000",
        ));
    }
    let (recipe, places) = Recipe::load(&args.recipe, &args.overrides)?;
    let cpu = Compute::open(DeviceChoice::Cpu, 1)?;
    let session = Session::new(&global.home, cpu).watched(super::ingest::bar(output));
    let trial = session.resolve(&recipe).map_err(|e| places.locate(e))?;
    let (run, dtype) = (&trial.run, global.dtype);
    let device_bytes = (args.gib * f64::from(1 << 30)) as u64;
    let cut = cut(run, dtype, device_bytes)?;
    let pack = most_lanes(run, dtype, cut, device_bytes)?;
    let memory = Memory {
        recipe: args.recipe.display().to_string(),
        dtype: dtype.name(),
        device_bytes,
        cut,
        alone: Need::of(run, 1, dtype, cut)?,
        pack,
        packed: Need::of(run, pack, dtype, cut)?,
    };
    let text = text(&memory, run.batch.rows);
    output.result("windtunnel.memory.v1", &memory, &text);
    Ok(())
}

fn text(m: &Memory, rows: usize) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let mut text = format!(
        "{} in {} on a GPU of {:.0} GiB: {} of {rows} sequences a pass{}\n\n{:<14}{:>10}",
        m.recipe,
        m.dtype,
        gib(m.device_bytes),
        m.cut.rows_per_pass,
        match m.cut.frugal {
            true => ", norms and activations computed twice",
            false => "",
        },
        "GiB",
        "one run",
    );
    let packed = |column: String| match m.pack {
        1 => "\n".to_string(),
        _ => format!("{column:>13}\n"),
    };
    text += &packed(format!("pack of {}", m.pack));
    let of = |need: &Need| [need.arenas, need.optimizer, need.activations, need.peak].map(gib);
    let rows = of(&m.alone).into_iter().zip(of(&m.packed));
    let names = ["weights", "optimizer", "activations", "peak"];
    for (name, (alone, of_pack)) in names.into_iter().zip(rows) {
        text += &format!("{name:<14}{alone:>10.3}");
        text += &packed(format!("{of_pack:.3}"));
    }
    text
}
