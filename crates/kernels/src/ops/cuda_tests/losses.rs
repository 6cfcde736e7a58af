//! Losses, which are f32 for every type of scores, and probabilities.

use std::slice::from_ref;

use candle_core::{DType, Device, Tensor};

use super::check::{HalfSupport, LONG, SHORT, check, gpu, nearest_half, on_device_of, to_gpu};
use crate::autograd::{Tape, Value};
use crate::ops::testing::{normal, relative_error};
use crate::ops::*;

/// Only the gradient of a loss is rounded, and once more when it is multiplied with the gradient from above.
const OF_SCORES: HalfSupport = HalfSupport { f32: &[], roundings: &[0, 2] };

#[test]
#[ignore = "asks for a GPU"]
fn cuda_losses_and_probabilities() {
    let labels = [2, 0, 299, 150, 7];
    for smoothing in [0.0, 0.1, 1.0] {
        let logits = (normal("logits", &[5, 300]) * 5.0).unwrap();
        check("cross-entropy", from_ref(&logits), LONG, &OF_SCORES, &|tape, x| {
            Ok(cross_entropy(tape, &x[0], &labels, smoothing)?.0)
        });
        let logits = nearest_half(&logits);
        let run = |logits: Tensor| {
            let value = Value::constant(logits.clone());
            let losses =
                cross_entropy(&mut Tape::new(), &value, &labels, smoothing).unwrap().1.wait().unwrap();
            (losses, softmax(&logits).unwrap().to_device(&Device::Cpu).unwrap())
        };
        let (expected, exact) = run(logits.to_dtype(DType::F32).unwrap());
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let (losses, probabilities) = run(to_gpu(&logits, dtype));
            let close = |(loss, expected): (&f64, &f64)| (loss - expected).abs() <= 1e-12 * expected;
            assert!(losses.iter().zip(&expected).all(close), "{losses:?} for {expected:?}");
            assert!(relative_error(&probabilities, &exact) <= SHORT);
        }
    }
    let extreme = |logits: [f32; 3], device: &Device| {
        let logits =
            Value::constant(Tensor::new(&[logits], &Device::Cpu).unwrap().to_device(device).unwrap());
        cross_entropy(&mut Tape::new(), &logits, &[0], 0.0).unwrap().1.wait().unwrap()[0]
    };
    let gpu = gpu();
    assert_eq!(extreme([1e38, -1e38, 0.0], &gpu), 0.0);
    assert!(
        extreme([f32::NAN, 0.0, 0.0], &gpu).is_nan() && extreme([0.0, f32::INFINITY, 0.0], &gpu).is_nan()
    );
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_cosines_and_their_losses() {
    let mut rows = normal("x", &[6, 300]);
    let half = HalfSupport { f32: &[], roundings: &[1, 1] };
    check("rows of a length", &[rows.clone()], SHORT, &half, &|tape, x| normalize_rows(tape, &x[0], 16.0));
    rows = (normal("scores", &[6, 9]).tanh().unwrap() * 12.0).unwrap();
    let targets: Vec<Mixture> =
        (0..6).map(|row| Mixture { classes: [row, row + 3], share: 1.0 / f64::from(row + 1) }).collect();
    let weights = [0.5, 1.0, 2.0, 3.0, 1.0, 0.1, 7.0, 1.5, 1.0];
    let (angle, easy) =
        (Margin::Angle { margin: 0.5, easy: false }, Margin::Angle { margin: 0.3, easy: true });
    for class_weights in [None, Some(&weights[..])] {
        let margin = |margin| MarginLoss { margin, scale: 16.0, class_weights };
        let all: [(&str, &dyn ClassLoss); 6] = [
            ("arcface", &margin(angle)),
            ("arcface, easy", &margin(easy)),
            ("cosface", &margin(Margin::Cosine { margin: 0.35 })),
            ("focal", &Focal { gamma: 2.0, class_weights }),
            ("focal of cross-entropy", &Focal { gamma: 0.0, class_weights }),
            ("weighted cross-entropy", &CrossEntropy { label_smoothing: 0.1, class_weights }),
        ];
        for (name, loss) in all {
            check(name, from_ref(&rows), LONG, &OF_SCORES, &|tape, x| {
                Ok(class_loss(tape, &x[0], &targets, loss)?.mean)
            });
            let scores = nearest_half(&rows);
            let each = |scores: Tensor| {
                let value = Value::constant(scores);
                class_loss(&mut Tape::new(), &value, &targets, loss).unwrap().rows.wait().unwrap()
            };
            let exact = each(scores.to_dtype(DType::F64).unwrap());
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let found = each(to_gpu(&scores, dtype));
                let close = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-12 * y.abs().max(1.0);
                assert!(found.iter().zip(&exact).all(close), "{name}: {found:?} for {exact:?}");
            }
        }
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_losses_of_views() {
    let projections = normal("projections", &[12, 7]);
    check(
        "NT-Xent",
        from_ref(&projections),
        LONG,
        &OF_SCORES,
        &|tape, x| Ok(nt_xent(tape, &x[0], 0.2)?.mean),
    );
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_losses_of_embeddings() {
    let embeddings = normal("embeddings", &[12, 7]);
    let classes = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 3];
    check("triplet", from_ref(&embeddings), LONG, &OF_SCORES, &|tape, x| {
        Ok(triplet(tape, &x[0], &classes, TripletMargin::Soft)?.mean)
    });
    check("supervised contrastive", from_ref(&embeddings), LONG, &OF_SCORES, &|tape, x| {
        Ok(supcon(tape, &x[0], &classes, 0.2)?.mean)
    });
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_losses_of_labels_and_of_teachers() {
    let logits = (normal("logits", &[5, 7]) * 4.0).unwrap();
    let targets: Vec<f32> = (0..35u8).map(|place| f32::from(place % 3) / 2.0).collect();
    let weights = [0.5, 1.0, 2.0, 3.0, 1.0, 0.1, 7.0];
    check("binary cross-entropy", from_ref(&logits), LONG, &OF_SCORES, &|tape, x| {
        Ok(binary_cross_entropy(tape, &x[0], &targets, Some(&weights))?.0)
    });
    let teacher = (normal("teacher", &[5, 7]) * 3.0).unwrap();
    // Two rounded gradients are added, weighted by their shares.
    let half = HalfSupport { f32: &[], roundings: &[0, 3] };
    check("a blend with a teacher's", from_ref(&logits), LONG, &half, &|tape, x| {
        let teacher = on_device_of(x[0].tensor(), &teacher);
        let taught = distillation(tape, &x[0], &teacher, 2.0)?;
        let told = cross_entropy(tape, &x[0], &[1, 0, 6, 3, 2], 0.1)?.0;
        blend_losses(tape, &told, &taught, [0.7, 0.3])
    });
    let logits = nearest_half(&logits);
    let exact = sigmoid(&logits).unwrap();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let found = sigmoid(&to_gpu(&logits, dtype)).unwrap().to_device(&Device::Cpu).unwrap();
        assert!(relative_error(&found, &exact) <= SHORT);
    }
}
