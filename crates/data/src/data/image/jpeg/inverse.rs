//! The inverse DCT at four sizes, with the bits of libjpeg-turbo's `jidctint` and `jidctred`.
//!
//! Loeffler, Ligtenberg and Moschytz (*Practical fast 1-D DCT algorithms with 11 multiplications*, 1989) in
//! 13-bit fixed point, columns first. The smaller sizes omit the high frequencies inside the transform: an exact
//! box-like reduction, and much less work than decoding and resizing.

use std::num::Wrapping;

use crate::ops::multiversion::multiversion;
use crate::ops::profile::Profile;

pub(super) const CONST_BITS: usize = 13;
/// Extra bits between the passes.
const PASS1_BITS: usize = 2;
/// The bits that each pass of the full transform rounds off.
pub(super) const FIRST_SHIFT: usize = CONST_BITS - PASS1_BITS;
pub(super) const LAST_SHIFT: usize = CONST_BITS + PASS1_BITS + 3;

type Number = Wrapping<i32>;

const fn fixed(value: f64) -> Number {
    Wrapping((value * (1 << CONST_BITS) as f64 + if value < 0.0 { -0.5 } else { 0.5 }) as i32)
}

/// Rounds off bits.
#[inline(always)]
fn descale(value: Number, bits: usize) -> Number {
    (value + Wrapping(1 << (bits - 1))) >> bits
}

#[inline(always)]
fn to_byte(value: Number) -> u8 {
    (value.0.wrapping_add(128)).clamp(0, 255) as u8
}

/// Coefficients in rows of eight, and their quantization.
pub type Block = [i16; 64];
pub type Quantization = [u16; 64];

#[inline(always)]
fn dequantized(block: &Block, quantization: &Quantization) -> [Number; 64] {
    std::array::from_fn(|place| Wrapping(i32::from(block[place]) * i32::from(quantization[place])))
}

/// Transforms a block to `size` × `size` samples (8, 4, 2 or 1) at the start of `out`, with rows `stride` apart.
/// `flat` says that only the first coefficient may be non-zero.
#[inline(always)]
pub fn inverse(
    block: &Block,
    quantization: &Quantization,
    flat: bool,
    size: usize,
    out: &mut [u8],
    stride: usize,
) {
    if flat || size == 1 {
        // The combined effect of both passes.
        let value = Wrapping(i32::from(block[0]) * i32::from(quantization[0]));
        let sample = to_byte(descale(value, 3));
        for row in 0..size {
            out[row * stride..][..size].fill(sample);
        }
        return;
    }
    match size {
        8 => whole(block, quantization, out, stride),
        4 => half(block, quantization, out, stride),
        _ => quarter(block, quantization, out, stride),
    }
}

/// Transforms eight values of one column or row, with 16 bits between the sums, as libjpeg-turbo's vector code
/// does.
fn pass8(v: [i16; 8], bits: usize) -> [i16; 8] {
    let wide = |value: i16| Wrapping(i32::from(value));
    let dot = |pair: [i16; 2], factors: [i16; 2]| {
        wide(pair[0]) * wide(factors[0]) + wide(pair[1]) * wide(factors[1])
    };
    let [even0, even1] =
        [v[0].wrapping_add(v[4]), v[0].wrapping_sub(v[4])].map(|value| wide(value) << CONST_BITS);
    let [even3, even2] = EVEN.map(|factors| dot([v[2], v[6]], factors));
    let [z3, z4] = SUMS.map(|factors| dot([v[7].wrapping_add(v[3]), v[5].wrapping_add(v[1])], factors));
    let [odd0, odd3] = OUTER.map(|factors| dot([v[7], v[1]], factors));
    let [odd1, odd2] = INNER.map(|factors| dot([v[5], v[3]], factors));
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    let odd = [odd3 + z4, odd2 + z3, odd1 + z4, odd0 + z3];
    let mut out = [0; 8];
    for i in 0..4 {
        out[i] = saturated(descale(even[i] + odd[i], bits));
        out[7 - i] = saturated(descale(even[i] - odd[i], bits));
    }
    out
}

