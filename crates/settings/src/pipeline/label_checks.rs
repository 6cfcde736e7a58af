//! Checks of settings that need one class per image, multi-label data, or boxes.

use super::document::Node;
use super::unchecked::UncheckedPipeline;
use super::{Augment, Data, LabelKind, Loss, Monitor};

/// Which columns of a table hold the classes or labels.
pub fn table(draft: &mut UncheckedPipeline, path: &str) {
    let Some(Data::Csv(table)) = draft.read(path) else { return };
    let given = [
        ("class_column", table.class_column.is_some()),
        ("labels_column", table.labels_column.is_some()),
        ("label_columns", table.label_columns.is_some()),
    ];
    let mut given = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
    let (first, second) = (given.next(), given.next());
    let mut report = |key: &str, code, message: String, help: &str| {
        let place = draft.key_span(&format!("{path}.{key}"));
        draft.report(place, code, message, help.to_owned());
    };
    match (first, second) {
        (None, _) => report(
            "class_column",
            "no-classes",
            "the table's class or label column is not set".to_owned(),
            "set `class_column`, or for multi-label data `labels_column` or `label_columns`",
        ),
        (Some(first), Some(second)) => report(
            second,
            "conflict",
            format!("`{second}` and `{first}` both select the classes or labels"),
            "keep one of them",
        ),
        (Some(_), None) => {}
    }
    if table.label_columns.is_some() && table.classes.is_some() {
        let message = "`label_columns` already lists the labels, in order".to_owned();
        report("classes", "conflict", message, "remove `classes`");
    }
    if table.labels_column.is_none() && table.separator.is_some() {
        let message = "`separator` has no effect without `labels_column`".to_owned();
        report("separator", "no-effect", message, "remove `separator`");
    }
}

/// A setting of a stage that fits only some kinds of annotations.
struct FitsOnly {
    key: &'static str,
    /// What the setting needs, after its name.
    needs: &'static str,
    kinds: &'static [LabelKind],
}

/// Settings of a train stage.
const OF_TRAINING: &[FitsOnly] = &[
    FitsOnly { key: "distill", needs: "needs one class per image, or boxes", kinds: WITH_TEACHER },
    FitsOnly { key: "distill.weight", needs: NO_BOXES, kinds: WITHOUT_BOXES },
    FitsOnly { key: "distill.class_weight", needs: "needs boxes", kinds: &[LabelKind::Boxes] },
    FitsOnly { key: "distill.box_weight", needs: "needs boxes", kinds: &[LabelKind::Boxes] },
    FitsOnly { key: "augment.random_resized_crop", needs: NO_BOXES, kinds: WITHOUT_BOXES },
    FitsOnly { key: "augment.rand_augment", needs: NO_BOXES, kinds: WITHOUT_BOXES },
    FitsOnly { key: "augment.cutmix", needs: NO_BOXES, kinds: WITHOUT_BOXES },
    FitsOnly { key: "augment.mosaic", needs: "needs boxes", kinds: &[LabelKind::Boxes] },
];

/// Settings that a comparison of views does not take.
const NOT_FOR_VIEWS: &[(&str, &str)] = &[
    ("distill", "compares an image with itself, and has no teacher"),
    ("features", "draws other views in every epoch, so no features are kept"),
    ("augment.mixup", "compares views of one image, and `mixup` shows two"),
    ("augment.cutmix", "compares views of one image, and `cutmix` shows two"),
    ("augment.mosaic", "compares views of one image, and `mosaic` shows four"),
];

/// Settings that a comparison of embeddings does not take.
const NOT_FOR_EMBEDDINGS: &[(&str, &str)] = &[
    ("distill", "compares embeddings, and a teacher predicts classes"),
    ("augment.mixup", "needs one class per image, and `mixup` shows two"),
    ("augment.cutmix", "needs one class per image, and `cutmix` shows two"),
];

/// Settings of an evaluation. Embeddings are compared by class, and ensembles average softmax probabilities.
const OF_EVALUATION: &[FitsOnly] = &[
    FitsOnly { key: "verification", needs: ONE_CLASS, kinds: &[LabelKind::Class] },
    FitsOnly { key: "identification", needs: ONE_CLASS, kinds: &[LabelKind::Class] },
    FitsOnly { key: "ensemble", needs: ONE_CLASS, kinds: &[LabelKind::Class] },
    FitsOnly { key: "thresholds", needs: NO_BOXES, kinds: WITHOUT_BOXES },
    FitsOnly { key: "calibration", needs: NO_BOXES, kinds: WITHOUT_BOXES },
];

const ONE_CLASS: &str = "needs one class per image";
const NO_BOXES: &str = "is for classes of whole images";
const WITH_TEACHER: &[LabelKind] = &[LabelKind::Class, LabelKind::Boxes];
const WITHOUT_BOXES: &[LabelKind] = &[LabelKind::Class, LabelKind::Labels];

/// The annotations for which a metric can be monitored.
pub(super) fn monitored(monitor: Monitor) -> &'static [LabelKind] {
    match monitor {
        Monitor::ValidationLoss => &[LabelKind::Class, LabelKind::Labels, LabelKind::Boxes],
        Monitor::ValidationAccuracy
        | Monitor::ValidationMacroF1
        | Monitor::ValidationMap
        | Monitor::ValidationAuc => WITHOUT_BOXES,
        Monitor::ValidationRank1 => &[LabelKind::Class],
        Monitor::ValidationAp50To95
        | Monitor::ValidationAp50
        | Monitor::ValidationAp75
        | Monitor::ValidationApSmall
        | Monitor::ValidationApMedium
        | Monitor::ValidationApLarge
        | Monitor::ValidationPrecision
        | Monitor::ValidationRecall
        | Monitor::ValidationF1 => &[LabelKind::Boxes],
    }
}

