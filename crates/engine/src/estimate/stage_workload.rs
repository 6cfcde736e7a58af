//! Counts a stage's work: its phases, their probes, and the number of images.

use super::probes::{caches_images, load_key, model_key, pass_key, size, step_key};
use super::workload::{ImageReads, MappedFeatures, Workload, WorkloadPhase};
use crate::data::{BatchResizer, ImageReader, LabelKind, Split, Transform};
use crate::model::Description;
use crate::pipeline::Augment;
use crate::stage::{
    EnsembleMember, EvaluateStage, FeatureCacheStatus, FrozenPrefix, INFERENCE_BATCH, ModelSpec,
    PlannedStage, ResolvedStage, TrainStage,
};

/// The area of batches in the size of the stage's images.
const SAME_SIZE: [f64; 2] = [1.0; 2];

/// Settings outside the stage that affect its duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EstimateSettings {
    /// The number of threads that read images.
    pub workers: usize,
    /// The bytes that decoded images may use.
    pub image_cache: usize,
    /// Whether features of frozen layers are cached.
    pub features: bool,
}

/// The workload of a stage. `found` says which features of each prefix are already cached, if known.
pub fn workload(
    work: &PlannedStage,
    found: &[Option<FeatureCacheStatus>],
    settings: &EstimateSettings,
) -> Workload {
    let model_spec = work.model_spec();
    let description = model_spec.build().description;
    let weights = bytes(&description, |_| true);
    let overhead = format!("beside {} of {}", work.kind(), model_key(model_spec));
    let base = Workload { weight_bytes: weights, overhead, ..Workload::default() };
    match work {
        ResolvedStage::LoadWeights(_, file, _) => {
            let file = file.as_ref().and_then(|file| std::fs::metadata(&file.path).ok());
            let file = file.map_or(weights, |metadata| metadata.len());
            Workload { weight_bytes: weights + file, file_bytes: file + 2 * weights, ..base }
        }
        ResolvedStage::InitWeights(_) => Workload { file_bytes: 2 * weights, ..base },
        ResolvedStage::Train(..) | ResolvedStage::Evaluate(..) => {
            StageImages::new(work, model_spec, settings).count(found, base)
        }
    }
}

fn bytes(description: &Description, which: impl Fn(usize) -> bool) -> u64 {
    let tensors = description.tensors.iter().enumerate().filter(|(id, _)| which(*id));
    tensors.map(|(_, tensor)| 4 * tensor.elements() as u64).sum()
}

/// A stage that reads images.
struct StageImages<'a> {
    work: &'a PlannedStage,
    model_spec: &'a ModelSpec,
    description: Description,
    settings: &'a EstimateSettings,
    /// The number of images.
    layers: usize,
    /// The share of images whose decoded form is cached.
    stays: f64,
    cache_bytes: u64,
}

impl<'a> StageImages<'a> {
    /// The same with `model_spec` as its model.
    fn new(work: &'a PlannedStage, model_spec: &'a ModelSpec, settings: &'a EstimateSettings) -> Self {
        let description = model_spec.build().description;
        let layers = description.layers.len();
        let all = split(work, Split::Train) + split(work, Split::Validation);
        let wanted = (all * kept_bytes(work)) as u64;
        let cache_bytes = wanted.min(settings.image_cache as u64);
        let stays = if wanted == 0 { 0.0 } else { cache_bytes as f64 / wanted as f64 };
        Self { work, model_spec, description, settings, layers, stays, cache_bytes }
    }

    fn count(&self, found: &[Option<FeatureCacheStatus>], base: Workload) -> Workload {
        let mut workload = base;
        match self.work {
            ResolvedStage::Train(train, _) => self.training(train, found, &mut workload),
            ResolvedStage::Evaluate(evaluate, _) => self.evaluation(evaluate, found, &mut workload),
            ResolvedStage::LoadWeights(..) | ResolvedStage::InitWeights(_) => {}
        }
        workload.phases.retain(|phase| phase.images > 0);
        for phase in &mut workload.phases {
            let read: Vec<&str> = phase.reading.iter().map(|reading| &*reading.piece).collect();
            let (pieces, read) = (phase.pieces.join(" and "), read.join(" and "));
            let sizes = if phase.area == SAME_SIZE { "" } else { " in several sizes" };
            phase.key = format!("{} by {} through {pieces} {read}{sizes}", phase.name, phase.batch);
        }
        workload
    }

