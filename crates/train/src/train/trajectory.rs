//! 100 steps compared with PyTorch's, from the same weights and batches: `tests/fixtures/train/make_trajectory.py`.
//!
//! Two blocks of a ResNet, batch normalisation in training mode, warmup and cosine; only the last block and the head
//! train until step 50, then everything does, and what joins has fresh optimizer state.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::autograd::Tape;
use crate::error::Result;
use crate::freeze::ParameterTable;
use crate::metrics::TaskMetrics;
use crate::model::{Activations, Model, Outputs, StateDict};
use crate::ops::{self, testing::assert_close};
use crate::pipeline;
use crate::ranks::{BatchShare, Team};

const IMAGES: usize = 40;
const CLASSES: usize = 3;

fn fixture() -> HashMap<String, Tensor> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/train/trajectory.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The images in another order in every epoch.
struct Images {
    pixels: Tensor,
    batch_size: usize,
}

impl BatchSource<Vec<u32>> for Images {
    fn batches_per_epoch(&self) -> usize {
        IMAGES / self.batch_size
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, Vec<u32>>> {
        let order: Vec<u32> = (0..IMAGES as u32).map(|place| (place * 7 + epoch) % IMAGES as u32).collect();
        let own = (0..self.batches_per_epoch()).filter(move |index| share.contains(*index));
        let batches = own.map(move |index| {
            let samples = &order[index * self.batch_size..][..self.batch_size];
            let input = self.pixels.index_select(&Tensor::new(samples, &Device::Cpu)?, 0)?;
            Ok(TrainBatch {
                index,
                input: Activations::constants([input]),
                layer: 0,
                targets: samples.iter().map(|sample| sample % CLASSES as u32).collect(),
                samples: samples.iter().map(|&sample| sample as usize).collect(),
                streams: samples.iter().map(|&sample| u64::from(sample)).collect(),
                teacher: None,
            })
        });
        Ok(Box::new(batches))
    }

    fn validation(&self, _: u32, _: BatchShare) -> Option<Result<Batches<'_, Vec<u32>>>> {
        None
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// Cross-entropy, and the loss of every batch noted.
#[derive(Default)]
struct Noted(RefCell<Vec<f64>>);

impl TrainTask for Noted {
    type Targets = Vec<u32>;
    type Meter = u32;
    type BatchStats = ();

    fn meter(&self) -> u32 {
        0
    }

    fn metrics(&self) -> &'static TaskMetrics {
        &TaskMetrics::NONE
    }

    fn update(&self, _: &mut u32, (): ()) -> Result<()> {
        Ok(())
    }

    fn pack(&self, _: &u32, (): ()) -> Result<Readings> {
        Ok(Vec::new())
    }

    fn unpack(&self, _: Readings) -> Result<()> {
        Ok(())
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, labels: &Vec<u32>) -> Result<BatchLoss<()>> {
        let (mean, _) = ops::cross_entropy(tape, outputs.logits()?, labels, 0.0)?;
        self.0.borrow_mut().push(mean.tensor().to_dtype(DType::F64)?.to_scalar()?);
        Ok(BatchLoss { mean, weight: labels.len() as f64, stats: () })
    }

    fn progress(&self, _: &u32) -> Scores {
        Scores::new()
    }

    fn scores(&self, _: &u32) -> Scores {
        Scores::new()
    }
}

/// The runs of the fixture, as stages.
const RUNS: [(&str, &str); 3] = [
    ("sgd", "optimizer = { kind = \"sgd\", lr = 0.05, momentum = 0.9, weight_decay = 1e-3 }"),
    ("adamw", "optimizer = { kind = \"adamw\", lr = 3e-3, weight_decay = 1e-2 }"),
    (
        "accumulated",
        "optimizer = { kind = \"sgd\", lr = 0.02, momentum = 0.9, nesterov = true }\n\
         batch_size = 4\naccumulate = 2\nclip_norm = 0.5",
    ),
];

/// The loss of every batch, and the last weights under their names.
fn train(settings: &str, dtype: DType) -> (Vec<f64>, Vec<(String, Tensor)>) {
    let (fixture, model) = (fixture(), Model::tiny(CLASSES));
    // Five steps an epoch: the rest joins in the middle.
    let stage = "from = \"x\"\nepochs = 20\nschedule = { kind = \"cosine\", warmup_epochs = 2 }\n\
                 train = [\"layer2\", \"@head\"]\n\
                 unfreeze = [{ after_epochs = 10, match = [\"*\", \"!layer2\", \"!@head\"] }]";
    let mut settings: pipeline::Train = toml::from_str(&format!("{stage}\n{settings}")).unwrap();
    settings.batch_size = if settings.accumulate > 1 { 4 } else { 8 };
    let table = ParameterTable::resolve(&model.description, &settings).unwrap();
    let initial = model.description.tensors.iter().map(|spec| {
        let tensor = &fixture[&format!("initial.{}", spec.name)];
        if tensor.dtype().is_float() { tensor.to_dtype(dtype).unwrap() } else { tensor.clone() }
    });
    let state = StateDict { tensors: initial.collect() };
    // The same numbers in both types: eighths of eighths.
    let pixels = fixture["pixels"].to_dtype(dtype).unwrap().affine(1.0 / 64.0, -2.0).unwrap();
    let batch_source = Images { pixels, batch_size: settings.batch_size };
    let task = Noted::default();
    let context = TrainContext {
        model: &model,
        table: &table,
        task: &task,
        batch_source: &batch_source,
        seed: 0,
        settings: &settings,
        team: Team::alone(),
    };
    let optimizer = Optimizer::for_table(&settings.optimizer, &table, context.steps_per_epoch()).unwrap();
    let mut progress = TrainProgress::start(&context, state, optimizer);
    fit(&context, &mut progress, &mut NoCallbacks).unwrap();
    assert_eq!(progress.step, 100);
    let names = model.description.tensors.iter().map(|spec| spec.name.clone());
    let last = names.zip(progress.state.tensors).collect();
    (task.0.into_inner(), last)
}

/// The largest difference between two curves, relative to the expected.
fn distance(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let relative = actual.iter().zip(expected).map(|(a, e)| (a - e).abs() / e.abs());
    relative.fold(0.0, f64::max)
}

fn curve(run: &str, suffix: &str) -> Vec<f64> {
    fixture()[&format!("{run}.losses{suffix}")].to_vec1().unwrap()
}

#[test]
fn a_hundred_steps_in_f64_end_where_pytorch_s_do() {
    let fixture = fixture();
    for (run, settings) in RUNS {
        let (losses, last) = train(settings, DType::F64);
        let off = distance(&losses, &curve(run, ""));
        assert!(off < 1e-8, "{run}: a loss is {off:e} off");
        for (name, tensor) in &last {
            let expected = &fixture[&format!("{run}.final.{name}")];
            let float = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
            assert_close(&format!("{run}: {name}"), &float(tensor), &float(expected), 1e-8);
        }
    }
}

/// Rounding grows from step to step, in PyTorch too: at most 4 times as far from f64 as PyTorch's f32 is, or 10⁻⁵.
#[test]
fn a_hundred_steps_in_f32_stay_beside_them() {
    for (run, settings) in RUNS {
        let (losses, _) = train(settings, DType::F32);
        let (off, own) = (distance(&losses, &curve(run, "")), distance(&curve(run, ".f32"), &curve(run, "")));
        assert!(off < (4.0 * own).max(1e-5), "{run}: a loss is {off:e} off, PyTorch's {own:e}");
    }
}

#[test]
#[ignore = "writes docs/results/trajectory.csv, the curves to be laid over each other"]
fn curves() {
    let mut csv = "run,batch,pytorch_f64,pytorch_f32,defrost_f64,defrost_f32\n".to_owned();
    for (run, settings) in RUNS {
        let ours = [DType::F64, DType::F32].map(|dtype| train(settings, dtype).0);
        let theirs = [curve(run, ""), curve(run, ".f32")];
        for batch in 0..theirs[0].len() {
            let numbers = [&theirs[0], &theirs[1], &ours[0], &ours[1]].map(|curve| curve[batch].to_string());
            csv.push_str(&format!("{run},{},{}\n", batch + 1, numbers.join(",")));
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/results");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/trajectory.csv"), csv).unwrap();
}
