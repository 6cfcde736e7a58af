//! Counter-based random numbers.
//!
//! Every draw is a pure function of (seed, purpose, epoch, sample, counter). No generator state is shared or
//! kept, so a draw depends neither on the order of execution, nor on the number of threads, nor on resuming.
//!
//! The generator is Philox 4x32-10: Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3* (SC 2011), §3.

/// The purpose of a stream. The numbers affect results: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    Initialize = 1,
    Shuffle = 2,
    Augment = 3,
    Dropout = 4,
    StochasticDepth = 5,
    RandAugment = 6,
    Erase = 7,
    Mix = 8,
    Compose = 9,
    /// The partner of a mixed image with boxes, and its composition.
    ComposePartner = 10,
    Hsv = 11,
    /// The size of a batch.
    BatchSize = 12,
    GaussianBlur = 13,
    /// Whether an image becomes grey, and whether its colours are jittered.
    Recolor = 14,
    /// The random changes of an image's second view.
    SecondView = 15,
    /// The images of a sample for confidence intervals.
    Bootstrap = 16,
    /// The training images that a sampler chooses.
    Sample = 17,
    /// The values of a setting in a search over settings.
    Search = 18,
}

/// An endless stream of draws, addressed by its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    /// `sample` distinguishes the streams of one purpose and epoch: an index, or [`name_hash`] of a name.
    pub fn new(seed: u64, purpose: Purpose, epoch: u32, sample: u64) -> Self {
        // The key mixes seed and purpose through Philox, so that similar seeds give unrelated streams.
        let mixed =
            philox([seed as u32, (seed >> 32) as u32, purpose as u32, epoch], [0x6465_6672, 0x6f73_7400]);
        Self {
            key: [mixed[0], mixed[1]],
            counter: [0, mixed[2], sample as u32, (sample >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The stream of another purpose at the same address, from its beginning.
    pub fn with_purpose(&self, purpose: Purpose) -> Self {
        let mixed =
            philox([self.key[0], self.key[1], purpose as u32, self.counter[1]], [0x6265_7369, 0x6465_0000]);
        let counter = [0, mixed[2], self.counter[2], self.counter[3]];
        Self { key: [mixed[0], mixed[1]], counter, block: [0; 4], used: 4 }
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The inputs of the draws, for code that computes them elsewhere (kernels): the key, the counter without
    /// its first word, and the number of draws so far. Draw d is word d % 4 of block d / 4.
    pub fn address(&self) -> [u32; 6] {
        let ([first, second], [block, one, two, three]) = (self.key, self.counter);
        let drawn = block.wrapping_mul(4).wrapping_sub(4 - self.used as u32);
        [first, second, one, two, three, drawn]
    }

    /// Advances the stream by `draws` calls of [`Self::next_u32`].
    pub fn skip(&mut self, draws: u32) {
        let [.., drawn] = self.address();
        let next = drawn.wrapping_add(draws);
        self.counter[0] = next / 4;
        self.used = 4;
        for _ in 0..next % 4 {
            self.next_u32();
        }
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32() >> 5);
        let low = u64::from(self.next_u32() >> 6);
        ((high << 26) | low) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..bound without bias (Lemire 2019, *Fast Random Integer Generation in an Interval*).
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "an empty range has no draw");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal (Box and Muller 1958), computed in f64 with a portable `libm`.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform_f64()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform_f64())
    }

    /// Beta(α, α), from two gamma draws; requires α > 0.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        // Uses logarithms: for small α both draws may underflow.
        let (one, other) = (self.log_gamma(alpha), self.log_gamma(alpha));
        1.0 / (1.0 + libm::exp(other - one))
    }

    /// The logarithm of a draw from Gamma(shape, 1): Marsaglia and Tsang 2000, *A Simple Method for Generating Gamma
    /// Variables*, and for shapes below 1 their §6.
    fn log_gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = libm::log(1.0 - self.uniform_f64()) / shape;
            return self.log_gamma(shape + 1.0) + boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            let uniform = 1.0 - self.uniform_f64();
            if libm::log(uniform) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return libm::log(d * v);
            }
        }
    }

    /// A uniformly drawn order of 0..length (Fisher and Yates).
    pub fn permutation(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        for last in (1..length).rev() {
            order.swap(last, self.below(last as u32 + 1) as usize);
        }
        order
    }
}

/// A stable 64-bit hash of a name, used as a stream address.
pub fn name_hash(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIER: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let first = MULTIPLIER[0] * u64::from(counter[0]);
        let second = MULTIPLIER[1] * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_known_answer() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn an_address_tells_the_draws_to_come_and_a_skip_makes_them() {
        let mut stream = Stream::new(1, Purpose::Dropout, 2, 3);
        let fresh = stream.clone();
        for draws in 0..9 {
            let [first, second, one, two, three, drawn] = stream.address();
            assert_eq!(drawn, draws);
            let mut skipped = fresh.clone();
            skipped.skip(draws);
            assert_eq!(skipped.address(), stream.address());
            let next = stream.next_u32();
            assert_eq!(next, philox([drawn / 4, one, two, three], [first, second])[drawn as usize % 4]);
            assert_eq!(next, skipped.next_u32());
        }
    }

    #[test]
    fn streams_differ_by_every_part_of_their_address() {
        let first = |seed, purpose, epoch, sample| Stream::new(seed, purpose, epoch, sample).next_u32();
        let base = first(1, Purpose::Shuffle, 0, 0);
        assert_eq!(base, first(1, Purpose::Shuffle, 0, 0));
        assert_ne!(base, first(2, Purpose::Shuffle, 0, 0));
        assert_ne!(base, first(1, Purpose::Augment, 0, 0));
        assert_ne!(base, first(1, Purpose::Shuffle, 1, 0));
        assert_ne!(base, first(1, Purpose::Shuffle, 0, 1));
    }

    #[test]
    fn a_stream_beside_another_stands_still_while_that_one_is_drawn_from() {
        let mut stream = Stream::new(1, Purpose::Augment, 2, 3);
        let before = stream.with_purpose(Purpose::Erase).next_u32();
        assert_ne!(before, stream.next_u32());
        assert_eq!(before, stream.with_purpose(Purpose::Erase).next_u32());
        assert_ne!(before, stream.with_purpose(Purpose::RandAugment).next_u32());
        assert_ne!(before, Stream::new(1, Purpose::Augment, 2, 4).with_purpose(Purpose::Erase).next_u32());
    }

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut stream = Stream::new(7, Purpose::Initialize, 0, name_hash("fc.weight"));
        let normals: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = normals.iter().sum::<f64>() / 20_000.0;
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
        for alpha in [0.1, 0.2, 1.0, 4.0] {
            let shares: Vec<f64> = (0..20_000).map(|_| stream.beta(alpha) - 0.5).collect();
            let mean = shares.iter().sum::<f64>() / 20_000.0;
            let variance = shares.iter().map(|x| x * x).sum::<f64>() / 20_000.0 * 4.0 * (2.0 * alpha + 1.0);
            assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.03, "{alpha}: {mean}, {variance}");
        }
        let mut order = stream.permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
