//! Any candle expression as one op: prototype in candle, fuse what wins.
//!
//! On a fused tape the inputs are copied into leaves of candle's graph, the expression runs, and
//! its backward is candle's own. On a composed tape the expression joins the one large graph.

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
        let xs = inputs
            .iter()
            .map(|x| {
                let s = self.shape(*x);
                let t = Tensor::from_slice(self.host(*x), (s.k, s.rows, s.cols), &Device::Cpu)?;
                Ok(Var::from_tensor(&t)?.into_inner())
            })
            .collect::<Result<Vec<_>>>()?;
        let ws = params
            .iter()
            .map(|p| self.variable(*p, &Device::Cpu))
            .collect::<Result<Vec<_>>>()?;
        let y = f(&xs, &ws)?;
        let shape = shape_of(&y)?;
        let mut out = self.memory.take(shape.len());
        out.copy_from_slice(&y.flatten_all()?.to_vec1::<R>()?);
        let value = self.push(shape, out);
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
        let Some(dy) = tape.take_grad(self.value) else {
            return Ok(());
        };
        let seed = Tensor::from_slice(&dy, self.y.shape(), &Device::Cpu)?;
        let store = (&self.y * &seed)?.sum_all()?.backward()?;
        tape.drop_grad(dy);
        for (x, tensor) in self.inputs.iter().zip(&self.xs) {
            if let Some(gradient) = store.get(tensor) {
                let gradient: Vec<R> = gradient.flatten_all()?.to_vec1()?;
                let mut buffer = tape.memory.take(gradient.len());
                buffer.copy_from_slice(&gradient);
                tape.add_grad(*x, buffer.into());
            }
        }
        for (p, tensor) in self.params.iter().zip(&self.ws) {
            if let Some(gradient) = store.get(tensor) {
                let gradient: Vec<R> = gradient.flatten_all()?.to_vec1()?;
                let len = tape.params.spec(*p).len();
                for (k, part) in gradient.chunks_exact(len).enumerate() {
                    for (t, g) in tape.params.grad_mut(*p, k).iter_mut().zip(part) {
                        *t += *g;
                    }
                }
            }
        }
        Ok(())
    }
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
