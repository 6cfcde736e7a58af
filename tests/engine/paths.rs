//! One small computation for each numeric code path, on inputs drawn by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use defrost::Result;
use defrost::autograd::{Backward, Tape, Value};
use defrost::code_path::CodePath;
use defrost::data::{
    self, BatchMixer, BatchResizer, BoxArea, CacheBudget, Dataset, DecodeOptions, EncodedImage, EpochOrder,
    Images, JpegWorkspace, Label, LabelKind, LabelledBox, Loader, Region, Sample, Scale, Scratch, Split,
    Transform,
};
use defrost::digest::{Digest, Hasher};
use defrost::features::{self, FeatureLookup, FeatureStore};
use defrost::freeze::ParameterTable;
use defrost::metrics::probabilities::{
    Calibration, LabelledProbabilities, ThresholdRule, Truths, fit_temperature,
};
use defrost::metrics::{
    self, ClassificationMetrics, Embeddings, IdentificationMetrics, MeanProbabilities, MultiLabelMetrics,
    Scores, Similarities, detection,
};
use defrost::model::{self, Description, Init, Model, NormMode, Pass, StateDict, TensorRole, TensorSpec};
use defrost::ops::{
    self, Activation, ClassLoss, FoldedConv, FoldedNorm, Margin, MarginLoss, Mixture, Window, WindowGrid,
};
use defrost::pipeline::{
    self, Arch, Augment, FeatureType, ImageFolder, ImageSettings, Monitor, Precision, ReduceOnPlateau,
    Schedule,
};
use defrost::random::{Purpose, Stream, name_hash};
use defrost::report::{self, HistoryRow, Prediction};
use defrost::store::InputIndex;
use defrost::task;
use defrost::train::{
    self, AccumulatedGradients, EmaWeights, LossScale, Optimizer, OptimizerParameter, Plateau, StepRates,
    WarmupRates,
};
use defrost::weights::{self, Dialect, LoadRules, WeightsFile};

/// The digest of a code path's results.
pub type Path = fn() -> String;

pub const PATHS: &[(CodePath, Path)] = &[
    (ops::code_paths::CONV2D, conv2d),
    (ops::code_paths::BATCH_NORM, batch_norm),
    (ops::code_paths::POOLING, pooling),
    (ops::code_paths::LINEAR, linear),
    (ops::code_paths::ELEMENTWISE, elementwise),
    (ops::code_paths::SILU, silu),
    (ops::code_paths::SCALE_CHANNELS, scale_channels),
    (ops::code_paths::CROSS_ENTROPY, cross_entropy),
    (ops::code_paths::SOFTMAX, softmax),
    (ops::code_paths::DROPOUT, dropout),
    (ops::code_paths::CLASS_LOSS, class_loss),
    (ops::code_paths::FOCAL, focal),
    (ops::code_paths::MARGIN, margin),
    (ops::code_paths::DISTILLATION, distillation),
    (ops::code_paths::NORMALIZE_ROWS, normalize_rows),
    (ops::code_paths::STOCHASTIC_DEPTH, stochastic_depth),
    (ops::code_paths::DETECTION_LOSS, detection_loss),
    (ops::code_paths::DETECTION_DECODE, detection_decode),
    (ops::code_paths::DETECTION_DISTILLATION, detection_distillation),
    (metrics::code_paths::DETECTION_METRICS, detection_metrics),
    (metrics::code_paths::DETECTION_ERRORS, detection_errors),
    (metrics::code_paths::DETECTION_INTERVALS, detection_intervals),
    (metrics::code_paths::SUBSETS, subsets),
    (metrics::code_paths::NON_MAXIMUM_SUPPRESSION, non_maximum_suppression),
    (train::code_paths::ADAM, || optimizers(&["kind = \"adam\"\nlr = 0.1"])),
    (train::code_paths::SUMMED_GRADIENTS, summed_gradients),
    (train::code_paths::WARMUP_FROM, warmup_from),
    (train::code_paths::LOSS_SCALE, loss_scale),
    (model::code_paths::ARCHITECTURES, || {
        architectures(&[Arch::ResNet18, Arch::ResNet50, Arch::EfficientNetLite0])
    }),
    (model::code_paths::MOBILENET_V2, || architectures(&[Arch::MobileNetV2])),
    (model::code_paths::EFFICIENTNET, || architectures(&[Arch::EfficientNetB0])),
    (model::code_paths::POSITION_RESAMPLING, position_resampling),
    (ops::code_paths::LAYER_NORM, layer_norm),
    (ops::code_paths::GELU, || fused_activations(&[Activation::Gelu])),
    (ops::code_paths::HARD_SWISH, || fused_activations(&[Activation::HardSwish, Activation::HardSigmoid])),
    (ops::code_paths::ATTENTION, attention),
    (ops::code_paths::WINDOW_ATTENTION, window_attention),
    (ops::code_paths::LAYER_SCALE, layer_scale),
    (ops::code_paths::TOKENS, tokens),
    (ops::code_paths::LOW_RANK, low_rank),
    (model::code_paths::LORA, adapters),
    (ops::code_paths::CONCAT, concat),
    (ops::code_paths::UPSAMPLE, upsample),
    (ops::code_paths::ATTENTION_QKV, attention_qkv),
    (ops::code_paths::NT_XENT, nt_xent),
    (ops::code_paths::TRIPLET, triplet),
    (ops::code_paths::SUPCON, supcon),
    (ops::code_paths::BINARY_CROSS_ENTROPY, binary_cross_entropy),
    (ops::code_paths::SIGMOID, || {
        digest([&ops::sigmoid(&tensor("logits", &[40, 9]).affine(12.0, 0.0).unwrap()).unwrap()])
    }),
    (model::code_paths::CONVNEXT, || architectures(&[Arch::ConvNextTiny])),
    (model::code_paths::MOBILENET_V3, || architectures(&[Arch::MobileNetV3Small])),
    (model::code_paths::EFFICIENTNET_V2, || architectures(&[Arch::EfficientNetV2S])),
    (model::code_paths::REGNET, || architectures(&[Arch::RegNetY400Mf])),
    (model::code_paths::SWIN, || architectures(&[Arch::SwinT])),
    (model::code_paths::VIT, || architectures(&[Arch::VitS16])),
    (model::code_paths::YOLO11, yolo11),
    (model::code_paths::DINOV2, || architectures(&[Arch::DinoV2VitS14])),
    (data::code_paths::JPEG, || {
        decode(&[
            "baseline_420.jpg",
            "baseline_422.jpg",
            "progressive_420.jpg",
            "cmyk.jpg",
            "orientation_6.jpg",
        ])
    }),
    (data::code_paths::PNG, || decode(&["rgb8.png", "palette_alpha.png", "grey16.png", "grey_alpha8.png"])),
    (data::code_paths::WEBP, || {
        decode(&["lossless_alpha.webp", "lossy.webp", "lossy_alpha.webp", "upright_6.webp"])
    }),
    (data::code_paths::BMP, || decode(&["rgb24.bmp", "palette.bmp", "grey.bmp"])),
    (data::code_paths::TIFF, || {
        let shown =
            decode(&["rgb8_lzw.tif", "rgba8_deflate.tif", "palette8.tif", "bilevel.tif", "upright_6.tif"]);
        let deep = stored("range = [-1, 2]\nchannels = 3\nnormalize = \"none\"", "rgb32f_tiles.tif", "");
        shown + &deep
    }),
    (data::code_paths::GIF, || {
        decode(&["animated.gif", "interlaced.gif", "transparent.gif", "small_frame.gif"])
    }),
    (data::code_paths::PNM, || {
        let shown = decode(&["bits.pbm", "grey100.pnm", "grey12.pgm", "color_text.ppm", "color10.ppm"]);
        shown + &stored("range = [0, 4095]\nnormalize = \"none\"", "color12_text.ppm", "")
    }),
    (data::code_paths::STORED_PIXELS, || {
        let jitter = "color_jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.2 }\nrotation = 20.0";
        let range = "range = [0, 60000]\nnormalize = \"none\"";
        let bands = "range = [0, 65535]\nchannels = 5\nnormalize = \"none\"";
        stored(range, "rgb16_tiles.tif", jitter) + &stored(bands, "bands16.tif", "horizontal_flip = 0.5")
    }),
    (data::code_paths::LOG_CHROMATICITY, || {
        let screen = "color = \"log_chromaticity\"\nnormalize = \"none\"";
        let linear = "range = [0, 65535]\nnormalize = \"none\"\ncolor = { kind = \"log_chromaticity\", from = \"linear\" }";
        stored(screen, "rgb8.png", "") + &stored(linear, "linear16.tif", "")
    }),
    (data::code_paths::RESIZE, resize),
    (data::code_paths::NORMALIZE, normalize),
    (data::code_paths::AUGMENT, || {
        augmented(&[
            "random_resized_crop = {}\nhorizontal_flip = 0.5",
            "vertical_flip = 0.5\nrotation = 30.0",
            "color_jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.2 }\nhorizontal_flip = 0.5",
        ])
    }),
    (data::code_paths::RAND_AUGMENT, || {
        augmented(&["rand_augment = { num_ops = 3 }", "rand_augment = { magnitude = 30 }"])
    }),
    (data::code_paths::RANDOM_ERASING, || {
        augmented(&["random_erasing = {}", "random_erasing = { value = \"random\" }"])
    }),
    (data::code_paths::MIXUP, || mixed("mixup = { alpha = 0.4 }")),
    (data::code_paths::CUTMIX, || mixed("cutmix = {}")),
    (data::code_paths::COMPOSE, || {
        composed(&[
            "mosaic = {}\naffine = { degrees = 10, shear = 3 }",
            "mosaic = { probability = 0.5 }\nmixup = { alpha = 32 }",
            "affine = {}",
        ])
    }),
    (data::code_paths::GAUSSIAN_BLUR, || {
        augmented(&["gaussian_blur = {}", "gaussian_blur = { probability = 1, sigma = [2, 3] }"])
    }),
    (data::code_paths::TWO_VIEWS, two_views),
    (data::code_paths::TEST_TIME_AUGMENTATION, test_time_augmentation),
    (data::code_paths::RECOLOR, || {
        augmented(&["grayscale = 0.5", "color_jitter = { brightness = 0.5, hue = 0.1, probability = 0.5 }"])
    }),
    (data::code_paths::HSV, || augmented(&["hsv = {}", "hsv = { hue = 1, saturation = 1, value = 1 }"])),
    (data::code_paths::MULTI_SCALE, multi_scale),
    (data::code_paths::SHUFFLE, shuffle),
    (data::code_paths::BALANCED_SAMPLER, || sampled("kind = \"balanced\"")),
    (data::code_paths::PK_SAMPLER, || sampled("kind = \"p_k\"\nclasses = 3\nimages = 4")),
    (data::code_paths::SPLIT, split),
    (features::code_paths::FEATURES, kept_features),
    (weights::code_paths::INITIALIZE, initialize),
    (weights::code_paths::WIDEN, widen),
    (weights::code_paths::SAVE, save),
    (weights::code_paths::CLASS_ROWS, class_rows),
    (weights::code_paths::WEIGHT_AVERAGE, weight_average),
    (weights::code_paths::FIRST_CONV, first_conv),
    (model::code_paths::RESTORE_BATCH_NORM, restored_norms),
    (train::code_paths::OPTIMIZER, optimizer),
    (train::code_paths::SCHEDULE, schedule),
    (train::code_paths::SCHEDULES, schedules),
    (train::code_paths::ACCUMULATION, accumulation),
    (train::code_paths::WEIGHTED_ACCUMULATION, weighted_accumulation),
    (train::code_paths::CLIPPING, clipping),
    (train::code_paths::AVERAGING, averaging),
    (train::code_paths::JOINING, joining),
    (metrics::code_paths::CLASSIFICATION, classification),
    (metrics::code_paths::ABSENT_CLASSES, absent_classes),
    (metrics::code_paths::MULTI_LABEL, multi_label),
    (metrics::code_paths::PROBABILITIES, probabilities),
    (metrics::code_paths::ENSEMBLE, ensemble),
    (metrics::code_paths::VERIFICATION, verification),
    (metrics::code_paths::IDENTIFICATION, identification),
    (report::code_paths::PICTURES, pictures),
    (report::code_paths::RECOGNITION_PICTURES, recognition_pictures),
    (report::code_paths::BOX_PICTURES, box_pictures),
    (report::code_paths::ERROR_PICTURES, error_pictures),
    (report::code_paths::PROBABILITY_PICTURES, probability_pictures),
    (report::code_paths::MISTAKE_PICTURES, mistake_pictures),
    (report::code_paths::TEXT_CELLS, || {
        let names = ["ant", "-1", "=1", "+a", "@b", "'=1", "\tc"].map(defrost::csv_cells::text);
        Digest::of(names.join("|").as_bytes()).to_string()
    }),
];

