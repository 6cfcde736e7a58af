//! Describes the data of a pipeline: counts, and warnings to show before a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::planned::Plan;
use super::resolve::StageDraft;
use super::status::{StageStatus, Status};
use crate::data::{
    BrokenImage, Dataset, DatasetSummary, DecodeCheck, ImageReader, NearNameReason, NearNames, Split,
    data_format,
};
use crate::pipeline::{Diagnostic, Resolved, SplitMethod};
use crate::report::percent;
use crate::stage::{Inputs, PlannedStage, Preprocess, ResolvedStage};
use crate::store::{DecodableIndex, Store};

/// The data sets that stages read, each once, by name.
fn datasets<'a, I: Inputs + 'a>(
    stages: impl Iterator<Item = (&'a str, &'a ResolvedStage<I>)>,
) -> BTreeMap<&'a str, (&'a Arc<Dataset>, &'a Preprocess)> {
    let mut found = BTreeMap::new();
    for (name, work) in stages {
        if let Some(read) = work.dataset().zip(work.preprocess()) {
            found.entry(name).or_insert(read);
        }
    }
    found
}

impl Plan {
    /// Every data set that is read, with how its images are read, by name.
    pub(crate) fn datasets(&self) -> BTreeMap<&str, (&Arc<Dataset>, &Preprocess)> {
        datasets(self.stages.iter().map(|stage| (stage.data.as_str(), &stage.work)))
    }

    /// Every data set that is read, with its counts, by name.
    pub fn data(&self) -> BTreeMap<String, DatasetSummary> {
        let found = self.datasets();
        let summary = |(name, (dataset, view)): (&str, (&Arc<Dataset>, &Preprocess))| {
            (name.to_owned(), (*DatasetSummary::of(dataset, &view.0.split)).clone())
        };
        found.into_iter().map(summary).collect()
    }

    /// The images of stages to be computed that cannot be decoded, as far as their headers show. The store records
    /// intact images by content, so they are not read again. `runs` says which stages are requested.
    pub fn broken(
        &self,
        statuses: &[StageStatus],
        runs: &[bool],
        checked: &mut CheckedImages,
    ) -> Vec<UndecodableImages> {
        let asked = self.stages.iter().zip(statuses).zip(runs);
        // The inputs of a finished stage were decoded when it was computed.
        let computed: Vec<(&str, &PlannedStage)> = asked
            .filter(|((_, status), runs)| **runs && status.status != Status::Hit)
            .map(|((stage, _), _)| (stage.data.as_str(), &stage.work))
            .collect();
        let mut found = Vec::new();
        for (name, (dataset, view)) in datasets(computed.iter().copied()) {
            let of = computed.iter().filter(|(other, _)| *other == name);
            let parts: BTreeSet<&'static str> =
                of.flat_map(|(_, work)| work.parts()).map(Split::name).collect();
            let of_run = (Arc::as_ptr(dataset), format!("{view:?}"), parts.clone());
            if checked.intact.contains(&of_run) {
                continue;
            }
            let sound = &mut checked.sound;
            let read = |index: &usize| parts.contains(dataset.samples[*index].split.name());
            let samples: Vec<usize> = (0..dataset.samples.len()).filter(read).collect();
            let digest = |index: &usize| dataset.samples[*index].digest;
            let reader = ImageReader::new(&view.0);
            // The index is for 8-bit RGB; other settings refuse other files.
            let is_sound = |index: &usize| {
                reader.is_rgb8() && digest(index).is_some_and(|digest| sound.contains(&digest))
            };
            let unknown: Vec<usize> = samples.iter().copied().filter(|index| !is_sound(index)).collect();
            let images = dataset.broken(&unknown, DecodeCheck::Headers, &reader);
            let broken: BTreeSet<&str> = images.iter().map(|image| image.file.as_str()).collect();
            let whole = unknown.iter().filter(|index| !broken.contains(&*dataset.samples[**index].path));
            if reader.is_rgb8() {
                sound.extend(whole.filter_map(digest));
            }
            if images.is_empty() {
                checked.intact.insert(of_run);
                checked.datasets.push(Arc::clone(dataset));
            }
            found.extend(UndecodableImages::new(name, dataset, view, samples.len(), images));
        }
        checked.sound.save();
        found
    }
}