    /// Steps and validations of each phase, and the computation of features for each new prefix.
    fn training(&self, train: &TrainStage, found: &[Option<FeatureCacheStatus>], workload: &mut Workload) {
        let validation = split(self.work, Split::Validation);
        let images = train.settings.sampler.epoch_images(split(self.work, Split::Train));
        let batch = train.settings.batch_size;
        let mut cache_bytes = 0;
        let teacher =
            train.teacher.as_ref().map(|teacher| StageImages::new(self.work, teacher, self.settings));
        for (phase, epochs, prefix) in train.phases() {
            let (kept, epochs) = (self.keeps_features(prefix), epochs as usize);
            if kept && phase.after_epochs == prefix.after_epochs {
                let place = train.prefixes.iter().position(|other| other == prefix);
                let found = place.and_then(|place| found.get(place)?.as_ref());
                self.features(prefix, found, workload);
            }
            let reading = |reading: Vec<ImageReads>| if kept { Vec::new() } else { reading };
            let mut pieces = self.behind(prefix, step_key(train, phase, prefix));
            let views = train.model_spec.task.views();
            let again = train.settings.weighs_teacher_apart();
            pieces.extend(again.then(|| step_key(train, phase, prefix)));
            pieces.extend(teacher.as_ref().map(|teacher| teacher.pass(0, teacher.layers)));
            workload.phases.push(WorkloadPhase {
                name: "step",
                epochs,
                batches: images.div_ceil(batch) * epochs,
                images: images * epochs,
                batch: batch.min(images),
                pieces,
                reading: reading(self.training_reads(train, phase.after_epochs, epochs, images * views)),
                area: batch_area(self.work, &train.settings.augment),
                key: String::new(),
            });
            let (validated, batch, plain) = match views {
                1 => (validation, INFERENCE_BATCH, &Augment::default()),
                // Views are compared in batches as in training.
                views => (validation * views, batch * views, &train.settings.augment),
            };
            workload.phases.push(WorkloadPhase {
                name: "validation",
                epochs,
                batches: validated.div_ceil(batch) * epochs,
                images: validated * epochs,
                batch: batch.min(validated),
                pieces: self.behind(prefix, self.pass(prefix.layers, self.layers)),
                reading: reading(vec![self.reading(plain, validated, epochs)]),
                area: SAME_SIZE,
                key: String::new(),
            });
            cache_bytes = if kept { cache_bytes } else { self.cache_bytes };
        }
        let moving = &train.table.last().trainable;
        let best = if validation > 0 { bytes(&self.description, |id| moving[id]) } else { 0 };
        // Read once, written as last and best, and each read again for the frozen proof and the digest.
        workload.file_bytes = workload.weight_bytes * if validation > 0 { 7 } else { 4 };
        workload.weight_bytes += best;
        if let Some(teacher) = &teacher {
            let weights = bytes(&teacher.description, |_| true);
            workload.weight_bytes += weights;
            workload.file_bytes += weights;
        }
        workload.cache_bytes = cache_bytes;
    }