/// Uniform numbers in [−1, 1).
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Purpose::Initialize, 0, name_hash(name));
    (0..count).map(|_| 2.0 * stream.uniform() - 1.0).collect()
}

fn tensor(name: &str, shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers(name, shape.iter().product()), shape, &Device::Cpu).unwrap()
}

/// Uniform in [0.5, 1.5).
fn positive(name: &str, shape: &[usize]) -> Tensor {
    tensor(name, shape).affine(0.5, 1.0).unwrap()
}

/// Hashes the bytes of tensors.
fn digest<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> String {
    let mut hasher = Hasher::default();
    for tensor in tensors {
        let tensor = tensor.contiguous().unwrap();
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = layout.contiguous_offsets().unwrap();
        let Storage::Cpu(storage) = &*storage else { unreachable!("tensors are on the CPU") };
        match storage {
            CpuStorage::F32(numbers) => hasher.update(bytemuck::cast_slice(&numbers[start..end])),
            CpuStorage::I64(numbers) => hasher.update(bytemuck::cast_slice(&numbers[start..end])),
            _ => unreachable!("tensors are f32 or i64"),
        }
    }
    hasher.finish().to_string()
}

fn digest_of(bytes: impl AsRef<[u8]>) -> String {
    defrost::digest::Digest::of(bytes.as_ref()).to_string()
}

/// Σ weights · output, which has a different gradient for every element.
struct WeightedSum(Tensor);

impl Backward for WeightedSum {
    fn backward(self: Box<Self>, _: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0)])
    }
}

/// The output of an operation, and the gradients of its inputs.
fn both_ways(inputs: &[Tensor], op: impl Fn(&mut Tape, &[Value]) -> Result<Value>) -> Vec<Tensor> {
    let mut tape = Tape::new();
    let leaves: Vec<Value> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
    let output = op(&mut tape, &leaves).unwrap();
    let weights = tensor("weights of the output", output.tensor().dims());
    let zero = Tensor::new(0f32, &Device::Cpu).unwrap();
    let loss = tape.record(&[&output], zero, || WeightedSum(weights));
    let mut gradients = tape.backward(&loss).unwrap();
    let mut all = vec![output.into_tensor()];
    all.extend(leaves.iter().map(|leaf| gradients.take(leaf).unwrap()));
    all
}

/// Input [N, H, W, C], outputs, kernel, stride, padding, groups.
type Case = ([usize; 4], usize, usize, usize, [usize; 4], usize);

const CONVOLUTIONS: [Case; 9] = [
    ([2, 21, 19, 3], 20, 7, 2, [3; 4], 1),
    ([1, 50, 50, 17], 33, 3, 1, [1; 4], 1),
    ([2, 15, 12, 141], 36, 3, 1, [1; 4], 1),
    ([3, 13, 12, 24], 40, 3, 2, [0, 0, 1, 1], 1),
    ([2, 11, 10, 67], 35, 1, 1, [0; 4], 1),
    ([2, 11, 10, 16], 24, 1, 2, [0; 4], 1),
    ([2, 9, 9, 12], 18, 3, 1, [1; 4], 2),
    ([2, 17, 15, 37], 37, 3, 1, [1; 4], 37),
    ([1, 52, 50, 40], 40, 5, 2, [1, 1, 2, 2], 40),
];

fn conv2d() -> String {
    let mut all = Vec::new();
    for (x, outputs, kernel, stride, padding, groups) in CONVOLUTIONS {
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding };
        let x = tensor("x", &x);
        let weight = tensor("weight", &[outputs, x.dims()[3] / groups, kernel, kernel]);
        let [bias, scale, shift, mean] =
            ["bias", "scale", "shift", "mean"].map(|name| tensor(name, &[outputs]));
        let plain = both_ways(&[x.clone(), weight.clone(), bias], |tape, inputs| {
            ops::conv2d(tape, &inputs[0], &inputs[1], Some(&inputs[2]), window, groups)
        });
        let variance = &positive("variance", &[outputs]);
        let norm = FoldedNorm { weight: &scale, bias: &shift, mean: &mean, variance, eps: 1e-3 };
        let folded = FoldedConv::new(&weight, Some(norm), None, window, groups).unwrap();
        let residual = tensor("residual", plain[0].dims());
        all.push(folded.forward(&x, Activation::Relu6, Some(&residual)).unwrap());
        all.extend(plain);
    }
    digest(&all)
}

fn batch_norm() -> String {
    let shape = [3, 11, 9, 37];
    let inputs =
        [tensor("x", &shape), positive("weight", &[37]), tensor("bias", &[37]), tensor("residual", &shape)];
    let (mean, variance) = (tensor("mean", &[37]), positive("variance", &[37]));
    let mut all = Vec::new();
    for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
        all.extend(both_ways(&inputs, |tape, inputs| {
            let [x, weight, bias, residual] = inputs else { unreachable!("there are four") };
            let (y, _) = ops::batch_norm_training(tape, x, weight, bias, 1e-3, activation, Some(residual))?;
            Ok(y)
        }));
        all.extend(both_ways(&inputs[..3], |tape, inputs| {
            ops::batch_norm_frozen(
                tape, &inputs[0], &inputs[1], &inputs[2], &mean, &variance, 1e-3, activation, None,
            )
        }));
    }
    let [x, weight, bias, _] = inputs.map(Value::constant);
    let (_, statistics) =
        ops::batch_norm_training(&mut Tape::new(), &x, &weight, &bias, 1e-3, Activation::None, None).unwrap();
    all.extend([statistics.mean, statistics.variance]);
    digest(&all)
}

fn pooling() -> String {
    let x = [tensor("x", &[2, 13, 12, 35])];
    let window = Window { kernel: [3; 2], stride: [2; 2], padding: [1; 4] };
    let mut all = both_ways(&x, |tape, inputs| ops::max_pool2d(tape, &inputs[0], window));
    all.extend(both_ways(&x, |tape, inputs| ops::global_average_pool(tape, &inputs[0])));
    digest(&all)
}

fn linear() -> String {
    let inputs = [tensor("x", &[33, 130]), tensor("weight", &[37, 130]), tensor("bias", &[37])];
    digest(&both_ways(&inputs, |tape, inputs| ops::linear(tape, &inputs[0], &inputs[1], Some(&inputs[2]))))
}

fn normalize_rows() -> String {
    digest(&both_ways(&[tensor("x", &[9, 37])], |tape, inputs| ops::normalize_rows(tape, &inputs[0], 64.0)))
}

const CLASS_WEIGHTS: [f64; 5] = [0.5, 2.0, 1.0, 1.5, 0.25];

fn of_classes(loss: &dyn ClassLoss) -> Vec<Tensor> {
    let targets = [Mixture { classes: [0, 3], share: 0.3 }, Mixture::single(1), Mixture::single(4)];
    both_ways(&[tensor("logits", &[3, 5])], |tape, inputs| {
        Ok(ops::class_loss(tape, &inputs[0], &targets, loss)?.mean)
    })
}

fn class_loss() -> String {
    digest(&of_classes(&ops::CrossEntropy { label_smoothing: 0.1, class_weights: Some(&CLASS_WEIGHTS) }))
}

fn focal() -> String {
    digest(&of_classes(&ops::Focal { gamma: 1.5, class_weights: Some(&CLASS_WEIGHTS) }))
}

fn binary_cross_entropy() -> String {
    let shares: Vec<f32> = numbers("targets", 8 * 5).iter().map(|x| x.max(0.0)).collect();
    digest(&both_ways(&[tensor("logits", &[8, 5])], |tape, inputs| {
        Ok(ops::binary_cross_entropy(tape, &inputs[0], &shares, Some(&CLASS_WEIGHTS))?.0)
    }))
}

