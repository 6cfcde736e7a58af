//! The names in a file: the model's own or timm's, bare or behind the prefix of a wrapper.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Source, timm};
use crate::error::{Error, Result};
use crate::model::{Description, Model};
use crate::pipeline::{self, Arch};

/// Whose names a weight file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Those of the description.
    #[default]
    Own,
    Timm,
}

/// What modules that wrap a model put before every name: PyTorch's `DataParallel`, and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Where a file that defrost wrote says whose names it has, if they are not the model's own.
pub(super) const RECORD: &str = "defrost.names";

impl Dialect {
    /// What stands in the file under [`RECORD`].
    pub(super) fn record(self) -> Option<&'static str> {
        match self {
            Self::Own => None,
            Self::Timm => Some("timm"),
        }
    }

    /// The name of each tensor of the description, in its order.
    pub fn names(self, description: &Description) -> Vec<String> {
        let own = || description.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        match self {
            Self::Own => own(),
            Self::Timm => timm::names(description).unwrap_or_else(own),
        }
    }
}

/// How the names of a file lead to those of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    pub dialect: Dialect,
    /// Stands before every name of the file.
    prefix: String,
    /// By the model's name, without the prefix, where it is another.
    written: BTreeMap<String, String>,
}

impl Names {
    fn new(dialect: Dialect, prefix: String, description: &Description) -> Self {
        let own = description.tensors.iter().map(|tensor| tensor.name.clone());
        let pairs = own.zip(dialect.names(description));
        Self { dialect, prefix, written: pairs.filter(|(own, written)| own != written).collect() }
    }

    /// The name in the file of what the model, or nobody but the file, calls `name`.
    pub fn written(&self, name: &str) -> String {
        format!("{}{}", self.prefix, self.written.get(name).map_or(name, String::as_str))
    }

    /// Such as "timm's names, each behind `module.`"; none for the model's own, bare.
    fn sentence(&self) -> Option<String> {
        let names = match self.dialect {
            Dialect::Own => "the model's names",
            Dialect::Timm => "timm's names",
        };
        match (self.dialect, self.prefix.as_str()) {
            (Dialect::Own, "") => None,
            (Dialect::Timm, "") => Some(names.to_owned()),
            (_, prefix) => Some(format!("{names}, each behind `{prefix}`")),
        }
    }
}

impl Source {
    /// The file with its tensors under the names of the model, if it has them under timm's or behind a wrapper's prefix.
    ///
    /// Whose names they are is told by those of the backbone that only one of the two uses.
    ///
    /// # Errors
    /// Names of both.
    pub fn translated(self, description: &Description) -> Result<Self> {
        if self.dialect() != Dialect::Own {
            return Ok(self);
        }
        let prefix = prefix(self.entries().keys());
        let bare = |name: &String| name[prefix.len()..].to_owned();
        let dialect = recognise(description, &self.entries().keys().map(bare).collect())
            .map_err(|error| error.within(format!("cannot read `{}`", self.path().display())))?;
        Ok(self.renamed(Names::new(dialect, prefix, description)))
    }

    /// The same for a file that says itself what it is of, and whose names it has.
    pub(super) fn with_recorded_names(self) -> Self {
        let dialect = [Dialect::Timm].into_iter().find(|dialect| {
            let recorded = self.metadata().get(RECORD).map(String::as_str);
            recorded.is_some() && recorded == dialect.record()
        });
        let arch = self.metadata().get("defrost.arch").cloned().map(Value::String);
        let arch: Option<Arch> = arch.and_then(|arch| serde_json::from_value(arch).ok());
        let (Some(dialect), Some(arch)) = (dialect, arch) else { return self };
        // Names of the backbone and the plain head; of another head, they are the model's own.
        const CLASSES: usize = 2;
        let description = Model::build(&pipeline::Model::of(arch), CLASSES).description;
        self.renamed(Names::new(dialect, String::new(), &description))
    }

    pub fn dialect(&self) -> Dialect {
        self.names.dialect
    }

    /// What the file calls the tensor `name` of the model.
    pub fn written(&self, name: &str) -> String {
        self.names.written(name)
    }

    /// Whose names the file has, where they are not plainly the model's own.
    pub fn names_in_words(&self) -> Option<String> {
        self.names.sentence()
    }

    fn renamed(mut self, names: Names) -> Self {
        let own: BTreeMap<&str, &str> =
            names.written.iter().map(|(own, written)| (written.as_str(), own.as_str())).collect();
        let rename = |name: String| {
            let bare = &name[names.prefix.len()..];
            own.get(bare).copied().unwrap_or(bare).to_owned()
        };
        let entries = std::mem::take(&mut self.entries);
        self.entries = entries.into_iter().map(|(name, entry)| (rename(name), entry)).collect();
        self.names = names;
        self
    }
}

