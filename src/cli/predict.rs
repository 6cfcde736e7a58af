//! `defrost predict`: predicts the classes of images, or the objects in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::pipeline::TestTimeAugmentation;
use defrost::run::{
    ClassThreshold, DrawnFiles, PredictedImage, PredictionFolder, PredictionSettings, Predictions, Predictor,
    PredictorUse, SortedCopies, TileSettings, decisions, evaluated_checkpoint, image_files,
};
use defrost::task::{BoxThresholds, Decisions};
use defrost::{Error, Result, device, sanitize};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  defrost predict turtles photo.jpg
  defrost predict defects photos/ --threshold scratch=0.3
  defrost predict defects photos/ --decisions test --out found
  defrost predict turtles photos/ --copy-to sorted
  defrost predict turtles photos/ --json-lines > found.jsonl
  defrost predict streets photos/ --out found --confidence 0.5
  defrost predict streets aerial.tif --tile 640 --out found")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    #[arg(required = true, value_name = "IMAGE", help = super::images::files_help())]
    images: Vec<PathBuf>,
    /// Write `predictions.json` and `.csv` to this folder. A detector adds pictures with boxes, YOLO text files in
    /// `labels/`, and COCO results. The folder must be new, empty, or of a previous prediction, which is replaced
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Copy each image to a folder of its predicted class in this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    copy_to: Option<PathBuf>,
    /// Print a JSON object for each image as soon as it is predicted, one per line: for any number of images
    #[arg(long)]
    json_lines: bool,
    /// Test-time augmentation: also predict each image flipped or turned, and merge the predictions
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    tta: Vec<Version>,
    /// Detectors: also search in tiles of this many pixels, for small objects in large pictures
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(32..=65536))]
    tile: Option<u32>,
    /// The part of a tile that its neighbours share. Larger than the objects that matter
    #[arg(long, value_name = "FRACTION", value_parser = overlap, default_value = "0.2", requires = "tile")]
    overlap: f64,
    /// Detectors: keep boxes with a score above this. Defaults to 0.25
    #[arg(long, value_name = "SCORE", value_parser = fraction)]
    confidence: Option<f64>,
    /// Detectors: of boxes of a class whose intersection over union is above this, keep the one with the highest score.
    /// Defaults to 0.7
    #[arg(long, value_name = "IOU", value_parser = fraction)]
    iou: Option<f64>,
    /// Predict a class from this probability on. Without a class, the threshold is for all. A class whose threshold is
    /// reached is predicted before all others; if none is reached and all have one, no class is predicted
    #[arg(long, value_name = "[CLASS=]PROBABILITY", value_parser = class_threshold)]
    threshold: Vec<ClassThreshold>,
    /// Use the thresholds and the temperature that this evaluate stage has fitted on validation images, with the weights
    /// that it evaluates
    #[arg(long, value_name = "STAGE")]
    decisions: Option<String>,
    /// Stage whose weights to use, such as `frozen@best`. Defaults to the last train stage of the run
    #[arg(long)]
    stage: Option<String>,
    /// Device: `auto`, `cpu` or `cuda:N`. For a few images, starting a GPU takes longer than it saves
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if args.json_lines && console.json() {
        return Err(Error::usage("`--json` prints one document, and `--json-lines` one for each image")
            .hint("use one of them"));
    }
    let choice = device::choose(&args.device)?;
    let run = args.runs.resolve(&args.run, console)?;
    let evaluation = args.decisions.as_deref();
    let evaluated = evaluation.map(|name| evaluated_checkpoint(&run, name)).transpose()?;
    let stage = args.stage.as_deref().or(evaluated.as_deref());
    let predictor = Predictor::open(&run, stage, PredictorUse::Classes, choice)?;
    predictor.choice.note.iter().for_each(|note| console.warn(note));
    let decisions = decisions(&run, &predictor, evaluation, &args.threshold)?;
    let mut predictions = predictor.predictions(args.settings(decisions.clone(), console.json()))?;
    let copies = args.copies(&predictor)?;
    let mut files = image_files(&args.images)?;
    let mut folder = args.out.as_deref().map(|out| open(out, &mut files, console)).transpose()?;
    let names = match &mut folder {
        Some(folder) => folder.begin(&files, predictor.finds_boxes())?,
        None => vec![String::new(); files.len()],
    };
    let copied = copies.as_ref().map(|_| SortedCopies::names(&files)).unwrap_or_default();
    let (mut drawn, mut errors) = (Vec::new(), Vec::new());
    for (place, (file, name)) in files.iter().zip(&names).enumerate() {
        let image = match predictions.add(file) {
            Ok(image) => image,
            Err(error) => {
                if args.json_lines {
                    line(json!({ "file": file.display().to_string(), "error": error.message }), console);
                }
                errors.push(error);
                continue;
            }
        };
        if args.json_lines {
            line(described(file, &image), console);
        } else {
            console.say(format!("{}: {}", shown(file.display()), image.described.text));
        }
        if let Some(copies) = &copies {
            copies.copy(file, &copied[place], image.described.document["label"].as_str())?;
        }
        drawn.push(match (&mut folder, image.boxes()) {
            (Some(folder), Some(boxes)) => {
                Some(folder.write_image(name, &predictions.drawn(file, &image)?, boxes)?)
            }
            _ => None,
        });
    }
    let files = folder.as_mut().map(|folder| folder.write_tables(&predictions.files()?)).transpose()?;
    let document = Document {
        run_dir: run.path().display().to_string(),
        checkpoint: &predictor.checkpoint,
        temperature: decisions.temperature,
        thresholds: named(&predictor.classes, &decisions),
        predictions: Entries { predictions: &predictions, drawn: &drawn },
        errors: errors.iter().map(|error| error.message.as_str()).collect(),
        out: args.out.as_ref().map(|out| out.display().to_string()),
        files,
    };
    if let Some(folder) = folder {
        folder.write_document(&document)?;
    }
    let folders = [(&args.out, "written"), (&args.copy_to, "copied")];
    for (folder, what) in folders.into_iter().filter_map(|(folder, what)| Some((folder.as_ref()?, what))) {
        let text = format!("{what} to {}", shown(folder.display()));
        if args.json_lines { console.status(text) } else { console.say(text) }
    }
    if console.json() {
        console.document(&document);
    }
    errors.iter().for_each(|error| console.error(error));
    Ok(ExitCode::from(if errors.is_empty() { 0 } else { 2 }))
}