    /// The models one after the other, with one in memory at a time.
    fn evaluation(
        &self,
        evaluate: &EvaluateStage,
        found: &[Option<FeatureCacheStatus>],
        workload: &mut Workload,
    ) {
        let images = self.images();
        let passes = images * evaluate.versions().len();
        (workload.file_bytes, workload.weight_bytes) = (0, 0);
        let mut found = found.iter();
        for EnsembleMember { model_spec, layers } in &evaluate.members {
            let prefix = FrozenPrefix::without_features(*layers);
            let found = if *layers > 0 { found.next().and_then(Option::as_ref) } else { None };
            let model = StageImages::new(self.work, model_spec, self.settings);
            let kept = self.keeps_features(&prefix);
            if kept {
                model.features(&prefix, found, workload);
            }
            let weights = bytes(&model.description, |_| true);
            workload.file_bytes += weights;
            workload.weight_bytes = workload.weight_bytes.max(weights);
            workload.phases.push(WorkloadPhase {
                name: "evaluation",
                epochs: 1,
                batches: passes.div_ceil(INFERENCE_BATCH),
                images: passes,
                batch: INFERENCE_BATCH.min(images),
                pieces: model.behind(&prefix, model.pass(prefix.layers, model.layers)),
                reading: if kept { Vec::new() } else { vec![self.reading(&Augment::default(), images, 1)] },
                area: SAME_SIZE,
                key: String::new(),
            });
        }
    }

    fn keeps_features(&self, prefix: &FrozenPrefix) -> bool {
        prefix.recomputed.is_none() && self.settings.features
    }

    /// The layers of a prefix that run every time, and the probe above them.
    fn behind(&self, prefix: &FrozenPrefix, piece: String) -> Vec<String> {
        let runs = !self.keeps_features(prefix) && prefix.layers > 0;
        runs.then(|| self.pass(0, prefix.layers)).into_iter().chain([piece]).collect()
    }

    /// Feature rows: of unchanged images, and of random views.
    fn features(&self, prefix: &FrozenPrefix, found: Option<&FeatureCacheStatus>, workload: &mut Workload) {
        let missing = found.map_or(1.0, |found| 1.0 - found.stored as f64 / found.images.max(1) as f64);
        let first = prefix.layers;
        let (mut plain, mut views, mut random, mut rounds) = (self.images(), 0, Augment::default(), 1);
        if let (ResolvedStage::Train(train, _), Some(count)) = (self.work, prefix.views) {
            plain = split(self.work, Split::Validation);
            views = split(self.work, Split::Train);
            random = train.settings.augment.clone();
            rounds = train.kept_views(prefix, count).len();
        }
        let phase = |augment: &Augment, images: usize, rounds: usize| {
            let computed = ((images * rounds) as f64 * missing).round() as usize;
            WorkloadPhase {
                name: "features",
                epochs: 1,
                batches: computed.div_ceil(INFERENCE_BATCH),
                images: computed,
                batch: INFERENCE_BATCH.min(computed),
                pieces: vec![self.pass(0, first)],
                reading: vec![self.reading(augment, computed / rounds, rounds)],
                area: SAME_SIZE,
                key: String::new(),
            }
        };
        workload.phases.extend([phase(&Augment::default(), plain, 1), phase(&random, views, rounds)]);
        workload.mapped.push(MappedFeatures {
            piece: self.pass(0, first),
            rows: plain + views * rounds,
            bytes_per_number: prefix.kind.bytes(),
        });
    }

    /// Training images of some epochs after `before`: composed ones, then those of the last epochs of the stage.
    fn training_reads(
        &self,
        train: &TrainStage,
        before: u32,
        epochs: usize,
        images: usize,
    ) -> Vec<ImageReads> {
        let augment = &train.settings.augment;
        let closing = train.settings.epochs.saturating_sub(augment.close_mosaic);
        let parts = parts_of_an_image(augment, train.settings.loss.label_kind());
        let composed = if parts > 1.0 { epochs.min(closing.saturating_sub(before) as usize) } else { 0 };
        let (mut reads, rest) = (Vec::new(), epochs - composed);
        if composed > 0 {
            reads.push(self.reads(augment, images, composed, true, Some(parts)));
        }
        if rest > 0 {
            reads.push(self.reads(augment, images, rest, composed == 0, None));
        }
        reads
    }

    fn reading(&self, augment: &Augment, images: usize, epochs: usize) -> ImageReads {
        self.reads(augment, images, epochs, true, None)
    }

