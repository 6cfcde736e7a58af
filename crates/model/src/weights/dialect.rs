//! The tensor names of a file: the model's own names or timm's, with or without a wrapper's prefix.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::weights_file::TensorEntry;
use super::{WeightsFile, timm};
use crate::error::{Error, Result};
use crate::model::{Description, Model, TensorId, TensorSpec, adapter_names};
use crate::pipeline::{self, Arch};

#[cfg(test)]
mod tests;

/// Which tool's names a weight file uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The names of the description.
    #[default]
    Own,
    Timm,
}

/// The prefixes that wrapper modules add to every name: PyTorch's `DataParallel` and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// The metadata key under which defrost records the naming, unless it is the model's own.
pub(super) const RECORD: &str = "defrost.names";

impl Dialect {
    /// The metadata value under [`RECORD`].
    pub(super) fn record(self) -> Option<&'static str> {
        match self {
            Self::Own => None,
            Self::Timm => Some("timm"),
        }
    }

    /// The name of each tensor, in the order of the description.
    pub fn names(self, description: &Description) -> Vec<String> {
        let own = || description.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        let mut names = match self {
            Self::Own => own(),
            Self::Timm => timm::names(description).unwrap_or_else(own),
        };
        // An adapter is named after the weight that it changes.
        for (&weight, layer) in &description.adapters.layers {
            [names[layer.down], names[layer.up]] = adapter_names(&names[weight]);
        }
        names
    }

    /// The shape of a tensor in a file of this dialect.
    pub(super) fn shape(self, description: &Description, id: TensorId) -> Cow<'_, [usize]> {
        match self {
            Self::Own => Cow::Borrowed(&description.tensors[id].shape),
            Self::Timm => timm::shape(description, id),
        }
    }

    /// Whether files of this dialect have the tensor.
    pub(super) fn keeps(self, spec: &TensorSpec) -> bool {
        self == Self::Own || spec.is_in_all_files()
    }
}

/// Maps the names of a file to those of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NameMap {
    pub dialect: Dialect,
    /// The prefix of every name in the file.
    prefix: String,
    /// File names by model name, without the prefix, where they differ.
    written: BTreeMap<String, String>,
}

impl NameMap {
    fn new(dialect: Dialect, prefix: String, description: &Description) -> Self {
        let own = description.tensors.iter().map(|tensor| tensor.name.clone());
        let pairs = own.zip(dialect.names(description));
        Self { dialect, prefix, written: pairs.filter(|(own, written)| own != written).collect() }
    }

    /// The name in the file for the model's `name`, or for a name that only the file has.
    pub fn written(&self, name: &str) -> String {
        format!("{}{}", self.prefix, self.bare(name))
    }

    /// The same without the prefix.
    fn bare(&self, name: &str) -> String {
        self.written.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Such as "timm's names, each after `module.`"; `None` for the model's own names without a prefix.
    fn sentence(&self) -> Option<String> {
        let names = match self.dialect {
            Dialect::Own => "the model's names",
            Dialect::Timm => "timm's names",
        };
        match (self.dialect, self.prefix.as_str()) {
            (Dialect::Own, "") => None,
            (Dialect::Timm, "") => Some(names.to_owned()),
            (_, prefix) => Some(format!("{names}, each after `{prefix}`")),
        }
    }
}

impl WeightsFile {
    /// Renames the tensors to the model's names if the file uses timm's names or a wrapper's prefix.
    ///
    /// Names of the backbone that only one of the two uses decide which it is. Adapters are merged into the weights.
    ///
    /// # Errors
    /// The file has names of both.
    pub fn translated(self, description: &Description) -> Result<Self> {
        let file = self.merged();
        if file.dialect() != Dialect::Own {
            return Ok(file);
        }
        let prefix = prefix(file.entries().keys());
        let bare = |name: &String| name[prefix.len()..].to_owned();
        let dialect = recognise(description, &file.entries().keys().map(bare).collect())
            .map_err(|error| error.within(format!("cannot read `{}`", file.path().display())))?;
        Ok(file.renamed(NameMap::new(dialect, prefix, description), description))
    }

