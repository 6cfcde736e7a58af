//! The starter pipeline of object detection, for images with boxes in one of three formats.

use std::path::{Path, PathBuf};

use defrost::data::Split;
use defrost::model::Model;
use defrost::pipeline::{self, Arch};
use defrost::weights::{LoadRules, WeightsFile, origins};
use defrost::{Error, Result};
use serde_json::{Value, json};

use super::written::{Line, Settings, read, relative, text, utf8};

pub const TEMPLATE: &str = include_str!("detection.toml");
/// The architecture if nothing says which.
pub const DEFAULT_ARCH: &str = "yolo11n";
const RESTORE: &str = "restore_batch_norm = { images = 64 }      # the file is an export, with batch normalisation merged into convolutions\n";

/// The settings of a data set in a format with boxes.
pub struct BoxedData {
    /// The lines of its table, without `image_size`.
    pub lines: String,
    /// The split to evaluate on.
    pub evaluated: &'static str,
}

/// Where the boxes of a data set are.
enum Layout {
    /// The file with the names of classes and the folders of splits.
    Yolo(PathBuf),
    /// The file of the training images, and those of validation and test.
    Coco(PathBuf, [Option<PathBuf>; 2]),
    /// The folder with the images and XML files.
    Voc(PathBuf),
}

impl BoxedData {
    /// The data set at `path`, for a pipeline file in `dir`. `None` if there are no boxes.
    ///
    /// # Errors
    /// `validate` would refuse the data with any split.
    pub fn find(path: &Path, dir: &Path) -> Result<Option<Self>> {
        let Some(layout) = Layout::of(path)? else { return Ok(None) };
        let mut refused = None;
        for split in layout.splits() {
            let settings = layout.settings(split, &|path| Ok(utf8(path)?.to_owned()))?;
            match read(settings) {
                Ok(dataset) if dataset.split(Split::Validation).is_empty() => {}
                Ok(dataset) => {
                    let evaluated = if dataset.split(Split::Test).is_empty() { "validation" } else { "test" };
                    let settings = layout.settings(split, &|path| relative(dir, path))?;
                    return Ok(Some(Self { lines: lines(&settings), evaluated }));
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::usage("--data: no image is left for validation")))
    }
}

/// `format     = "yolo"` and so on.
fn lines(settings: &Settings) -> String {
    let why = |key: &str| match key {
        "format" => "images with boxes",
        "split" => "of the data's own splits, those that are missing are fractions",
        _ => "",
    };
    let order = ["format", "file", "root", "first_pixel", "split"];
    let line = |key: &&'static str| Some(Line::new(key, settings.get(*key)?, why(key)));
    text(&order.iter().filter_map(line).collect::<Vec<_>>(), "image_size".len())
}

impl Layout {
    /// # Errors
    /// There are boxes in YOLO's files, but no names of classes.
    fn of(path: &Path) -> Result<Option<Self>> {
        let has_extension = |path: &Path, wanted: &[&str]| {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            wanted.iter().any(|known| extension.eq_ignore_ascii_case(known))
        };
        if path.is_file() {
            return match path {
                yaml if has_extension(yaml, &["yaml", "yml"]) => Ok(Some(Self::Yolo(yaml.to_owned()))),
                json if has_extension(json, &["json"]) => Ok(Some(Self::Coco(json.to_owned(), [None, None]))),
                _ => Err(Error::usage(format!("--data: `{}` is no data set", path.display()))
                    .hint("give a folder, a CSV table, a `data.yaml` of YOLO, or a JSON file of COCO")),
            };
        }
        let below = |name: &str| Some(path.join(name)).filter(|path| path.exists());
        if let Some(yaml) = ["data.yaml", "data.yml", "dataset.yaml"].into_iter().find_map(below) {
            return Ok(Some(Self::Yolo(yaml)));
        }
        if let (Some(_), Some(_)) = (below("Annotations"), below("JPEGImages")) {
            return Ok(Some(Self::Voc(path.to_owned())));
        }
        let coco = |part: &str| below(&format!("{part}/_annotations.coco.json"));
        if let Some(train) = coco("train") {
            return Ok(Some(Self::Coco(train, [coco("valid").or_else(|| coco("val")), coco("test")])));
        }
        match (below("images"), below("labels")) {
            (Some(_), Some(_)) => Err(Error::usage(format!(
                "--data: `{}` has `images` and `labels`, but no `data.yaml`",
                path.display()
            ))
            .hint(
                "write one with the folders of `train` and `val`, and the `names` of the classes in order",
            )),
            _ => Ok(None),
        }
    }

