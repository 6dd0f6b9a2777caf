//! Checkpoints: parameters and moments in one `safetensors` file, with the step they belong to.
//!
//! A step number, parameters and moments are all that a run needs to go on bit for bit: batches,
//! rates and dropout masks are functions of the step.

use crate::{
    digest::sha256_pieces,
    error::{Error, Result},
    optim::Optimizer,
    params::{Params, Spec},
};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorInfo, TensorView},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// The `[checkpoint]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; the last step always has one. 0 saves at the end only.
    pub every: u64,
    /// How many of the newest to keep, at least 1.
    pub keep: usize,
    /// Keep the state at which a `wsd` schedule begins to cool down, for all runs that are the same
    /// up to there.
    pub trunk: bool,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 250,
            keep: 2,
            trunk: true,
        }
    }
}

/// What a checkpoint says of itself; `extra` is its owner's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header<E> {
    pub schema: String,
    /// Optimizer steps done.
    pub step: u64,
    /// SHA-256 of every tensor's name and bytes, in order of name.
    pub digest: String,
    #[serde(flatten)]
    pub extra: E,
}

const SCHEMA: &str = "windtunnel.checkpoint.v1";
/// The key of the header within safetensors' metadata.
const KEY: &str = "windtunnel";

/// The file of step `step` in `dir`.
pub fn path(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("step-{step:08}.safetensors"))
}

/// Steps that have a checkpoint in `dir`, ascending.
pub fn steps(dir: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut steps: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("step-")?
                .strip_suffix(".safetensors")?
                .parse()
                .ok()
        })
        .collect();
    steps.sort_unstable();
    steps
}

/// One variant's numbers in the arenas that hold them.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    pub params: &'a Params<f32>,
    pub optimizer: &'a Optimizer<f32>,
    pub k: usize,
}

/// Writes a variant, by rename, and removes all but the newest `keep`.
pub fn save<E: Serialize>(
    dir: &Path,
    (step, extra): (u64, &E),
    saved: Saved,
    keep: usize,
) -> Result<PathBuf> {
    let Saved {
        params,
        optimizer,
        k,
    } = saved;
    let mut tensors = Vec::new();
    for p in params.handles() {
        let spec = params.spec(p);
        let range = params.range(p, k);
        let mut arenas = vec![("", &params.values)];
        arenas.extend(optimizer.state(spec));
        for (prefix, arena) in arenas {
            let bytes = as_bytes(&arena[range.clone()]);
            let view = TensorView::new(Dtype::F32, spec.shape.clone(), bytes)
                .expect("a parameter's bytes fit its shape");
            tensors.push((format!("{prefix}{}", spec.name), view));
        }
    }
    let path = write(dir, (step, extra), tensors)?;
    let old = steps(dir);
    for step in &old[..old.len().saturating_sub(keep.max(1))] {
        let _ = fs::remove_file(self::path(dir, *step));
    }
    Ok(path)
}

/// Writes parameters alone, as one can evaluate and not train on: no moments.
pub fn save_weights<E: Serialize>(
    dir: &Path,
    (step, extra): (u64, &E),
    weights: &[(Spec, Vec<f32>)],
) -> Result<PathBuf> {
    let tensors = weights.iter().map(|(spec, values)| {
        let view = TensorView::new(Dtype::F32, spec.shape.clone(), as_bytes(values))
            .expect("a parameter's bytes fit its shape");
        (spec.name.clone(), view)
    });
    write(dir, (step, extra), tensors.collect())
}

fn write<E: Serialize>(
    dir: &Path,
    (step, extra): (u64, &E),
    mut tensors: Vec<(String, TensorView)>,
) -> Result<PathBuf> {
    fs::create_dir_all(dir).map_err(|e| Error::io(dir, "create the folder", &e))?;
    let header = Header {
        schema: SCHEMA.into(),
        step,
        digest: digest(&mut tensors),
        extra,
    };
    let header = serde_json::to_string(&header).expect("a header is plain data");
    let metadata = HashMap::from([(KEY.to_string(), header)]);
    let head = head(&tensors, metadata).map_err(|e| {
        Error::failed(
            dir.display().to_string(),
            e.to_string(),
            "report this as a bug",
        )
    })?;
    let path = path(dir, step);
    // From where they are: a copy of all of it would be the most that a run ever holds.
    let data = tensors.iter().map(|(_, view)| view.data());
    crate::files::replace_by_pieces(&path, [&head[..]].into_iter().chain(data))?;
    Ok(path)
}

/// What a safetensors file begins with: the length of its header, and its header, in whole eights.
fn head(
    tensors: &[(String, TensorView)],
    metadata: HashMap<String, String>,
) -> std::result::Result<Vec<u8>, safetensors::SafeTensorError> {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, view)| {
        let start = end;
        end += view.data().len();
        let info = TensorInfo {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            data_offsets: (start, end),
        };
        (name.clone(), info)
    });
    let metadata = Metadata::new(Some(metadata), infos.collect())?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut head = (header.len() as u64).to_le_bytes().to_vec();
    head.extend(header);
    Ok(head)
}

