//! A network that branches and has two outputs, trained behind a cut that two tensors cross.

use candle_core::DType;

use super::*;
use crate::freeze::changed_tensors;
use crate::model::branching::OFFSETS;
use crate::ranks::BatchShare;
use crate::weights::{Dialect, WeightsFile};

/// The cut ahead of `join`, which reads `body.1` and `stem`.
const CUT: usize = 3;

/// Cross-entropy of the logits, and of the offsets as scores of two classes.
struct Both;

impl TrainTask for Both {
    type Targets = Vec<u32>;
    type Meter = f64;
    type BatchStats = f64;

    fn metrics(&self) -> &'static TaskMetrics {
        &TaskMetrics::NONE
    }

    fn meter(&self) -> f64 {
        0.0
    }

    fn update(&self, meter: &mut f64, loss: f64) -> Result<()> {
        *meter += loss;
        Ok(())
    }

    fn pack(&self, _: &f64, loss: f64) -> Result<Readings> {
        Ok(vec![vec![loss]])
    }

    fn unpack(&self, readings: Readings) -> Result<f64> {
        Ok(readings[0][0])
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, labels: &Vec<u32>) -> Result<BatchLoss<f64>> {
        let parities: Vec<u32> = labels.iter().map(|label| label % 2).collect();
        let (classes, _) = ops::cross_entropy(tape, outputs.logits()?, labels, 0.0)?;
        let (offsets, _) = ops::cross_entropy(tape, outputs.get(OFFSETS)?, &parities, 0.0)?;
        let mean = ops::blend_losses(tape, &classes, &offsets, [0.7, 0.3])?;
        let stats = mean.tensor().to_dtype(DType::F64)?.to_scalar()?;
        Ok(BatchLoss { mean, weight: labels.len() as f64, stats })
    }

    fn progress(&self, meter: &f64) -> Scores {
        self.scores(meter)
    }

    fn scores(&self, meter: &f64) -> Scores {
        Scores::from([("loss".to_owned(), *meter)])
    }
}

/// Images, or what the layers ahead of a cut make of them.
struct Cut<'a> {
    images: Noise,
    model: &'a Model,
    source: &'a StateDict,
    layer: usize,
}

impl Cut<'_> {
    fn through(&self, batch: Result<TrainBatch<Vec<u32>>>) -> Result<TrainBatch<Vec<u32>>> {
        let batch = batch?;
        let mut pass = Pass::inference(self.source);
        let input = self.model.forward_layers(&mut pass, 0..self.layer, batch.input)?;
        Ok(TrainBatch { input, layer: self.layer, ..batch })
    }
}

impl BatchSource<Vec<u32>> for Cut<'_> {
    fn batches_per_epoch(&self) -> usize {
        self.images.batches_per_epoch()
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, Vec<u32>>> {
        Ok(Box::new(self.images.train(epoch, share)?.map(|batch| self.through(batch))))
    }

    fn validation(&self, epoch: u32, share: BatchShare) -> Option<Result<Batches<'_, Vec<u32>>>> {
        let batches = self.images.validation(epoch, share)?;
        Some(
            batches.map(|batches| -> Batches<'_, Vec<u32>> {
                Box::new(batches.map(|batch| self.through(batch)))
            }),
        )
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

struct Branches {
    model: Model,
    settings: pipeline::Train,
    table: ParameterTable,
    source: StateDict,
}

impl Branches {
    fn new() -> Self {
        let settings = format!("{ADAMW}epochs = 2\ntrain = [\"join\", \"down\", \"@head\"]");
        let settings: pipeline::Train = toml::from_str(&settings).unwrap();
        let model = Model::branching(CLASSES);
        let table = ParameterTable::resolve(&model.description, &settings).unwrap();
        let source = weights::initialize_all(&model.description, 7).unwrap();
        Self { model, settings, table, source }
    }

    fn fit(&self, layer: usize, from: Option<&TrainCheckpoint>, callbacks: &mut Notes) -> Result<StateDict> {
        let batch_source = Cut { images: Noise::images(), model: &self.model, source: &self.source, layer };
        let (model, table, settings) = (&self.model, &self.table, &self.settings);
        let context = TrainContext {
            model,
            table,
            task: &Both,
            batch_source: &batch_source,
            seed: 3,
            settings,
            team: Team::alone(),
        };
        let optimizer = Optimizer::for_table(&settings.optimizer, table, context.steps_per_epoch())?;
        let mut progress = TrainProgress::start(&context, self.source.clone(), optimizer);
        if let Some(TrainCheckpoint { tensors, position }) = from {
            let checkpoint = TrainCheckpoint { tensors: tensors.clone(), position: position.clone() };
            progress.resume(checkpoint, &model.description, table)?;
        }
        fit(&context, &mut progress, callbacks).map(|()| progress.state)
    }
}

#[test]
fn branches_train_to_the_same_bits_behind_every_cut_and_resumed_after_any_step() {
    let branches = Branches::new();
    assert_eq!(branches.table.first().frozen_prefix(&branches.model.description), CUT);
    let digests = |state: &StateDict| weights::digests(state).unwrap();
    let whole = digests(&branches.fit(CUT, None, &mut Notes::default()).unwrap());
    assert_ne!(whole, digests(&branches.source));
    for layer in 0..CUT {
        let state = branches.fit(layer, None, &mut Notes::default()).unwrap();
        assert_eq!(digests(&state), whole, "from layer {layer}");
    }
    for step in 1..4 {
        let mut notes = Notes { stop_after: Some(step), ..Notes::default() };
        assert!(branches.fit(CUT, None, &mut notes).is_err(), "it was interrupted");
        let resumed = branches.fit(CUT, notes.checkpoints.last(), &mut Notes::default()).unwrap();
        assert_eq!(digests(&resumed), whole, "after step {step}");
    }
}

#[test]
fn what_is_frozen_below_branches_does_not_move_in_files() {
    let branches = Branches::new();
    let description = &branches.model.description;
    let folder = tempfile::tempdir().unwrap();
    let trained = branches.fit(CUT, None, &mut Notes::default()).unwrap();
    let [before, after] = [("before", &branches.source), ("after", &trained)].map(|(name, state)| {
        let path = folder.path().join(name).with_extension("safetensors");
        weights::save(&path, description, state, Dialect::Own, &Default::default()).unwrap();
        WeightsFile::open(&path).unwrap()
    });
    let names = |frozen: bool| -> Vec<String> {
        let specs = description.tensors.iter().filter(|spec| (spec.layer < CUT) == frozen);
        specs.map(|spec| spec.name.clone()).collect()
    };
    assert_eq!(changed_tensors(&before, &after, &names(true)).unwrap(), []);
    assert_eq!(changed_tensors(&before, &after, &names(false)).unwrap().len(), names(false).len());
}