    /// The same for a file with recorded architecture and naming.
    pub(super) fn with_recorded_names(self) -> Self {
        let dialect = [Dialect::Timm].into_iter().find(|dialect| {
            let recorded = self.metadata().get(RECORD).map(String::as_str);
            recorded.is_some() && recorded == dialect.record()
        });
        let arch = self.metadata().get("defrost.arch").cloned().map(Value::String);
        let arch: Option<Arch> = arch.and_then(|arch| serde_json::from_value(arch).ok());
        let (Some(dialect), Some(arch)) = (dialect, arch) else { return self };
        // Names of the backbone and the plain head. Other heads use the model's own names.
        const CLASSES: usize = 2;
        let model = Model::build(&pipeline::Model::of(arch), CLASSES);
        let description = model.with_adapters(self.adapter().as_ref()).description;
        self.renamed(NameMap::new(dialect, String::new(), &description), &description)
    }

    pub fn dialect(&self) -> Dialect {
        self.names.dialect
    }

    /// The name in the file for the model's tensor `name`.
    pub fn written(&self, name: &str) -> String {
        self.names.written(name)
    }

    /// The name in the file for the model's tensor `name`, without a wrapper's prefix.
    pub(super) fn bare(&self, name: &str) -> String {
        self.names.bare(name)
    }

    /// The file's naming, unless it is the model's own.
    pub fn names_in_words(&self) -> Option<String> {
        self.names.sentence()
    }

    fn renamed(mut self, names: NameMap, description: &Description) -> Self {
        let own: BTreeMap<&str, &str> =
            names.written.iter().map(|(own, written)| (written.as_str(), own.as_str())).collect();
        let rename = |name: String| {
            let bare = &name[names.prefix.len()..];
            own.get(bare).copied().unwrap_or(bare).to_owned()
        };
        let entries = std::mem::take(&mut self.entries);
        self.entries = entries.into_iter().map(|(name, entry)| (rename(name), entry)).collect();
        for (id, spec) in description.tensors.iter().enumerate() {
            let written = names.dialect.shape(description, id);
            match self.entries.get_mut(&spec.name) {
                Some(entry) if entry.shape == *written => entry.fit_ones(spec.shape.len()),
                _ => {}
            }
        }
        self.names = names;
        self
    }
}

impl TensorEntry {
    /// Appends dimensions of size one until there are `count`, or removes them.
    fn fit_ones(&mut self, count: usize) {
        self.shape.resize(count, 1);
        self.strides.resize(count, 1);
    }
}

/// The wrapper prefix common to all names.
fn prefix<'a>(names: impl Iterator<Item = &'a String> + Clone) -> String {
    let mut prefix = String::new();
    while names.clone().next().is_some() {
        let further = WRAPPERS.iter().map(|wrapper| format!("{prefix}{wrapper}"));
        let mut fitting = further.filter(|further| names.clone().all(|name| name.starts_with(further)));
        match fitting.next() {
            Some(longer) => prefix = longer,
            None => break,
        }
    }
    prefix
}

fn recognise(description: &Description, found: &BTreeSet<String>) -> Result<Dialect> {
    let (own, timm) = (Dialect::Own.names(description), Dialect::Timm.names(description));
    let known: [BTreeSet<&String>; 2] = [own.iter().collect(), timm.iter().collect()];
    let backbone = |id: &usize| !description.in_head(*id);
    let only_timm = (0..timm.len()).filter(backbone).map(|id| &timm[id]);
    let only_timm = only_timm.filter(|name| !known[0].contains(name)).find(|name| found.contains(*name));
    let Some(timm) = only_timm else { return Ok(Dialect::Own) };
    match own.iter().find(|name| !known[1].contains(name) && found.contains(*name)) {
        None => Ok(Dialect::Timm),
        Some(own) => Err(Error::usage(format!(
            "it mixes two naming schemes for the tensors of `{}`: `{own}` is torchvision's, `{timm}` timm's",
            description.arch
        ))
        .hint("save it with the names of one of them")),
    }
}