    /// The splits to try: those that the data have, then fractions with several seeds, and at last without the demand that
    /// every split has every class.
    fn splits(&self) -> impl Iterator<Item = Option<(f64, f64, u64, bool)>> {
        const SEEDS: u64 = 20;
        let fractions = (0..SEEDS).map(|seed| Some((0.2, 0.1, seed, true)));
        let validation = (0..SEEDS).map(|seed| Some((0.25, 0.0, seed, true)));
        let any = [Some((0.2, 0.1, 0, false)), Some((0.3, 0.0, 0, false))];
        [None].into_iter().chain(fractions).chain(validation).chain(any)
    }

    /// `place` says how a path is written.
    fn settings(
        &self,
        split: Option<(f64, f64, u64, bool)>,
        place: &dyn Fn(&Path) -> Result<String>,
    ) -> Result<Settings> {
        let mut settings = Settings::new();
        let mut parts = Settings::new();
        match self {
            Self::Yolo(file) => {
                settings.insert("format".into(), "yolo".into());
                settings.insert("file".into(), place(file)?.into());
            }
            Self::Coco(file, [validation, test]) => {
                settings.insert("format".into(), "coco".into());
                settings.insert("file".into(), place(file)?.into());
                let mut files = Settings::new();
                for (name, file) in [("validation", validation), ("test", test)] {
                    if let Some(file) = file {
                        files.insert(name.into(), place(file)?.into());
                    }
                }
                if !files.is_empty() {
                    parts.insert("files".into(), files.into());
                }
            }
            Self::Voc(root) => {
                settings.insert("format".into(), "voc".into());
                settings.insert("root".into(), place(root)?.into());
            }
        }
        if let Some((validation, test, seed, requires_classes)) = split {
            parts.insert("validation".into(), json!(validation));
            if test > 0.0 {
                parts.insert("test".into(), json!(test));
            }
            parts.insert("seed".into(), json!(seed));
            if !requires_classes {
                parts.insert("require_classes".into(), json!(false));
            }
        }
        if !parts.is_empty() {
            settings.insert("split".into(), parts.into());
        }
        Ok(settings)
    }
}

/// Does what the first stage of the starter pipeline does. Returns the setting that exported weights need.
///
/// # Errors
/// The file cannot be read, or its tensors are not those of the architecture.
pub fn fit(file: &Path, arch: Arch) -> Result<&'static str> {
    let Err(error) = loads(file, arch, json!({})) else { return Ok("") };
    match loads(file, arch, json!({ "restore_batch_norm": { "images": 64 } })) {
        Ok(()) => Ok(RESTORE),
        Err(_) => Err(error),
    }
}

fn loads(file: &Path, arch: Arch, more: Value) -> Result<()> {
    let model = json!({ "arch": arch, "head": { "kind": "detect" } });
    let model: pipeline::Model =
        serde_json::from_value(model).map_err(|error| Error::bug(format!("the model to try: {error}")))?;
    let description = Model::build(&model, 2).description;
    let mut stage = json!({ "file": file, "reinit": ["model.23.cv3"] });
    for (key, value) in more.as_object().into_iter().flatten() {
        stage[key] = value.clone();
    }
    let stage =
        serde_json::from_value(stage).map_err(|error| Error::bug(format!("the stage to try: {error}")))?;
    let rules = LoadRules::resolve(&description, &stage)
        .map_err(|_| Error::bug("a detector without a class branch"))?;
    origins(&description, &WeightsFile::open(file)?.translated(&description)?, &rules).map(drop)
}
