//! The tape's side in candle: parameters as leaves of its graph, and what its autograd gives back.

use super::{Data, Tape, Value};
use crate::{device::Backend, error::Result, params::Param, real::Real};
use candle_core::{Device, Tensor};

impl<R: Real> Tape<R> {
    /// The candle device of a composed tape; `None` when the fused ops run.
    pub(crate) fn candle_device(&self) -> Option<&Device> {
        match &self.backend {
            Backend::Fused | Backend::Gpu(_) => None,
            Backend::Composed(device) => Some(device),
        }
    }

    pub(super) fn candle_backward(&mut self) -> Result<()> {
        for root in std::mem::take(&mut self.roots) {
            let store = root.sum_all()?.backward()?;
            for (param, leaf) in &self.leaves {
                let Some(gradient) = store.get(leaf) else {
                    continue;
                };
                let gradient: Vec<R> = gradient.flatten_all()?.to_vec1()?;
                let len = self.params.spec(*param).len();
                for (k, gradient) in gradient.chunks_exact(len).enumerate() {
                    let target = self.params.grad_mut(*param, k);
                    for (t, g) in target.iter_mut().zip(gradient) {
                        *t += *g;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn tensor(&self, x: Value) -> &Tensor {
        match &self.nodes[x.0].data {
            Data::Candle(tensor) => tensor,
            _ => unreachable!("a composed tape holds candle tensors only"),
        }
    }

    /// A parameter as a leaf of candle's graph, shape (K, …).
    pub(crate) fn leaf_tensor(&mut self, p: Param) -> Result<Tensor> {
        if let Some(leaf) = self.leaves.get(&p) {
            return Ok(leaf.clone());
        }
        let device = self.candle_device().cloned().unwrap_or(Device::Cpu);
        let leaf = self.variable(p, &device)?;
        self.leaves.insert(p, leaf.clone());
        Ok(leaf)
    }

    /// A fresh tracked copy of a parameter on `device`, shape (K, …).
    pub(crate) fn variable(&self, p: Param, device: &Device) -> Result<Tensor> {
        let mut shape = vec![self.k()];
        shape.extend(&self.params.spec(p).shape);
        let values: Vec<R> = (0..self.k())
            .flat_map(|k| self.params.value(p, k).iter().copied())
            .collect();
        let tensor = Tensor::from_vec(values, shape, device)?;
        Ok(candle_core::Var::from_tensor(&tensor)?.into_inner())
    }
}
