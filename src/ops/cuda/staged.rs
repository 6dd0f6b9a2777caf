//! Batches on a device: tokens, targets, and which rows hold which token.
//!
//! The gradient of an embedding sums the rows of each token. In which order is decided here, on the
//! host, by a stable counting sort: a block of threads then sums one token's rows from the first to
//! the last, and no two runs differ in a bit (after llm.c's `encoder_backward`).

use super::OnDevice;
use crate::{
    device::gpu::{At, Slab, Slabs},
    error::Result,
};

/// A place for a batch that is sent before the pass that reads it, and stays where it is from one time to
/// the next, as a captured graph needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A pass of a training step, counted from 0.
    Train(usize),
    /// A batch of an evaluation, of so many targets.
    Eval(usize),
}

/// One pass's batch on the device.
#[derive(Debug)]
pub struct StagedPass {
    pub tokens: StagedTokens,
    /// K·rows ids.
    pub targets: Slab,
}

/// Tokens and their buckets on the device.
#[derive(Debug)]
pub struct StagedTokens {
    /// K·rows ids.
    pub tokens: Slab,
    /// (K, rows): rows in order of their token, and of their number where tokens are equal.
    pub order: Slab,
    /// (K, `most_buckets`, 3): token, first and end of its rows in `order`; an empty bucket is three
    /// zeros.
    pub buckets: Slab,
    /// Of one lane: no fewer than different tokens can be.
    pub most_buckets: usize,
}

/// Rows by token, of one lane.
struct Buckets {
    order: Vec<u32>,
    buckets: Vec<u32>,
}

impl Buckets {
    fn new(tokens: &[u32], vocab: usize, most: usize) -> Self {
        let mut starts = vec![0u32; vocab + 1];
        for token in tokens {
            starts[*token as usize + 1] += 1;
        }
        for token in 0..vocab {
            starts[token + 1] += starts[token];
        }
        let mut buckets = Vec::with_capacity(3 * most);
        for token in 0..vocab {
            if starts[token] < starts[token + 1] {
                buckets.extend([token as u32, starts[token], starts[token + 1]]);
            }
        }
        buckets.resize(3 * most, 0);
        let mut order = vec![0; tokens.len()];
        for (row, token) in tokens.iter().enumerate() {
            let next = &mut starts[*token as usize];
            order[*next as usize] = row as u32;
            *next += 1;
        }
        Self { order, buckets }
    }
}

impl StagedTokens {
    /// Room for K·rows tokens of a vocabulary of this size.
    fn new(
        mut take: impl FnMut(usize) -> Result<Slab>,
        (k, len): (usize, usize),
        vocab: usize,
    ) -> Result<Self> {
        let most_buckets = (len / k).min(vocab);
        Ok(Self {
            tokens: take(4 * len)?,
            order: take(4 * len)?,
            buckets: take(12 * k * most_buckets)?,
            most_buckets,
        })
    }

    fn upload(&self, device: &OnDevice, tokens: &[u32], vocab: usize) -> Result<()> {
        let (k, mut order, mut buckets) = (device.lanes.len(), Vec::new(), Vec::new());
        for tokens in tokens.chunks_exact(tokens.len() / k) {
            let lane = Buckets::new(tokens, vocab, self.most_buckets);
            order.extend(lane.order);
            buckets.extend(lane.buckets);
        }
        let gpu = &device.gpu;
        gpu.upload(self.tokens.at(), &u32_bytes(tokens))?;
        gpu.upload(self.order.at(), &u32_bytes(&order))?;
        gpu.upload(self.buckets.at(), &u32_bytes(&buckets))
    }

    fn give_back(self, memory: &mut Slabs) {
        memory.give(self.tokens);
        memory.give(self.order);
        memory.give(self.buckets);
    }
}

/// What passes brought with them since the last `begin`.
#[derive(Debug, Default)]
pub struct Loose {
    tokens: Vec<(Vec<u32>, StagedTokens)>,
    targets: Vec<Slab>,
}

impl Loose {
    pub fn give_back(self, memory: &mut Slabs) {
        for (_, tokens) in self.tokens {
            tokens.give_back(memory);
        }
        for targets in self.targets {
            memory.give(targets);
        }
    }
}

impl OnDevice {
    /// Sends one pass's tokens and targets, K·rows each, to their slot, which has always the same size.
    pub fn stage(
        &mut self,
        slot: Slot,
        (tokens, targets): (&[u32], &[u32]),
        vocab: usize,
    ) -> Result<()> {
        if !self.staged.contains_key(&slot) {
            // Of its own: a slab of the free list may be in a graph.
            let take = |bytes| Slab::new(&self.gpu, bytes);
            let pass = StagedPass {
                tokens: StagedTokens::new(take, (self.lanes.len(), tokens.len()), vocab)?,
                targets: take(4 * targets.len())?,
            };
            self.staged.insert(slot, pass);
        }
        let staged = &self.staged[&slot];
        staged.tokens.upload(self, tokens, vocab)?;
        self.gpu.upload(staged.targets.at(), &u32_bytes(targets))
    }

    /// Tokens on the device: those that were staged for the pass, or these, sent now.
    pub fn tokens(
        &mut self,
        staged: Option<Slot>,
        tokens: &[u32],
        vocab: usize,
    ) -> Result<&StagedTokens> {
        if let Some(slot) = staged {
            return Ok(&self.staged[&slot].tokens);
        }
        let known = self.loose.tokens.iter();
        let known = known.map(|(of, _)| &of[..]).position(|of| of == tokens);
        let idx = match known {
            Some(idx) => idx,
            None => {
                let take = |bytes| self.memory.take(bytes);
                let room = StagedTokens::new(take, (self.lanes.len(), tokens.len()), vocab)?;
                room.upload(self, tokens, vocab)?;
                self.loose.tokens.push((tokens.to_vec(), room));
                self.loose.tokens.len() - 1
            }
        };
        Ok(&self.loose.tokens[idx].1)
    }

    /// Where targets are on the device: those that were staged for the pass, or these, sent now.
    pub fn targets(&mut self, staged: Option<Slot>, targets: &[u32]) -> Result<At> {
        if let Some(slot) = staged {
            return Ok(self.staged[&slot].targets.at());
        }
        let room = self.memory.take(4 * targets.len())?;
        self.gpu.upload(room.at(), &u32_bytes(targets))?;
        let at = room.at();
        self.loose.targets.push(room);
        Ok(at)
    }
}

/// Ids, byte by byte.
pub fn u32_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_order_of_their_token_and_then_of_their_number() {
        let sorted = Buckets::new(&[3, 0, 3, 5, 0, 3], 7, 4);
        assert_eq!(sorted.order, [1, 4, 0, 2, 5, 3]);
        assert_eq!(sorted.buckets, [0, 0, 2, 3, 2, 5, 5, 5, 6, 0, 0, 0]);
    }
}
