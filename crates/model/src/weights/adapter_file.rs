//! Files of adapters alone, as defrost and PEFT write them, merged into the network that they belong to.
//!
//! Such a file has the matrices A and B of some layers, and whole tensors of others that trained with them. Every tensor
//! must fit the network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde::Deserialize;

use super::adapted_file::PEFT;
use super::{Dialect, WeightsFile};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::{Description, StateDict, TensorId, adapter_names};
use crate::{ops, regular_file, sanitize};

/// What PEFT writes next to its tensors.
const CONFIG: &str = "adapter_config.json";
const LARGEST_CONFIG: u64 = 1 << 20;
/// The number of names that an error lists.
const SHOWN: usize = 6;

/// An open file whose tensors fit a network.
pub struct AdapterFile {
    file: WeightsFile,
    path: PathBuf,
    rank: usize,
    scale: f64,
    /// The names of A and B in the file, by the adapted weight.
    layers: BTreeMap<TensorId, [String; 2]>,
    /// The names in the file of tensors that are whole.
    whole: BTreeMap<TensorId, String>,
}

/// The settings of adapters, in PEFT's words. Others change what is computed, so they are refused.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

impl AdapterFile {
    /// # Errors
    /// A usage error: the file has no adapters, does not give their rank and alpha, is for another architecture
    /// or other classes, or has tensors that do not fit.
    pub fn open(path: &Path, description: &Description, classes: &[String]) -> Result<Self> {
        let file = WeightsFile::open(path)?;
        let within = |error: Error| error.within(format!("cannot merge `{}`", path.display()));
        let (rank, alpha) = settings(&file, path).map_err(within)?;
        let found = Self::of(file, path, description, (rank, alpha)).map_err(within)?;
        found.require_same_network(description, classes).map_err(within)?;
        Ok(found)
    }

    fn of(
        file: WeightsFile,
        path: &Path,
        description: &Description,
        (rank, alpha): (usize, f64),
    ) -> Result<Self> {
        let bare: BTreeMap<&str, &String> =
            file.entries().keys().map(|name| (name.strip_prefix(PEFT).unwrap_or(name), name)).collect();
        if !bare.keys().any(|name| name.contains(".lora_")) {
            return Err(Error::usage("it has no adapters").hint("load whole weights with `file`"));
        }
        let read = |dialect: Dialect| {
            let matched = Matched::of(&dialect.names(description), description, &bare);
            let used: BTreeSet<&String> = matched.names().collect();
            let unknown = bare.iter().filter(|(_, name)| !used.contains(**name));
            let unknown: Vec<String> = unknown.map(|(bare, _)| super::shown(bare)).collect();
            (matched, unknown)
        };
        let (own, timm) = (read(Dialect::Own), read(Dialect::Timm));
        let (Matched { layers, whole }, unknown) = if timm.1.len() < own.1.len() { timm } else { own };
        if !unknown.is_empty() {
            let names = sanitize::list(unknown, SHOWN);
            let arch = &description.arch;
            return Err(Error::usage(format!("`{arch}` has no place for {names}"))
                .hint("adapters belong to the architecture and the head that they were trained with"));
        }
        if layers.keys().any(|id| whole.contains_key(id)) {
            return Err(Error::usage("it has the network too, not adapters alone").hint(
                "load it with `file`, which merges its adapters, or use the `adapter.safetensors` next to it",
            ));
        }
        let found = Self { path: path.to_owned(), rank, scale: alpha / rank as f64, layers, whole, file };
        found.require_shapes(description)?;
        Ok(found)
    }

    fn require_shapes(&self, description: &Description) -> Result<()> {
        let shape = |name: &str| &self.file.entries()[name].shape[..];
        for (&id, [down, up]) in &self.layers {
            let spec = &description.tensors[id];
            let &[outputs, inputs] = &spec.shape[..] else { continue };
            let expected = [[self.rank, inputs], [outputs, self.rank]];
            for (name, expected) in [down, up].into_iter().zip(expected) {
                if shape(name) != expected {
                    let (name, found, rank) = (super::shown(name), shape(name), self.rank);
                    return Err(Error::usage(format!(
                        "`{name}` is {found:?}, and an adapter of rank {rank} for `{}` is {expected:?}",
                        spec.name
                    )));
                }
            }
        }
        for (&id, name) in &self.whole {
            let spec = &description.tensors[id];
            let elements: usize = shape(name).iter().product();
            if elements != spec.elements() {
                let (name, found) = (super::shown(name), shape(name));
                return Err(Error::usage(format!(
                    "`{name}` is {found:?}, and the model has {:?}",
                    spec.shape
                ))
                .hint("use the classes and the head that the adapters were trained with"));
            }
        }
        Ok(())
    }

