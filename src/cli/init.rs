//! `defrost init`: writes a starter pipeline.

mod detection;
mod gradual;
mod weights;

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use self::detection::BoxedData;
use defrost::data::{Dataset, part_folders, written_folders};
use defrost::model::Model;
use defrost::{Error, Result, pipeline, regular_file, store};
use serde_json::json;

use super::Console;
use super::console::shown;

#[derive(clap::Args)]
#[command(after_help = "Example: defrost init turtles --data photos --weights resnet50.safetensors")]
pub struct Args {
    /// Folder to write `pipeline.toml` to. It is created if it does not exist
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Images: a folder with one subfolder per class, or with `train`, `val` and `test` folders that each have one
    /// subfolder per class. For object detection: a folder with `data.yaml`, such a file, a JSON file of COCO, or a folder
    /// with `JPEGImages` and `Annotations`
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Pretrained weights: a `.safetensors` file or a PyTorch state dict
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Architecture. By default, it is inferred from the name of the weights
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
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
    for (option, path, is_there) in [
        ("--data", &args.data, Path::exists as fn(&Path) -> bool),
        ("--weights", &args.weights, Path::is_file),
    ] {
        if let Some(path) = path.as_deref().filter(|path| !is_there(path)) {
            return Err(Error::usage(format!("{option}: `{}` does not exist", path.display())));
        }
    }
    let text = fill(&args)?;
    fs::create_dir_all(&args.dir).map_err(|error| Error::io("make", &args.dir, error))?;
    for (path, content) in [(&schema, &json), (&pipeline, &text)] {
        store::write_output(path, content.as_bytes())?;
    }
    let mut next = vec![format!("defrost validate {}", pipeline.display())];
    if args.weights.is_none() {
        next.insert(0, "put pretrained weights at the path in `file`".into());
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

/// The starter pipeline for these arguments.
fn fill(args: &Args) -> Result<String> {
    let weights = args.weights.as_deref();
    let data = args.data.as_deref();
    if let Some(boxed) = data.map(|data| BoxedData::find(data, &args.dir)).transpose()?.flatten() {
        return fill_detection(args, &boxed);
    }
    let (split, evaluated) = split(data)?;
    let arch = arch(args, "resnet50")?;
    let encoder = parsed(&arch)?.is_encoder();
    let has_batch_norm = !Model::build(&pipeline::Model::of(parsed(&arch)?), 2).description.norms.is_empty();
    if let Some(file) = weights {
        weights::fit(file, parsed(&arch)?, &architectures())?;
    }
    let stages = match args.schedule {
        Schedule::Stages if encoder => HEAD_ALONE.to_owned(),
        Schedule::Stages => TWO_STAGES.to_owned(),
        Schedule::Gradual if encoder => {
            let error = Error::usage(format!("`{arch}` is a feature extractor only and cannot be unfrozen"));
            return Err(error.hint("remove `--schedule`: only the head trains"));
        }
        Schedule::Gradual => gradual::stages(parsed(&arch)?),
    };
    let values = [
        ("NAME", name(&args.dir)),
        ("ROOT", data.map_or(Ok("data".into()), |path| relative(&args.dir, path))?),
        (
            "FILE",
            weights.map_or(Ok(format!("weights/{arch}.safetensors")), |path| relative(&args.dir, path))?,
        ),
        ("NORMALIZE", normalize(&arch).to_owned()),
        ("ARCH", arch),
    ];
    let batch_norm = if has_batch_norm { BATCH_NORM } else { "" };
    let stages = stages.replace("BATCH_NORM\n", batch_norm);
    let mut text = TEMPLATE.replace("STAGES", stages.trim_end());
    for (word, value) in values {
        text = text.replace(&format!("\"{word}\""), &toml::Value::String(value).to_string());
    }
    Ok(text.replace("{ SPLIT = true }", &split).replace("\"EVALUATED\"", &format!("\"{evaluated}\"")))
}

/// The starter pipeline for images with boxes.
fn fill_detection(args: &Args, data: &BoxedData) -> Result<String> {
    let arch = arch(args, detection::DEFAULT_ARCH)?;
    if !parsed(&arch)?.is_detector() {
        let error = Error::usage(format!("`{arch}` classifies images, and these have boxes"));
        return Err(error.hint(format!("use `--arch {}`", detection::DEFAULT_ARCH)));
    }
    if args.schedule == Schedule::Gradual {
        return Err(Error::usage("`--schedule gradual` is for networks that classify images")
            .hint("remove it; `unfreeze` in a stage unfreezes layers of a detector gradually"));
    }
    let restore = args.weights.as_deref().map_or(Ok(""), |file| detection::fit(file, parsed(&arch)?))?;
    let file = match &args.weights {
        Some(path) => relative(&args.dir, path)?,
        None => format!("weights/{arch}.pt"),
    };
    let quoted = |value: String| toml::Value::String(value).to_string();
    Ok(detection::TEMPLATE
        .replace("RESTORE\n", restore)
        .replace("DATA", &data.lines)
        .replace("\"NAME\"", &quoted(name(&args.dir)))
        .replace("\"FILE\"", &quoted(file))
        .replace("\"ARCH\"", &quoted(arch))
        .replace("\"EVALUATED\"", &quoted(data.evaluated.to_owned())))
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

/// The split: existing split folders if there are any, else fractions. Also returns the split to evaluate on.
///
/// # Errors
/// `validate` refuses these folders with any split.
fn split(data: Option<&Path>) -> Result<(String, &'static str)> {
    /// Fractions of validation and test, each with several seeds. The first combination in which every split has every
    /// class is used.
    const SHARES: [(f64, f64); 3] = [(0.2, 0.1), (0.25, 0.25), (0.3, 0.0)];
    const SEEDS: u64 = 20;
    let fractions = |(validation, test): (f64, f64), seed| {
        let test = if test > 0.0 { format!(", test = {test}") } else { String::new() };
        format!("{{ validation = {validation}{test}, seed = {seed} }}")
    };
    let Some(data) = data else { return Ok((fractions(SHARES[0], 0), "test")) };
    let folders = part_folders(data);
    let written = folders.as_ref().map(written_folders);
    scan(data, json!({ "folders": folders }))?;
    let given = folders.as_ref().map(|folders| (folders.validation.is_some(), folders.test.is_some()));
    let mut refused = None;
    for (shares @ (validation, test), seed) in
        SHARES.iter().flat_map(|s| (0..SEEDS).map(move |seed| (*s, seed)))
    {
        let (settings, text, evaluated) = match (&written, given) {
            (Some(written), Some((true, test))) => {
                return Ok((format!("{{ {written} }}"), if test { "test" } else { "validation" }));
            }
            // `@best` needs validation images: a fraction of the training images.
            (Some(written), Some((false, test))) => (
                json!({ "validation": validation, "seed": seed, "folders": folders }),
                format!("{{ validation = {validation}, seed = {seed}, {written} }}"),
                if test { "test" } else { "validation" },
            ),
            _ => (
                json!({ "validation": validation, "test": test, "seed": seed }),
                fractions(shares, seed),
                if test > 0.0 { "test" } else { "validation" },
            ),
        };
        match scan(data, settings) {
            Ok(()) => return Ok((text, evaluated)),
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.expect("some seed was tried");
    Err(Error::usage(error.message).hint("add images: each class needs some in every split"))
}

/// Whether the images are a valid data set with this split.
fn scan(data: &Path, split: serde_json::Value) -> Result<()> {
    let folder = json!({ "root": "", "split": split });
    let folder = serde_json::from_value(folder).map_err(|error| Error::bug(format!("the split: {error}")))?;
    Dataset::scan(&folder, data).map(drop).map_err(|error| error.within("--data"))
}

/// The given architecture, or the one inferred from the name of the weights, or else `default`.
fn arch(args: &Args, default: &str) -> Result<String> {
    if let Some(arch) = &args.arch {
        return parsed(arch).map(|_| arch.clone());
    }
    let file = args.weights.as_deref().and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    Ok(architectures()
        .into_iter()
        .find(|name| plain(file).contains(&plain(name)))
        .unwrap_or(default)
        .to_owned())
}

/// The names of all architectures, as the schema lists them.
fn architectures() -> Vec<&'static str> {
    let known = pipeline::schema()
        .pointer("/properties/model/additionalProperties/properties/arch/enum")
        .and_then(serde_json::Value::as_array);
    known.into_iter().flatten().filter_map(serde_json::Value::as_str).collect()
}

fn parsed(arch: &str) -> Result<pipeline::Arch> {
    serde_json::from_value(json!(arch)).map_err(|_| {
        Error::usage(format!("--arch: unknown architecture `{arch}`")).hint("`defrost schema` lists them")
    })
}

/// The channel statistics that an architecture was pretrained with.
fn normalize(arch: &str) -> &'static str {
    match arch {
        "efficientnet_lite0" => "efficientnet_lite",
        "clip_vit_b32" => "clip",
        "siglip_base_patch16_224" => "inception",
        detector if detector.starts_with("yolo11") => "none",
        _ => "imagenet",
    }
}

/// `path` relative to `dir`, with `/`. An absolute path is kept.
fn relative(dir: &Path, path: &Path) -> Result<String> {
    let text = if path.is_absolute() {
        path.to_owned()
    } else {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Error::io("find", path, error));
        let (dir, path) = (absolute(dir)?, absolute(path)?);
        let (from, to): (Vec<Component>, Vec<Component>) =
            (dir.components().collect(), path.components().collect());
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let up = from[common..].iter().map(|_| Component::ParentDir);
        up.chain(to[common..].iter().copied()).collect()
    };
    let text = text.to_str().ok_or_else(|| Error::usage(format!("`{}` is not UTF-8", text.display())))?;
    Ok(if text.is_empty() { ".".into() } else { text.replace('\\', "/") })
}