/// The outputs of a head with three classes, level by level.
fn detection_levels() -> Vec<Tensor> {
    let level = |side: usize| {
        [
            tensor(&format!("boxes {side}"), &[2, side, side, 64]),
            tensor(&format!("classes {side}"), &[2, side, side, 3]),
        ]
    };
    [8, 4, 2].into_iter().flat_map(level).collect()
}

fn levels_of(values: &[Value]) -> Vec<ops::DetectionLevel<'_>> {
    let mut levels = Vec::new();
    for (pair, stride) in values.chunks(2).zip([8, 16, 32]) {
        levels.push(ops::DetectionLevel { stride, box_logits: &pair[0], class_logits: &pair[1] });
    }
    levels
}

fn detection_loss() -> String {
    let target = |class, corners| ops::TargetBox { class, corners };
    let targets = [vec![target(0, [3.0, 5.0, 40.0, 30.0]), target(2, [20.0, 20.0, 60.0, 61.0])], Vec::new()];
    let gains = ops::DetectionGains { box_gain: 7.5, class_gain: 0.5, dfl_gain: 1.5 };
    digest(&both_ways(&detection_levels(), |tape, inputs| {
        Ok(ops::detection_loss(tape, &levels_of(inputs), &targets, &gains)?.total)
    }))
}

fn detection_distillation() -> String {
    let scaled = |map: &Tensor| (map * -1.5).unwrap();
    let teacher: Vec<Value> = detection_levels().iter().map(|map| Value::constant(scaled(map))).collect();
    let gains = ops::DistillationGains { class_gain: 0.5, box_gain: 2.0, temperature: 4.0 };
    digest(&both_ways(&detection_levels(), |tape, inputs| {
        Ok(ops::detection_distillation(tape, &levels_of(inputs), &levels_of(&teacher), &gains)?.total)
    }))
}

fn nt_xent() -> String {
    digest(&both_ways(&[tensor("projections", &[34, 19])], |tape, inputs| {
        Ok(ops::nt_xent(tape, &inputs[0], 0.1)?.mean)
    }))
}

/// Rows of six classes.
fn of_embeddings(
    loss: impl Fn(&mut Tape, &Value, &[u32]) -> defrost::Result<ops::MetricLoss>,
) -> Vec<Tensor> {
    let classes: Vec<u32> = (0..34).map(|row| row * row % 6).collect();
    both_ways(&[tensor("embeddings", &[34, 19])], |tape, inputs| Ok(loss(tape, &inputs[0], &classes)?.mean))
}

fn triplet() -> String {
    let losses = [ops::TripletMargin::Hard(0.2), ops::TripletMargin::Soft]
        .map(|margin| of_embeddings(|tape, rows, classes| ops::triplet(tape, rows, classes, margin)));
    digest(&losses.concat())
}

fn supcon() -> String {
    digest(&of_embeddings(|tape, rows, classes| ops::supcon(tape, rows, classes, 0.1)))
}

fn detection_decode() -> String {
    let values: Vec<Value> = detection_levels().into_iter().map(Value::constant).collect();
    let decoded = ops::decode(&levels_of(&values)).unwrap();
    digest(&[decoded.boxes, decoded.scores])
}

/// Boxes and scores of 60 anchor points and three classes.
fn boxes_and_scores() -> (Vec<f32>, Vec<f32>) {
    let corners = numbers("corners", 60 * 4);
    let boxes = corners.chunks(4).flat_map(|n| {
        let (left, top) = (40.0 + 30.0 * n[0], 40.0 + 30.0 * n[1]);
        [left, top, left + 12.0 + 9.0 * n[2].abs(), top + 12.0 + 9.0 * n[3].abs()]
    });
    let scores = numbers("scores of boxes", 60 * 3).iter().map(|x| 0.5 + 0.2 * x).collect();
    (boxes.collect(), scores)
}

fn non_maximum_suppression() -> String {
    let (boxes, scores) = boxes_and_scores();
    let kept = |settings| detection::non_maximum_suppression(&boxes, &scores, 3, &settings).unwrap();
    digest_of(format!(
        "{:?} {:?}",
        kept(detection::NmsSettings::EVALUATION),
        kept(detection::NmsSettings::PREDICTION)
    ))
}

/// Detections and objects of four images, in three classes.
fn boxed_images() -> Vec<(Vec<detection::Detection>, Vec<detection::GroundTruth>)> {
    let (boxes, scores) = boxes_and_scores();
    let corners =
        |place: usize| -> [f64; 4] { std::array::from_fn(|side| f64::from(boxes[place * 4 + side])) };
    let found = |place: usize| detection::Detection {
        class: (place % 3) as u32,
        score: scores[place],
        corners: corners(place).map(|corner| corner + 1.5),
    };
    let object = |place: usize| detection::GroundTruth {
        class: (place % 3) as u32,
        corners: corners(place),
        area: 400.0,
        crowd: place == 6,
        ignored: place == 9,
    };
    let image = |image: usize| {
        let range = image * 15..image * 15 + 15;
        (range.clone().map(found).collect(), range.step_by(3 + image).map(object).collect())
    };
    (0..4).map(image).collect()
}

fn detection_metrics() -> String {
    let mut metrics = detection::DetectionMetrics::new(3);
    for (detections, truth) in boxed_images() {
        metrics.update(&detections, &truth).unwrap();
    }
    let names = ["a", "b", "c"].map(str::to_owned);
    let scores = metrics.finish(&names).unwrap();
    digest_of(format!("{} {:?}", serde_json::to_string(&scores).unwrap(), metrics.curves().mean))
}

fn detection_intervals() -> String {
    let images = boxed_images();
    let groups: Vec<usize> = (0..images.len()).collect();
    digest_of(format!("{:?}", detection::intervals(&images, 3, &groups)))
}

fn detection_errors() -> String {
    let images = boxed_images();
    let images: Vec<_> =
        images.iter().map(|(detections, truth)| detection::EvaluatedImage { detections, truth }).collect();
    let analysis = detection::ErrorAnalysis::of(3, &images).unwrap();
    let errors = analysis.finish(&["a", "b", "c"].map(str::to_owned), Some(0.5)).unwrap();
    digest_of(format!("{} {:?}", serde_json::to_string(&errors).unwrap(), analysis.most_confident(9)))
}

fn subsets() -> String {
    let mut metrics = detection::DetectionMetrics::new(3);
    for (detections, truth) in boxed_images() {
        let counts: Vec<bool> = (0..detections.len()).map(|place| place % 3 != 0).collect();
        metrics.update_within(&detections, &truth, &counts).unwrap();
    }
    let all = metrics.finish_at(&["a", "b", "c"].map(str::to_owned), Some(300)).unwrap();
    let scores = detection::SubsetScores::of(4, &all);
    let stripes = image::GrayImage::from_fn(40, 30, |x, y| image::Luma([u8::from((x + 2 * y) % 7 < 3)]));
    let mut png = std::io::Cursor::new(Vec::new());
    stripes.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let mask = data::Mask::decode(png.get_ref(), true).unwrap();
    let share = mask.share([1.25, 2.5, 30.75, 21.0]);
    let columns = report::SubsetColumns { counts: &[("images", "images")], scores: &[("ap50", "AP50")] };
    let row = report::SubsetRow {
        subset: "shadow",
        value: "inside",
        counts: vec![scores.images],
        scores: vec![scores.ap50],
    };
    digest_of(format!(
        "{} {share:?} {}",
        serde_json::to_string(&scores).unwrap(),
        report::subsets_csv(&columns, &[row])
    ))
}

fn margin() -> String {
    let margins = [Margin::Angle { margin: 0.5, easy: false }, Margin::Cosine { margin: 0.35 }];
    let loss = |margin| of_classes(&MarginLoss { margin, scale: 16.0, class_weights: None });
    digest(&margins.map(loss).concat())
}

fn distillation() -> String {
    let (logits, teacher) = (tensor("logits of 9", &[17, 9]), tensor("teacher of 9", &[17, 9]));
    let found = both_ways(&[logits], |tape, inputs| {
        let taught = ops::distillation(tape, &inputs[0], &teacher, 4.0)?;
        ops::blend_losses(tape, &taught, &taught, [1.0 - 0.3, 0.3])
    });
    digest(&found)
}

fn kept_features() -> String {
    let folder = tempfile::tempdir().unwrap();
    let index = InputIndex::open(folder.path().join("inputs.index"));
    let store = FeatureStore::new(folder.path().to_owned(), &index, "any", u64::MAX);
    let mut hasher = Hasher::default();
    for kind in [FeatureType::F32, FeatureType::Bf16] {
        let made_of = serde_json::json!({ "dtype": kind });
        let mut set = store.open(&made_of, kind).unwrap();
        let mut draft = set.writer();
        let keys: Vec<Digest> = (0..5u8).map(|image| Digest::of(&[image])).collect();
        draft.push(&keys, &[tensor("features", &[5, 3, 7])]).unwrap();
        store.publish(&made_of, &mut set, draft).unwrap();
        let places = keys.iter().rev().map(|key| match set.find(key) {
            Some(FeatureLookup::Row(place)) => place,
            other => panic!("{other:?}"),
        });
        let rows = set.gather(&places.collect::<Vec<_>>()).unwrap();
        for number in rows[0].flatten_all().unwrap().to_vec1::<f32>().unwrap() {
            hasher.update(&number.to_le_bytes());
        }
    }
    hasher.finish().to_string()
}

fn elementwise() -> String {
    let inputs = ["a", "b"].map(|name| tensor(name, &[3, 7, 5, 21]).affine(8.0, 0.0).unwrap());
    digest(&both_ways(&inputs, |tape, inputs| {
        let sum = ops::add(tape, &inputs[0], &inputs[1])?;
        ops::activation(tape, &sum, Activation::Relu6)
    }))
}

