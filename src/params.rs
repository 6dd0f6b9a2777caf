//! Parameters and their gradients: two flat arenas with named views in a fixed order.
//!
//! Every parameter has a leading pack axis: `(K, …)`, K variants of one architecture side by side.

use crate::{memory::Buffer, pool::Pool, real::Real, rng::Rng};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal around zero with this standard deviation.
    Normal(f64),
}

/// A parameter's name, shape (without K), start and decay group.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
    /// Weight decay applies: matrices and embeddings, not vectors.
    pub decay: bool,
}

impl Spec {
    /// A parameter of this shape; as in nanoGPT, those of two or more dimensions decay.
    pub fn new(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            init,
            decay: shape.len() >= 2,
        }
    }

    /// Elements of one variant.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A handle to one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Param(pub(crate) usize);

/// The arenas.
pub struct Params<R> {
    k: usize,
    specs: Vec<Spec>,
    offsets: Vec<usize>,
    pub values: Buffer<R>,
    pub grads: Buffer<R>,
}

impl<R: Real> Params<R> {
    /// Arenas for `k` variants of `specs`, values and gradients zero.
    pub fn new(k: usize, specs: Vec<Spec>) -> Self {
        let mut offsets = Vec::with_capacity(specs.len());
        let mut total = 0;
        for spec in &specs {
            offsets.push(total);
            // Every parameter starts on a cache line.
            total += (k * spec.len()).next_multiple_of(16);
        }
        Self {
            k,
            specs,
            offsets,
            values: Buffer::zeros(total),
            grads: Buffer::zeros(total),
        }
    }

    /// Draws variant `k`'s values from `seed`: a parameter's draw depends on its name alone, so
    /// arms of a study share the weights whose names and shapes they share.
    pub fn init(&mut self, k: usize, seed: u64) {
        for idx in 0..self.specs.len() {
            let spec = self.specs[idx].clone();
            let mut rng = Rng::named(seed, &format!("init.{}", spec.name));
            let values = self.value_mut(Param(idx), k);
            match spec.init {
                Init::Zeros => values.fill(R::ZERO),
                Init::Ones => values.fill(R::ONE),
                Init::Normal(sd) => values.fill_with(|| R::of(sd * rng.normal())),
            }
        }
    }

    /// Number of variants packed.
    pub fn k(&self) -> usize {
        self.k
    }

    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Handles in arena order.
    pub fn handles(&self) -> impl Iterator<Item = Param> + use<R> {
        (0..self.specs.len()).map(Param)
    }

    pub fn spec(&self, p: Param) -> &Spec {
        &self.specs[p.0]
    }

    /// Parameters of one variant.
    pub fn count(&self) -> usize {
        self.specs.iter().map(Spec::len).sum()
    }

    /// Where variant `k` of `p` lies in the arenas.
    pub fn range(&self, p: Param, k: usize) -> std::ops::Range<usize> {
        let len = self.specs[p.0].len();
        let start = self.offsets[p.0] + k * len;
        start..start + len
    }

    /// Values to write beside what they are written from.
    pub fn split(&mut self) -> (&[Spec], &mut [R], &[R]) {
        (&self.specs, &mut self.values, &self.grads)
    }

    pub fn value(&self, p: Param, k: usize) -> &[R] {
        &self.values[self.range(p, k)]
    }

    pub fn value_mut(&mut self, p: Param, k: usize) -> &mut [R] {
        let range = self.range(p, k);
        &mut self.values[range]
    }

    pub fn grad(&self, p: Param, k: usize) -> &[R] {
        &self.grads[self.range(p, k)]
    }

    pub fn grad_mut(&mut self, p: Param, k: usize) -> &mut [R] {
        let range = self.range(p, k);
        &mut self.grads[range]
    }

    pub fn zero_grads(&mut self, pool: &Pool) {
        pool.pieces(&mut self.grads, 1 << 14, |_, grads| grads.fill(R::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_seed_decide_a_draw_whatever_else_there_is() {
        let w = Spec::new("w", &[3, 5], Init::Normal(0.02));
        let b = Spec::new("b", &[5], Init::Zeros);
        let mut alone = Params::<f32>::new(1, vec![w.clone()]);
        let mut packed = Params::<f32>::new(3, vec![b, w]);
        alone.init(0, 7);
        packed.init(2, 7);
        assert_eq!(alone.value(Param(0), 0), packed.value(Param(1), 2));
        assert!(packed.value(Param(1), 0).iter().all(|x| *x == 0.0));
    }
}
