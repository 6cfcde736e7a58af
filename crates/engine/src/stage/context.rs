//! The inputs of a stage's execution: starting checkpoint, output folder, observers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::{ModelSpec, Preprocess};
use crate::data::{Dataset, ImageReader};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::{Event, Interrupt, Observer};
use crate::features::FeatureStore;
use crate::model::{Description, StateDict};
use crate::ranks::Team;
use crate::report;
use crate::store::disk;
use crate::task::TaskFile;
use crate::weights::{self, Dialect, LoadRules, WeightsFile};

/// The weights of a `load_weights` or `init_weights` stage.
pub const MODEL: &str = "model.safetensors";
/// The weights of a train stage's best epoch, and of its last.
pub const BEST: &str = "best.safetensors";
pub const LAST: &str = "last.safetensors";

/// The tensors that an adapted train stage has trained: adapters, head and others. It lacks the frozen network.
pub const ADAPTER: &str = "adapter.safetensors";

/// The images that a stage skipped because they cannot be decoded, if there are any.
pub const BROKEN_IMAGES: &str = "broken_images.csv";

/// The checkpoints of a stage in progress: folders that are complete or do not exist.
pub trait Checkpoints {
    /// The newest one, if any.
    fn latest(&self) -> Result<Option<PathBuf>>;

    /// Creates a checkpoint: `fill` writes files into an empty folder.
    fn save(&self, fill: &dyn Fn(&Path) -> Result<()>) -> Result<()>;
}

pub struct StageContext<'a> {
    /// The device of the stage.
    pub device: &'a Device,
    /// The ranks that execute the stage together.
    pub team: &'a Team<'a>,
    /// The stage's name, only for events and messages.
    pub stage: &'a str,
    /// The checkpoints consumed, in order; empty for stages that start the graph.
    pub sources: &'a [PathBuf],
    /// The folder that becomes the stage's result.
    pub output: &'a Path,
    /// A folder for live files during the run; they are no result.
    pub live: Option<&'a Path>,
    pub checkpoints: &'a dyn Checkpoints,
    /// The feature cache; `None` if features are not cached.
    pub features: Option<&'a FeatureStore<'a>>,
    pub observer: &'a dyn Observer,
    pub interrupt: &'a Interrupt,
    /// Seconds since a fixed moment, only for pacing and display.
    pub clock: &'a (dyn Fn() -> f64 + Sync),
    /// The number of threads that read and decode images.
    pub workers: usize,
    /// The bytes for caching decoded images; it changes no result.
    pub image_cache: usize,
    /// The maximum time of work lost to a kill.
    pub checkpoint_seconds: f64,
    /// Whether the training state is kept at the end, for stages with more epochs.
    pub keep_training_state: bool,
}

impl StageContext<'_> {
    pub fn warn(&self, message: impl Into<String>) {
        let stage = Some(self.stage.to_owned());
        self.observer.event(&Event::Warning { stage, message: message.into() });
    }

    /// The checkpoint that the stage starts from.
    pub fn source(&self) -> Result<&Path> {
        self.source_at(0)
    }

    fn source_at(&self, place: usize) -> Result<&Path> {
        let missing = || Error::bug("this stage was not given a checkpoint that it reads");
        self.sources.get(place).map(PathBuf::as_path).ok_or_else(missing)
    }

    /// Writes one file of the result.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.output.join(name);
        std::fs::write(&path, bytes).map_err(|error| Error::io("write", &path, error))
    }

    /// Writes files of the result.
    pub fn write_all(&self, files: &[TaskFile]) -> Result<()> {
        files.iter().try_for_each(|file| self.write(file.name, &file.bytes))
    }

    /// Lists the images that were skipped because they cannot be decoded, if there are any.
    pub fn list_broken<'p>(
        &self,
        dataset: &Dataset,
        preprocess: &Preprocess,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Result<()> {
        let paths: BTreeSet<&str> = paths.into_iter().collect();
        if paths.is_empty() {
            return Ok(());
        }
        self.write(
            BROKEN_IMAGES,
            report::broken_csv(&dataset.causes(&paths, &ImageReader::new(&preprocess.0))?),
        )
    }

    /// Writes a live file, which is readable while the stage runs.
    pub fn live(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(folder) = self.live else { return Ok(()) };
        disk::write_unsynced(&folder.join(name), bytes)
    }

    /// Reads a consumed checkpoint completely, with exactly the names and shapes of the model.
    pub fn load_model(&self, place: usize, description: &Description) -> Result<StateDict> {
        let source = WeightsFile::open(self.source_at(place)?)?;
        weights::load(description, &source, &LoadRules::default(), 0)?.to_device(self.device)
    }

    /// Writes a checkpoint, with the names of the source weights.
    pub fn save_model(
        &self,
        name: &str,
        model_spec: &ModelSpec,
        description: &Description,
        state: &StateDict,
        dialect: Dialect,
    ) -> Result<Digest> {
        weights::save(
            &self.output.join(name),
            description,
            state,
            dialect,
            &metadata(model_spec, description)?,
        )
    }
}

/// The metadata of a checkpoint: architecture, classes, a head that is not one linear layer, and adapters, so that a
/// file identifies itself.
pub(super) fn metadata(
    model_spec: &ModelSpec,
    description: &Description,
) -> Result<BTreeMap<String, String>> {
    let classes = serde_json::to_string(&model_spec.classes)
        .map_err(|error| Error::bug(format!("cannot write the class list: {error}")))?;
    let mut metadata = BTreeMap::from([
        ("defrost.arch".to_owned(), description.arch.clone()),
        ("defrost.classes".to_owned(), classes),
        ("format".to_owned(), "pt".to_owned()),
    ]);
    let document = model_spec.document();
    for (key, part) in [("defrost.head", "head"), (weights::ADAPTER, "adapter")] {
        metadata.extend(document.get(part).map(|value| (key.to_owned(), value.to_string())));
    }
    Ok(metadata)
}