/// SiLU and sigmoid alone, and SiLU after normalizations and after both kinds of folded convolution.
fn silu() -> String {
    let x = tensor("x", &[2, 9, 7, 37]).affine(20.0, 0.0).unwrap();
    let mut all = Vec::new();
    for activation in [Activation::Silu, Activation::Sigmoid] {
        all.extend(both_ways(std::slice::from_ref(&x), |tape, inputs| {
            ops::activation(tape, &inputs[0], activation)
        }));
    }
    let inputs = [x.clone(), positive("weight", &[37]), tensor("bias", &[37]), tensor("residual", x.dims())];
    let (mean, variance) = (tensor("mean", &[37]), positive("variance", &[37]));
    for inputs in [&inputs[..3], &inputs[..]] {
        all.extend(both_ways(inputs, |tape, inputs| {
            let [x, weight, bias] = [0, 1, 2].map(|index| &inputs[index]);
            let (activation, residual) = (Activation::Silu, inputs.get(3));
            Ok(ops::batch_norm_training(tape, x, weight, bias, 1e-3, activation, residual)?.0)
        }));
        all.extend(both_ways(inputs, |tape, inputs| {
            let [x, weight, bias] = [0, 1, 2].map(|index| &inputs[index]);
            let (activation, residual) = (Activation::Silu, inputs.get(3));
            ops::batch_norm_frozen(tape, x, weight, bias, &mean, &variance, 1e-3, activation, residual)
        }));
    }
    for groups in [1, 37] {
        let window = Window { kernel: [3; 2], stride: [1; 2], padding: [1; 4] };
        let weight = tensor("weight", &[37, 37 / groups, 3, 3]);
        let folded = FoldedConv::new(&weight, None, Some(&tensor("bias", &[37])), window, groups).unwrap();
        all.push(folded.forward(&x, Activation::Silu, Some(&inputs[3])).unwrap());
    }
    digest(&all)
}

fn fused_activations(activations: &[Activation]) -> String {
    let x = tensor("x", &[2, 9, 7, 37]).affine(12.0, 0.0).unwrap();
    let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
    let (weight, bias) = (tensor("weight", &[37, 37, 1, 1]), tensor("bias", &[37]));
    let folded = FoldedConv::new(&weight, None, Some(&bias), window, 1).unwrap();
    let mut all = Vec::new();
    for &activation in activations {
        all.extend(both_ways(std::slice::from_ref(&x), |tape, inputs| {
            ops::activation(tape, &inputs[0], activation)
        }));
        all.push(folded.forward(&x, activation, None).unwrap());
    }
    digest(&all)
}

fn layer_norm() -> String {
    let inputs = [tensor("x", &[3, 50, 91]), positive("weight", &[91]), tensor("bias", &[91])];
    digest(&both_ways(&inputs, |tape, inputs| {
        ops::layer_norm(tape, &inputs[0], &inputs[1], &inputs[2], 1e-6)
    }))
}

fn attention() -> String {
    let x = tensor("x", &[2, 37, 3 * 4 * 9]).affine(3.0, 0.0).unwrap();
    digest(&both_ways(&[x], |tape, inputs| ops::attention(tape, &inputs[0], 4)))
}

fn window_attention() -> String {
    let grid = WindowGrid::new([9, 16], 7, true);
    let table = tensor("table", &[169, 2]);
    let x = tensor("x", &[2, 9, 16, 3 * 2 * 9]).affine(2.0, 0.0).unwrap();
    let mut all = both_ways(&[x, table], |tape, inputs| {
        let cut = ops::windows(tape, &inputs[0], grid)?;
        let y = ops::window_attention(tape, &cut, &inputs[1], grid, 2)?;
        ops::from_windows(tape, &y, grid)
    });
    let map = tensor("map", &[2, 6, 8, 5]);
    all.extend(both_ways(&[map], |tape, inputs| ops::merge_patches(tape, &inputs[0])));
    digest(&all)
}

fn attention_qkv() -> String {
    let map = |name, channels| tensor(name, &[2, 5, 7, channels]).affine(2.0, 0.0).unwrap();
    let inputs = [map("query", 2 * 32), map("key", 2 * 32), map("value", 2 * 64)];
    digest(&both_ways(&inputs, |tape, inputs| {
        ops::attention_qkv(tape, &inputs[0], &inputs[1], &inputs[2], 2)
    }))
}

fn concat() -> String {
    let inputs = [tensor("x", &[2, 9, 7, 37]), tensor("y", &[2, 9, 7, 24])];
    digest(&both_ways(&inputs, |tape, inputs| {
        let parts = ops::split_channels(tape, &inputs[1], 2, &[5, 7])?;
        ops::concat(tape, &[&parts[1], &inputs[0], &parts[0]])
    }))
}

fn upsample() -> String {
    let x = tensor("x", &[2, 9, 7, 37]);
    digest(&both_ways(&[x], |tape, inputs| ops::upsample_nearest(tape, &inputs[0])))
}

/// A detector, with blocks of both kinds.
fn yolo11() -> String {
    let head = pipeline::Head::Detect(pipeline::DetectHead { class_width: None });
    let model = Model::build(&pipeline::Model { head, ..pipeline::Model::of(Arch::Yolo11N) }, 3);
    let description = &model.description;
    let draw = |spec: &TensorSpec| match spec.role {
        TensorRole::BatchCount => Tensor::new(3i64, &Device::Cpu).unwrap(),
        TensorRole::Constant => weights::initialize(spec, 0).unwrap(),
        TensorRole::NormWeight | TensorRole::RunningVar => positive(&spec.name, &spec.shape),
        TensorRole::Weight => {
            let inputs: usize = spec.shape[1..].iter().product();
            tensor(&spec.name, &spec.shape).affine(1.5 / (inputs as f64).sqrt(), 0.0).unwrap()
        }
        _ => tensor(&spec.name, &spec.shape).affine(0.1, 0.0).unwrap(),
    };
    let state = StateDict { tensors: description.tensors.iter().map(draw).collect() };
    let images = Value::constant(tensor("images", &[2, 64, 64, 3]));
    let outputs = model.forward(&mut Pass::inference(&state), 0, images.clone()).unwrap();
    let mut all: Vec<Tensor> = outputs.tensors().cloned().collect();
    let trainable: Vec<bool> = description.tensors.iter().map(|spec| spec.role.is_parameter()).collect();
    let norms = vec![NormMode::Training; description.norms.len()];
    let mut pass = Pass::training(&state, &trainable, &norms, 1, 0, &[10, 11]);
    let outputs = model.forward(&mut pass, 0, images).unwrap();
    let mut loss = None;
    for name in description.outputs {
        let output = outputs.get(name).unwrap();
        let weights = tensor(name, output.tensor().dims());
        let zero = Tensor::new(0f32, &Device::Cpu).unwrap();
        let part = pass.tape().record(&[output], zero, || WeightedSum(weights));
        loss = Some(match loss {
            None => part,
            Some(sum) => ops::add(pass.tape(), &sum, &part).unwrap(),
        });
    }
    let (gradients, buffers) = pass.backward(&loss.unwrap()).unwrap();
    all.extend(gradients.into_iter().map(|(_, gradient)| gradient.unwrap()));
    all.extend(state.updated(&buffers).unwrap().into_iter().map(|(_, tensor)| tensor));
    digest(&all)
}

fn layer_scale() -> String {
    let inputs =
        [tensor("x", &[2, 31, 29, 37]), tensor("gain", &[37, 1, 1]), tensor("residual", &[2, 31, 29, 37])];
    digest(&both_ways(&inputs, |tape, inputs| ops::layer_scale(tape, &inputs[0], &inputs[1], &inputs[2])))
}

fn low_rank() -> String {
    let mut all = both_ways(&[tensor("x", &[2, 31, 37])], |tape, inputs| ops::scale(tape, &inputs[0], 0.7));
    let [weight, down, up] =
        [("w", [70, 37]), ("down", [5, 37]), ("up", [70, 5])].map(|(name, shape)| tensor(name, &shape));
    all.push(ops::low_rank_sum(&weight, &down, &up, 0.7).unwrap());
    digest(&all)
}

/// Patches as tokens, and linear layers over them.
fn tokens() -> String {
    let inputs = [
        tensor("patches", &[3, 5, 7, 20]),
        tensor("class token", &[1, 1, 20]),
        tensor("positions", &[1, 36, 20]),
        tensor("weight", &[20, 20]),
        tensor("bias", &[20]),
    ];
    digest(&both_ways(&inputs, |tape, inputs| {
        let tokens = ops::tokens(tape, &inputs[0], &inputs[1], &inputs[2])?;
        let tokens = ops::pointwise(tape, &tokens, &inputs[3], &inputs[4], Some(&tokens))?;
        ops::first_token(tape, &tokens)
    }))
}

fn scale_channels() -> String {
    let inputs = [tensor("x", &[2, 31, 29, 37]), tensor("scale", &[2, 37])];
    digest(&both_ways(&inputs, |tape, inputs| ops::scale_channels(tape, &inputs[0], &inputs[1])))
}

fn logits() -> (Tensor, Vec<u32>) {
    (tensor("logits", &[19, 11]).affine(9.0, 0.0).unwrap(), (0..19).map(|row| row * 7 % 11).collect())
}

fn cross_entropy() -> String {
    let (logits, labels) = logits();
    let mut all = Vec::new();
    for smoothing in [0.0, 0.1] {
        all.extend(both_ways(std::slice::from_ref(&logits), |tape, inputs| {
            Ok(ops::cross_entropy(tape, &inputs[0], &labels, smoothing)?.0)
        }));
    }
    let (_, losses) = ops::cross_entropy(&mut Tape::new(), &Value::constant(logits), &labels, 0.1).unwrap();
    digest(&all) + &digest_of(bytemuck::cast_slice(&losses.wait().unwrap()))
}

fn softmax() -> String {
    digest([&ops::softmax(&logits().0).unwrap()])
}

fn dropout() -> String {
    digest(&both_ways(&[tensor("x", &[5, 40])], |tape, inputs| {
        let mut streams: Vec<Stream> =
            (0..5).map(|row| Stream::new(1, Purpose::Dropout, 2, name_hash(&format!("{row}.png")))).collect();
        ops::dropout(tape, &inputs[0], 0.3, &mut streams)
    }))
}

fn stochastic_depth() -> String {
    digest(&both_ways(&[tensor("x", &[7, 30, 20, 37])], |tape, inputs| {
        let mut streams: Vec<Stream> =
            (0..7).map(|row| Stream::new(1, Purpose::StochasticDepth, 2, row)).collect();
        ops::stochastic_depth(tape, &inputs[0], 0.3, &mut streams)
    }))
}

fn small_model(arch: Arch) -> Model {
    let head = pipeline::Head::Linear(toml::from_str("dropout = 0.2").unwrap());
    Model::build_for(&pipeline::Model { head, ..pipeline::Model::of(arch) }, 5, IMAGE)
}