impl Args {
    fn settings(&self, decisions: Decisions, document: bool) -> PredictionSettings {
        PredictionSettings {
            thresholds: self.thresholds(),
            decisions,
            tta: TestTimeAugmentation {
                horizontal_flip: self.tta.contains(&Version::HorizontalFlip),
                vertical_flip: self.tta.contains(&Version::VerticalFlip),
                quarter_turns: self.tta.contains(&Version::QuarterTurns),
            },
            tiles: self.tile.map(|side| TileSettings { side, overlap: self.overlap }),
            forgets: self.out.is_none() && !document,
        }
    }

    /// The folder for copies. Only images of one class have a folder to go to.
    fn copies(&self, predictor: &Predictor) -> Result<Option<SortedCopies>> {
        let Some(folder) = &self.copy_to else { return Ok(None) };
        if !predictor.predicts_one_class() {
            return Err(Error::usage(
                "`--copy-to` sorts images by their class, and these have boxes or several labels",
            )
            .hint("remove `--copy-to`; `--out` writes a table of all predictions"));
        }
        SortedCopies::open(folder).map(Some)
    }

    /// `None` if the command line has none.
    fn thresholds(&self) -> Option<BoxThresholds> {
        let usual = BoxThresholds::default();
        let confidence = self.confidence.map_or(usual.confidence, |confidence| confidence as f32);
        let given = self.confidence.is_some() || self.iou.is_some();
        given.then(|| BoxThresholds { confidence, iou: self.iou.unwrap_or(usual.iou) })
    }
}

/// A version of an image in test-time augmentation.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Version {
    /// Left and right mirrored
    HorizontalFlip,
    /// Top and bottom mirrored
    VerticalFlip,
    /// Turned by 90, 180 and 270 degrees
    QuarterTurns,
}

/// The prediction of one image as JSON.
fn described(file: &Path, image: &PredictedImage) -> Value {
    let mut entry = image.described.document.clone();
    entry.insert("file".to_owned(), json!(file.display().to_string()));
    Value::Object(entry)
}

fn line(value: Value, console: &Console) {
    console.raw(format!("{value}\n").as_bytes());
}

/// The thresholds of the classes that have one.
fn named<'a>(classes: &'a [String], decisions: &Decisions) -> BTreeMap<&'a str, Option<f64>> {
    let named = classes.iter().zip(&decisions.thresholds);
    let finite = |threshold: f64| Some(threshold).filter(|threshold| threshold.is_finite());
    named.filter_map(|(class, threshold)| Some((class.as_str(), finite((*threshold)?)))).collect()
}

/// A threshold, with or without a class.
fn class_threshold(text: &str) -> Result<ClassThreshold, String> {
    let (class, number) = match text.rsplit_once('=') {
        Some((class, number)) => (Some(class.to_owned()), number),
        None => (None, text),
    };
    Ok(ClassThreshold { class, threshold: fraction(number)? })
}

/// A number from 0 up to 0.9.
fn overlap(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=0.9).contains(number));
    number.ok_or_else(|| "use a number from 0 to 0.9".to_owned())
}

/// A number from 0 to 1.
fn fraction(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "use a number from 0 to 1".to_owned())
}

/// The output folder. Pictures that a previous prediction drew in it are no images to predict.
fn open(out: &Path, files: &mut Vec<PathBuf>, console: &Console) -> Result<PredictionFolder> {
    let folder = PredictionFolder::open(out)?;
    let count = files.len();
    files.retain(|file| !folder.has_written(file));
    let out = shown(out.display());
    match count - files.len() {
        0 => {}
        _ if files.is_empty() => {
            return Err(Error::usage(format!("all images are pictures of the previous prediction in {out}"))
                .hint("pass the images themselves, or name another folder"));
        }
        pictures => {
            let pictures = sanitize::count(pictures, "picture");
            console.warn(format!("not predicted: {pictures} of the previous prediction in {out}"));
        }
    }
    if folder.is_replaced() {
        console.status(format!("{out}: replacing the previous prediction"));
    }
    Ok(folder)
}

/// What `--json` prints, and `predictions.json` holds.
#[derive(Serialize)]
struct Document<'a> {
    run_dir: String,
    checkpoint: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    /// By class; `null` of a class that is never predicted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    thresholds: BTreeMap<&'a str, Option<f64>>,
    predictions: Entries<'a>,
    errors: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    /// Relative to `out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<String>>,
}

/// The entries of the document, made one at a time.
struct Entries<'a> {
    predictions: &'a Predictions<'a>,
    /// The files of each, relative to the output folder.
    drawn: &'a [Option<DrawnFiles>],
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.predictions.described().zip(self.drawn).map(
            |((file, described), drawn)| {
                let mut entry = described.document;
                entry.insert("file".to_owned(), json!(file));
                if let Some(DrawnFiles { picture, label_file }) = drawn {
                    entry.insert("picture".to_owned(), json!(picture));
                    entry.insert("label_file".to_owned(), json!(label_file));
                }
                entry
            },
        ))
    }
}
