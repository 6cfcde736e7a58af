//! Weights that a stage loads: the source of each tensor, and whether all tensors exist.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::resolve::{DiskAccess, Resolver};
use crate::data::{Dataset, Split};
use crate::digest::{Digest, Sha256};
use crate::error::{Error, Result};
use crate::model::{Description, Model};
use crate::pipeline;
use crate::regular_file;
use crate::stage::{LoadWeightsStage, LocatedWeights, ModelSpec, Preprocess, ResolvedStage};
use crate::task::is_known;
use crate::weights::{
    self, AdapterFile, ClassMapping, Dialect, LoadRules, WeightsFile, class_tensors, origins,
};

impl Resolver<'_> {
    /// As [`Self::load_weights`]. A stage that an earlier run has too is not read again.
    pub(super) fn shared_weights(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        above: &[&ResolvedStage],
        model_spec: ModelSpec,
    ) -> Option<(ResolvedStage, Value)> {
        let is_file = load.file.is_some() && load.restore_batch_norm.is_none() && above.is_empty();
        if !is_file {
            return self.load_weights(name, load, above, model_spec);
        }
        let path = load.file.as_deref().map(|file| self.pipeline.weights_path(file).ok());
        let key = format!(
            "{:?} {path:?} {name} {} {} {model_spec:?}",
            self.depth,
            self.pipeline.seed,
            serde_json::to_string(load).unwrap_or_default()
        );
        if let Some((stage, weights)) = self.shared.weights(&key) {
            return Some((ResolvedStage::LoadWeights(Box::new(stage), weights, None), Value::Null));
        }
        let before = self.diagnostics();
        let resolved = self.load_weights(name, load, above, model_spec);
        if let (Some((ResolvedStage::LoadWeights(stage, weights, None), rules)), true) =
            (&resolved, before == self.diagnostics())
        {
            self.shared.keep_weights(key, stage, weights, rules);
        }
        resolved
    }

    fn load_weights(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        above: &[&ResolvedStage],
        model_spec: ModelSpec,
    ) -> Option<(ResolvedStage, Value)> {
        let description = model_spec.build().description;
        self.same_variant(name, load, &model_spec)?;
        let mut rules = match LoadRules::resolve(&description, load) {
            Ok(rules) => rules,
            Err(errors) => {
                self.rules(name, errors);
                // Without its rules, so that errors in the stages below are found too. It never runs.
                let (settings, seed) = (load.clone(), self.pipeline.seed);
                let (rules, names) = Default::default();
                let work = LoadWeightsStage {
                    model_spec,
                    settings,
                    rules,
                    names,
                    seed,
                    preprocess: None,
                    class_rows: None,
                    merges_adapters: false,
                    adapter: None,
                };
                return Some((
                    ResolvedStage::LoadWeights(Box::new(work), LocatedWeights::Unknown, None),
                    Value::Null,
                ));
            }
        };
        // Of classes that are not known yet, nothing can be said.
        rules.classes = (rules.class_rows().is_none() || is_known(&model_spec.classes))
            .then(|| model_spec.classes.clone());
        rules.class_tensors = class_tensors(model_spec.classes.len(), |classes| {
            Model::build_for(&model_spec.model, classes, model_spec.image_size).description
        });
        let preprocess = load.restore_batch_norm.and_then(|_| {
            let data = self.pipeline.data.get(load.data.as_deref()?)?;
            Some(Preprocess::new(&data.images(), None, model_spec.model.arch))
        });
        let images = match load.restore_batch_norm {
            Some(restore) => Some(self.first_training_images(name, load, restore.images)?),
            None => None,
        };
        let (mut weights, mut names, mut class_rows) = (LocatedWeights::Unknown, None, None);
        let mut merges_adapters = false;
        if !above.is_empty() {
            weights = LocatedWeights::Above;
        }
        let averaged = load.average.iter().flatten().enumerate();
        let averaged = averaged.map(|(place, stage)| (format!("stage.{name}.average[{place}]"), stage));
        let written = load.from.iter().map(|stage| (format!("stage.{name}.from"), stage)).chain(averaged);
        let known = |model_spec: &ModelSpec| is_known(&model_spec.classes);
        // If the classes are not known, they cannot be checked.
        let of_stages =
            above.iter().zip(written).filter(|(above, _)| known(above.model_spec()) && known(&model_spec));
        let of_stages: Vec<_> = of_stages
            .map(|(above, (at, stage))| (at, above.model_spec().weights_file(stage).map(WeightsFile::merged)))
            .collect();
        let elsewhere = match (&load.file, above) {
            (None, []) => match self.pipeline.elsewhere.get(name) {
                Some(other) => Some((format!("stage.{name}.stage"), self.other_pipeline(name, other)?)),
                None => None,
            },
            (Some(text), ..) if self.depth == DiskAccess::Inputs => {
                let at = format!("stage.{name}.file");
                match self.or_diagnose(&at, "unset-variable", self.pipeline.weights_path(text))? {
                    Some(path) => {
                        self.same_digest(name, load, &path)?;
                        let source =
                            WeightsFile::open(&path).and_then(|source| source.translated(&description));
                        weights = LocatedWeights::File { path, digest: None };
                        Some((at, source))
                    }
                    // Their tensors are checked once they are fetched.
                    None => None,
                }
            }
            _ => None,
        };
        for (at, source) in of_stages.into_iter().chain(elsewhere) {
            let fits = source.and_then(|source| {
                require_variant(&source, &model_spec.model)?;
                origins(&description, &source, &rules)?;
                let mapping = ClassMapping::new(&source, &rules)?;
                merges_adapters |= source.adapter().is_some();
                Ok((source.names_in_words(), mapping.map(|mapping| mapping.sentence())))
            });
            (names, class_rows) = self.or_diagnose(&at, "weights", fits)?;
        }
        let adapter = self.adapter_file(name, load, &description, &model_spec)?;
        let (settings, seed) = (load.clone(), self.pipeline.seed);
        let work = LoadWeightsStage {
            model_spec,
            settings,
            rules,
            names,
            seed,
            preprocess,
            class_rows,
            merges_adapters,
            adapter,
        };
        Some((ResolvedStage::LoadWeights(Box::new(work), weights, images), Value::Null))
    }

    /// Refuses weights whose name says that they are of another network with the same tensors.
    fn same_variant(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        model_spec: &ModelSpec,
    ) -> Option<()> {
        let pipeline::Model { arch, variant, .. } = &model_spec.model;
        let Some((of_timm, network)) = load.file.as_deref().and_then(network_name) else { return Some(()) };
        let found = weights::timm_network_named(&network);
        let other = match found {
            // The names of other local files say nothing reliable.
            Some((found, other)) if found == *arch && other != *variant => {
                (of_timm || network.starts_with("tf_")).then_some(Some(other))
            }
            // `tf_efficientnet_lite0` is the one that has the same padding.
            None if of_timm && network == arch.name() && network == "efficientnet_lite0" => Some(None),
            _ => None,
        };
        let Some(other) = other else { return Some(()) };
        let arch = arch.name();
        let message = format!(
            "timm's `{network}` is another network than `{arch}` with the same tensors: it pads or normalises otherwise"
        );
        let help = match other {
            Some(other) => format!("set `variant = \"{}\"` in the model", other.name()),
            None => "use the weights of timm's `tf_efficientnet_lite0`".to_owned(),
        };
        self.diagnose(&format!("stage.{name}.file"), "other-network", message, Some(help));
        None
    }

    /// Compares a file with the digest that the stage demands.
    fn same_digest(&mut self, name: &str, load: &pipeline::LoadWeights, path: &Path) -> Option<()> {
        let Some(wanted) = &load.sha256 else { return Some(()) };
        let at = format!("stage.{name}.sha256");
        let found = self.or_diagnose(&at, "weights", sha256_file(path))?;
        if wanted.eq_ignore_ascii_case(&found) {
            return Some(());
        }
        let message = format!("`{}` has another digest: {found}", path.display());
        let help = "it is another file: get the file with this digest, or correct `sha256`".to_owned();
        self.diagnose(&at, "other-digest", message, Some(help));
        None
    }

    /// The adapters that are merged into the weights, which must fit the model. The inner `None` if there are none, or the
    /// disk is not read.
    fn adapter_file(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        description: &Description,
        model_spec: &ModelSpec,
    ) -> Option<Option<(PathBuf, Digest)>> {
        let Some(text) = load.adapter_file.as_deref().filter(|_| self.depth == DiskAccess::Inputs) else {
            return Some(None);
        };
        let at = format!("stage.{name}.adapter_file");
        let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(text))?;
        let file = AdapterFile::open(&path, description, &model_spec.classes);
        let digest = self.or_diagnose(&at, "weights", file)?.digest();
        Some(Some((path, digest)))
    }

    /// The data set with its first training images alone. The inner `None` where the disk may not be looked at.
    fn first_training_images(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        count: usize,
    ) -> Option<Option<Arc<Dataset>>> {
        let data_name = load.data.as_deref()?;
        let data = self.pipeline.data.get(data_name)?;
        let Some(dataset) = self.images(data_name, data) else { return Some(None) };
        let samples = dataset.split(Split::Train);
        if samples.is_empty() {
            let message =
                format!("`data.{data_name}` has no training images to restore batch normalisation from");
            self.diagnose(&format!("stage.{name}.restore_batch_norm"), "no-images", message, None);
            return None;
        }
        let first = samples.iter().take(count).map(|&sample| dataset.samples[sample].clone());
        let first = Dataset {
            root: dataset.root.clone(),
            outside: dataset.outside.clone(),
            classes: dataset.classes.clone(),
            label_kind: dataset.label_kind,
            samples: first.collect(),
            ..Dataset::default()
        };
        Some(Some(Arc::new(first)))
    }
}