/// The loss and the monitored metric of a train stage, and everything else that its annotations must fit.
pub fn train(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let Some(kind) = draft.label_kind(name) else { return };
    let data = draft.name_of(name, "data").unwrap_or_default();
    let at = format!("{path}.loss");
    let loss = match draft.get(&at) {
        None => Some(Loss::default()),
        Some(_) => draft.read(&at),
    };
    if loss.as_ref().is_some_and(Loss::compares_views) {
        return views(draft, path);
    }
    if loss.as_ref().is_some_and(Loss::compares_embeddings) {
        excluded(draft, path, NOT_FOR_EMBEDDINGS);
        soft_margin(draft, path);
    }
    if let Some(needs) = loss.map(|loss| loss.label_kind()).filter(|needs| *needs != kind) {
        let (message, help) = unfit_loss(data, kind, needs);
        draft.report(draft.key_span(&at), "conflict", message, help.to_owned());
    }
    settings(draft, path, data, kind, OF_TRAINING);
    let at = format!("{path}.monitor");
    let monitor: Option<Monitor> = draft.read(&at);
    if let Some(monitor) = monitor.filter(|monitor| !monitored(*monitor).contains(&kind)) {
        let score = monitor.score();
        let (message, help) = match kind {
            LabelKind::Boxes => (
                format!("`validation/{score}` needs classes of whole images, but `data.{data}` has boxes"),
                "use `validation/ap50_95`",
            ),
            _ => (
                format!("`validation/{score}` needs boxes, but `data.{data}` {}", kind.in_words()),
                "use `validation/macro_f1`",
            ),
        };
        draft.report(draft.span(&at), "conflict", message, help.to_owned());
    }
}

/// Settings that the loss of a stage does not take, each with the cause.
fn excluded(draft: &mut UncheckedPipeline, path: &str, settings: &[(&str, &str)]) {
    let loss = draft.get(&format!("{path}.loss.kind")).and_then(Node::text).unwrap_or_default();
    for (key, cause) in settings {
        let at = format!("{path}.{key}");
        if draft.get(&at).is_some() {
            let name = key.rsplit('.').next().unwrap_or(key);
            let message = format!("`{loss}` {cause}");
            draft.report(draft.key_span(&at), "conflict", message, format!("remove `{name}`"));
        }
    }
}

/// A soft margin replaces the margin.
fn soft_margin(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.loss");
    let soft = draft.read::<bool>(&format!("{at}.soft_margin")) == Some(true);
    if soft && draft.get(&format!("{at}.margin")).is_some() {
        let place = draft.key_span(&format!("{at}.margin"));
        let message = "`margin` has no effect with `soft_margin`".to_owned();
        draft.report(place, "no-effect", message, "remove one of them".to_owned());
    }
}

/// A stage that compares views of images and needs no labels.
fn views(draft: &mut UncheckedPipeline, path: &str) {
    excluded(draft, path, NOT_FOR_VIEWS);
    let at = format!("{path}.loss");
    let augment = draft.get(&format!("{path}.augment"));
    if augment.is_none() || draft.read(&format!("{path}.augment")) == Some(Augment::default()) {
        let message = "two views of an image are equal without `augment`".to_owned();
        let help = "set `augment`, such as `{ random_resized_crop = { scale = [0.2, 1.0] }, horizontal_flip = 0.5, \
                    color_jitter = { brightness = 0.8, contrast = 0.8, saturation = 0.8, hue = 0.2, probability = 0.8 }, \
                    grayscale = 0.2, gaussian_blur = {} }`";
        draft.report(draft.key_span(&at), "no-effect", message, help.to_owned());
    }
    if draft.read::<usize>(&format!("{path}.batch_size")) == Some(1) {
        let message = "a view is compared with the other images of its batch, but batches have one image";
        let place = draft.key_span(&format!("{path}.batch_size"));
        draft.report(place, "conflict", message.to_owned(), "raise `batch_size`".to_owned());
    }
}

/// A loss that learns from other annotations than the data set has.
fn unfit_loss(data: &str, has: LabelKind, needs: LabelKind) -> (String, &'static str) {
    let message = match needs {
        LabelKind::Class => {
            format!("`data.{data}` {}, but this loss needs one class per image", has.in_words())
        }
        LabelKind::Labels => format!("`data.{data}` {}, but `bce` is for multi-label data", has.in_words()),
        LabelKind::Boxes => format!("`data.{data}` {}, but `detection` is for boxes", has.in_words()),
    };
    let help = match has {
        LabelKind::Class => "use `cross_entropy`, or set the label columns of a table",
        LabelKind::Labels => "write `loss = { kind = \"bce\" }`",
        LabelKind::Boxes => "write `loss = { kind = \"detection\" }`",
    };
    (message, help)
}

fn settings(draft: &mut UncheckedPipeline, path: &str, data: &str, kind: LabelKind, all: &[FitsOnly]) {
    for FitsOnly { key, needs, .. } in all.iter().filter(|setting| !setting.kinds.contains(&kind)) {
        let at = format!("{path}.{key}");
        if draft.get(&at).is_none() {
            continue;
        }
        let name = key.rsplit('.').next().unwrap_or(key);
        let subject = if name == "distill" { "distillation".to_owned() } else { format!("`{name}`") };
        let message = format!("{subject} {needs}, but `data.{data}` {}", kind.in_words());
        draft.report(draft.key_span(&at), "conflict", message, format!("remove `{name}`"));
    }
}

/// The settings of an evaluation that its annotations must fit.
pub fn evaluate(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let Some(kind) = draft.label_kind(name) else { return };
    let data = draft.name_of(name, "data").unwrap_or_default();
    settings(draft, path, data, kind, OF_EVALUATION);
}
