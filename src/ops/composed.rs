//! Any candle expression as one op: prototype in candle, fuse what wins.
//!
//! On a fused tape the inputs are copied into leaves of candle's graph, the expression runs, and
//! its backward is candle's own. On a composed tape the expression joins the one large graph. On a GPU
//! it goes through the host: right, and slow.

use crate::{
    error::{Error, Result},
    params::Param,
    real::Real,
    tape::{Data, Op, Shape, Tape, Value},
};
use candle_core::{Device, Tensor, Var};

impl<R: Real> Tape<R> {
    /// The value of `f(inputs, params)`, differentiated by candle.
    ///
    /// Inputs arrive as (K, rows, cols), parameters as (K, …); the result must have three
    /// dimensions. Beware of candle functions that drop the gradient without a word:
    /// `softmax_last_dim`, `layer_norm`, `rms_norm` and `rope` of candle-nn. Errors are candle's.
    pub fn composed(
        &mut self,
        inputs: &[Value],
        params: &[Param],
        f: impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor>,
    ) -> Result<Value> {
        if self.candle_device().is_some() {
            let xs: Vec<Tensor> = inputs.iter().map(|x| self.tensor(*x).clone()).collect();
            let ws = params
                .iter()
                .map(|p| self.leaf_tensor(*p))
                .collect::<Result<Vec<_>>>()?;
            let y = f(&xs, &ws)?;
            let shape = shape_of(&y)?;
            return Ok(self.push_node(shape, Data::Candle(y)));
        }
        if let Some(device) = &mut self.device {
            device.went_through_host = true;
        }
        let xs = inputs
            .iter()
            .map(|x| {
                let s = self.shape(*x);
                let t = Tensor::from_vec(self.to_host(*x)?, (s.k, s.rows, s.cols), &Device::Cpu)?;
                Ok(Var::from_tensor(&t)?.into_inner())
            })
            .collect::<Result<Vec<_>>>()?;
        if !params.is_empty() {
            self.download_values()?;
        }
        let ws = params
            .iter()
            .map(|p| self.variable(*p, &Device::Cpu))
            .collect::<Result<Vec<_>>>()?;
        let y = f(&xs, &ws)?;
        let shape = shape_of(&y)?;
        let value = self.leaf(shape, &y.flatten_all()?.to_vec1::<R>()?)?;
        self.record(
            value,
            Composed {
                inputs: inputs.to_vec(),
                params: params.to_vec(),
                xs,
                ws,
                y,
                value,
            },
        );
        Ok(value)
    }
}

struct Composed {
    inputs: Vec<Value>,
    params: Vec<Param>,
    xs: Vec<Tensor>,
    ws: Vec<Tensor>,
    y: Tensor,
    value: Value,
}

impl<R: Real> Op<R> for Composed {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.grad_to_host(self.value)? else {
            return Ok(());
        };
        let seed = Tensor::from_slice(&dy, self.y.shape(), &Device::Cpu)?;
        let store = (&self.y * &seed)?.sum_all()?.backward()?;
        for (i, (x, tensor)) in self.inputs.iter().zip(&self.xs).enumerate() {
            let gradient = store.get(tensor).ok_or_else(|| severed("input", i))?;
            tape.add_host_grad(*x, &gradient.flatten_all()?.to_vec1::<R>()?)?;
        }
        for (i, (p, tensor)) in self.params.iter().zip(&self.ws).enumerate() {
            let gradient = store.get(tensor).ok_or_else(|| severed("parameter", i))?;
            tape.add_weight_grad(*p, &gradient.flatten_all()?.to_vec1::<R>()?)?;
        }
        Ok(())
    }
}

/// candle says nothing where a function of its own drops a gradient; a wrong one would train on.
fn severed(what: &str, idx: usize) -> Error {
    Error::failed(
        "a composed op",
        format!("no gradient reaches its {what} {idx}"),
        "leave out what the result does not depend on, and write functions that candle does not \
         differentiate from those that it does",
    )
}

fn shape_of(y: &Tensor) -> Result<Shape> {
    let (k, rows, cols) = y.dims3().map_err(|_| {
        Error::failed(
            "a composed op",
            format!("gave a result of shape {:?}", y.dims()),
            "return (K, rows, cols)",
        )
    })?;
    Ok(Shape { k, rows, cols })
}
