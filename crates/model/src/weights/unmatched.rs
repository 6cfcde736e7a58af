//! Error messages for a file that does not fit a model: every tensor, and what to do.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::WeightsFile;
use super::first_conv::{differs_in_channels, first_conv};
use crate::error::Error;
use crate::model::{Description, TensorId, TensorRole};
use crate::pipeline::suggest::closest_name;
use crate::sanitize;

/// The tensors that no rule allows, under the names that the file has or would have.
pub(super) struct Unmatched<'a> {
    pub description: &'a Description,
    pub source: &'a WeightsFile,
    pub missing: Vec<TensorId>,
    pub mismatched: Vec<TensorId>,
    pub unexpected: Vec<&'a str>,
    /// With what is wrong with their values.
    pub mistyped: Vec<(TensorId, String)>,
}

/// The maximum number of tensors of one kind in an error.
const SHOWN: usize = 40;
/// The maximum depth of wrapper modules to search.
const DEEPEST_PREFIX: usize = 8;
/// The maximum number of names to search for a similar one. A file with more is of something else.
const COMPARED: usize = 2000;

impl Unmatched<'_> {
    pub(super) fn error(&self) -> Error {
        let Self { description, source, .. } = self;
        let path = source.path().display();
        let arch = &description.arch;
        let message = format!("the weights in `{path}` do not fit `{arch}`");
        if let Some(recorded) = source.metadata().get("defrost.arch").filter(|recorded| *recorded != arch) {
            return Error::usage(format!("{message}: they belong to `{recorded}`"))
                .hint(format!("set `arch = \"{recorded}\"`, or load another file"));
        }
        if let Some(prefix) = self.prefix() {
            return Error::usage(format!("{message}: all its names start with `{prefix}`"))
                .hint("save the state dict of the bare model, without the wrapper around it");
        }
        let fitting = description.tensors.iter().any(|spec| source.entries().contains_key(&spec.name));
        if !fitting {
            let names: Vec<String> =
                source.entries().keys().take(3).map(|name| format!("`{}`", source.written(name))).collect();
            return Error::usage(format!(
                "{message}: none of its {} tensors has a name of the model; the first are {}",
                source.entries().len(),
                names.join(", ")
            ))
            .hint(format!("load weights of `{arch}` under their published names"));
        }
        if let Some(hint) = self.detector_without_head() {
            let message = format!("{message}: they are those of a detector, and the model classifies images");
            return Error::usage(message).hint(hint);
        }
        if let (Some(hint), true) = (self.wider_class_branch(), self.is_head_alone()) {
            let count = sanitize::count(self.mismatched.len(), "tensor");
            return Error::usage(format!("{message}: {count} of the class branch have other shapes"))
                .hint(hint);
        }
        let lines = [
            listed(self.missing_lines(), self.missing.len(), "missing"),
            listed(self.mismatched_lines(), self.mismatched.len(), "mismatched"),
            listed(self.unexpected_lines(), self.unexpected.len(), "unexpected"),
            listed(self.mistyped_lines(), self.mistyped.len(), "mistyped"),
        ]
        .concat();
        Error::usage(format!("{message}\n{}", lines.join("\n"))).hint(self.hint())
    }

    fn missing_lines(&self) -> impl Iterator<Item = String> {
        let compared = if self.unexpected.len() > COMPARED { &[] } else { self.unexpected.as_slice() };
        let candidates: Vec<(&str, String)> =
            compared.iter().map(|&name| (name, self.source.written(name))).collect();
        let line = move |&id: &TensorId| {
            let spec = &self.description.tensors[id];
            let name = self.source.written(&spec.name);
            let same_shape =
                candidates.iter().filter(|(key, _)| self.source.entries()[*key].shape == *self.shape(id));
            let near = closest_name(&name, same_shape.map(|(_, written)| written.as_str()))
                .or_else(|| closest_name(&name, candidates.iter().map(|(_, written)| written.as_str())));
            let near = near.map(|name| format!("; the file has `{name}`")).unwrap_or_default();
            format!("  missing     `{name}` {:?}{near}", self.shape(id))
        };
        self.missing.iter().map(line)
    }

    fn mismatched_lines(&self) -> impl Iterator<Item = String> {
        let line = |&id: &TensorId| {
            let spec = &self.description.tensors[id];
            let found = &self.source.entries()[&spec.name].shape;
            let name = self.source.written(&spec.name);
            format!("  mismatched  `{name}` {:?}; the file has {found:?}", self.shape(id))
        };
        self.mismatched.iter().map(line)
    }

    fn unexpected_lines(&self) -> impl Iterator<Item = String> {
        let missing = self.missing.iter().map(|&id| self.source.written(&self.description.tensors[id].name));
        let missing: Vec<String> = missing.collect();
        let line = move |name: &&str| {
            let written = self.source.written(name);
            let near = closest_name(&written, missing.iter().map(String::as_str));
            let near = near.map(|name| format!("; the model has `{name}`")).unwrap_or_default();
            format!("  unexpected  `{written}` {:?}{near}", self.source.entries()[*name].shape)
        };
        self.unexpected.iter().map(line)
    }

    fn mistyped_lines(&self) -> impl Iterator<Item = String> {
        let line = |(id, what): &(TensorId, String)| {
            format!("  mistyped    `{}` {what}", self.source.written(&self.description.tensors[*id].name))
        };
        self.mistyped.iter().map(line)
    }

    /// The shape that the file would store.
    fn shape(&self, id: TensorId) -> Cow<'_, [usize]> {
        self.source.dialect().shape(self.description, id)
    }

    /// A prefix on every name of the file without which the model would know them.
    fn prefix(&self) -> Option<String> {
        let first = self.source.entries().keys().next()?;
        let known: BTreeSet<&str> = self.description.tensors.iter().map(|spec| spec.name.as_str()).collect();
        let mut prefixes = first.match_indices('.').map(|(dot, _)| &first[..=dot]).take(DEEPEST_PREFIX);
        prefixes
            .find(|prefix| {
                self.source.entries().keys().all(|name| name.starts_with(*prefix))
                    && self
                        .source
                        .entries()
                        .keys()
                        .any(|name| known.contains(&name[prefix.len()..]) && !known.contains(name.as_str()))
            })
            .map(str::to_owned)
    }

    /// For weights of a detector, where the model is its backbone under a head that classifies images.
    fn detector_without_head(&self) -> Option<String> {
        let is_backbone = self.description.arch.starts_with("yolo11")
            && self.description.head.iter().all(|module| !module.starts_with("model."));
        let is_detector = self.unexpected.iter().any(|name| name.starts_with("model.23.cv3."));
        (is_backbone && is_detector).then(|| {
            "set `head = { kind = \"detect\" }` in the model, or classify images with its backbone: `reinit = [\"@head\"]` and `allow_unexpected = [\"model\"]`"
                .to_owned()
        })
    }

    /// Whether nothing but tensors of the head has another shape, and all else fits.
    fn is_head_alone(&self) -> bool {
        let head = |id: &TensorId| self.description.in_head(*id);
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.mistyped.is_empty()
            && self.mismatched.iter().all(head)
    }

    /// For a detector whose class branch has another width in the file.
    fn wider_class_branch(&self) -> Option<String> {
        let hidden = |&&id: &&TensorId| {
            let name = &self.description.tensors[id].name;
            self.description.in_head(id) && name.contains(".cv3.") && name.ends_with(".0.1.conv.weight")
        };
        let id = *self.mismatched.iter().find(hidden)?;
        let spec = &self.description.tensors[id];
        let width = super::class_rows::rows(&self.source.entries()[&spec.name].shape);
        let own = super::class_rows::rows(&spec.shape);
        (width != own).then(|| {
            format!(
                "the class branch has {width} channels in the file and {own} in the model: add `class_width = {width}` to the head, as in `head = {{ kind = \"detect\", class_width = {width} }}`, or `reinit` the branch"
            )
        })
    }

    /// For a first convolution that reads another number of image channels in the file.
    fn other_channels(&self) -> Option<String> {
        let id = first_conv(self.description).filter(|id| self.mismatched.contains(id))?;
        let spec = &self.description.tensors[id];
        let file = &self.source.entries()[&spec.name].shape;
        differs_in_channels(&spec.shape, file).then(|| {
            format!(
                "`{}` is for {} of image in the file and {} in the model: add `first_conv = \"sum\"` (or \"mean\", \"repeat\", \"first\") to the stage",
                self.source.written(&spec.name),
                sanitize::count(file[1], "channel"),
                spec.shape[1],
            )
        })
    }

    /// The settings that would allow everything, if they are short enough to be intended.
    fn hint(&self) -> String {
        let description = self.description;
        let head = |ids: &[TensorId]| ids.iter().any(|&id| description.in_head(id));
        let refused = [&self.missing[..], &self.mismatched].concat();
        if refused.is_empty() && self.unexpected.is_empty() {
            let is_count =
                |(id, _): &(TensorId, String)| description.tensors[*id].role == TensorRole::BatchCount;
            return match self.mistyped.iter().all(is_count) {
                true => "add `reinit = [\"*.num_batches_tracked\"]` to the stage: no result depends on them",
                false => "save the weights as float32, float16 or bfloat16",
            }
            .to_owned();
        }
        if let Some(hint) = self.wider_class_branch().or_else(|| self.other_channels()) {
            return hint;
        }
        if refused.iter().all(|&id| description.in_head(id)) && self.unexpected.is_empty() {
            return "add `reinit = [\"@head\"]` to the stage: a head for other classes is initialised at random"
                .to_owned();
        }
        let fits = description.tensors.iter().enumerate().filter(|(id, _)| !refused.contains(id));
        let fits: Vec<&str> = fits.map(|(_, spec)| spec.name.as_str()).collect();
        let of_model = |ids: &[TensorId]| {
            let others = ids.iter().filter(|&&id| !description.in_head(id));
            modules(others.map(|&id| description.tensors[id].name.as_str()), &fits)
        };
        let of_file: Vec<String> = self.unexpected.iter().map(|name| self.source.written(name)).collect();
        // Names that only the model has do not prevent naming a module of the file.
        let read = description.tensors.iter().filter(|spec| self.source.entries().contains_key(&spec.name));
        let known: Vec<String> = read.map(|spec| self.source.written(&spec.name)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let settings = [
            ("reinit", Vec::from_iter(head(&refused).then(|| "@head".to_owned()))),
            ("allow_missing", of_model(&self.missing)),
            ("allow_mismatched", of_model(&self.mismatched)),
            ("allow_unexpected", modules(of_file.iter().map(String::as_str), &known)),
        ];
        let settings = settings.iter().filter(|(_, names)| !names.is_empty());
        if settings.clone().any(|(_, names)| names.len() > WORTH_NAMING) {
            let settings: Vec<String> = settings.map(|(setting, _)| format!("`{setting}`")).collect();
            return format!("if this is intended, list them in {} of the stage", settings.join(" and "));
        }
        let quoted =
            |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let lines: Vec<String> =
            settings.map(|(setting, names)| format!("`{setting} = [{}]`", quoted(names))).collect();
        format!("if this is intended, add {} to the stage", lines.join(" and "))
    }
}

/// With this many modules the file is the wrong one.
const WORTH_NAMING: usize = 6;

/// The first lines of a kind, and the number of the others.
fn listed(lines: impl Iterator<Item = String>, count: usize, kind: &str) -> Vec<String> {
    let more = count.saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("  … and {more} more {kind}"));
    lines.take(SHOWN).chain(more).collect()
}

/// The shortest module names that cover all of `names` and none of `others`; if there are too many, some of
/// them.
fn modules<'a>(names: impl Iterator<Item = &'a str>, others: &[&str]) -> Vec<String> {
    let taken: BTreeSet<&str> = others.iter().flat_map(|name| with_modules(name)).collect();
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    for name in names {
        let module = with_modules(name).find(|module| !taken.contains(module)).unwrap_or(name);
        if known.insert(module) {
            found.push(module.to_owned());
        }
        if found.len() > WORTH_NAMING {
            break;
        }
    }
    found
}

/// The modules that contain a tensor, from the outermost, and the tensor itself.
fn with_modules(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices('.').map(|(dot, _)| dot).chain([name.len()]);
    ends.map(move |end| &name[..end])
}
