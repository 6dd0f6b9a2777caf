//! A run's weights, tokenizer and shape as a folder that `transformers` loads.

use super::{Layout, config, import::Origin, names, tokenizer};
use crate::{
    error::{Error, Result},
    files,
    model::GptConfig,
    params::Params,
    session::Restored,
};
use safetensors::{Dtype, tensor::View};
use std::{
    borrow::Cow,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// The layout that a model fits. Errors, naming every key that stands in the way, when there is none.
pub fn layout(m: &GptConfig) -> Result<Layout> {
    let fitting = Layout::ALL
        .into_iter()
        .find(|layout| layout.obstacles(m).is_empty());
    fitting.ok_or_else(|| {
        let against = |layout: &Layout| {
            format!(
                "{} has no {}",
                layout.name(),
                layout.obstacles(m).join(", ")
            )
        };
        let problem: Vec<String> = Layout::ALL.iter().map(against).collect();
        let needs = |layout: &Layout| format!("{}: {}", layout.name(), layout.needs());
        let remedy: Vec<String> = Layout::ALL.iter().map(needs).collect();
        Error::input(
            "[model]",
            format!("no layout says what this model is: {}", problem.join("; ")),
            format!("train one that a layout can say; {}", remedy.join("; ")),
        )
    })
}

/// Writes a model to the folder `out`, whole or not at all; gives its layout. Errors when no layout
/// fits, or there is something at `out`.
pub fn export(restored: &Restored, origin: Option<&Origin>, out: &Path) -> Result<Layout> {
    let run = restored.run();
    let layout = layout(&run.model)?;
    check_free(out)?;
    let beside = beside(out)?;
    fs::create_dir_all(&beside).map_err(|e| Error::io(&beside, "create the folder", &e))?;
    let special = origin.map(|origin| origin.special.clone());
    let write = || -> Result<()> {
        let config = config::write(
            layout,
            &run.model,
            run.vocab_size,
            &special.unwrap_or_default(),
        );
        files::write_json(&beside.join("config.json"), &config)?;
        let text = tokenizer::tokenizer_json(restored.tokenizer());
        files::replace(&beside.join("tokenizer.json"), text.as_bytes())?;
        files::write_json(
            &beside.join("tokenizer_config.json"),
            &tokenizer::tokenizer_config(run.model.block_size),
        )?;
        write_weights(
            (layout, &run.model, run.vocab_size),
            restored.params(),
            &beside.join("model.safetensors"),
        )?;
        fs::rename(&beside, out).map_err(|e| Error::io(out, "create the folder", &e))
    };
    write().inspect_err(|_| {
        // A half-made folder is of no use to anyone.
        let _ = fs::remove_dir_all(&beside);
    })?;
    Ok(layout)
}

/// Errors unless nothing, or an empty folder, is at `out`.
fn check_free(out: &Path) -> Result<()> {
    let taken = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.symlink_metadata().is_ok(),
    };
    match taken {
        false => Ok(()),
        true => Err(Error::input(
            format!("--out {}", out.display()),
            "there is something already",
            "name a folder that is new or empty",
        )),
    }
}

/// A hidden name in the same folder, from where a rename is one step.
fn beside(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        return Err(Error::input(
            format!("--out {}", out.display()),
            "is no name for a new folder",
            "name a folder that is new or empty",
        ));
    };
    let hidden = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
    Ok(out.with_file_name(hidden))
}

/// One of their tensors, made from ours when it is written.
struct Written<'a> {
    shape: Vec<usize>,
    values: Contents<'a>,
}

enum Contents<'a> {
    AsIs(&'a [f32]),
    /// Rows of ours, to be their columns.
    Turned(&'a [f32], usize),
    Zeros,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Cow::Owned(match self.values {
            Contents::AsIs(values) => bytes(values),
            Contents::Turned(values, rows) => bytes(&names::turned(values, rows)),
            Contents::Zeros => vec![0; self.data_len()],
        })
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

fn write_weights(
    (layout, model, vocab_size): (Layout, &GptConfig, usize),
    params: &Params<f32>,
    path: &Path,
) -> Result<()> {
    let mut tensors: Vec<(String, Written)> = Vec::new();
    let mapped = names::mapped(layout, model, vocab_size);
    for (p, mapped) in params.handles().zip(mapped) {
        let mut rest = params.value(p, 0);
        let width = rest.len() / mapped.spec.shape[0];
        for part in mapped.parts {
            let (rows, after) = rest.split_at(part.rows * width);
            rest = after;
            let values = match part.turned {
                true => Contents::Turned(rows, part.rows),
                false => Contents::AsIs(rows),
            };
            let shape = part.shape;
            tensors.push((part.name, Written { shape, values }));
        }
    }
    if layout == Layout::Gpt2 {
        for (name, len) in names::missing_biases(model, vocab_size) {
            let (shape, values) = (vec![len], Contents::Zeros);
            tensors.push((name, Written { shape, values }));
        }
    }
    // What older versions of transformers want to see.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let written = safetensors::serialize_to_file(tensors, Some(metadata), path);
    written.map_err(|e| {
        let io = |e| Error::io(path, "write", e);
        match &e {
            safetensors::SafeTensorError::IoError(error) => io(error),
            other => Error::failed(
                path.display().to_string(),
                other.to_string(),
                "report this as a bug",
            ),
        }
    })
}