/// The images that were checked for earlier runs of a file.
pub struct CheckedImages {
    sound: DecodableIndex,
    /// Splits of data sets, as they are read, without a broken image.
    intact: BTreeSet<(*const Dataset, String, BTreeSet<&'static str>)>,
    /// Kept, so that no other data set has the address of one of them.
    datasets: Vec<Arc<Dataset>>,
}

impl CheckedImages {
    pub fn open(store: &Store) -> Self {
        Self { sound: store.decodable_index(), intact: BTreeSet::new(), datasets: Vec::new() }
    }
}

/// Images of a data set that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UndecodableImages {
    /// The name of the data set.
    pub data: String,
    /// The location of its images.
    pub root: String,
    /// The number of images checked.
    pub checked: usize,
    /// The number of images that cannot be decoded.
    pub count: usize,
    /// The first of these images.
    pub images: Vec<BrokenImage>,
    /// Whether they are skipped instead of reported as an error.
    pub skipped: bool,
    /// Classes without any other image in a split.
    pub lost: Vec<ClassWithoutImages>,
    /// Whether that is an error.
    pub classes_required: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassWithoutImages {
    pub class: String,
    pub part: Split,
    pub images: usize,
}

/// The maximum number listed in JSON; the count covers all.
const MOST_LISTED: usize = 1000;

impl UndecodableImages {
    /// `None` if there are none.
    fn new(
        name: &str,
        dataset: &Dataset,
        preprocess: &Preprocess,
        checked: usize,
        mut images: Vec<BrokenImage>,
    ) -> Option<Self> {
        let files: BTreeSet<&str> = images.iter().map(|image| image.file.as_str()).collect();
        let lost = |part: Split| {
            let lost = dataset.classes_without_images(part, |path| files.contains(path)).into_iter();
            lost.map(move |(class, images)| ClassWithoutImages { class: class.to_owned(), part, images })
        };
        let lost: Vec<ClassWithoutImages> = Split::ALL.into_iter().flat_map(lost).collect();
        let count = images.len();
        images.truncate(MOST_LISTED);
        (count > 0).then(|| Self {
            data: name.to_owned(),
            root: dataset.root.display().to_string(),
            checked,
            count,
            images,
            skipped: preprocess.0.broken == crate::pipeline::Broken::Skip,
            lost,
            classes_required: preprocess.0.split.require_classes,
        })
    }

    /// Whether a run would fail because of them.
    pub fn is_error(&self) -> bool {
        !self.skipped || (self.classes_required && !self.lost.is_empty())
    }
}

/// Decodes every image in all splits of the data sets that stages read, and reports those that fail.
///
/// The runs of a matrix may read the same images, which are decoded once.
pub fn decode_all<'a>(drafts: impl Iterator<Item = &'a StageDraft>) -> (usize, Vec<UndecodableImages>) {
    let (mut checked, mut found) = (0, Vec::new());
    let mut done: Vec<&Dataset> = Vec::new();
    for draft in drafts {
        let Some((dataset, view)) = draft.work.dataset().zip(draft.work.preprocess()) else { continue };
        let same = |other: &&Dataset| {
            let paths = other.samples.iter().map(|sample| &sample.path);
            other.root == dataset.root
                && other.outside == dataset.outside
                && paths.eq(dataset.samples.iter().map(|sample| &sample.path))
        };
        if done.iter().any(|other| std::ptr::eq(*other, &**dataset) || same(other)) {
            continue;
        }
        done.push(dataset);
        let name = draft.data.as_str();
        let samples: Vec<usize> = (0..dataset.samples.len()).collect();
        checked += samples.len();
        let images = dataset.broken(&samples, DecodeCheck::Whole, &ImageReader::new(&view.0));
        found.extend(UndecodableImages::new(name, dataset, view, samples.len(), images));
    }
    (checked, found)
}

/// Probable mistakes in the data of a pipeline, as far as names and counts show them.
pub fn data_warnings(pipeline: &Resolved, drafts: &[StageDraft]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (name, (dataset, view)) in datasets(drafts.iter().map(|draft| (draft.data.as_str(), &draft.work))) {
        let split = &view.0.split;
        let summary = DatasetSummary::of(dataset, split);
        for part in summary.parts.iter().filter(|part| part.differs) {
            let (word, asked) = (part.part.in_words(), part.asked.unwrap_or_default());
            let groups = match part.groups {
                None => String::new(),
                Some(1) => " in 1 group".to_owned(),
                Some(groups) => format!(" in {groups} groups"),
            };
            let message = format!(
                "the {word} split has {} of the images ({}{groups}), but {} are requested",
                percent(part.got),
                part.images,
                percent(asked)
            );
            let help = match split.method {
                SplitMethod::Hash => {
                    "set `method = \"balanced\"` (then a new photo may move others), or try another `seed`"
                }
                SplitMethod::Balanced => "use smaller groups: groups stay whole",
            };
            let at = format!("data.{name}.split.{}", part.part.name());
            warnings.push(pipeline.diagnose(&at, "share", message, help.to_owned()).as_warning());
        }
        let key = pipeline.data.get(name).map_or("root", |data| data_format(data).key());
        for near in &summary.near_names {
            let (message, help) = near_in_words(near);
            let at = format!("data.{name}.{key}");
            warnings.push(pipeline.diagnose(&at, "near-names", message, help.to_owned()).as_warning());
        }
    }
    warnings
}

fn near_in_words(near: &NearNames) -> (String, &'static str) {
    // Escaped, so that characters that are easily missed are visible.
    let names: Vec<String> = near.names.iter().map(|name| format!("`{}`", name.escape_default())).collect();
    let names = names.join(", ");
    match near.why {
        NearNameReason::Spelling => (
            format!("these classes are probably the same: {names}"),
            "use one name: they differ only in case, white space, `-` and `_`, or the Unicode form of an accent",
        ),
        NearNameReason::OneLetter => (
            format!("these classes are probably the same: {names}"),
            "correct the misspelt name, which has only few images",
        ),
        NearNameReason::Empty => (
            format!("the class {names} is probably an empty cell"),
            "list the classes to use in `classes`, or give these images a class",
        ),
    }
}