/// The tokens of patches: the first layer, with fewer and with more patches than in pretraining.
fn position_resampling() -> String {
    let mut all = Vec::new();
    for way in ["size", "antialias"] {
        let spec: pipeline::Model =
            toml::from_str(&format!("arch = \"dinov2_vits14\"\nposition_resampling = \"{way}\"")).unwrap();
        let model = Model::build(&spec, 2);
        let state = weights::initialize_all(&model.description, 3).unwrap();
        for (height, width) in [(42, 70), (14, 14 * 39)] {
            let images = Value::constant(tensor("images", &[1, height, width, 3]));
            let tokens = model.forward_layers(&mut Pass::inference(&state), 0..1, images).unwrap();
            all.push(tokens.only().unwrap().into_tensor());
        }
    }
    digest(&all)
}

/// The image size for architectures.
const IMAGE: usize = 33;

/// One training step and the inference before it: topology, padding, eps, momentum, and layer order.
fn architectures(archs: &[Arch]) -> String {
    let mut all = Vec::new();
    for &arch in archs {
        let model = small_model(arch);
        let trains = |id| !arch.is_encoder() || model.description.in_head(id);
        all.extend(inference_and_gradients(&model, trains));
    }
    digest(&all)
}

/// Adapters of a vision transformer: as they begin, and what a network with them computes.
fn adapters() -> String {
    let settings: pipeline::Adapter =
        toml::from_str("match = [\"*.in_proj\", \"*.mlp.3\"]\nrank = 3\nalpha = 2").unwrap();
    let spec = small_model(Arch::VitS16).resolve_adapter(&settings).unwrap();
    let model = small_model(Arch::VitS16).with_adapters(Some(&spec));
    let adapters = model.description.adapter_tensors();
    let mut all: Vec<Tensor> =
        adapters.map(|id| weights::initialize(&model.description.tensors[id], 5).unwrap()).collect();
    all.extend(inference_and_gradients(&model, |id| model.description.adapted_by(id).is_some()));
    digest(&all)
}

fn inference_and_gradients(model: &Model, is_free: impl Fn(usize) -> bool) -> Vec<Tensor> {
    let mut all = Vec::new();
    let draw = |spec: &TensorSpec| match spec.role {
        TensorRole::BatchCount => Tensor::new(3i64, &Device::Cpu).unwrap(),
        TensorRole::NormWeight | TensorRole::RunningVar => positive(&spec.name, &spec.shape),
        TensorRole::Weight => {
            let inputs: usize = spec.shape[1..].iter().product();
            tensor(&spec.name, &spec.shape).affine(1.5 / (inputs as f64).sqrt(), 0.0).unwrap()
        }
        _ => tensor(&spec.name, &spec.shape).affine(0.1, 0.0).unwrap(),
    };
    let state = StateDict { tensors: model.description.tensors.iter().map(draw).collect() };
    let images = Value::constant(tensor("images", &[2, IMAGE, IMAGE, 3]));
    let outputs = model.forward(&mut Pass::inference(&state), 0, images.clone()).unwrap();
    all.push(outputs.logits().unwrap().tensor().clone());
    let trains = |id: usize, spec: &TensorSpec| spec.role.is_parameter() && is_free(id);
    let specs = model.description.tensors.iter().enumerate();
    let trainable: Vec<bool> = specs.map(|(id, spec)| trains(id, spec)).collect();
    let norms: Vec<NormMode> = (0..model.description.norms.len())
        .map(|norm| if norm % 3 == 0 { NormMode::Frozen } else { NormMode::Training })
        .collect();
    let mut pass = Pass::training(&state, &trainable, &norms, 1, 0, &[10, 11]);
    let outputs = model.forward(&mut pass, 0, images).unwrap();
    let (loss, _) = ops::cross_entropy(pass.tape(), outputs.logits().unwrap(), &[0, 3], 0.0).unwrap();
    let (gradients, buffers) = pass.backward(&loss).unwrap();
    all.push(loss.into_tensor());
    all.extend(gradients.into_iter().map(|(_, gradient)| gradient.unwrap()));
    all.extend(state.updated(&buffers).unwrap().into_iter().map(|(_, tensor)| tensor));
    all
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name);
    std::fs::read(path).unwrap()
}

fn decode(names: &[&str]) -> String {
    let mut hasher = Hasher::default();
    for name in names {
        let file = fixture(name);
        let picture = EncodedImage::open(&file, DecodeOptions::default()).unwrap();
        let (width, height) = picture.size();
        for scale in Scale::ALL.into_iter().filter(|scale| picture.scales() || *scale == Scale::Whole) {
            let region = Region::whole((scale.of(width), scale.of(height)));
            let image = picture.decode(scale, region, &mut JpegWorkspace::default()).unwrap();
            hasher.update(image.into_rgb8().unwrap().as_raw());
        }
    }
    hasher.finish().to_string()
}

fn picture() -> image::RgbImage {
    let mut stream = Stream::new(0, Purpose::Initialize, 0, name_hash("picture"));
    image::RgbImage::from_fn(61, 47, |x, y| {
        image::Rgb([x * 4, y * 5, x + y].map(|value| value as u8 ^ (stream.next_u32() as u8 & 31)))
    })
}

fn resize() -> String {
    let picture = picture();
    let region = Region { left: 7, top: 3, width: 41, height: 40 };
    let small = data::resize(&picture, region, 17, 16);
    let large = data::resize(&picture, Region::of(&picture), 130, 101);
    digest_of([small.into_raw(), large.into_raw()].concat())
}

fn images(settings: &str) -> ImageSettings {
    toml::from_str(settings).unwrap()
}

fn normalize() -> String {
    let tensors = ["imagenet", "inception", "efficientnet_lite", "none"].map(|name| {
        let images = images(&format!("image_size = 24\nnormalize = \"{name}\""));
        Transform::evaluation(&images, None).tensor(&fixture("rgb8.png")).unwrap()
    });
    digest(&tensors)
}

fn augmented(augments: &[&str]) -> String {
    let mut hasher = Hasher::default();
    for augment in augments {
        let augment: Augment = toml::from_str(augment).unwrap();
        let images = images("image_size = 24\nnormalize = \"none\"");
        let transform = Transform::training(&images, None, &augment);
        let mut file = std::io::Cursor::new(Vec::new());
        picture().write_to(&mut file, image::ImageFormat::Png).unwrap();
        for epoch in 0..6 {
            let mut stream = Stream::new(4, Purpose::Augment, epoch, name_hash("cat/1.png"));
            let mut numbers = vec![0.0; 24 * 24 * 3];
            let picture = EncodedImage::open(file.get_ref(), DecodeOptions::default()).unwrap();
            transform.finish_unkept(&picture, &mut stream, &mut Scratch::default(), &mut numbers).unwrap();
            hasher.update(&numbers.iter().map(|number| (number * 255.0).round() as u8).collect::<Vec<_>>());
        }
    }
    hasher.finish().to_string()
}

/// Four pictures with boxes, in this folder.
fn boxed_pictures(root: &std::path::Path) -> Arc<Dataset> {
    let sample = |number: u32| {
        let path = format!("{number}.png");
        let size = (40 + 7 * number, 60 - 9 * number);
        let picture = picture();
        image::imageops::resize(&picture, size.0, size.1, image::imageops::FilterType::Nearest)
            .save(root.join(&path))
            .unwrap();
        let area = BoxArea { left: 0.1, top: 0.2, right: 0.5 + 0.1 * f64::from(number), bottom: 0.7 };
        let label = Label::Boxes(vec![LabelledBox::new(number % 2, area)]);
        Sample { path, label, split: Split::Train, digest: None }
    };
    Arc::new(Dataset {
        root: root.to_owned(),
        classes: vec!["a".to_owned(), "b".to_owned()],
        label_kind: LabelKind::Boxes,
        samples: (0..4).map(sample).collect(),
        ..Dataset::default()
    })
}

/// Both views of four pictures, in two epochs.
fn test_time_augmentation() -> String {
    let settings =
        pipeline::TestTimeAugmentation { horizontal_flip: true, vertical_flip: true, quarter_turns: true };
    let images = tensor("images", &[2, 3, 4, 3]);
    let versions = data::Symmetry::versions(&settings);
    digest(&versions.iter().map(|version| version.apply(&images).unwrap()).collect::<Vec<_>>())
}

fn two_views() -> String {
    let root = tempfile::tempdir().unwrap();
    let dataset = boxed_pictures(root.path());
    let augment: Augment = toml::from_str("random_resized_crop = {}\nhorizontal_flip = 0.5").unwrap();
    let settings = images("image_size = 32\nnormalize = \"none\"");
    let memory = Arc::new(CacheBudget::new(0));
    let images = Arc::new(Images::for_training(dataset, &settings, &augment, 2, memory));
    let mut hasher = Hasher::default();
    for epoch in 0..2 {
        let order = EpochOrder { views: 2, seed: 4, epoch, ..EpochOrder::sequential((0..4).collect(), 3) };
        for batch in Loader::new(images.clone(), order, 1).unwrap() {
            let numbers = batch.unwrap().images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            hasher.update(&numbers.iter().map(|number| (number * 255.0).round() as u8).collect::<Vec<_>>());
        }
    }
    hasher.finish().to_string()
}

/// Compositions of four pictures with boxes: pixels, and the boxes that remain.
fn composed(augments: &[&str]) -> String {
    let root = tempfile::tempdir().unwrap();
    let dataset = boxed_pictures(root.path());
    let mut hasher = Hasher::default();
    for augment in augments {
        let augment: Augment = toml::from_str(&format!("close_mosaic = 0\n{augment}")).unwrap();
        let settings = images("image_size = 32\nnormalize = \"none\"");
        let memory = Arc::new(CacheBudget::new(0));
        let images = Arc::new(Images::for_training(dataset.clone(), &settings, &augment, 4, memory));
        for epoch in 0..4 {
            let order = EpochOrder { seed: 4, epoch, ..EpochOrder::sequential((0..4).collect(), 4) };
            for batch in Loader::new(images.clone(), order, 1).unwrap() {
                let batch = batch.unwrap();
                let numbers = batch.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                hasher
                    .update(&numbers.iter().map(|number| (number * 255.0).round() as u8).collect::<Vec<_>>());
                for part in batch.parts.iter().flatten() {
                    for LabelledBox { area, .. } in part.boxes(&dataset) {
                        hasher.update(
                            &[area.left, area.top, area.right, area.bottom].map(f64::to_le_bytes).concat(),
                        );
                    }
                }
            }
        }
    }
    hasher.finish().to_string()
}

