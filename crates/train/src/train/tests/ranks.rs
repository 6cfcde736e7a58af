//! A stage of several ranks has the bits of one process, in every checkpoint.

use super::*;
use crate::error::ErrorKind;
use crate::pipeline::Arch;
use crate::ranks::thread_ranks;

/// What ends up in files: every tensor and everything else of the last state, or of a checkpoint.
fn content(checkpoint: &TrainCheckpoint) -> (Vec<(String, Vec<u64>)>, String) {
    let bits = |tensor: &Tensor| match tensor.dtype() {
        candle_core::DType::I64 => {
            tensor.flatten_all().unwrap().to_vec1::<i64>().unwrap().iter().map(|x| *x as u64).collect()
        }
        _ => numbers(tensor).iter().map(|number| number.to_bits()).collect(),
    };
    let mut tensors: Vec<_> =
        checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect();
    tensors.sort();
    (tensors, checkpoint.position.clone())
}

type Content = (Vec<(String, Vec<u64>)>, String);

fn last(stage: &Stage, progress: &TrainProgress<ClassificationMetrics>) -> Content {
    content(&progress.checkpoint(&stage.model.description, &stage.table).unwrap())
}

/// In batches of one image, so that there are six. Batch normalisation needs more than one pixel, which `layer4` has not.
fn whole(settings: &str) -> impl Fn() -> Stage {
    let settings = settings.to_owned();
    move || {
        let mut stage = Stage::new(Arch::ResNet18, &settings);
        stage.batch_source.batch_size = 1;
        stage
    }
}

/// The last state of every rank, and the checkpoints and the readings of rank 0.
fn together(
    ranks: usize,
    stage: &(impl Fn() -> Stage + Sync),
    from: Option<&TrainCheckpoint>,
    notes: &(impl Fn() -> Notes + Sync),
) -> Vec<(Result<Content>, Notes)> {
    thread_ranks(ranks, |rank| {
        let (team, stage, mut notes) = (Team::new(&rank), stage(), notes());
        let trained = stage.fit_with(&team, from, &mut notes);
        let settled = team.settle(trained);
        (settled.map(|progress| last(&stage, &progress)), notes)
    })
}

const SETTINGS: [&str; 3] = [
    // Six batches: steps of four and of two. Running statistics, clipping and averaging.
    "train = [\"layer2\", \"layer3\", \"@head\"]\naccumulate = 4\nclip_norm = 0.5\nema = { decay = 0.9 }",
    "train = [\"layer3\", \"@head\"]\naccumulate = 5",
    "train = [\"@head\"]\naccumulate = 6\nunfreeze = [{ after_epochs = 1, match = [\"layer3\"] }]",
];

#[test]
fn any_number_of_ranks_trains_to_the_bits_of_one_process() {
    let numbers: [&[usize]; 3] = [&[2, 3, 4], &[4], &[7]];
    for (settings, numbers) in SETTINGS.into_iter().zip(numbers) {
        let stage = whole(settings);
        let mut alone = Notes::default();
        let expected = last(&stage(), &stage().fit(None, &mut alone).unwrap());
        for &ranks in numbers {
            for (rank, (state, notes)) in
                together(ranks, &stage, None, &Notes::default).into_iter().enumerate()
            {
                assert!(state.unwrap() == expected, "{settings}: rank {rank} of {ranks}");
                assert_eq!(notes.parts, alone.parts, "{settings}: the losses of rank {rank} of {ranks}");
            }
        }
    }
}

/// The gradients of a step in progress are in checkpoints too.
#[test]
fn a_stage_stopped_by_one_rank_is_resumed_by_any_number_of_ranks() {
    let stage = whole(SETTINGS[0]);
    let expected = last(&stage(), &stage().finished());
    // After three batches, after a round of the first step, and after the first round of the second epoch.
    for (ranks, stop_after, resumed) in [(1, 3, 3), (2, 0, 1), (3, 6, 2)] {
        let stopped = thread_ranks(ranks, |rank| {
            let team = Team::new(&rank);
            // Only the last rank is asked to stop.
            let stops = team.rank() + 1 == ranks;
            let mut notes = Notes { stop_after: stops.then_some(stop_after), ..Notes::default() };
            let trained = stage().fit_with(&team, None, &mut notes).map(drop);
            let error = team.settle(trained).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Interrupted);
            notes.checkpoints
        });
        assert!(stopped[1..].iter().all(Vec::is_empty), "rank 0 alone writes");
        let checkpoint = stopped[0].last().unwrap();
        for (state, _) in together(resumed, &stage, Some(checkpoint), &Notes::default) {
            assert!(state.unwrap() == expected, "{ranks} ranks, then {resumed}");
        }
    }
}

/// A checkpoint that is due after every round changes nothing, and each of them is one of a process alone.
#[test]
fn checkpoints_of_several_ranks_are_those_of_one_process() {
    let stage = whole(SETTINGS[0]);
    let always = || Notes { always_due: true, ..Notes::default() };
    let mut alone = always();
    let expected = last(&stage(), &stage().fit(None, &mut alone).unwrap());
    let known: Vec<Content> = alone.checkpoints.iter().map(content).collect();
    let (state, notes) = together(3, &stage, None, &always).swap_remove(0);
    assert!(state.unwrap() == expected);
    assert!(notes.checkpoints.len() > 4);
    let unknown = notes.checkpoints.iter().position(|checkpoint| !known.contains(&content(checkpoint)));
    assert_eq!(unknown, None);
}

#[test]
fn an_error_of_one_rank_is_the_error_of_all() {
    // The last batch is short, and its gradients are not finite in the first step: rank 1 finds out.
    let stage = || {
        let mut stage = Stage {
            twist: Twist::LateNan,
            ..Stage::lite0("train = [\"@head\", \"_conv_head\"]\naccumulate = 2")
        };
        stage.batch_source.batch_size = BATCH;
        stage
    };
    let alone = stage().error();
    for (rank, (state, _)) in together(2, &stage, None, &Notes::default).into_iter().enumerate() {
        let error = state.unwrap_err();
        let own = error.message.strip_prefix("rank 1: ").unwrap_or(&error.message);
        assert_eq!(own, alone.message, "{rank}");
        assert_eq!(error.message.starts_with("rank 1: "), rank == 0);
        assert_eq!(error.hint, alone.hint);
    }
}
