//! Tensors of a model's folder: one `model.safetensors`, or shards that an index names.
//!
//! Files are read one tensor at a time, so that a model needs its own size in memory and not its
//! file's beside it.

use crate::{
    error::{Error, Result},
    files,
};
use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub shape: Vec<usize>,
    dtype: Dtype,
    file: PathBuf,
    /// Of its first byte in the file.
    start: u64,
    n_bytes: usize,
}

/// The files of the weights and, by name, their tensors.
#[derive(Debug)]
pub struct Weights {
    pub files: Vec<PathBuf>,
    pub tensors: BTreeMap<String, Stored>,
}

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const INCOMPLETE: &str = "copy or download the folder again";
/// As the `safetensors` crate limits it.
const MOST_HEADER_BYTES: u64 = 100_000_000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Looks into a folder's files; reads no weights. Errors when there are none in `safetensors`,
    /// or one is damaged or missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let whole = dir.join(WHOLE);
        if whole.is_file() {
            return Ok(Self {
                tensors: stored(&whole)?,
                files: vec![whole],
            });
        }
        let index = dir.join(INDEX);
        match index.is_file() {
            true => Self::shards(dir, &index),
            false => Err(no_weights(dir)),
        }
    }

    fn shards(dir: &Path, path: &Path) -> Result<Self> {
        let index: Index = files::read_json(path, INCOMPLETE)?;
        let wrong = |problem: String| Error::input(path.display().to_string(), problem, INCOMPLETE);
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
        for name in names {
            if name.contains(['/', '\\']) || !name.ends_with(".safetensors") {
                return Err(wrong(format!(
                    "\"{name}\" is no safetensors file beside it"
                )));
            }
            let file = dir.join(name);
            if !file.is_file() {
                return Err(wrong(format!(
                    "it names {name}, which is not in the folder"
                )));
            }
            for (tensor, place) in stored(&file)? {
                // What the index does not name is not part of the model.
                if index.weight_map.get(&tensor) == Some(name) {
                    tensors.insert(tensor, place);
                }
            }
            files.push(file);
        }
        let absent = |(tensor, _): &(&String, &String)| !tensors.contains_key(*tensor);
        match index.weight_map.iter().find(absent) {
            None => Ok(Self { files, tensors }),
            Some((tensor, file)) => Err(wrong(format!(
                "it says that {tensor} is in {file}, which has none"
            ))),
        }
    }
}

/// The tensors of one file. Errors when it is not `safetensors`, or was cut short.
fn stored(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let broken = |problem: String| {
        Error::input(
            path.display().to_string(),
            format!("not a whole safetensors file: {problem}"),
            INCOMPLETE,
        )
    };
    let io = |e| Error::io(path, "read", &e);
    let mut file = File::open(path).map_err(io)?;
    let n_bytes = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    if n_bytes < 8 {
        return Err(broken(format!("it has {n_bytes} bytes")));
    }
    file.read_exact(&mut length).map_err(io)?;
    let n_header = u64::from_le_bytes(length);
    if n_header > MOST_HEADER_BYTES.min(n_bytes - 8) {
        return Err(broken(format!(
            "its header would have {n_header} bytes, the file has {n_bytes}"
        )));
    }
    let mut header = vec![0; n_header as usize];
    file.read_exact(&mut header).map_err(io)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| broken(format!("its header: {e}")))?;
    let (found, wanted) = (n_bytes - 8 - n_header, metadata.data_len() as u64);
    if found != wanted {
        return Err(broken(format!(
            "its header says {wanted} bytes of tensors, it has {found}"
        )));
    }
    let place = |info: &safetensors::tensor::TensorInfo| Stored {
        shape: info.shape.clone(),
        dtype: info.dtype,
        file: path.into(),
        start: 8 + n_header + info.data_offsets.0 as u64,
        n_bytes: info.data_offsets.1 - info.data_offsets.0,
    };
    let tensors = metadata.tensors();
    Ok(tensors
        .iter()
        .map(|(name, info)| (name.clone(), place(info)))
        .collect())
}

fn no_weights(dir: &Path) -> Error {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    let place = dir.display().to_string();
    match pickled.into_iter().find(|name| dir.join(name).is_file()) {
        Some(name) => Error::input(
            place,
            format!("the weights are in {name}, a Python pickle, which can run any code"),
            "convert it where you trust it: in Python, with transformers, AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT, safe_serialization=True), then import OUT",
        ),
        None => Error::input(
            place,
            format!("the folder has neither {WHOLE} nor {INDEX}"),
            "give a folder as transformers' save_pretrained writes it",
        ),
    }
}

impl Stored {
    /// Its values in f32. Errors when they are of another kind than f32, f16 and bf16, or one is not
    /// a finite number; `name` is the tensor's.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let wrong = |problem: String, remedy: &str| {
            Error::input(self.file.display().to_string(), problem, remedy)
        };
        if ![Dtype::F32, Dtype::F16, Dtype::BF16].contains(&self.dtype) {
            return Err(wrong(
                format!("{name} is of the type {:?}", self.dtype),
                "save the model in float32, float16 or bfloat16",
            ));
        }
        let io = |e| Error::io(&self.file, "read", &e);
        let mut file = File::open(&self.file).map_err(io)?;
        file.seek(SeekFrom::Start(self.start)).map_err(io)?;
        let mut bytes = vec![0; self.n_bytes];
        file.read_exact(&mut bytes).map_err(io)?;
        let halves = bytes.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match self.dtype {
            Dtype::F32 => {
                let numbers = bytes.as_chunks::<4>().0.iter();
                numbers.map(|b| f32::from_le_bytes(*b)).collect()
            }
            Dtype::F16 => halves.map(|b| of_f16(u16::from_le_bytes(*b))).collect(),
            _ => halves.map(|b| of_bf16(u16::from_le_bytes(*b))).collect(),
        };
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(values),
            Some(at) => Err(wrong(
                format!("{name} holds {} at its number {at}", values[at]),
                "no text has a finite loss under such a model; use an earlier checkpoint of it",
            )),
        }
    }
}

/// The upper half of an f32.
fn of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction.
fn of_f16(bits: u16) -> f32 {
    let (exponent, fraction) = ((bits >> 10) & 31, bits & 1023);
    let size = match exponent {
        0 => f32::from(fraction) * 2f32.powi(-24),
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from(1024 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    match bits >> 15 {
        0 => size,
        _ => -size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against candle's conversion, every bit pattern.
    #[test]
    fn half_precision_numbers_are_what_candle_takes_them_for() {
        use candle_core::{DType, Device, Tensor};
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (dtype, ours) in [
            (DType::F16, of_f16 as fn(u16) -> f32),
            (DType::BF16, of_bf16),
        ] {
            let theirs = Tensor::from_raw_buffer(&bytes, dtype, &[1 << 16], &Device::Cpu).unwrap();
            let theirs = theirs
                .to_dtype(DType::F32)
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            for (bits, theirs) in (0..=u16::MAX).zip(theirs) {
                let ours = ours(bits);
                assert!(
                    ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                    "{bits:#06x}: {ours} {theirs}"
                );
            }
        }
    }
}
