//! Operations of transformers.

use super::check::{HalfSupport, LONG, SHORT, check};
use crate::ops::testing::normal;
use crate::ops::*;

#[test]
#[ignore = "asks for a GPU"]
fn cuda_rows_of_channels() {
    let rows = normal("x", &[3, 11, 70]).affine(2.0, 5.0).unwrap();
    let (weight, bias) = (normal("weight", &[70]), normal("bias", &[70]));
    let half = HalfSupport { f32: &[1, 2], roundings: &[1, 1, 0, 0] };
    check("layer norm", &[rows.clone(), weight.clone(), bias], LONG, &half, &|tape, x| {
        layer_norm(tape, &x[0], &x[1], &x[2], 1e-6)
    });
    let half = HalfSupport { f32: &[1], roundings: &[1, 1, 0, 0] };
    let inputs = [rows.clone(), weight.reshape((70, 1, 1)).unwrap(), normal("residual", &[3, 11, 70])];
    check("layer scale", &inputs, LONG, &half, &|tape, x| layer_scale(tape, &x[0], &x[1], &x[2]));
    let half = HalfSupport { f32: &[], roundings: &[1, 1] };
    check("multiple", std::slice::from_ref(&rows), SHORT, &half, &|tape, x| scale(tape, &x[0], 0.75));
    // As the linear layer.
    let inputs = [rows, normal("w", &[40, 70]), normal("b", &[40]), normal("r", &[3, 11, 40])];
    let half = HalfSupport { f32: &[1, 2], roundings: &[2, 1, 0, 0, 0] };
    check("rows", &inputs, LONG, &half, &|tape, x| pointwise(tape, &x[0], &x[1], &x[2], x.get(3)));
    let half = HalfSupport { f32: &[1, 2], roundings: &[2, 1, 0, 0] };
    check("rows without a residual", &inputs[..3], LONG, &half, &|tape, x| {
        pointwise(tape, &x[0], &x[1], &x[2], None)
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_tokens() {
    let inputs =
        [normal("patches", &[3, 2, 4, 24]), normal("token", &[1, 1, 24]), normal("places", &[1, 9, 24])];
    let half = HalfSupport { f32: &[1, 2], roundings: &[1, 0, 0, 0] };
    check("tokens", &inputs, SHORT, &half, &|tape, x| tokens(tape, &x[0], &x[1], &x[2]));
    let half = HalfSupport { f32: &[], roundings: &[0, 0] };
    check("the first token", &[normal("tokens", &[3, 9, 24])], 0.0, &half, &|tape, x| {
        first_token(tape, &x[0])
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_attention_with_wider_values() {
    for (size, heads) in [([3, 3], 2), ([15, 10], 1), ([1, 1], 2)] {
        let map = |name, channels| normal(name, &[3, size[0], size[1], heads * channels]);
        let inputs = [map("query", 12), map("key", 12), map("value", 24)];
        // As above; values are one product closer to the output.
        let half = HalfSupport { f32: &[], roundings: &[2, 4, 4, 2] };
        let what = format!("attention of {heads} heads over {size:?}");
        check(&what, &inputs, LONG, &half, &|tape, x| attention_qkv(tape, &x[0], &x[1], &x[2], heads));
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_attention() {
    for (tokens, heads) in [(9, 4), (150, 1), (1, 2)] {
        // Probabilities are rounded before their product with the values. In the backward pass they are rounded
        // too, and so are the gradients of the scores, which have two such factors, and their products.
        let half = HalfSupport { f32: &[], roundings: &[2, 4] };
        let what = format!("attention of {heads} heads");
        check(&what, &[normal("x", &[3, tokens, 72])], LONG, &half, &|tape, x| attention(tape, &x[0], heads));
    }
}
