//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! Counter-based: the n-th number of a stream is a pure function of (seed, name, n). So a dropout
//! mask needs no storage, a resumed run needs no generator state, and CPU and GPU draw alike.

/// One stream of random numbers, found by seed and name, never global.
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    counter: u64,
    ready: [u32; 4],
    left: usize,
}

impl Rng {
    /// The stream called `name` under `seed`; other names give independent streams.
    pub fn named(seed: u64, name: &str) -> Self {
        Self {
            key: key(seed, name),
            counter: 0,
            ready: [0; 4],
            left: 0,
        }
    }

    /// Uniform over all u32.
    pub fn next_u32(&mut self) -> u32 {
        if self.left == 0 {
            self.ready = philox(self.key, counter(self.counter, 0));
            self.counter += 1;
            self.left = 4;
        }
        self.left -= 1;
        self.ready[3 - self.left]
    }

    /// Uniform over all u64.
    pub fn next_u64(&mut self) -> u64 {
        (u64::from(self.next_u32()) << 32) | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in 0..n, without the bias of a bare remainder (Lemire 2019). `n` must be positive.
    pub fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// An index drawn in proportion to `weights`, which are not negative and not all zero.
    pub fn pick(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (idx, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return idx;
            }
        }
        weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
    }

    /// A uniform permutation of `items` (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// The Philox key of a named stream: FNV-1a over the name, mixed with the seed.
pub fn key(seed: u64, name: &str) -> [u32; 2] {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // splitmix64's finaliser, so that neighbouring seeds give unrelated keys.
    let mut mixed = seed ^ hash;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    [mixed as u32, (mixed >> 32) as u32]
}

/// The counter block for position `index` of sub-stream `lane`.
pub fn counter(index: u64, lane: u64) -> [u32; 4] {
    [
        index as u32,
        (index >> 32) as u32,
        lane as u32,
        (lane >> 32) as u32,
    ]
}

/// Ten rounds of Philox4x32: four random words for one counter.
#[inline(always)]
pub fn philox(mut key: [u32; 2], mut c: [u32; 4]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(0x9E37_79B9);
            key[1] = key[1].wrapping_add(0xBB67_AE85);
        }
        let a = u64::from(c[0]) * 0xD251_1F53;
        let b = u64::from(c[2]) * 0xCD9E_8D57;
        c = [
            (b >> 32) as u32 ^ c[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ c[3] ^ key[1],
            a as u32,
        ];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/kat_vectors` of DEShawResearch/random123, lines 27 to 29.
    #[test]
    fn the_known_answers_of_random123_come_out() {
        for (counter, key, want) in [
            (
                [0; 4],
                [0; 2],
                [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
            ),
            (
                [!0; 4],
                [!0; 2],
                [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
            ),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ] {
            assert_eq!(philox(key, counter), want);
        }
    }

    #[test]
    fn streams_differ_by_name_and_seed_and_repeat_exactly() {
        let draw = |seed, name| {
            let mut rng = Rng::named(seed, name);
            (0..8).map(|_| rng.next_u32()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut rng = Rng::named(7, "normal");
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.015);
    }

    #[test]
    fn below_is_uniform_and_stays_below() {
        let mut rng = Rng::named(3, "below");
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)));
    }
}