    /// Compares what the file records of itself, if it does.
    fn require_same_network(&self, description: &Description, classes: &[String]) -> Result<()> {
        let recorded = self.file.metadata().get("defrost.arch");
        if let Some(arch) = recorded.filter(|arch| **arch != description.arch) {
            return Err(Error::usage(format!(
                "its adapters are for `{arch}`, not for `{}`",
                description.arch
            )));
        }
        let has_head = self.whole.keys().any(|id| description.in_head(*id));
        match self.file.classes() {
            Some(recorded) if has_head && recorded != classes => {
                let list =
                    |names: &[String]| sanitize::list(names.iter().map(|name| super::shown(name)), SHOWN);
                let (theirs, ours) = (list(recorded), list(classes));
                Err(Error::usage(format!("its head predicts {theirs}, but the data set has {ours}"))
                    .hint("use the same `classes` in the same order"))
            }
            _ => Ok(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of all that it says: the tensors, and the settings of PEFT that are next to them.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&serde_json::json!({
            "file": self.file.digest(),
            "rank": self.rank,
            "scale": self.scale,
        }))
    }

    /// The number of adapted layers, and their rank.
    pub fn size(&self) -> (usize, usize) {
        (self.layers.len(), self.rank)
    }

    /// Adds scale · B·A to each adapted weight, and replaces the tensors that are whole.
    ///
    /// # Errors
    /// Numbers of another type than floats, or that are not finite.
    pub fn merge(&self, description: &Description, state: &mut StateDict) -> Result<()> {
        for (&id, [down, up]) in &self.layers {
            let (down, up) = (self.floats(down)?, self.floats(up)?);
            state.tensors[id] = ops::low_rank_sum(&state.tensors[id], &down, &up, self.scale)?;
        }
        for (&id, name) in &self.whole {
            let spec = &description.tensors[id];
            let tensor =
                if spec.role.is_parameter() { self.floats(name)? } else { self.file.tensor(name)? };
            state.tensors[id] = tensor.reshape(&spec.shape[..])?;
        }
        Ok(())
    }

    fn floats(&self, name: &str) -> Result<Tensor> {
        let tensor = self.file.tensor(name)?;
        let is_finite = tensor.dtype() == DType::F32
            && tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().all(f32::is_finite);
        match is_finite {
            true => Ok(tensor),
            false => {
                let (name, path) = (super::shown(name), self.path.display());
                Err(Error::usage(format!("`{name}` of `{path}` has values that are not finite floats"))
                    .hint("the file is damaged, or its training diverged: use another one"))
            }
        }
    }
}

/// The tensors of a file, by those of a network.
#[derive(Default)]
struct Matched {
    layers: BTreeMap<TensorId, [String; 2]>,
    whole: BTreeMap<TensorId, String>,
}

impl Matched {
    /// `names` are those of the network in the file's dialect. A matrix without its other half stays unknown.
    fn of(names: &[String], description: &Description, found: &BTreeMap<&str, &String>) -> Self {
        let (mut layers, mut whole) = (BTreeMap::new(), BTreeMap::new());
        for (id, name) in names.iter().enumerate() {
            if let Some(&name) = found.get(name.as_str()) {
                whole.insert(id, name.clone());
            }
            if !description.linear_layers.contains(&id) {
                continue;
            }
            let [down, up] = adapter_names(name);
            if let (Some(&down), Some(&up)) = (found.get(down.as_str()), found.get(up.as_str())) {
                layers.insert(id, [down.clone(), up.clone()]);
            }
        }
        Self { layers, whole }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.layers.values().flatten().chain(self.whole.values())
    }
}

/// The rank and the alpha: the file's metadata have them, or PEFT's file next to it.
fn settings(file: &WeightsFile, path: &Path) -> Result<(usize, f64)> {
    let (rank, alpha) = match file.adapter() {
        Some(spec) => (spec.rank, spec.alpha),
        None => peft_settings(&path.with_file_name(CONFIG))?,
    };
    match rank > 0 && alpha.is_finite() {
        true => Ok((rank, alpha)),
        false => Err(Error::usage(format!("its adapters have rank {rank} and alpha {alpha}"))),
    }
}

fn peft_settings(path: &Path) -> Result<(usize, f64)> {
    let at = path.display();
    let bytes = regular_file::read(path, LARGEST_CONFIG).map_err(|_| {
        Error::usage("it does not say which rank and alpha its adapters have")
            .hint(format!("put the `{CONFIG}` of PEFT next to it, or use an `adapter.safetensors` of a run"))
    })?;
    let config: PeftConfig = serde_json::from_slice(&bytes)
        .map_err(|error| Error::usage(format!("`{at}` is not a configuration of PEFT: {error}")))?;
    let other = [
        ("peft_type", config.peft_type != "LORA"),
        ("use_rslora", config.use_rslora),
        ("use_dora", config.use_dora),
        ("fan_in_fan_out", config.fan_in_fan_out),
        ("rank_pattern", !config.rank_pattern.is_empty()),
        ("alpha_pattern", !config.alpha_pattern.is_empty()),
    ];
    match other.into_iter().find(|(_, is_other)| *is_other) {
        Some((key, _)) => Err(Error::usage(format!("`{at}` sets `{key}` to something that is not read"))
            .hint("merge the adapters with PEFT (`merge_and_unload`), and load the whole weights")),
        None => Ok((config.r, config.lora_alpha)),
    }
}