/// The name of timm's network that a `file` says, without the tag of its weights, and whether it is surely of timm.
fn network_name(file: &str) -> Option<(bool, String)> {
    let (of_timm, rest) = match file.strip_prefix("hf://timm/") {
        Some(rest) => (true, rest.split(['/', '@']).next()?),
        None => (false, file.rsplit('/').next()?),
    };
    Some((of_timm, rest.split('.').next()?.to_owned()))
}

/// timm has no network with torchvision's padding and eps of these architectures.
fn require_variant(source: &WeightsFile, model: &pipeline::Model) -> Result<()> {
    let arch = model.arch.name();
    let is_of_none = weights::timm_network(arch, model.variant).is_none();
    if source.dialect() != Dialect::Timm || !is_of_none || model.arch.variants().is_empty() {
        return Ok(());
    }
    let variants: Vec<String> =
        model.arch.variants().iter().map(|variant| format!("`variant = \"{}\"`", variant.name())).collect();
    let file = source.path().display();
    Err(Error::usage(format!(
        "`{file}` has timm's names, and timm's network is another than torchvision's `{arch}`"
    ))
    .hint(format!("set {} in the model: the latter if its name begins with `tf_`", variants.join(" or "))))
}

/// The SHA-256 digest of a file.
fn sha256_file(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let (mut file, mut hasher) = (regular_file::open(path)?, Sha256::default());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    read().map_err(|error| Error::io("read", path, error))
}
