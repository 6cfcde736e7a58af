//! Scheduled unfreezing: parameters and their average do not change before, and resuming around it changes
//! nothing.

use super::*;

/// The head from the start, a norm after one epoch, its convolution after two, each with its own warmup.
const GRADUAL: &str = "train = [\"@head\"]\nepochs = 4\nema = { decay = 0.5 }\n\
    unfreeze = [{ after_epochs = 1, match = [\"_bn1\"], warmup_epochs = 2 },\n\
    { after_epochs = 2, match = [\"_conv_head\"], lr_scale = 0.1 }]";

#[test]
fn what_thaws_had_not_moved_before_and_begins_afresh() {
    let stage = Stage::lite0(GRADUAL);
    let mut notes = Notes { always_due: true, ..Notes::default() };
    let whole = stage.fit(None, &mut notes).unwrap();
    let last = |epoch: u32| {
        let found = notes
            .checkpoints
            .iter()
            .rev()
            .find(|checkpoint| checkpoint.position.contains(&format!("epoch = {epoch}\nbatch = 0\n")));
        found.expect("a checkpoint at the end of each epoch")
    };
    let source = |name: &str| &stage.source.tensors[stage.model.description.id(name).unwrap()];
    for (name, joins) in
        [("_fc.weight", 0), ("_bn1.weight", 1), ("_bn1.running_mean", 1), ("_conv_head.weight", 2)]
    {
        for epoch in 1..=4 {
            let tensors = &last(epoch).tensors;
            let held = |kind: &str| tensors.iter().find(|(found, _)| *found == format!("{kind}{name}"));
            let (_, now) = held("model/").expect("all that ever moves is kept");
            assert_eq!(now.id() == source(name).id(), epoch <= joins, "`{name}` after epoch {epoch}");
            let (_, average) = held("ema/").expect("the average knows all that ever moves");
            assert_eq!(
                numbers(average) == numbers(source(name)),
                epoch <= joins,
                "the average of `{name}` after epoch {epoch}"
            );
            let own_steps = tensors.iter().find(|(found, _)| *found == format!("optimizer/{name}.step"));
            let own_steps = own_steps.map_or(0, |(_, steps)| steps.to_scalar::<i64>().unwrap());
            let expected =
                if name.contains("running") { 0 } else { 2 * i64::from(epoch.saturating_sub(joins)) };
            assert_eq!(own_steps, expected, "`{name}` after epoch {epoch}");
        }
    }
    let frozen: Vec<usize> = stage.table.frozen(&stage.model.description);
    assert!(frozen.iter().all(|&id| whole.state.tensors[id].id() == stage.source.tensors[id].id()));
}

#[test]
fn a_stage_resumed_anywhere_around_an_unfreeze_ends_with_the_same_bits() {
    let stage = Stage::lite0(GRADUAL);
    let mut notes = Notes { always_due: true, ..Notes::default() };
    let whole = stage.fit(None, &mut notes).unwrap();
    assert_eq!(notes.checkpoints.len(), 2 * 4 + 2, "one more as each phase begins");
    for step in 1..=whole.step {
        let mut interrupted = Notes { stop_after: Some(step), ..Notes::default() };
        assert!(stage.fit(None, &mut interrupted).is_err());
        notes.checkpoints.append(&mut interrupted.checkpoints);
    }
    for (place, checkpoint) in notes.checkpoints.iter().enumerate() {
        let resumed = stage.fit(Some(checkpoint), &mut Notes::default()).unwrap();
        assert!(bits(&whole) == bits(&resumed), "from checkpoint {place}: {}", checkpoint.position);
    }
}

/// With a zero learning rate no epoch improves: patience ends after two, and restarts with each phase.
#[test]
fn a_stage_does_not_stop_early_ahead_of_its_last_phase() {
    let stage = Stage::lite0(
        "train = [\"@head\"]\nepochs = 12\nmonitor = \"validation/accuracy\"\n\
         groups = [{ match = [\"@head\"], lr = 1e-9 }]\nearly_stop = { patience = 2, min_delta = 0.0 }\n\
         unfreeze = [{ after_epochs = 5, match = [\"_conv_head\"], lr = 1e-9 }]",
    );
    assert_eq!(stage.finished().history.len(), 7);
}

/// Only the norm is unfrozen, and the loop begins above it, so it would never train.
#[test]
fn what_joins_late_must_receive_a_gradient_too() {
    let cut_off = Stage {
        batch_source: Noise { shape: vec![1280], layer: 18, ..Noise::images() },
        ..Stage::lite0(
            "train = [\"@head\"]\nbatch_norm = \"eval\"\n\
             unfreeze = [{ after_epochs = 1, match = [\"_bn1\"] }]",
        )
    };
    let mut notes = Notes::default();
    let error = cut_off.fit(None, &mut notes).err().expect("the norm gets no gradient");
    assert_eq!(notes.rows, [1], "the first epoch went well");
    assert!(error.message.contains("`_bn1.weight` receives no gradient"), "{error}");
}