/// Pixels that keep their depth, changed at random.
fn stored(settings: &str, file: &str, augment: &str) -> String {
    let augment: Augment = toml::from_str(augment).unwrap();
    let images = images(&format!("image_size = 24\n{settings}"));
    let transform = Transform::training(&images, None, &augment);
    let file = fixture(file);
    let mut hasher = Hasher::default();
    for epoch in 0..4 {
        let mut stream = Stream::new(4, Purpose::Augment, epoch, name_hash("cat/1.tif"));
        let mut numbers = vec![0.0f32; 24 * 24 * images.channels];
        let picture = transform.open(&file).unwrap();
        transform.finish_unkept(&picture, &mut stream, &mut Scratch::default(), &mut numbers).unwrap();
        hasher.update(bytemuck::cast_slice(&numbers));
    }
    hasher.finish().to_string()
}

fn multi_scale() -> String {
    let resizer = BatchResizer::new(&toml::from_str("multi_scale = 0.5").unwrap(), 4).unwrap();
    let images = tensor("images", &[2, 64, 64, 3]);
    digest(&(0..6).map(|batch| resizer.resize(&images, 1, batch).unwrap()).collect::<Vec<_>>())
}

fn mixed(augment: &str) -> String {
    let mixer = BatchMixer::new(&toml::from_str(augment).unwrap(), 4).unwrap();
    let images = tensor("images", &[3, 9, 9, 3]);
    let mix = |epoch| {
        let (mixed, shares) = mixer.mix(&images, epoch, &[1, 2, 3]).unwrap();
        [mixed, Tensor::new(shares, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()]
    };
    digest(&(0..4).flat_map(mix).collect::<Vec<_>>())
}

fn shuffle() -> String {
    let samples: Vec<usize> = (0..100).map(|sample| 3 * sample).collect();
    digest_of(format!("{:?} {:?}", data::shuffled(&samples, 5, 0), data::shuffled(&samples, 5, 1)))
}

/// The samples of three epochs, and the addresses of their draws.
fn sampled(sampler: &str) -> String {
    let sample = |number: usize| {
        let class = [0, 0, 0, 1, 0, 2, 0, 1, 3, 0, 0, 1][number % 12];
        let path = format!("{number}.png");
        Sample { path, label: Label::Class(class), split: Split::Train, digest: None }
    };
    let dataset = Dataset {
        classes: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        samples: (0..60).map(sample).collect(),
        ..Dataset::default()
    };
    let sampler = data::EpochSampler::new(&dataset, &toml::from_str(sampler).unwrap(), 5);
    let images = images("image_size = 32");
    let memory = Arc::new(CacheBudget::new(0));
    let images = Images::for_training(Arc::new(dataset), &images, &Augment::default(), 3, memory);
    let row = |(sample, occurrence)| (sample, images.address(sample, occurrence, 0));
    let epoch = |epoch| {
        let order = sampler.order(epoch);
        let occurrences = data::occurrences(&order);
        order.into_iter().zip(occurrences).map(row).collect::<Vec<(usize, u64)>>()
    };
    digest_of(format!("{:?}", [0, 1, 2].map(epoch)))
}

fn split() -> String {
    let root = tempfile::tempdir().unwrap();
    for number in 0..120 {
        let path = root.path().join(["cat", "dog"][number % 2]).join(format!("{}__{number}.png", number / 3));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let parts = ["", "\nsplit.group = '^(.+?)__'", "\nsplit.seed = 3"].map(|settings| {
        let settings = format!("root = \"x\"\nsplit.validation = 0.3\nsplit.test = 0.2{settings}");
        let folder: ImageFolder = toml::from_str(&settings).unwrap();
        let dataset = Dataset::scan(&folder, root.path()).unwrap();
        dataset.samples.iter().map(|sample| (sample.path.clone(), sample.split.name())).collect::<Vec<_>>()
    });
    digest_of(format!("{parts:?}"))
}

fn initialize() -> String {
    let init = [Init::Zeros, Init::Ones, Init::Normal { std: 0.02 }, Init::Uniform { bound: 0.1 }];
    let tensors = init.map(|init| {
        let spec = TensorSpec {
            name: "fc.weight".into(),
            shape: vec![13, 7],
            role: TensorRole::Weight,
            init,
            layer: 0,
        };
        weights::initialize(&spec, 9).unwrap()
    });
    digest(&tensors)
}

fn widen() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let source =
        WeightsFile::open(&path.join("pipelines/quickstart/efficientnet_lite0.safetensors")).unwrap();
    digest(&["_conv_stem.weight", "_bn1.running_var", "_fc.bias"].map(|name| source.tensor(name).unwrap()))
}

/// Loads a small model, saved by `written`, with some settings of a stage.
fn adapted(settings: &str, model: &Model, written: &Description, classes: &[&str]) -> StateDict {
    let state = weights::initialize_all(written, 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    weights::save(&path, written, &state, Dialect::Own, &BTreeMap::new()).unwrap();
    let stage = toml::from_str(&format!("file = \"x\"\n{settings}")).unwrap();
    let mut rules = LoadRules::resolve(&model.description, &stage).unwrap();
    let head = |name: &str| model.description.id(name).unwrap();
    rules.class_tensors = vec![head("fc.weight"), head("fc.bias")];
    rules.classes = Some(classes.iter().map(|class| (*class).to_owned()).collect());
    let source = WeightsFile::open(&path).unwrap();
    weights::load(&model.description, &source, &rules, 5).unwrap()
}

fn class_rows() -> String {
    let (model, other) = (Model::tiny(3), Model::tiny(4));
    let settings = "class_rows = \"by_name\"\nfile_classes = [\"d\", \"c\", \"x\", \"a\"]";
    let state = adapted(settings, &model, &other.description, &["a", "B", "C "]);
    digest(&state.tensors[state.tensors.len() - 2..])
}

fn first_conv() -> String {
    let mut adapted_weights = Vec::new();
    for method in ["sum", "mean", "repeat", "first"] {
        let model = Model::tiny(3);
        for channels in [1, 2, 4, 7] {
            let mut written = model.description.clone();
            written.tensors[0].shape[1] = channels;
            let settings = format!("first_conv = \"{method}\"");
            adapted_weights
                .push(adapted(&settings, &model, &written, &["a", "b", "c"]).tensors.swap_remove(0));
        }
    }
    digest(&adapted_weights)
}

fn weight_average() -> String {
    let model = Model::tiny(3);
    let states = [1, 2, 3].map(|seed| weights::initialize_all(&model.description, seed).unwrap());
    digest(&weights::average(&states).unwrap().tensors)
}

fn restored_norms() -> String {
    let model = Model::tiny(3);
    let mut state = weights::initialize_all(&model.description, 2).unwrap();
    for norm in &model.description.norms {
        let channels = &model.description.tensors[norm.bias].shape;
        state.tensors[norm.bias] = tensor(&norm.name, channels);
    }
    let norms: Vec<usize> = (0..model.description.norms.len()).collect();
    let batches = ["one", "two"].map(|name| Ok(tensor(name, &[3, 40, 40, 3])));
    model.restore_batch_norms(&mut state, &norms, &Device::Cpu, batches).unwrap();
    digest(state.tensors.iter().filter(|tensor| tensor.rank() == 1))
}

fn save() -> String {
    let mut description = small_model(Arch::ResNet18).description;
    description.tensors.truncate(6);
    let state = weights::initialize_all(&description, 2).unwrap();
    let metadata = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    let folder = tempfile::tempdir().unwrap();
    weights::save(&folder.path().join("x.safetensors"), &description, &state, Dialect::Own, &metadata)
        .unwrap()
        .to_string()
}

fn parameter(tensor: usize, after_epochs: u32) -> OptimizerParameter {
    let name = format!("weight {tensor}");
    OptimizerParameter {
        tensor,
        name,
        lr: 0.1,
        weight_decay: 0.05,
        after_epochs,
        warmup_steps: 2 * u64::from(after_epochs),
        is_bias: false,
    }
}

/// Two epochs of two steps; the second parameter is unfrozen in the second.
fn joining() -> String {
    let kind = toml::from_str("kind = \"adamw\"\nlr = 0.1").unwrap();
    let mut optimizer = Optimizer::new(&kind, [parameter(0, 0), parameter(1, 1)]).unwrap();
    let mut tensors = ["first", "second"].map(|name| tensor(name, &[37, 29]));
    for step in 0..4 {
        optimizer.begin_epoch(step / 2).unwrap();
        let gradient = |id: usize| (id, Some(tensor(&format!("gradient {id} {step}"), &[37, 29])));
        let gradients = [gradient(0), gradient(1)];
        optimizer.step(&mut tensors, &gradients[..if step < 2 { 1 } else { 2 }], 1.0).unwrap();
    }
    digest(&tensors)
}

fn optimizer() -> String {
    optimizers(&[
        "kind = \"sgd\"\nlr = 0.1",
        "kind = \"sgd\"\nlr = 0.1\nmomentum = 0.9",
        "kind = \"sgd\"\nlr = 0.1\nmomentum = 0.9\nnesterov = true",
        "kind = \"adamw\"\nlr = 0.1",
    ])
}

fn optimizers(kinds: &[&str]) -> String {
    let mut all = Vec::new();
    for kind in kinds {
        let mut optimizer = Optimizer::new(&toml::from_str(kind).unwrap(), [parameter(0, 0)]).unwrap();
        let mut tensors = [tensor("weight", &[37, 29])];
        for step in 0..3 {
            let gradient = tensor(&format!("gradient {step}"), &[37, 29]);
            optimizer.step(&mut tensors, &[(0, Some(gradient))], 1.0 / f64::from(step + 1)).unwrap();
        }
        all.extend(tensors);
        all.extend(optimizer.state().unwrap().into_iter().map(|(_, tensor)| tensor));
    }
    digest(&all)
}

fn summed_gradients() -> String {
    let mut mean = AccumulatedGradients::default();
    for (part, weight) in [("first", 3.0), ("second", 2.0)] {
        mean.add(vec![(0, Some(tensor(part, &[37, 29])))], weight).unwrap();
    }
    digest(mean.into_sum().unwrap().mean.values())
}

fn loss_scale() -> String {
    let mut scale = LossScale::start(Precision::F16).unwrap();
    let mut gradients = Vec::new();
    for step in 0..2100 {
        let factor = scale.factor();
        if scale.observe(step % 2001 != 0).unwrap() && step % 300 == 0 {
            let mut mean = AccumulatedGradients::default();
            mean.add(vec![(0, Some(tensor(&format!("gradient {step}"), &[37])))], 1.0).unwrap();
            gradients.extend(mean.times(1.0 / factor).unwrap().mean.into_values());
        }
    }
    format!("{} {}", digest(&gradients), scale.factor())
}

fn warmup_from() -> String {
    let kind = toml::from_str("kind = \"sgd\"\nlr = 0.1\nmomentum = 0.9").unwrap();
    let parameters = [parameter(0, 0), OptimizerParameter { is_bias: true, ..parameter(1, 0) }];
    let mut optimizer = Optimizer::new(&kind, parameters).unwrap();
    let mut tensors = ["weight", "bias"].map(|name| tensor(name, &[37]));
    for progress in [0.25, 0.5, 1.0] {
        let warmup = WarmupRates { progress, full: 1.0, bias_lr: Some(0.3), momentum: Some([0.5, 0.9]) };
        let gradients = [0, 1].map(|id| (id, Some(tensor(&format!("gradient {id} {progress}"), &[37]))));
        let rates = StepRates { factor: progress, warmup: Some(warmup) };
        optimizer.step(&mut tensors, &gradients, rates).unwrap();
    }
    digest(&tensors)
}

fn schedule() -> String {
    factors(&[
        "kind = \"constant\"\nwarmup_epochs = 1.5",
        "kind = \"cosine\"\nwarmup_epochs = 0.5\nfinal_scale = 0.1",
    ])
}

fn schedules() -> String {
    let scales = {
        let rule = "patience = 0\nfactor = 0.3\nthreshold = 0.01\ncooldown = 1";
        let rule: ReduceOnPlateau = toml::from_str(rule).unwrap();
        let mut plateau = Plateau::default();
        let observe = |value: f64| {
            plateau.observe(&rule, Monitor::ValidationAccuracy, value);
            plateau.scale().to_bits()
        };
        [0.5, 0.502, 0.51, 0.5, 0.5, 0.5, 0.6, 0.6].map(observe)
    };
    let factors = factors(&[
        "kind = \"step\"\nstep_size = 1\ngamma = 0.3\nwarmup_epochs = 0.5\nwarmup_start = 0.1",
        "kind = \"multi_step\"\nmilestones = [1, 2]\ngamma = 0.7",
        "kind = \"exponential\"\ngamma = 0.9",
        "kind = \"polynomial\"\npower = 1.7\nfinal_scale = 0.1",
        "kind = \"cosine\"\nrestart_epochs = 1\nrestart_multiplier = 2",
        "kind = \"one_cycle\"\npct_start = 0.4",
    ]);
    digest_of(format!("{factors} {scales:?}"))
}

fn accumulation() -> String {
    let mut mean = AccumulatedGradients::default();
    for (part, images) in [("first", 5.0), ("second", 5.0), ("third", 2.0)] {
        mean.add(vec![(0, Some(tensor(part, &[37, 29])))], images).unwrap();
    }
    digest(mean.mean.values())
}

/// Batches weighted by class, and a teacher whose mean is over images.
fn weighted_accumulation() -> String {
    let parts = [("first", 0.75, 5.0), ("second", 1000.5, 5.0), ("third", 3.25, 2.0)];
    let (mut labels, mut teacher) = (AccumulatedGradients::default(), AccumulatedGradients::default());
    for (part, weight, images) in parts {
        let of = |what: &str| vec![(0, Some(tensor(&format!("{what} {part}"), &[37, 29])))];
        labels.add(of("labels"), weight).unwrap();
        teacher.add(of("teacher"), images).unwrap();
    }
    let alone = digest(labels.mean.values());
    alone + &digest(labels.blended(teacher, 0.3).unwrap().mean.values())
}

fn clipping() -> String {
    let mut mean = AccumulatedGradients::default();
    let gradient = |name, shape: &[usize]| Some(tensor(name, shape));
    mean.add(vec![(0, gradient("first", &[150, 290])), (1, gradient("second", &[29]))], 3.0).unwrap();
    let norm = mean.clip(0.7).unwrap();
    format!("{}{}", digest(mean.mean.values()), digest_of(norm.wait().unwrap()[0].to_bits().to_le_bytes()))
}

fn averaging() -> String {
    let model = small_model(Arch::ResNet18);
    let settings = "from = \"x\"\nepochs = 1\noptimizer = { kind = \"sgd\", lr = 1 }\ntrain = [\"@head\"]";
    let table = ParameterTable::resolve(&model.description, &toml::from_str(settings).unwrap()).unwrap();
    let mut state = weights::initialize_all(&model.description, 2).unwrap();
    let ema = toml::from_str("decay = 0.4").unwrap();
    let mut average = EmaWeights::start(&ema, &state, &model.description, &table);
    let head = model.description.id("fc.weight").unwrap();
    for step in 1..=3 {
        state.tensors[head] = tensor(&format!("step {step}"), state.tensors[head].dims());
        average.update(&state, step).unwrap();
    }
    digest([&average.averaged(&state).tensors[head]])
}

/// Schedules of 21 steps each.
fn factors(schedules: &[&str]) -> String {
    let factors = schedules.iter().map(|schedule| {
        let schedule: Schedule = toml::from_str(schedule).unwrap();
        (0..21).map(|step| schedule.lr_factor(step, 7, 3).to_bits()).collect::<Vec<_>>()
    });
    digest_of(format!("{:?}", factors.collect::<Vec<_>>()))
}

fn classes() -> Vec<String> {
    (0..7).map(|class| format!("class {class}")).collect()
}

fn counted() -> ClassificationMetrics {
    let mut metrics = ClassificationMetrics::new(7);
    let labels: Vec<u32> = (0..40).map(|row| row * row % 7).collect();
    let losses: Vec<f64> = numbers("losses", 40).into_iter().map(f64::from).collect();
    metrics.update(&numbers("scores", 40 * 7), &labels, &losses).unwrap();
    metrics
}

fn classification() -> String {
    digest_of(serde_json::to_string(&counted().finish(&classes()).unwrap()).unwrap())
}

/// One class is neither label nor prediction, one only a label, one only a prediction.
fn absent_classes() -> String {
    let mut metrics = ClassificationMetrics::new(5);
    let scores = |class: usize| (0..5).map(move |other| f32::from(u8::from(other == class)));
    let predictions = [0, 1, 0, 2, 1, 1].into_iter().flat_map(scores).collect::<Vec<_>>();
    metrics.update(&predictions, &[0, 1, 1, 0, 3, 1], &[0.5; 6]).unwrap();
    digest_of(serde_json::to_string(&metrics.finish(&classes()[..5]).unwrap()).unwrap())
}

fn multi_label() -> String {
    let mut metrics = MultiLabelMetrics::new(3, true);
    let scores: Vec<f32> = numbers("scores", 50 * 3).iter().map(|x| 0.5 + 0.5 * x).collect();
    let truths: Vec<bool> = numbers("truths", 50 * 3).iter().map(|x| *x > 0.3).collect();
    let losses: Vec<f64> = numbers("losses", 50).iter().map(|x| f64::from(x.abs())).collect();
    metrics.update(&scores, &truths, &losses).unwrap();
    let found = metrics.finish(&["a", "b", "c"].map(str::to_owned)).unwrap();
    digest_of(serde_json::to_string(&found).unwrap() + &report::labels_csv(&found))
}

/// Probabilities of one class each, and of several labels.
fn labelled_probabilities() -> [LabelledProbabilities; 2] {
    let scores: Vec<f32> = numbers("probabilities", 60 * 3).iter().map(|x| 0.5 + 0.49 * x).collect();
    let classes = (0..60).map(|image| image % 3).collect();
    let labels = numbers("truths", 60 * 3).iter().map(|x| *x > 0.3).collect();
    [Truths::Classes(classes), Truths::Labels(labels)]
        .map(|truths| LabelledProbabilities::new(3, scores.clone(), truths).unwrap())
}

fn probabilities() -> String {
    let groups: Vec<usize> = (0..60).map(|image| image / 2).collect();
    let text = |images: &LabelledProbabilities| {
        let temperature = fit_temperature(images);
        let calibrations = [images, &images.tempered(temperature)].map(Calibration::of);
        let ranked: Vec<String> = (0..3)
            .map(|class| {
                let ranking = images.ranking(class);
                let rules = [
                    ThresholdRule::BestF1,
                    ThresholdRule::Youden,
                    ThresholdRule::Specificity(0.9),
                    ThresholdRule::Sensitivity(0.9),
                ];
                let decisions = rules.map(|rule| ranking.decisions(ranking.threshold(rule)));
                let scores = [ranking.auc(), ranking.sensitivity_at(0.9)];
                format!(
                    "{scores:?} {} {decisions:?} {:?}",
                    ranking.average_precision(),
                    ranking.curves(&[0.1])
                )
            })
            .collect();
        let intervals = metrics::probabilities::intervals(images, &groups);
        format!("{temperature} {calibrations:?} {ranked:?} {intervals:?}")
    };
    digest_of(labelled_probabilities().each_ref().map(text).join(" "))
}

fn probability_pictures() -> String {
    let mut hasher = Hasher::default();
    let [predicted, calibrated] = labelled_probabilities().map(|images| Calibration::of(&images));
    let x = [0.0, 0.5, 1.0];
    let curve = report::ClassCurve { class: "car".to_owned(), values: x.to_vec(), number: "0.5".to_owned() };
    let curves = report::ClassCurves {
        heading: "ROC",
        x_title: "false positive rate",
        y_title: "sensitivity",
        x: &x,
        mean: &x,
        mean_number: "0.5",
        mark: None,
        chance: Some([[0.0, 0.0], [1.0, 1.0]]),
        classes: &[curve.clone(), curve],
    };
    let pictures = [
        report::class_curves("title", &curves),
        report::reliability_diagram("title", &predicted, None),
        report::reliability_diagram("title", &predicted, Some(&calibrated)),
    ];
    for picture in pictures {
        hasher.update(picture.document().as_bytes());
        hasher.update(&report::png(&picture).unwrap());
    }
    hasher.update(report::reliability_csv(&predicted, Some(&calibrated)).as_bytes());
    let row = ("=car".to_owned(), Some(0.25), [0.5; 4], [0.75; 4]);
    hasher.update(report::thresholds_csv(std::iter::once(row)).as_bytes());
    hasher.finish().to_string()
}

fn mistake_pictures() -> String {
    let numbers = |name: &str| numbers(name, 3 * 2 * 5).into_iter().map(f64::from).collect::<Vec<_>>();
    let map = model::SaliencyMap::new([3, 2], &numbers("features"), &numbers("gradient"));
    let image = |size: [u32; 2], saliency| {
        let pixels = (0..size[0] * size[1] * 3).map(|place| (place % 251) as u8).collect();
        report::ExplainedImage {
            image: report::rgb_image(size, pixels).unwrap(),
            saliency,
            caption: "green → loggerhead 97.0 %".to_owned(),
            name: "a folder of images/0001.jpg".to_owned(),
        }
    };
    let bits: Vec<u64> = map.values.iter().map(|value| value.to_bits()).collect();
    let mut hasher = Hasher::default();
    hasher.update(format!("{bits:?}").as_bytes());
    let explained = [[48, 64], [300, 260]].map(|size| image(size, Some(map.clone())));
    for images in [&explained[..], &[image([64, 64], None)]] {
        let sheet = report::explained_sheet("title", images).unwrap();
        hasher.update(&report::jpeg(&sheet).unwrap());
    }
    hasher.finish().to_string()
}

fn ensemble() -> String {
    let mut mean = MeanProbabilities::default();
    for model in ["one", "another", "a third"] {
        mean.add(&numbers(model, 7), 3);
    }
    let bits: Vec<u32> = mean.probabilities().into_iter().map(f32::to_bits).collect();
    digest_of(format!("{bits:?} {:x}", mean.loss().to_bits()))
}

/// Noisy images of a few identities.
fn embeddings(name: &str) -> Embeddings {
    const IMAGES: usize = 300;
    let centres = numbers("centres of identities", 30 * 140);
    let noise = numbers(name, IMAGES * 140);
    let identities: Vec<u32> = (0..IMAGES as u32).map(|image| image % 30).collect();
    let near = |(at, noise): (usize, f32)| centres[at % centres.len()] + 2.0 * noise;
    let rows = noise.into_iter().enumerate().map(near).collect();
    Embeddings::new(rows, 140, identities).unwrap()
}

fn verification() -> String {
    let similarities = Similarities::of_all(&embeddings("images")).unwrap();
    let found = similarities.verification(&[1e-3, 1e-2]).unwrap();
    let curve: Vec<f64> = similarities.roc().iter().flat_map(|point| [point.far, point.tar]).collect();
    digest_of(serde_json::to_string(&(found, curve)).unwrap())
}

fn identification() -> String {
    let found = IdentificationMetrics::search_gallery(&embeddings("queries"), &embeddings("images")).unwrap();
    digest_of(serde_json::to_string(&(&found, &found.cmc)).unwrap())
}

fn pictures() -> String {
    let scores = |values: &[(&str, f64)]| -> Scores {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    };
    let metrics = &task::classification::METRICS;
    let rows: Vec<HistoryRow> = (1..=9)
        .map(|epoch| HistoryRow {
            epoch,
            lr: 1e-3 / f64::from(epoch),
            train: scores(&[("loss", 2.0 / f64::from(epoch)), ("accuracy", 1.0 - 0.9 / f64::from(epoch))]),
            validation: Some(scores(&[
                ("loss", 0.2 + 2.0 / f64::from(epoch)),
                ("accuracy", 0.9 - 0.8 / f64::from(epoch)),
                ("macro_f1", 0.8 - 0.7 / f64::from(epoch)),
            ])),
            is_best: epoch < 6,
            trainable_parameters: None,
            skipped_steps: None,
        })
        .collect();
    let all = counted().finish(&classes()).unwrap();
    let prediction = Prediction {
        file: "cat/1.png".to_owned(),
        label: "class 1".to_owned(),
        predicted: "class 2".to_owned(),
        probabilities: numbers("probabilities", 7),
    };
    let mut hasher = Hasher::default();
    for picture in [report::curves("title", &rows, metrics), report::confusion_matrix("title", &all)] {
        hasher.update(picture.document().as_bytes());
        hasher.update(&report::png(&picture).unwrap());
    }
    hasher.update(report::history_csv(&rows, metrics.history).as_bytes());
    hasher.update(report::confusion_csv(&all).as_bytes());
    hasher.update(report::predictions_csv(&classes(), &[prediction]).as_bytes());
    hasher.finish().to_string()
}

fn recognition_pictures() -> String {
    let similarities = Similarities::of_all(&embeddings("images")).unwrap();
    let (verified, curve) = (similarities.verification(&[1e-3, 1e-2]).unwrap(), similarities.roc());
    let found = IdentificationMetrics::search_within(&embeddings("queries")).unwrap();
    let mut hasher = Hasher::default();
    let matches = report::match_curve("title", found.mean_average_precision, &found.cmc);
    for picture in [report::roc_curve("title", &verified, &curve), matches] {
        hasher.update(picture.document().as_bytes());
        hasher.update(&report::png(&picture).unwrap());
    }
    hasher.update(report::roc_csv(&curve).as_bytes());
    hasher.update(report::match_csv(&found.cmc).as_bytes());
    let (first, second) = ("a/1.jpg".to_owned(), "b/1.jpg".to_owned());
    let pair = report::HardPair { risk: "false accept".to_owned(), similarity: 0.9, first, second };
    hasher.update(report::hard_pairs_csv(&[pair]).as_bytes());
    hasher.finish().to_string()
}

fn error_pictures() -> String {
    let mut hasher = Hasher::default();
    let bar = |name: &str, value| report::Bar {
        name: name.to_owned(),
        value,
        notes: ["12", "3"].map(str::to_owned),
    };
    let groups = [vec![bar("wrong class", Some(12.34)), bar("duplicate", Some(0.0))], vec![bar("all", None)]];
    let (heading, x_title, note_titles) =
        ("What each type of error costs", "points", ["number", "confident"]);
    let picture = report::bars("title", &report::Bars { heading, x_title, note_titles, groups: &groups });
    hasher.update(picture.document().as_bytes());
    hasher.update(&report::png(&picture).unwrap());
    let row =
        report::ErrorRow { class: "car", error: "missed", count: 3, confident: Some(2), dap: Some(0.25) };
    let unknown = report::ErrorRow { confident: None, dap: None, ..row.clone() };
    hasher.update(report::errors_csv(&[row, unknown]).as_bytes());
    let found =
        report::ImageBox { class: 0, score: Some(0.75), left: 1.0, top: 2.5, right: 30.0, bottom: 40.25 };
    let truth = report::MeantObject { class: "tram".to_owned(), corners: [1.0, 2.0, 3.0, 4.0], iou: 0.625 };
    let wrong = report::WrongBox {
        file: "a/1.jpg".to_owned(),
        class: "car".to_owned(),
        error: "classification".to_owned(),
        found,
        truth: Some(truth),
    };
    hasher.update(report::wrong_boxes_csv(&[wrong]).as_bytes());
    hasher.finish().to_string()
}

fn box_pictures() -> String {
    let mut hasher = Hasher::default();
    let x = [0.0, 0.25, 0.5, 0.75, 1.0];
    let curve = |class: &str, values: [f64; 5]| {
        let (class, number) = (class.to_owned(), "0.625".to_owned());
        report::ClassCurve { class, values: values.to_vec(), number }
    };
    let curves =
        [curve("car", [1.0, 0.9, 0.8, 0.5, 0.0]), curve("a tram of a long name", [1.0, 0.5, 0.25, 0.1, 0.0])];
    let mean = [1.0, 0.7, 0.525, 0.3, 0.0];
    let picture = report::class_curves(
        "title",
        &report::ClassCurves {
            heading: "Precision by recall",
            x_title: "recall",
            y_title: "precision",
            x: &x,
            mean: &mean,
            mean_number: "0.7 at 0.25",
            mark: Some([0.25, 0.7]),
            chance: None,
            classes: &curves,
        },
    );
    let matrix = |text| {
        report::matrix_picture(&report::MatrixPicture {
            title: "title",
            subtitle: "subtitle",
            names: vec!["car", "background"],
            counts: &[vec![996, 3], vec![4, 0]],
            row_title: "predicted class",
            column_title: "true class",
            shares: report::ShareOf::Column,
            share_title: "share of the true class",
            text,
        })
    };
    for picture in [picture, matrix(report::CellText::CountAlone), matrix(report::CellText::Share)] {
        hasher.update(picture.document().as_bytes());
        hasher.update(&report::png(&picture).unwrap());
    }
    hasher.update(report::class_curves_csv("recall", &x, &mean, &curves).as_bytes());

    let image = image::RgbImage::from_fn(150, 90, |x, y| image::Rgb([x as u8, 2 * y as u8, 77]));
    let shown = |class, left| report::ImageBox {
        class,
        score: Some(0.1 + 0.2),
        left,
        top: 30.1,
        right: left + 50.7,
        bottom: 95.0,
    };
    let boxes = [shown(0, -3.5), shown(1, 40.25)];
    let classes = ["car", "tram"].map(str::to_owned);
    let entry = |caption| report::SheetImage { image: &image, name: "a/1.jpg", caption, boxes: &boxes };
    let sheet = report::sheet("title", &[entry(None), entry(Some("caption"))], &classes).unwrap();
    for picture in [report::picture_of_boxes(&image, &boxes, &classes).unwrap(), sheet] {
        hasher.update(&report::jpeg(&picture).unwrap());
        hasher.update(&report::image_png(&picture).unwrap());
    }
    let image =
        report::ImageBoxes { file: "a/1.jpg".to_owned(), width: 150, height: 90, boxes: boxes.to_vec() };
    hasher.update(report::boxes_csv(std::slice::from_ref(&image), &classes).as_bytes());
    hasher.update(report::yolo_text(&image).as_bytes());
    hasher.update(report::coco_results(&[(7, &image)], &[1, 2]).unwrap().as_bytes());
    hasher.update(report::boxes_json(&image, &classes).to_string().as_bytes());
    let epoch = report::BoxEpoch {
        epoch: 1,
        train: [1.5, 0.123_456_78, f64::NAN],
        scores: [0.5, 0.25, 2.0 / 3.0, 0.0],
        validation: [1.0; 3],
        lr: [1e-3, 3.3e-5, 0.1],
    };
    hasher.update(report::results_csv(&[epoch]).as_bytes());
    hasher.finish().to_string()
}
