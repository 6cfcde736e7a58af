//! `defrost weights`: lists published weights, and fetches some.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::hub::{KnownWeights, known_weights};
use defrost::pipeline::{FetchedWeights, RemoteWeights};
use defrost::plan::DiskAccess;
use defrost::{Error, Result, sanitize};
use serde_json::json;

use super::console::shown;
use super::signals::Stop;
use super::{Console, PipelineOptions, fetch};

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  defrost weights --arch resnet50
  defrost weights fetch hf://timm/resnet50.a1_in1k
  defrost weights fetch turtles.toml"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only those of this architecture
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Fetch weights into the cache, such as on a machine with a network, before a run on one without
    #[command(after_help = "Example: defrost weights fetch hf://timm/resnet50.a1_in1k")]
    Fetch(FetchArgs),
}

#[derive(clap::Args)]
struct FetchArgs {
    /// Names such as `hf://OWNER/REPO`, `https://` addresses, or pipeline files, whose weights are fetched
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Ask the hub whether a branch or tag moved, instead of using the commit in the cache
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    match args.command {
        Some(Command::Fetch(args)) => fetch_named(&args, console),
        None => list(args.arch.as_deref(), console),
    }
}

/// Published weights, and whether they are here.
struct Entry<'a> {
    known: &'a KnownWeights,
    fetched: Option<PathBuf>,
}

fn list(arch: Option<&str>, console: &Console) -> Result<ExitCode> {
    let hub = fetch::hub();
    let find = |known: &KnownWeights| hub.find(&RemoteWeights::parse(&known.file)?.ok()?);
    let chosen = known_weights().iter().filter(|known| arch.is_none_or(|arch| known.arch == arch));
    let entries: Vec<Entry> =
        chosen.map(|known| Entry { known, fetched: find(known).map(|found| found.path) }).collect();
    if let (Some(arch), true) = (arch, entries.is_empty()) {
        return Err(Error::usage(format!("no published weights of `{arch}` are known")).hint(
            "`defrost weights` lists all; docs/weights.md says where the weights of other architectures are",
        ));
    }
    if console.json() {
        let document = |entry: &Entry| {
            let mut document = json!(entry.known);
            document["fetched"] = json!(entry.fetched);
            document
        };
        console.document(&json!({ "weights": entries.iter().map(document).collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    let wide = entries.iter().map(|entry| entry.known.file.len()).max().unwrap_or_default();
    let mut last = "";
    for entry in &entries {
        if entry.known.arch != last {
            last = &entry.known.arch;
            console.say(format!("\x1b[1m{last}\x1b[0m"));
        }
        console.say(line(entry, wide));
    }
    console.say("\nWrite one as `file` of a stage with `kind = \"load_weights\"`. * is fetched already.");
    console.say("Columns: size, image size / resize, interpolation, mean, accuracy on ImageNet, licence.");
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &Entry, wide: usize) -> String {
    let KnownWeights {
        file, variant, megabytes, input_size, resize, interpolation, mean, top1, licence, ..
    } = entry.known;
    let variant = variant.as_ref().map_or(String::new(), |name| format!("  variant = \"{name}\""));
    let mark = if entry.fetched.is_some() { "*" } else { " " };
    let mean = match mean[..] {
        [0.485, 0.456, 0.406] => "imagenet".to_owned(),
        [0.5, 0.5, 0.5] => "inception".to_owned(),
        _ => mean.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join("/"),
    };
    let top1 = top1.map_or("-".to_owned(), |top1| format!("{top1:.1} %"));
    // The address of a licence is long; its host says whose it is.
    let licence = licence.strip_prefix("https://").unwrap_or(licence);
    format!(
        "{mark} {file:wide$}  {megabytes:>6.1} MB  {input_size:>3}/{resize:<3}  {interpolation:8}  {mean:11}  {top1:>6}  {licence}{variant}"
    )
}

fn fetch_named(args: &FetchArgs, console: &Console) -> Result<ExitCode> {
    let mut names: Vec<RemoteWeights> = Vec::new();
    for text in &args.names {
        let found = named(text, &args.pipeline, console)?;
        names.extend(found.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    }
    let fetched = fetch::all(&names, args.update, &Stop::default(), console)?;
    let entries: Vec<_> = names.iter().zip(&fetched).map(|(name, found)| document(name, found)).collect();
    if console.json() {
        console.document(&json!({ "weights": entries }));
    } else {
        for found in &fetched {
            console.say(shown(found.path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn document(name: &RemoteWeights, found: &FetchedWeights) -> serde_json::Value {
    json!({
        "name": name.to_string(),
        "pinned": found.pinned.to_string(),
        "sha256": found.sha256,
        "path": found.path,
    })
}

/// The weights that an argument names.
fn named(text: &str, options: &PipelineOptions, console: &Console) -> Result<Vec<RemoteWeights>> {
    match RemoteWeights::parse(text) {
        Some(Ok(name)) => return Ok(vec![name]),
        Some(Err(error)) => return Err(Error::usage(error.message).hint(error.help)),
        None => {}
    }
    if Path::new(text).is_file() {
        // Without data: weights may be fetched where there is none.
        let runs = options.load_all(Path::new(text), DiskAccess::Offline, console)?;
        let names: Vec<RemoteWeights> = runs.iter().flat_map(|(run, _)| run.remote_weights()).collect();
        if names.is_empty() {
            console.status(shown(format!("{text}: all weights are local files")));
        }
        return Ok(names);
    }
    let title = |known: &&KnownWeights| known.title == text || known.file.ends_with(&format!("/{text}"));
    let hint = match known_weights().iter().find(title) {
        Some(known) => format!("write `{}`", known.file),
        None => match text.split_once('/') {
            Some(_) => format!("for the Hugging Face hub, write `hf://{text}`"),
            None => "`defrost weights` lists published weights".to_owned(),
        },
    };
    Err(Error::usage(format!("`{}` is no name of weights and no pipeline file", sanitize::line(text)))
        .hint(hint))
}
