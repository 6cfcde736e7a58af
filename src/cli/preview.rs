//! `defrost preview`: writes a sheet of training images as a stage sees them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::report::{self, ImageBox, MOST_IN_SHEET, SheetImage};
use defrost::stage::PreviewImage;
use defrost::{Error, Result, store};
use image::RgbImage;
use serde_json::{Value, json};

use super::console::shown;
use super::ranks::ThreadShare;
use super::session::Session;
use super::train_stage::train_stage;
use super::{Console, PipelineOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost preview turtles.toml --stage finetune --count 25 --out sheet.jpg")]
pub struct Args {
    /// Pipeline file
    file: PathBuf,
    /// Train stage. Optional if the file has one
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Number of images, at most 100
    #[arg(long, value_name = "N", default_value_t = 16)]
    count: usize,
    /// Write the sheet to this JPEG or PNG file
    #[arg(long, value_name = "FILE", default_value = "sheet.jpg")]
    out: PathBuf,
    /// Epoch whose random changes are shown, from 1
    #[arg(long, value_name = "E", default_value_t = 1)]
    epoch: u32,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if !(1..=MOST_IN_SHEET).contains(&args.count) {
        let error = Error::usage(format!("`--count` is {}", args.count));
        return Err(error.hint(format!("a sheet shows 1 to {MOST_IN_SHEET} images")));
    }
    let encode = encoder(&args.out)?;
    let session = Session::open_one(&args.file, &args.pipeline, None, console)?;
    let (planned, train, dataset) = train_stage(&session, args.stage.as_deref())?;
    let epochs = train.settings.epochs;
    if !(1..=epochs).contains(&args.epoch) {
        let error = Error::usage(format!("stage `{}` has no epoch {}", planned.name, args.epoch));
        return Err(error.hint(format!("its epochs are 1 to {epochs}")));
    }
    let (threads, pool) = session.threads(ThreadShare::ALONE)?;
    let workers = session.pipeline.run.workers.unwrap_or(threads);
    let images = pool.install(|| train.preview(dataset, args.epoch - 1, args.count, workers))?;
    let title = format!("{}, epoch {} of {epochs}", planned.name, args.epoch);
    store::write_output(&args.out, &encode(&sheet(&title, &images, &dataset.classes)?)?)?;
    if console.json() {
        let entry = |image: &PreviewImage| entry(image, &dataset.classes);
        console.document(&json!({
            "stage": planned.name,
            "epoch": args.epoch,
            "file": args.out,
            "images": images.iter().map(entry).collect::<Vec<_>>(),
        }));
    } else {
        let mut text = format!("stage {}, epoch {} of {epochs}, row by row:\n", planned.name, args.epoch);
        for image in &images {
            text.push_str(&format!("  {}: {}\n", shown(&image.path), caption(image, &dataset.classes)));
        }
        console.say(format!("{text}  written: {}", shown(args.out.display())));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a picture as the bytes of a file.
type Encoder = fn(&RgbImage) -> Result<Vec<u8>>;

/// The encoder of a file of this name.
fn encoder(path: &Path) -> Result<Encoder> {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    match extension.as_deref().and_then(|extension| extension.to_str()) {
        Some("jpg" | "jpeg") => Ok(report::jpeg),
        Some("png") => Ok(report::image_png),
        _ => Err(Error::usage(format!("`--out` is `{}`, which is no picture file", path.display()))
            .hint("use a name such as `sheet.jpg` or `sheet.png`")),
    }
}

fn sheet(title: &str, images: &[PreviewImage], classes: &[String]) -> Result<RgbImage> {
    let mut pictures = Vec::with_capacity(images.len());
    for image in images {
        let picture = report::rgb_image(image.size, image.pixels.clone())?;
        pictures.push((picture, boxes(image), caption(image, classes)));
    }
    let shown = pictures.iter().zip(images).map(|((picture, boxes, caption), image)| SheetImage {
        image: picture,
        name: &image.path,
        caption: Some(caption),
        boxes,
    });
    report::sheet(title, &shown.collect::<Vec<_>>(), classes)
}

/// The boxes in pixels.
fn boxes(image: &PreviewImage) -> Vec<ImageBox> {
    image.boxes.iter().flatten().map(|object| ImageBox::of_label(object, image.size)).collect()
}

fn name(classes: &[String], class: u32) -> String {
    classes.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
}

/// `cat`, `cat 70 % + dog 30 %`, or `3 boxes of 4 photos`.
fn caption(image: &PreviewImage, classes: &[String]) -> String {
    if let Some(boxes) = &image.boxes {
        let several =
            |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let boxes = several(boxes.len(), "box", "boxes");
        return match image.parts.len() {
            1 => boxes,
            parts => format!("{boxes} in {}", several(parts, "photo", "photos")),
        };
    }
    let of = |(class, share): &(u32, f64)| match *share {
        share if share < 1.0 => format!("{} {:.0} %", name(classes, *class), share * 100.0),
        _ => name(classes, *class),
    };
    match image.shares.is_empty() {
        true => "no label".to_owned(),
        false => shown(image.shares.iter().map(of).collect::<Vec<_>>().join(" + ")),
    }
}

fn entry(image: &PreviewImage, classes: &[String]) -> Value {
    let boxes = image.boxes.as_ref().map(|boxes| {
        let one = |object: &defrost::data::LabelledBox| {
            let area = object.area;
            json!({
                "class": name(classes, object.class),
                "box": [area.left, area.top, area.right, area.bottom],
            })
        };
        boxes.iter().map(one).collect::<Vec<_>>()
    });
    let shares =
        image.shares.iter().map(|(class, share)| json!({ "class": name(classes, *class), "share": share }));
    json!({
        "path": image.path,
        "size": image.size,
        "photos": image.parts,
        "boxes": boxes,
        "classes": shares.collect::<Vec<_>>(),
    })
}
