//! `defrost init`: writes a starter pipeline.

mod detection;
mod folders;
mod gradual;
mod published;
mod table;
mod weights;
mod written;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::detection::BoxedData;
use self::published::Published;
use self::weights::GivenWeights;
use self::written::{Line, quoted, relative};
use defrost::model::Model;
use defrost::pipeline::{self, Arch, Variant};
use defrost::{Error, Result, regular_file, store};
use serde_json::json;

use super::Console;
use super::console::shown;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  defrost init turtles --data photos --weights resnet50.safetensors
  defrost init turtles --data photos --weights hf://timm/resnet50.a1_in1k")]
pub struct Args {
    /// Folder to write `pipeline.toml` to. It is created if it does not exist
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Images: a folder with one subfolder per class, or with `train`, `val` and `test` folders that each have one
    /// subfolder per class; or a CSV table with one row per image. For object detection: a folder with `data.yaml`, such a
    /// file, a JSON file of COCO, or a folder with `JPEGImages` and `Annotations`
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Pretrained weights: a `.safetensors` file, a PyTorch state dict, or a name that `defrost weights` lists, such as
    /// `hf://timm/resnet50.a1_in1k`. Image size, crop and normalisation are those of the list, or of timm's `config.json`
    /// in the folder of the file
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Architecture. By default, the one that the weights fit
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Column of a table with the image files. By default, the one in which every cell names an image
    #[arg(long, value_name = "NAME")]
    path_column: Option<String>,
    /// Column of a table with the class of each image. By default, it is found by name, such as `class` or `label`
    #[arg(long, value_name = "NAME")]
    class_column: Option<String>,
    /// Column of a table with any number of labels per image
    #[arg(long, value_name = "NAME", conflicts_with = "class_column")]
    labels_column: Option<String>,
    /// Column of a table with `train`, `validation` or `test`. By default, the one that has nothing else
    #[arg(long, value_name = "NAME")]
    split_column: Option<String>,
    /// Folder that paths in a table start from. By default, the first of these that has the first image: that of the
    /// table, its parent, and two levels of folders below it
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// How to unfreeze the network
    #[arg(long, value_enum, default_value_t = Schedule::Stages)]
    schedule: Schedule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Schedule {
    /// Two stages: first the head alone, then everything
    Stages,
    /// One stage that unfreezes the layers gradually, from the head down
    Gradual,
}

const PIPELINE: &str = "pipeline.toml";
const SCHEMA: &str = "pipeline.schema.json";
const TEMPLATE: &str = include_str!("init/start.toml");
const TWO_STAGES: &str = include_str!("init/two_stages.toml");
/// On small data sets, batch statistics degrade pretrained weights; docs/results.md has measurements.
const BATCH_NORM: &str = "batch_norm = \"eval\"                      # keep the pretrained running statistics; small batches give poor ones\n";
const HEAD_ALONE: &str = include_str!("init/head_alone.toml");
const CLASSES: &str = "monitor    = \"validation/accuracy\"        # selects the `@best` epoch";
const LABELS: &str = "loss       = { kind = \"bce\" }           # an image has any number of labels\n\
                      monitor    = \"validation/map\"             # selects the `@best` epoch";

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let [pipeline, schema] = [PIPELINE, SCHEMA].map(|file| args.dir.join(file));
    let json = serde_json::to_string_pretty(pipeline::schema()).expect("a schema is plain data") + "\n";
    let other_schema = match regular_file::read(&schema, json.len() as u64) {
        Ok(bytes) => bytes != json.as_bytes(),
        Err(_) => schema.exists(),
    };
    if let Some((path, _)) =
        [(&pipeline, pipeline.exists()), (&schema, other_schema)].iter().find(|(_, kept)| *kept)
    {
        let message = format!("`{}` already exists", path.display());
        return Err(Error::usage(message).hint("choose another folder, or move the file"));
    }
    let given = args.weights.as_deref().map(GivenWeights::of).transpose()?;
    let is_name = given.as_ref().is_some_and(|given| given.is_name);
    for (option, path, is_there) in [
        ("--data", &args.data, Path::exists as fn(&Path) -> bool),
        ("--weights", &args.weights, Path::is_file),
    ] {
        let is_there = |path: &&Path| is_there(path) || option == "--weights" && is_name;
        if let Some(path) = path.as_deref().filter(|path| !is_there(path)) {
            return Err(Error::usage(format!("{option}: `{}` does not exist", path.display())));
        }
    }
    let text = fill(&args, given.as_ref())?;
    fs::create_dir_all(&args.dir).map_err(|error| Error::io("make", &args.dir, error))?;
    for (path, content) in [(&schema, &json), (&pipeline, &text)] {
        store::write_output(path, content.as_bytes())?;
    }
    let mut next = vec![format!("defrost validate {}", pipeline.display())];
    if args.weights.is_none() {
        next.insert(0, "set `file` to pretrained weights: `defrost weights` lists published ones".into());
    }
    if args.data.is_none() {
        next.insert(0, "put your images into the folder in `root`, one subfolder per class".into());
    }
    if console.json() {
        let [pipeline, schema] = [pipeline, schema].map(|path| path.display().to_string());
        console.document(&json!({ "pipeline": pipeline, "schema": schema, "next": next }));
    } else {
        console.say(format!(
            "wrote {} and, for editors, {}",
            shown(pipeline.display()),
            shown(schema.display())
        ));
        for step in next {
            console.say(format!("next: {}", shown(step)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Images and what they show: the lines of the data set, and what the rest of the file needs to know.
struct ImageSource {
    lines: Vec<Line>,
    split: Line,
    /// The split to evaluate on.
    evaluated: &'static str,
    /// Whether an image has any number of labels.
    has_several_labels: bool,
}

/// The starter pipeline for these arguments.
fn fill(args: &Args, weights: Option<&GivenWeights>) -> Result<String> {
    let data = args.data.as_deref();
    let table = data.filter(|data| data.is_file() && table::is_table(data));
    refuse_options_of_tables(args, table)?;
    let images = match table {
        Some(table) => table::find(table, args)?,
        None => match data.map(|data| BoxedData::find(data, &args.dir)).transpose()?.flatten() {
            Some(boxed) => return fill_detection(args, weights, &boxed),
            None => folders::find(data, &args.dir)?,
        },
    };
    let published = weights.map(GivenWeights::published).transpose()?.unwrap_or_default();
    let on_disk = weights.and_then(|given| given.file.as_deref());
    let default = parsed("resnet50")?;
    let choice = weights::choose((args, on_disk), &published, &architectures(), default, |file, arch| {
        weights::fit(file, arch, &published)
    })?;
    let arch = choice.arch;
    let size = choice.fit.unwrap_or_else(|| published.size_for(arch));
    let model = Model::build_for(&pipeline::Model::of(arch), 2, size);
    let has_batch_norm = !model.description.norms.is_empty();
    let stages = match args.schedule {
        Schedule::Stages if arch.is_encoder() => HEAD_ALONE.to_owned(),
        Schedule::Stages => TWO_STAGES.to_owned(),
        Schedule::Gradual if arch.is_encoder() => {
            let name = arch.name();
            let error = Error::usage(format!("`{name}` is a feature extractor only and cannot be unfrozen"));
            return Err(error.hint("remove `--schedule`: only the head trains"));
        }
        Schedule::Gradual => gradual::stages(arch),
    };
    let mut lines = images.lines;
    lines.extend(published.lines(arch, size));
    lines.push(images.split);
    let file = match weights {
        Some(given) => given.setting(&args.dir)?,
        None => format!("weights/{}.safetensors", arch.name()),
    };
    let variant = weights.map_or_else(Variant::default, |given| given.variant(arch, &published));
    let monitor = if images.has_several_labels { LABELS } else { CLASSES };
    let stages = stages.replace("BATCH_NORM\n", if has_batch_norm { BATCH_NORM } else { "" });
    let template = TEMPLATE.replace("STAGES", stages.trim_end()).replace("MONITOR", monitor);
    Ok(written::filled(
        &template,
        &[
            ("DATA", &written::text(&lines, 0)),
            ("ARCH", &arch_lines(&choice, variant)),
            ("\"NAME\"", &quoted(&name(&args.dir))),
            ("\"FILE\"", &quoted(&file)),
            ("\"EVALUATED\"", &quoted(images.evaluated)),
        ],
    ))
}

/// The options that say how a table is read are for tables.
fn refuse_options_of_tables(args: &Args, table: Option<&Path>) -> Result<()> {
    let Args { path_column, class_column, labels_column, split_column, root, .. } = args;
    let given = [
        ("--path-column", path_column.is_some()),
        ("--class-column", class_column.is_some()),
        ("--labels-column", labels_column.is_some()),
        ("--split-column", split_column.is_some()),
        ("--root", root.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given && table.is_none()) {
        Some((option, _)) => Err(Error::usage(format!("`{option}` is for tables"))
            .hint("remove it, or give a CSV file: `--data TABLE.csv`")),
        None => Ok(()),
    }
}

/// `arch = "resnet50"`, with the reason, and the variant if it is another than the default.
fn arch_lines<T>(choice: &weights::Choice<T>, variant: Variant) -> String {
    let mut lines = vec![Line::new("arch", &choice.arch.name().into(), &*choice.why)];
    if !variant.is_default() {
        let why = "padding and eps of the weights' network";
        lines.push(Line::new("variant", &variant.name().into(), why));
    }
    written::text(&lines, 0)
}

/// The starter pipeline for images with boxes.
fn fill_detection(args: &Args, weights: Option<&GivenWeights>, data: &BoxedData) -> Result<String> {
    if let Some(arch) = args.arch.as_deref().filter(|arch| parsed(arch).is_ok_and(|arch| !arch.is_detector()))
    {
        let error = Error::usage(format!("`{arch}` classifies images, and these have boxes"));
        return Err(error.hint(format!("use `--arch {}`", detection::DEFAULT_ARCH)));
    }
    if args.schedule == Schedule::Gradual {
        return Err(Error::usage("`--schedule gradual` is for networks that classify images")
            .hint("remove it; `unfreeze` in a stage unfreezes layers of a detector gradually"));
    }
    let default = parsed(detection::DEFAULT_ARCH)?;
    let detectors: Vec<Arch> = architectures().into_iter().filter(|arch| arch.is_detector()).collect();
    let on_disk = weights.and_then(|given| given.file.as_deref());
    let choice =
        weights::choose((args, on_disk), &Published::default(), &detectors, default, detection::fit)?;
    let file = match weights {
        Some(given) => given.setting(&args.dir)?,
        None => format!("weights/{}.pt", choice.arch.name()),
    };
    Ok(written::filled(
        detection::TEMPLATE,
        &[
            ("RESTORE\n", choice.fit.unwrap_or_default()),
            ("DATA", &data.lines),
            ("ARCH", &arch_lines(&choice, Variant::default())),
            ("\"NAME\"", &quoted(&name(&args.dir))),
            ("\"FILE\"", &quoted(&file)),
            ("\"EVALUATED\"", &quoted(data.evaluated)),
        ],
    ))
}

/// The folder's name, converted into a valid pipeline name.
fn name(dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let usable = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = name.chars().map(|c| if usable(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "experiment".into() } else { name.chars().take(100).collect() }
}

/// All architectures, as the schema lists them.
fn architectures() -> Vec<Arch> {
    let known = pipeline::schema()
        .pointer("/properties/model/additionalProperties/properties/arch/enum")
        .and_then(serde_json::Value::as_array);
    let names = known.into_iter().flatten().filter_map(serde_json::Value::as_str);
    names.filter_map(|name| parsed(name).ok()).collect()
}

fn parsed(arch: &str) -> Result<Arch> {
    serde_json::from_value(json!(arch)).map_err(|_| {
        Error::usage(format!("--arch: unknown architecture `{arch}`")).hint("`defrost schema` lists them")
    })
}