fn saturated(value: Number) -> i16 {
    value.0.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The factors of the eight-point transform by pairs of inputs: frequencies 2 and 6; the sums 7 + 3 and 5 + 1; 7
/// and 1; 5 and 3.
pub(super) const EVEN: [[i16; 2]; 2] = [
    [factor(0.541196100) + factor(0.765366865), factor(0.541196100)],
    [factor(0.541196100), factor(0.541196100) + factor(-1.847759065)],
];
pub(super) const SUMS: [[i16; 2]; 2] = [
    [factor(1.175875602) + factor(-1.961570560), factor(1.175875602)],
    [factor(1.175875602), factor(1.175875602) + factor(-0.390180644)],
];
pub(super) const OUTER: [[i16; 2]; 2] = [
    [factor(0.298631336) + factor(-0.899976223), factor(-0.899976223)],
    [factor(-0.899976223), factor(1.501321110) + factor(-0.899976223)],
];
pub(super) const INNER: [[i16; 2]; 2] = [
    [factor(2.053119869) + factor(-2.562915447), factor(-2.562915447)],
    [factor(-2.562915447), factor(3.072711026) + factor(-2.562915447)],
];

const fn factor(value: f64) -> i16 {
    fixed(value).0 as i16
}

/// Transforms four values from the lowest of eight frequencies; the fifth is not used.
#[inline(always)]
fn pass4(v: [Number; 8], bits: usize) -> [Number; 4] {
    let base = v[0] << (CONST_BITS + 1);
    let turn = v[2] * fixed(1.847759065) + v[6] * fixed(-0.765366865);
    let inner = v[7] * fixed(-0.211164243)
        + v[5] * fixed(1.451774981)
        + v[3] * fixed(-2.172734803)
        + v[1] * fixed(1.061594337);
    let outer = v[7] * fixed(-0.509795579)
        + v[5] * fixed(-0.601344887)
        + v[3] * fixed(0.899976223)
        + v[1] * fixed(2.562915447);
    let (high, low) = (base + turn, base - turn);
    [high + outer, low + inner, low - inner, high - outer].map(|value| descale(value, bits))
}

#[inline(always)]
fn pass2(v: [Number; 8], bits: usize) -> [Number; 2] {
    let base = v[0] << (CONST_BITS + 2);
    let odd = v[7] * fixed(-0.720959822)
        + v[5] * fixed(0.850430095)
        + v[3] * fixed(-1.272758580)
        + v[1] * fixed(3.624509785);
    [base + odd, base - odd].map(|value| descale(value, bits))
}

/// Transforms column by column to `rows` rows of eight, from rows of eight coefficients.
#[inline(always)]
fn columns<const N: usize>(
    values: &[Number; 64],
    pass: impl Fn([Number; 8]) -> [Number; N],
) -> [[Number; 8]; N] {
    let mut out = [[Wrapping(0); 8]; N];
    for column in 0..8 {
        let results = pass(std::array::from_fn(|row| values[row * 8 + column]));
        for (out, result) in out.iter_mut().zip(results) {
            out[column] = result;
        }
    }
    out
}

fn whole(block: &Block, quantization: &Quantization, out: &mut [u8], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if Profile::current() != Profile::Scalar {
        // SAFETY: the machine supports the current profile, and every profile except the scalar one has AVX2.
        return unsafe { super::inverse_avx2::whole(block, quantization, out, stride) };
    }
    whole_portable(block, quantization, out, stride);
}

pub(super) fn whole_portable(block: &Block, quantization: &Quantization, out: &mut [u8], stride: usize) {
    let mut values: [i16; 64] =
        std::array::from_fn(|place| block[place].wrapping_mul(quantization[place] as i16));
    for column in 0..8 {
        let results = pass8(std::array::from_fn(|row| values[row * 8 + column]), FIRST_SHIFT);
        for (row, result) in results.into_iter().enumerate() {
            values[row * 8 + column] = result;
        }
    }
    for (y, row) in values.as_chunks::<8>().0.iter().enumerate() {
        let samples = pass8(*row, LAST_SHIFT).map(|value| to_byte(Wrapping(value.into())));
        out[y * stride..][..8].copy_from_slice(&samples);
    }
}

multiversion! {
    fn half(block: &Block, quantization: &Quantization, out: &mut [u8], stride: usize) {
        const FIRST: usize = CONST_BITS - PASS1_BITS + 1;
        const LAST: usize = CONST_BITS + PASS1_BITS + 3 + 1;
        let values = dequantized(block, quantization);
        let rows = columns(&values, #[inline(always)] |column| pass4(column, FIRST));
        for (y, row) in rows.into_iter().enumerate() {
            out[y * stride..][..4].copy_from_slice(&pass4(row, LAST).map(to_byte));
        }
    }
}

multiversion! {
    fn quarter(block: &Block, quantization: &Quantization, out: &mut [u8], stride: usize) {
        const FIRST: usize = CONST_BITS - PASS1_BITS + 2;
        const LAST: usize = CONST_BITS + PASS1_BITS + 3 + 2;
        let values = dequantized(block, quantization);
        let rows = columns(&values, #[inline(always)] |column| pass2(column, FIRST));
        for (y, row) in rows.into_iter().enumerate() {
            out[y * stride..][..2].copy_from_slice(&pass2(row, LAST).map(to_byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn the_whole_transform_has_the_same_bits_in_vectors() {
        for case in 0..300 {
            let mut stream = Stream::new(case, Purpose::Initialize, 0, 0);
            // From small numbers, as in files, to arbitrary ones, as in damaged files.
            let block: Block = std::array::from_fn(|_| stream.next_u32() as i16 >> (case % 12));
            let quantization = std::array::from_fn(|_| (stream.next_u32() >> 24) as u16 + 1);
            let (mut actual, mut expected) = ([0; 80], [0; 80]);
            whole(&block, &quantization, &mut actual, 10);
            whole_portable(&block, &quantization, &mut expected, 10);
            assert_eq!(actual, expected);
        }
    }
}
