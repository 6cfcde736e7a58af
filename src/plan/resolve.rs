//! From a checked pipeline to stages whose every name is resolved, or to the list of what cannot be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Elsewhere;
use crate::data::{self, Dataset, Split};
use crate::freeze::ParameterTable;
use crate::model::{Description, NormMode, RuleError};
use crate::pipeline::{
    self, Checkpoint, ClassWeights, Data, Diagnostic, Head, ImageSizes, Loss, Report, Resolved, Stage,
    suggest,
};
use crate::stage::{Evaluate, InitWeights, LoadWeights, Member, Recognition, Subject, Train, View, Work};
use crate::weights::{self, LoadRules, Source};

/// How much of the disk may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Nothing: shape, names and patterns only.
    Offline,
    /// Folder names, where the file leaves the classes to them.
    Names,
    /// Weights' headers and the lists of images.
    Inputs,
}

/// A class of a folder that may not be looked at.
const UNKNOWN: &str = "?";

/// A stage whose names are resolved.
pub struct Draft {
    pub name: String,
    /// The stages whose weights it reads, in order.
    pub parents: Vec<Parent>,
    pub work: Work,
    /// The freezing rules as written, to tell a reader what changed.
    pub rules: Value,
    /// Where the weights are that it takes from another pipeline; none once they are found in the store.
    pub elsewhere: Option<Elsewhere>,
}

/// A stage above, by its place in the plan, and which of its files is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub stage: usize,
    pub checkpoint: Option<Checkpoint>,
}

impl Parent {
    /// The file of the parent's result.
    pub fn file(&self) -> &'static str {
        match self.checkpoint {
            None => crate::stage::MODEL,
            Some(Checkpoint::Best) => crate::stage::BEST,
            Some(Checkpoint::Last) => crate::stage::LAST,
        }
    }
}

/// Resolves every stage, parents first. All errors come together.
pub fn resolve(pipeline: &Resolved, depth: Depth) -> Result<Vec<Draft>, Report> {
    let (datasets, elsewhere) = Default::default();
    let mut resolver = Resolver { pipeline, depth, datasets, elsewhere, diagnostics: Vec::new() };
    let mut drafts: Vec<Option<Draft>> = Vec::new();
    let order = pipeline.order();
    for name in &order {
        let stage = pipeline.stage(name).expect("the order lists the pipeline's stages");
        let place = |stage: &str| order.iter().position(|other| *other == stage);
        let parent = |parent: pipeline::Parent| Parent {
            stage: place(parent.stage).expect("parents come first"),
            checkpoint: parent.checkpoint,
        };
        let parents: Vec<Parent> = stage.parents().into_iter().map(parent).collect();
        let above = parents.iter().map(|parent| drafts[parent.stage].as_ref().map(|draft| &draft.work));
        // Below a stage that could not be resolved nothing more can be said.
        let resolved = above
            .collect::<Option<Vec<&Work>>>()
            .and_then(|above| resolver.stage(name, stage, &above))
            .map(|(work, rules)| {
                let (name, elsewhere) = ((*name).to_owned(), resolver.elsewhere.remove(*name));
                Draft { name, parents, work, rules, elsewhere }
            });
        drafts.push(resolved);
    }
    match (resolver.diagnostics.is_empty(), drafts.into_iter().collect::<Option<Vec<_>>>()) {
        (true, Some(drafts)) => Ok(drafts),
        _ => Err(Report::new(resolver.diagnostics)),
    }
}

pub(super) struct Resolver<'a> {
    pub(super) pipeline: &'a Resolved,
    pub(super) depth: Depth,
    /// By name; none where scanning failed, which is reported once.
    datasets: BTreeMap<String, Option<Arc<Dataset>>>,
    /// By the stage that takes weights from there.
    pub(super) elsewhere: BTreeMap<String, Elsewhere>,
    diagnostics: Vec<Diagnostic>,
}

