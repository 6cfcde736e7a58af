//! A loss scale in the loop: no effect without an overflow, skipped steps with one, and the same bits when resumed. The
//! loop computes in f32 here, and a [`Twist`] overflows in its place.

use super::*;
use crate::pipeline::Precision;

/// Norms use their running statistics, so that a skipped step changes nothing.
const HEAD: &str = "train = [\"@head\", \"_conv_head\"]\nbatch_norm = \"eval\"";

fn scaled(settings: &str, twist: Twist) -> Stage {
    let batch_source = Noise { batch_size: 2, ..Noise::images() };
    let loss_scale = LossScale::start(Precision::F16);
    Stage { batch_source, twist, loss_scale, ..Stage::lite0(&format!("{HEAD}\n{settings}")) }
}

fn skipped(progress: &TrainProgress<ClassificationMetrics>) -> Vec<Option<u64>> {
    progress.history.iter().map(|row| row.skipped_steps).collect()
}

/// Powers of two change the exponents of gradients and no other bit.
#[test]
fn a_scale_that_never_overflows_changes_no_bit() {
    for settings in ["", "accumulate = 2\nclip_norm = 0.1\nema = { decay = 0.9 }"] {
        let (with, without) = (scaled(settings, Twist::None), scaled(settings, Twist::None));
        let (with, without) = (with.finished(), Stage { loss_scale: None, ..without }.finished());
        assert_eq!((skipped(&with), skipped(&without)), (vec![Some(0); 2], vec![None; 2]));
        let digests = |progress: &TrainProgress<_>| {
            [&progress.state, &progress.final_state()].map(|state| weights::digests(state).unwrap())
        };
        assert_eq!(digests(&with), digests(&without), "{settings}");
    }
}

/// 65,536 overflows in the first step; 32,768 does not.
#[test]
fn a_step_that_overflows_changes_neither_weights_nor_optimizer_nor_average() {
    let stage = scaled("clip_norm = 0.1\nema = { decay = 0.9 }", Twist::Overflow);
    let mut notes = Notes { stop_after: Some(1), ..Notes::default() };
    assert!(stage.fit(None, &mut notes).is_err(), "it was interrupted");
    let checkpoint = &notes.checkpoints[0];
    for (name, tensor) in &checkpoint.tensors {
        let (part, name) = name.split_once('/').unwrap();
        assert!(part == "model" || part == "ema", "{part}/{name}: the optimizer has no state yet");
        let id = stage.model.description.id(name).unwrap();
        assert_eq!(numbers(tensor), numbers(&stage.source.tensors[id]), "{part}/{name}");
    }
    assert!(checkpoint.position.contains("scale = 32768.0"), "{}", checkpoint.position);

    let whole = stage.finished();
    assert_eq!((skipped(&whole), whole.step), (vec![Some(1), Some(0)], 6));
    let half = stage.loss_scale.clone().map(|mut scale| {
        scale.observe(false).unwrap();
        scale
    });
    assert_eq!(whole.loss_scale.as_ref().map(LossScale::factor), half.as_ref().map(LossScale::factor));
    // The optimizer has seen five steps, and the schedule six.
    let steps = |progress: &TrainProgress<_>| {
        let state = progress.optimizer.state().unwrap();
        let steps = state.iter().find(|(name, _)| name.ends_with("step") || name.ends_with("steps"));
        steps.map(|(_, steps)| numbers(steps)[0])
    };
    assert_eq!(steps(&whole), Some(5.0));
}

#[test]
fn a_stage_with_skipped_steps_ends_with_the_same_bits_when_resumed_after_any_batch() {
    let settings =
        "accumulate = 2\nclip_norm = 0.1\nema = { decay = 0.9 }\nschedule = { kind = \"one_cycle\" }";
    let stage = scaled(settings, Twist::Overflow);
    let whole = stage.finished();
    assert_eq!((skipped(&whole), whole.step), (vec![Some(1), Some(0)], 4));
    for batch in 1..=6 {
        let mut notes = Notes { stop_after: Some(batch), ..Notes::default() };
        assert!(stage.fit(None, &mut notes).is_err(), "it was interrupted");
        let resumed = stage.fit(notes.checkpoints.last(), &mut Notes::default()).unwrap();
        assert!(bits(&whole) == bits(&resumed), "after batch {batch}");
        assert_eq!(whole.loss_scale, resumed.loss_scale);
    }
}

#[test]
fn gradients_that_overflow_at_any_scale_end_the_stage() {
    let stage = scaled("epochs = 20", Twist::AlwaysOverflow);
    let error = stage.error();
    assert!(error.message.contains("not finite at any loss scale") && error.hint.is_some(), "{error}");
    // A parameter without a gradient is an error in the first step, also if the others overflow.
    let detached = scaled("", Twist::Detached);
    assert!(detached.error().message.contains("receives no gradient"));
}
