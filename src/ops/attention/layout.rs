//! Which part of qkv a head reads, and the blocks that a sequence is worked through in.

use crate::{device::Precision, real::Real};

/// Queries of a block: the more, the less often keys are packed; the fewer, the less is computed of
/// a future that nobody sees.
const FEWEST_QUERIES: usize = 64;
const MOST_QUERIES: usize = 256;
/// Scores of a block at most: what stays in the second-level cache, three times.
const BLOCK: usize = 32 << 10;

/// Sequences of T tokens whose rows are H·D queries, G·D keys and G·D values.
#[derive(Clone, Copy)]
pub struct Layout {
    pub t: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    pub window: usize,
    pub scale: f64,
    /// In what products read queries, keys, values and weights.
    pub precision: Precision,
}

/// Queries `first..first + n` against keys `from..from + keys`, each of which one of them sees.
#[derive(Clone, Copy)]
pub struct Block {
    pub first: usize,
    pub n: usize,
    pub from: usize,
    pub keys: usize,
    /// Whether these are the first keys that a query of the panel sees.
    pub is_first: bool,
}

impl Layout {
    /// Columns of qkv.
    pub fn row(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// Columns of the result.
    pub fn width(self) -> usize {
        self.heads * self.dim
    }

    /// Where a row of qkv has one head's query, and the key and value that it shares.
    pub fn starts(self, head: usize) -> [usize; 3] {
        let shared = self.heads + head / self.shared_by();
        [head, shared, shared + self.kv_heads].map(|head| head * self.dim)
    }

    /// Queries worked on together, but for the last of a sequence.
    pub fn panel(self) -> usize {
        (self.t / 8)
            .next_multiple_of(FEWEST_QUERIES)
            .clamp(FEWEST_QUERIES, MOST_QUERIES)
    }

    /// Keys of a block at most.
    pub fn keys(self) -> usize {
        BLOCK / self.panel()
    }

    /// Scores of a block at most.
    pub fn block_len(self) -> usize {
        self.panel() * self.keys().min(self.t)
    }

    /// Heads of queries that share one of keys.
    pub fn shared_by(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Numbers that a thread needs on the way forward: a block, each row's total, a panel's result.
    pub fn forward_scratch(self) -> usize {
        self.block_len() + self.panel() * (1 + self.dim)
    }

    /// And on the way back: three blocks, each row's δ, a panel's dq, dk and dv.
    pub fn backward_scratch(self) -> usize {
        3 * self.block_len() + self.panel() * (1 + self.dim) + 2 * self.t * self.dim
    }

    /// The queries from `panel` on against all that any of them sees, from the first key on: each
    /// block without the queries that come before all its keys.
    pub fn blocks(self, panel: usize) -> impl Iterator<Item = Block> {
        let end = (panel + self.panel()).min(self.t);
        (self.first_seen(panel)..end)
            .step_by(self.keys())
            .map(move |from| {
                let first = panel.max(from);
                Block {
                    first,
                    n: end - first,
                    from,
                    keys: self.keys().min(end - from),
                    is_first: from == self.first_seen(panel),
                }
            })
    }

    /// The first key that a query sees.
    pub fn first_seen(self, query: usize) -> usize {
        match self.window {
            0 => 0,
            window => (query + 1).saturating_sub(window),
        }
    }

    /// Of a block's row the part that its query sees; the rest becomes zero.
    #[inline(always)]
    pub fn seen<R: Real>(self, at: Block, i: usize, row: &mut [R]) -> &mut [R] {
        let query = at.first + i;
        let (row, future) = row.split_at_mut(at.keys.min(query + 1 - at.from));
        future.fill(R::ZERO);
        let unseen = self.first_seen(query).saturating_sub(at.from);
        let (past, seen) = row.split_at_mut(unseen.min(row.len()));
        past.fill(R::ZERO);
        seen
    }
}