/// What wrappers put before each of the names.
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
            "it mixes two ways to name the tensors of `{}`: `{own}` is torchvision's, `{timm}` timm's",
            description.arch
        ))
        .hint("save it under the names of one")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::weights::{LoadRules, digests, initialize_all, load, origins, save};

    fn describe(arch: Arch) -> Description {
        Model::build(&pipeline::Model::of(arch), 1000).description
    }

    /// A file with the tensors of a network under other names.
    fn file(folder: &Path, description: &Description, names: &[String]) -> Source {
        let mut renamed = description.clone();
        for (tensor, name) in renamed.tensors.iter_mut().zip(names) {
            tensor.name.clone_from(name);
        }
        let path = folder.join("x.safetensors");
        let state = initialize_all(description, 3).unwrap();
        save(&path, &renamed, &state, Dialect::Own, &BTreeMap::new()).unwrap();
        Source::open(&path).unwrap()
    }

    #[test]
    fn every_network_of_timm_has_the_names_and_shapes_that_timm_gives_it() {
        for (timm, arch) in [
            ("mobilenetv2_100", Arch::MobileNetV2),
            ("efficientnet_b0", Arch::EfficientNetB0),
            ("efficientnet_b3", Arch::EfficientNetB3),
            ("tf_efficientnet_lite0", Arch::EfficientNetLite0),
        ] {
            let fixture = format!("tests/fixtures/weights/timm/{timm}.txt");
            let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
            let fixture = std::fs::read_to_string(fixture).unwrap();
            let expected: BTreeSet<String> = fixture.lines().map(str::to_owned).collect();
            let description = describe(arch);
            let names = Dialect::Timm.names(&description);
            let line =
                |(name, spec): (&String, &crate::model::TensorSpec)| format!("{name} {:?}", spec.shape);
            let found = names.iter().zip(&description.tensors).filter(|(_, spec)| spec.role.is_parameter());
            assert_eq!(found.map(line).collect::<BTreeSet<_>>(), expected, "{timm}");
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{timm}");
        }
        let resnet = describe(Arch::ResNet18);
        assert_eq!(Dialect::Timm.names(&resnet), Dialect::Own.names(&resnet));
    }

    #[test]
    fn weights_are_read_under_timms_names_and_saved_under_them() {
        let folder = tempfile::tempdir().unwrap();
        let description = describe(Arch::EfficientNetB0);
        let names = Dialect::Timm.names(&description);
        let wrapped: Vec<String> = names.iter().map(|name| format!("module._orig_mod.{name}")).collect();
        let source = file(folder.path(), &description, &wrapped).translated(&description).unwrap();
        assert_eq!(source.dialect(), Dialect::Timm);
        assert_eq!(source.names_in_words().unwrap(), "timm's names, each behind `module._orig_mod.`");
        let state = load(&description, &source, &LoadRules::default(), 0).unwrap();
        let expected = digests(&initialize_all(&description, 3).unwrap()).unwrap();
        assert_eq!(digests(&state).unwrap(), expected);

        let path = folder.path().join("y.safetensors");
        let metadata = BTreeMap::from([("defrost.arch".to_owned(), "efficientnet_b0".to_owned())]);
        save(&path, &description, &state, source.dialect(), &metadata).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let written: BTreeSet<String> = header.tensors().into_keys().collect();
        assert_eq!(written, names.into_iter().collect());
        let again = Source::open(&path).unwrap();
        assert_eq!(again.dialect(), Dialect::Timm);
        assert_eq!(
            digests(&load(&description, &again, &LoadRules::default(), 0).unwrap()).unwrap(),
            expected
        );
    }

    #[test]
    fn what_does_not_fit_is_told_in_the_names_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let description = describe(Arch::EfficientNetB0);
        let mut names = Dialect::Timm.names(&description);
        names[0] = "conv_stm.weight".to_owned();
        let names: Vec<String> = names.iter().map(|name| format!("module.{name}")).collect();
        let source = file(folder.path(), &description, &names).translated(&description).unwrap();
        let error = origins(&description, &source, &LoadRules::default()).unwrap_err().message;
        let lines: Vec<&str> = error.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  missing     `module.conv_stem.weight` [32, 3, 3, 3]; the file has `module.conv_stm.weight`",
                "  unexpected  `module.conv_stm.weight` [32, 3, 3, 3]; the model has `module.conv_stem.weight`",
            ]
        );
    }

    #[test]
    fn names_of_two_libraries_in_one_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let description = describe(Arch::MobileNetV2);
        let mut names = Dialect::Timm.names(&description);
        let last = names.len() - 1;
        names[last].clone_from(&description.tensors[last].name);
        let error = file(folder.path(), &description, &names).translated(&description).err().unwrap();
        assert!(
            error.message.contains("`classifier.1.bias` is torchvision's, `conv_stem.weight` timm's"),
            "{error}"
        );
    }
}