/// A checkpoint's bytes, read whole.
pub struct Checkpoint {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Checkpoint {
    /// Reads a file. Errors when there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, "read the checkpoint", &e))?;
        Ok(Self {
            path: path.into(),
            bytes,
        })
    }

    /// What it says of itself. Errors when the file is damaged or is not one of ours.
    pub fn header<E: DeserializeOwned>(&self) -> Result<Header<E>> {
        let (_, metadata) =
            SafeTensors::read_metadata(&self.bytes).map_err(|e| self.damaged(&e))?;
        let mut tensors = self.tensors()?.tensors();
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let text = text.ok_or_else(|| self.damaged(&"it has no windtunnel header"))?;
        let header: Header<E> = serde_json::from_str(text).map_err(|e| self.damaged(&e))?;
        match digest(&mut tensors) == header.digest {
            true => Ok(header),
            false => Err(self.damaged(&"digest mismatch: bytes of its tensors were changed")),
        }
    }

    /// Fills variant `k` of the arenas; `optimizer` may be left out to read the model alone. Errors
    /// when a tensor is missing or has another shape; then nothing was changed.
    pub fn load(
        &self,
        (params, k): (&mut Params<f32>, usize),
        mut optimizer: Option<&mut Optimizer<f32>>,
    ) -> Result<()> {
        let tensors = self.tensors()?;
        let handles: Vec<_> = params.handles().collect();
        for p in &handles {
            let spec = params.spec(*p);
            let state = optimizer.as_deref().map(|o| o.state(spec));
            let state = state.into_iter().flatten().map(|(prefix, _)| prefix);
            for prefix in [""].into_iter().chain(state) {
                self.fits(&tensors, &format!("{prefix}{}", spec.name), &spec.shape)?;
            }
        }
        let read = |name: &str, target: &mut [f32]| -> Result<()> {
            let view = tensors.tensor(name).map_err(|e| self.damaged(&e))?;
            for (target, bytes) in target.iter_mut().zip(view.data().as_chunks::<4>().0) {
                *target = f32::from_le_bytes(*bytes);
            }
            Ok(())
        };
        for p in handles {
            let (spec, range) = (params.spec(p).clone(), params.range(p, k));
            read(&spec.name, &mut params.values[range.clone()])?;
            let state = optimizer.as_deref_mut().map(|o| o.state_mut(&spec));
            for (prefix, arena) in state.into_iter().flatten() {
                read(&format!("{prefix}{}", spec.name), &mut arena[range.clone()])?;
            }
        }
        Ok(())
    }

    /// Fills variant 0 of the arenas from the weights' average, where the run kept one. Errors as
    /// [`Checkpoint::load`] does.
    pub fn load_average(&self, params: &mut Params<f32>) -> Result<()> {
        let tensors = self.tensors()?;
        let handles: Vec<_> = params.handles().collect();
        for p in handles {
            let (spec, range) = (params.spec(p).clone(), params.range(p, 0));
            let name = format!("ema.{}", spec.name);
            self.fits(&tensors, &name, &spec.shape)?;
            let view = tensors.tensor(&name).map_err(|e| self.damaged(&e))?;
            for (target, bytes) in params.values[range]
                .iter_mut()
                .zip(view.data().as_chunks::<4>().0)
            {
                *target = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }

    /// Errors unless the file has a tensor of this name and shape.
    fn fits(&self, tensors: &SafeTensors, name: &str, shape: &[usize]) -> Result<()> {
        let view = tensors.tensor(name).map_err(|e| self.damaged(&e))?;
        if view.shape() == shape && view.dtype() == Dtype::F32 {
            return Ok(());
        }
        let problem = format!(
            "{name} is {:?} of {:?}, the recipe wants F32 of {shape:?}",
            view.dtype(),
            view.shape(),
        );
        Err(self.error(&problem, "use the recipe that this checkpoint came from"))
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| self.damaged(&e))
    }

    fn damaged(&self, why: &dyn std::fmt::Display) -> Error {
        let problem = format!(
            "the checkpoint is damaged or cut short ({} bytes): {why}",
            self.bytes.len()
        );
        self.error(
            &problem,
            "delete this file; the run goes on from the one before it, or from the start",
        )
    }

    fn error(&self, problem: &str, remedy: &str) -> Error {
        Error::input(self.path.display().to_string(), problem, remedy)
    }
}

/// Puts the tensors in order of name, and digests them.
fn digest(tensors: &mut [(String, TensorView)]) -> String {
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let pieces = tensors.iter();
    sha256_pieces(pieces.flat_map(|(name, view)| [name.as_bytes(), view.data()]))
}

fn as_bytes(values: &[f32]) -> &[u8] {
    // SAFETY: every f32 is four initialised bytes. The file format is little-endian, as are the
    // processors that this crate runs on.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(not(target_endian = "little"))]
compile_error!("checkpoints are written as the processor holds them, in little-endian order");