impl Resolver<'_> {
    /// `above` are the stages whose weights it reads, in order.
    fn stage(&mut self, name: &str, stage: &Stage, above: &[&Work]) -> Option<(Work, Value)> {
        let seed = self.pipeline.seed;
        let data_name = stage.data()?;
        let data = self.pipeline.data.get(data_name)?;
        let images = data.images();
        // Embeddings of anyone may be compared.
        let anyone = matches!(stage, Stage::Evaluate(evaluate) if evaluate.compares_embeddings());
        let classes = if anyone { Vec::new() } else { self.classes(data_name, data)? };
        let first = above.first().copied();
        let subject = match first.map(Work::subject) {
            Some(subject) if !matches!(stage, Stage::LoadWeights(_)) => {
                if !anyone {
                    self.same_classes(name, data_name, &subject.classes, &classes)?;
                    for work in above {
                        self.same_targets(name, data_name, work.subject(), data)?;
                    }
                }
                subject.clone()
            }
            // Weights are read into a model of the stage's own.
            _ => {
                let (model, image_size) =
                    (self.pipeline.model.get(stage.model()?)?.clone(), images.image_size);
                Subject { model, classes, multi_label: data.is_multi_label(), image_size }
            }
        };
        match stage {
            Stage::LoadWeights(load) => self.load_weights(name, load, first, subject, seed),
            Stage::InitWeights(_) => Some((Work::InitWeights(InitWeights { subject, seed }), Value::Null)),
            Stage::Train(train) => {
                let description = subject.build().description;
                let table = match ParameterTable::resolve(&description, train) {
                    Ok(table) => table,
                    Err(errors) => {
                        self.rules(name, errors);
                        return None;
                    }
                };
                self.features_only(name, &subject, &description, &table)?;
                if train.features.is_some() && table.first().frozen_prefix(&description) == 0 {
                    let message = "no features are kept where the first layer trains".to_owned();
                    let help = "freeze the first layers, or remove `features`".to_owned();
                    self.diagnose(&format!("stage.{name}.features"), "no-effect", message, Some(help));
                    return None;
                }
                let view = View::new(&images, train.image_size, subject.model.arch);
                for work in above {
                    self.same_patches(name, data_name, work.subject(), &view)?;
                }
                let dataset = self.images(data_name, data);
                self.validation(name, train, dataset.as_deref())?;
                self.loss(name, &train.loss, &subject)?;
                self.last_batch(name, train, &description, &table, dataset.as_deref())?;
                let rules = rules_of(train);
                let teacher = self.teacher(name, train, &subject, &view, above)?;
                let work = Train::new(subject, view, dataset, (**train).clone(), table, &description, seed);
                let work = Train { teacher, ..work };
                Some((Work::Train(Box::new(work)), rules))
            }
            Stage::Evaluate(evaluate) => {
                let view = View::new(&images, evaluate.image_size, subject.model.arch);
                for work in above {
                    self.same_patches(name, data_name, work.subject(), &view)?;
                }
                self.ensemble(name, evaluate, &view, above)?;
                let dataset = self.images(data_name, data);
                let recognition = self.recognition(name, evaluate, dataset.as_deref())?;
                self.part(name, evaluate, recognition.as_ref(), dataset.as_deref())?;
                let member =
                    |work: &&Work| Member { subject: work.subject().clone(), layers: work.shared_layers() };
                Some((
                    Work::Evaluate(Box::new(Evaluate {
                        members: above.iter().map(member).collect(),
                        view,
                        dataset,
                        split: evaluate.split,
                        recognition,
                    })),
                    Value::Null,
                ))
            }
        }
    }

    /// What is asked of embeddings, if anything is: the list of pairs is read here.
    fn recognition(
        &mut self,
        stage: &str,
        evaluate: &pipeline::Evaluate,
        dataset: Option<&Dataset>,
    ) -> Option<Option<Recognition>> {
        let mut pairs = None;
        let listed = evaluate.verification.as_ref().and_then(|verification| verification.pairs.as_ref());
        if let (Some(file), Some(dataset)) = (listed, dataset) {
            let at = format!("stage.{stage}.verification.pairs");
            let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(file))?;
            let read = std::fs::read_to_string(&path)
                .map_err(|error| crate::Error::io("read", &path, error))
                .and_then(|text| data::read_pairs(&text, dataset, evaluate.split));
            pairs = Some(self.or_diagnose(&at, "pairs", read)?);
        }
        Some(evaluate.compares_embeddings().then(|| Recognition::new(evaluate, pairs)))
    }

    fn load_weights(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        above: Option<&Work>,
        subject: Subject,
        seed: u64,
    ) -> Option<(Work, Value)> {
        let description = subject.build().description;
        let mut rules = match LoadRules::resolve(&description, load) {
            Ok(rules) => rules,
            Err(errors) => {
                self.rules(name, errors);
                return None;
            }
        };
        rules.classes = Some(subject.classes.clone());
        let (mut file, mut names) = (None, None);
        let source = match (&load.file, above, &load.from) {
            (None, Some(above), Some(from)) => {
                let at = format!("stage.{name}.from");
                // Of classes that are not known here nothing can be said.
                let known = [above.subject(), &subject].iter().all(|subject| is_known(&subject.classes));
                known.then(|| (at, above.subject().source(from)))
            }
            (None, None, None) => match self.pipeline.elsewhere.get(name) {
                Some(other) => Some((format!("stage.{name}.stage"), self.other_pipeline(name, other)?)),
                None => None,
            },
            (Some(text), ..) if self.depth == Depth::Inputs => {
                let at = format!("stage.{name}.file");
                let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(text))?;
                let source = Source::open(&path).and_then(|source| source.translated(&description));
                file = Some(path);
                Some((at, source))
            }
            _ => None,
        };
        if let Some((at, source)) = source {
            let fits = source.and_then(|source| {
                weights::origins(&description, &source, &rules).map(|_| source.names_in_words())
            });
            names = self.or_diagnose(&at, "weights", fits)?;
        }
        Some((
            Work::LoadWeights(Box::new(LoadWeights {
                subject,
                file,
                digest: None,
                settings: load.clone(),
                rules,
                names,
                seed,
            })),
            Value::Null,
        ))
    }

    /// The classes of a data set: those of the file, else those of the folder; two nameless ones where neither may be
    /// looked at, so that patterns can still be checked.
    fn classes(&mut self, name: &str, data: &Data) -> Option<Vec<String>> {
        match (data.classes(), self.depth) {
            (Some(classes), _) => Some(classes.clone()),
            (None, Depth::Offline) => Some(vec![UNKNOWN.to_owned(); 2]),
            (None, _) => self.scan(name, data).map(|dataset| dataset.classes.clone()),
        }
    }

    fn images(&mut self, name: &str, data: &Data) -> Option<Arc<Dataset>> {
        (self.depth == Depth::Inputs).then(|| self.scan(name, data)).flatten()
    }

    fn scan(&mut self, name: &str, data: &Data) -> Option<Arc<Dataset>> {
        if let Some(known) = self.datasets.get(name) {
            return known.clone();
        }
        let (found, key) = match data {
            Data::ImageFolder(folder) => {
                let root = self.pipeline.path(&folder.root);
                (root.and_then(|root| Dataset::scan(folder, &root)), "root")
            }
            Data::Csv(table) => (self.tables(table), "file"),
        };
        let found = found.map(Arc::new);
        let found = found.map_err(|error| match self.depth {
            Depth::Names => {
                error.hint(format!("give `classes` in `[data.{name}]`, then no data is needed here"))
            }
            _ => error,
        });
        let found = self.or_diagnose(&format!("data.{name}.{key}"), "data", found);
        self.datasets.insert(name.to_owned(), found.clone());
        found
    }

    fn same_classes(&mut self, stage: &str, data: &str, head: &[String], classes: &[String]) -> Option<()> {
        if head == classes || !(is_known(head) && is_known(classes)) {
            return Some(());
        }
        let message = format!("the head tells {} apart, and `{data}` has {}", list(head), list(classes));
        let help =
            "give both data sets the same `classes`, or load the weights anew with `reinit = [\"@head\"]`";
        self.diagnose(&format!("stage.{stage}.data"), "class-list", message, Some(help.to_owned()));
        None
    }

    /// Classes that exclude each other and labels that do not are told by other heads.
    fn same_targets(&mut self, stage: &str, data: &str, head: &Subject, found: &Data) -> Option<()> {
        if head.multi_label == found.is_multi_label() {
            return Some(());
        }
        let (one, any) = ("one class each", "any number of labels");
        let (known, found) = if head.multi_label { (any, one) } else { (one, any) };
        let message = format!("the head is for images of {known}, and those of `{data}` have {found}");
        let help = "load the weights anew for this data set with `reinit = [\"@head\"]`".to_owned();
        self.diagnose(&format!("stage.{stage}.data"), "class-list", message, Some(help));
        None
    }

    /// An encoder without gradients stays frozen.
    fn features_only(
        &mut self,
        stage: &str,
        subject: &Subject,
        description: &Description,
        table: &ParameterTable,
    ) -> Option<()> {
        if !subject.model.arch.is_encoder() {
            return Some(());
        }
        let Some(row) = table.rows.iter().find(|row| row.trainable && !description.in_head(row.id)) else {
            return Some(());
        };
        // Such as `train[0] = "*"`; a parameter that no rule names trains because the stage says nothing else.
        let rule = row.rule.split_once(" = ").map(|(rule, _)| format!(".{rule}"));
        let at = format!("stage.{stage}{}", rule.unwrap_or_default());
        let message = format!(
            "`{}` is a feature extractor only, and its `{}` would train here",
            description.arch, row.name
        );
        let help = "train the head alone: `train = [\"@head\"]`".to_owned();
        self.diagnose(&at, "feature-extractor", message, Some(help));
        None
    }

    /// An architecture may take images of some sizes alone; position embeddings are for the one that the model's first stage
    /// gives.
    fn same_patches(&mut self, stage: &str, data: &str, subject: &Subject, view: &View) -> Option<()> {
        let (known, found) = (subject.image_size, view.0.image_size);
        let arch = subject.model.arch;
        let (message, help) = match arch.image_sizes() {
            _ if arch.has_sized_positions() && known != found => {
                let help =
                    format!("`image_size = {known}` here, or `{found}` where the model's weights come from");
                (format!("the model has position embeddings for `image_size` {known}, not {found}"), help)
            }
            ImageSizes::MultipleOf(patch) if !found.is_multiple_of(patch) => {
                let near = (found / patch).max(1) * patch;
                let help = format!("`image_size = {near}`, or another multiple of {patch}");
                (format!("an `image_size` of {found} is no whole number of patches of {patch} pixels"), help)
            }
            ImageSizes::Only(side) if found != side => {
                let help = format!("`image_size = {side}`");
                (format!("the model has position embeddings for `image_size` {side}, not {found}"), help)
            }
            _ => return Some(()),
        };
        let own = self.pipeline.stage(stage).and_then(Stage::image_size).is_some();
        let at = if own { format!("stage.{stage}.image_size") } else { format!("data.{data}.image_size") };
        self.diagnose(&at, "image-size", message, Some(help));
        None
    }

    /// What a loss asks of the head and the classes.
    fn loss(&mut self, stage: &str, loss: &Loss, subject: &Subject) -> Option<()> {
        let at = format!("stage.{stage}.loss");
        if loss.needs_cosines() && !matches!(subject.model.head, Head::Embedding(_)) {
            let message = "a margin is on cosines, and this head has none".to_owned();
            let help =
                "give the model `head = { kind = \"embedding\", dimension = 512 }`, or take another loss";
            self.diagnose(&at, "conflict", message, Some(help.to_owned()));
            return None;
        }
        let (weights, key) = match loss {
            Loss::Bce(loss) => (loss.positive_weights.as_ref(), "positive_weights"),
            _ => (loss.class_weights(), "class_weights"),
        };
        let Some(ClassWeights::ByName(weights)) = weights else { return Some(()) };
        let classes = &subject.classes;
        if classes.iter().any(|class| class == UNKNOWN) {
            return Some(());
        }
        let at = format!("{at}.{key}");
        if let Some(stranger) = weights.keys().find(|name| !classes.contains(name)) {
            let help = suggest::help(stranger, "classes", classes.iter().map(String::as_str));
            self.diagnose(&at, "class-list", format!("there is no class `{stranger}`"), help);
            return None;
        }
        let Some(missing) = classes.iter().find(|class| !weights.contains_key(*class)) else {
            return Some(());
        };
        let message = format!("class `{missing}` has no weight");
        self.diagnose(&at, "class-list", message, Some("give every class one; 1 is the usual".to_owned()));
        None
    }

    /// One image alone has no variance: a head's batch normalisation, unlike one over an image's pixels, needs two.
    fn last_batch(
        &mut self,
        stage: &str,
        train: &pipeline::Train,
        description: &Description,
        table: &ParameterTable,
        dataset: Option<&Dataset>,
    ) -> Option<()> {
        let mut norms = description.norms.iter().zip(&table.last().norms);
        let sensitive =
            norms.any(|(norm, mode)| *mode == NormMode::Training && description.in_head(norm.weight));
        let images = dataset.map_or(0, |dataset| dataset.split(Split::Train).len());
        if !sensitive || images % train.batch_size != 1 % train.batch_size || images == 0 {
            return Some(());
        }
        let message = format!(
            "of {images} images the last batch has one, and the head's batch normalisation needs two"
        );
        let better = (train.batch_size + 1..=images + 1).find(|size| images % size != 1);
        let help = better.map_or("add images".to_owned(), |size| format!("take `batch_size = {size}`"));
        self.diagnose(&format!("stage.{stage}.batch_size"), "batch-of-one", message, Some(help));
        None
    }

    fn rules(&mut self, stage: &str, errors: Vec<RuleError>) {
        for error in errors {
            self.diagnose(&format!("stage.{stage}.{}", error.setting), error.code, error.message, error.help);
        }
    }

    fn or_diagnose<T>(&mut self, path: &str, code: &'static str, result: crate::Result<T>) -> Option<T> {
        result.map_err(|error| self.diagnose(path, code, error.message, error.hint)).ok()
    }

    pub(super) fn diagnose(&mut self, path: &str, code: &'static str, message: String, help: Option<String>) {
        self.diagnostics.push(self.pipeline.diagnose(path, code, message, help));
    }
}

/// Whether the names of classes could be looked at.
pub(super) fn is_known(classes: &[String]) -> bool {
    classes.iter().all(|class| class != UNKNOWN)
}

/// The first names of a list, in their order.
pub(super) fn list(classes: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = classes.iter().take(SHOWN).map(|class| format!("`{class}`")).collect();
    match classes.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// The settings that the table of who trains is made from.
fn rules_of(train: &pipeline::Train) -> Value {
    let mut rules = json!({
        "freeze": train.freeze,
        "train": train.train,
        "freeze_first": train.freeze_first,
        "train_first": train.train_first,
        "train_last": train.train_last,
        "batch_norm": train.batch_norm,
        "groups": train.groups,
    });
    if !train.unfreeze.is_empty() {
        rules["unfreeze"] = json!(train.unfreeze);
    }
    if let Some(decay) = train.layer_decay {
        rules["layer_decay"] = json!(decay);
    }
    rules
}