    /// Images read in some epochs. `new` says whether none of them is cached yet, `parts` of how many images each is
    /// composed on average, if it is.
    fn reads(
        &self,
        augment: &Augment,
        images: usize,
        epochs: usize,
        new: bool,
        parts: Option<f64>,
    ) -> ImageReads {
        // Cached images are decoded once, the others whenever they are shown. Without a cache the parts are in the
        // measurement.
        let composed = parts.is_some();
        let (cached, parts) = match self.settings.image_cache > 0 && caches_images(self.work) {
            true => (self.stays, parts.unwrap_or(1.0)),
            false => (0.0, 1.0),
        };
        let once = if new { epochs.min(1) as f64 } else { 0.0 };
        let decodes = images as f64 * (cached * once + (1.0 - cached) * parts * epochs as f64);
        let batch = match self.work {
            ResolvedStage::Train(train, _) => train.settings.batch_size.max(INFERENCE_BATCH),
            _ => INFERENCE_BATCH,
        };
        let channels = self.model_spec.channels;
        ImageReads {
            piece: load_key(self.work, augment, composed, self.settings),
            images: images * epochs,
            decodes: decodes.round() as usize,
            batch_bytes: (batch.min(images) * size(self.work).pow(2) * channels * size_of::<f32>()) as u64,
        }
    }

    fn pass(&self, from: usize, to: usize) -> String {
        pass_key(self.model_spec, size(self.work), from, to)
    }

    /// The images that the stage reads.
    fn images(&self) -> usize {
        match self.work {
            ResolvedStage::Evaluate(evaluate, _) => {
                self.work.dataset().map_or(0, |dataset| evaluate.samples(dataset).len())
            }
            _ => split(self.work, Split::Train) + split(self.work, Split::Validation),
        }
    }
}

fn split(work: &PlannedStage, split: Split) -> usize {
    work.dataset().map_or(0, |dataset| dataset.split(split).len())
}

/// The bytes of one cached decoded image. One image represents all.
fn kept_bytes(work: &PlannedStage) -> usize {
    let (ResolvedStage::Train(train, _), Some(dataset)) = (work, work.dataset()) else { return 0 };
    if dataset.samples.is_empty() {
        return 0;
    }
    let (images, augment) = (&train.preprocess.0, &train.settings.augment);
    let transform = Transform::training(images, None, augment);
    let composed = parts_of_an_image(augment, dataset.label_kind) > 1.0 || augment.affine.is_some();
    let transform = if composed { transform.of_whole_pictures() } else { transform };
    let reader = ImageReader::new(images);
    let size = std::fs::read(dataset.file(0))
        .ok()
        .and_then(|bytes| reader.open(&bytes).ok().map(|picture| picture.size()));
    size.and_then(|size| transform.kept_bytes(size)).unwrap_or(0)
}

/// The number of images of which a composed image is made, on average. Only images with boxes are composed.
fn parts_of_an_image(augment: &Augment, labels: LabelKind) -> f64 {
    if labels != LabelKind::Boxes {
        return 1.0;
    }
    let mosaic = augment.mosaic.as_ref().map_or(1.0, |mosaic| 1.0 + 3.0 * mosaic.probability);
    let mixup = augment.mixup.as_ref().map_or(0.0, |mixup| mixup.probability);
    mosaic * (1.0 + mixup)
}

/// The pixels of a batch of several image sizes relative to those of `image_size`: the mean, and the most.
fn batch_area(work: &PlannedStage, augment: &Augment) -> [f64; 2] {
    let side = size(work);
    let sizes = BatchResizer::sizes(side, augment.multi_scale);
    if augment.multi_scale == 0.0 || sizes.is_empty() {
        return SAME_SIZE;
    }
    let areas: Vec<f64> = sizes.iter().map(|size| (*size as f64 / side as f64).powi(2)).collect();
    [areas.iter().sum::<f64>() / areas.len() as f64, areas.iter().copied().fold(1.0, f64::max)]
}
