//! How rank 0 has other ranks work with it.
//!
//! Rank 0 plans, looks into the store and writes. The others wait for its orders, and execute the stages that several
//! ranks compute together.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::request::Clock;
use super::runner::since;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::{Interrupt, NullObserver};
use crate::features::FeatureStore;
use crate::plan::Plan;
use crate::ranks::Team;
use crate::stage::{Checkpoints, StageContext};
use crate::store::Store;

/// What rank 0 asks of the others.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Execute a stage together.
    Stage(StageOrder),
    /// End.
    Leave,
}

/// A stage to be executed together.
#[derive(Debug, Serialize, Deserialize)]
pub struct StageOrder {
    /// The run among those of the file.
    pub run: usize,
    /// The stage among those of the run.
    pub stage: usize,
    /// The checkpoints that it reads.
    pub sources: Vec<PathBuf>,
    /// The checkpoint that it continues from.
    pub checkpoint: Option<PathBuf>,
    pub features: FeaturesOrder,
}

/// The features that a stage uses.
#[derive(Debug, Serialize, Deserialize)]
pub enum FeaturesOrder {
    None,
    /// Those of the store, for the stage with this key.
    Stored(Digest),
    /// Those in a folder of the attempt.
    InFolder(PathBuf),
}

impl Order {
    /// Gives an order to the other ranks.
    pub fn give(&self, team: &Team) -> Result<()> {
        let bytes = serde_json::to_vec(self);
        let bytes = bytes.map_err(|error| Error::bug(format!("an order cannot be written: {error}")));
        team.gather(bytes).map(drop)
    }

    /// Waits for the next order of rank 0.
    ///
    /// # Errors
    /// A rank ended.
    pub fn next(team: &Team) -> Result<Self> {
        let orders = team.gather(Ok(Vec::new()))?;
        serde_json::from_slice(&orders[0])
            .map_err(|error| Error::bug(format!("an order of rank 0 cannot be read: {error}")))
    }
}

/// What a rank other than 0 executes stages with.
pub struct FollowOptions<'a> {
    pub device: &'a Device,
    pub variant: &'a str,
    pub workers: usize,
    pub image_cache: usize,
    pub feature_bytes: Option<u64>,
    pub keep_training_state: bool,
    pub clock: Clock,
}

impl StageOrder {
    /// Executes the stage with the other ranks. It writes nothing but features.
    ///
    /// # Errors
    /// Those of any rank.
    pub fn follow(
        &self,
        plan: &Plan,
        store: &Store,
        options: &FollowOptions,
        team: &Team,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let team = &team.renewed();
        let Some(stage) = plan.stages.get(self.stage) else {
            return team.settle(Err(Error::bug("an order names a stage that the plan lacks")));
        };
        let features = options.feature_bytes.and_then(|limit| {
            let features = FeatureStore::new(store.features(), store.inputs(), options.variant, limit);
            match &self.features {
                FeaturesOrder::None => None,
                FeaturesOrder::Stored(key) => Some(features.for_stage(key)),
                FeaturesOrder::InFolder(folder) => Some(features.in_folder(folder.clone())),
            }
        });
        let zero: SystemTime = (options.clock)();
        let context = StageContext {
            device: options.device,
            team,
            stage: &stage.name,
            sources: &self.sources,
            output: Path::new(""),
            live: None,
            checkpoints: &GivenCheckpoint(self.checkpoint.clone()),
            features: features.as_ref(),
            observer: &NullObserver,
            interrupt,
            clock: &|| since(options.clock, zero),
            workers: options.workers,
            image_cache: options.image_cache,
            checkpoint_seconds: f64::INFINITY,
            keep_training_state: options.keep_training_state,
        };
        stage.work.execute(&context)
    }
}

/// The checkpoint that rank 0 named.
struct GivenCheckpoint(Option<PathBuf>);

impl Checkpoints for GivenCheckpoint {
    fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.0.clone())
    }

    fn save(&self, _: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        Err(Error::bug("a rank other than 0 writes a checkpoint"))
    }
}
