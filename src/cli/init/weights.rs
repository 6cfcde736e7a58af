//! Weights of a starter pipeline: a file or a name, and the architecture that they fit.

use std::path::{Path, PathBuf};

use defrost::hub::{KnownWeights, known_weights};
use defrost::model::Model;
use defrost::pipeline::{self, Arch, RemoteWeights, Variant};
use defrost::weights::{Dialect, LoadRules, WeightsFile, origins, timm_network, timm_network_named};
use defrost::{Error, Result};
use serde_json::{Value, json};

use super::Args;
use super::published::Published;
use crate::cli::fetch;

/// Image sizes of published weights with position embeddings.
const SIZES: [usize; 5] = [224, 384, 448, 256, 512];

/// The weights of `--weights`.
pub struct GivenWeights {
    given: PathBuf,
    /// Whether they are named, such as `hf://timm/resnet50.a1_in1k`, and not a local file.
    pub is_name: bool,
    /// The file, if it is here: of a name, if it was fetched.
    pub file: Option<PathBuf>,
    known: Option<&'static KnownWeights>,
}

impl GivenWeights {
    /// # Errors
    /// A name that cannot be.
    pub fn of(weights: &Path) -> Result<Self> {
        let given = weights.to_owned();
        match weights.to_str().and_then(RemoteWeights::parse) {
            None => Ok(Self { file: Some(given.clone()), given, is_name: false, known: None }),
            Some(Ok(name)) => {
                let file = fetch::hub().find(&name).map(|found| found.path);
                let name = name.to_string();
                let known = known_weights().iter().find(|known| known.file == name);
                Ok(Self { given: name.into(), is_name: true, file, known })
            }
            Some(Err(error)) => Err(of_option(Error::usage(error.message)).hint(error.help)),
        }
    }

    /// What to write as `file`.
    pub fn setting(&self, dir: &Path) -> Result<String> {
        match self.is_name {
            true => Ok(self.given.display().to_string()),
            false => super::relative(dir, &self.given),
        }
    }

    /// The variant of the architecture that they are of, by their names.
    pub fn variant(&self, arch: Arch, published: &Published) -> Variant {
        if let Some(known) = self.known.filter(|known| known.arch == arch.name()) {
            let variant = known.variant.clone().map(Value::String);
            return variant.and_then(|name| serde_json::from_value(name).ok()).unwrap_or_default();
        }
        let file = self.given.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = published.architecture.as_deref().unwrap_or(file);
        let name = name.split(['.', '@']).next().unwrap_or_default();
        match timm_network_named(name) {
            Some((found, variant)) if found == arch => return variant,
            _ => {}
        }
        // timm has no network with the default variant of these, and names of tensors do not say which other it is.
        let is_of_timm = self.file.as_ref().is_some_and(|file| {
            let description = Model::build(&pipeline::Model::of(arch), 2).description;
            let file = WeightsFile::open(file).and_then(|file| file.translated(&description));
            file.is_ok_and(|file| file.dialect() == Dialect::Timm)
        });
        match arch.variants().first() {
            Some(first) if is_of_timm && timm_network(arch.name(), Variant::Torchvision).is_none() => *first,
            _ => Variant::Torchvision,
        }
    }

    /// The images that they were trained with, as the list of known weights or a file beside them says.
    pub fn published(&self) -> Result<Published> {
        match (self.known, &self.file) {
            (Some(known), _) => Ok(Published::of_known(known)),
            (None, Some(file)) => Published::beside(file),
            (None, None) => Ok(Published::default()),
        }
    }
}

/// An architecture, and why it was chosen.
pub struct Choice<T> {
    pub arch: Arch,
    /// A comment for the file; empty if the user asked for the architecture.
    pub why: String,
    /// What the weights need; `None` without weights.
    pub fit: Option<T>,
}

/// The architecture of `--arch`, or else the one that the weights fit, or else `default`. Weights fit if `fits` loads them.
///
/// # Errors
/// The file cannot be read, or its tensors are not those of the architecture. Then the hint names the one that they fit.
pub fn choose<T>(
    (args, file): (&Args, Option<&Path>),
    published: &Published,
    candidates: &[Arch],
    default: Arch,
    fits: impl Fn(&Path, Arch) -> Result<T>,
) -> Result<Choice<T>> {
    if let Some(asked) = &args.arch {
        let arch = super::parsed(asked)?;
        let Some(file) = file else { return Ok(Choice { arch, why: String::new(), fit: None }) };
        return match fits(file, arch) {
            Ok(fit) => Ok(Choice { arch, why: String::new(), fit: Some(fit) }),
            Err(error) => Err(match candidates.iter().find(|other| fits(file, **other).is_ok()) {
                Some(other) => {
                    of_option(error).hint(format!("use `--arch {}`, which the weights fit", other.name()))
                }
                None => of_option(error),
            }),
        };
    }
    let Some(file) = file else {
        let listed = candidates.iter().find(|arch| published.architecture.as_deref() == Some(arch.name()));
        return Ok(match listed {
            Some(arch) => {
                Choice { arch: *arch, why: "`defrost weights` lists the weights for it".into(), fit: None }
            }
            None => {
                Choice { arch: default, why: "the default; `init --arch` chooses another".into(), fit: None }
            }
        });
    };
    WeightsFile::open(file).map_err(of_option)?;
    let named = named(file, published, candidates);
    let rest = candidates.iter().filter(|arch| Some(**arch) != named).copied();
    let mut fitting = named.into_iter().chain(rest).filter_map(|arch| Some((arch, fits(file, arch).ok()?)));
    let Some((arch, fit)) = fitting.next() else {
        return Err(match named.and_then(|named| fits(file, named).err()) {
            Some(error) => of_option(error).hint("they fit no other architecture either"),
            None => {
                let (file, count) = (file.display(), candidates.len());
                Error::usage(format!("--weights: `{file}` fits none of the {count} architectures"))
                    .hint("`--arch NAME` lists the tensors that differ from those of an architecture")
            }
        });
    };
    let others: Vec<&str> =
        if named == Some(arch) { Vec::new() } else { fitting.map(|(other, _)| other.name()).collect() };
    let why = match others[..] {
        [] => "the weights fit it".to_owned(),
        _ => format!("the weights fit it, and {}", others.join(", ")),
    };
    Ok(Choice { arch, why, fit: Some(fit) })
}

/// The architecture that the published settings or the file's name say.
fn named(file: &Path, published: &Published, candidates: &[Arch]) -> Option<Arch> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let listed = |arch: &&Arch| published.architecture.as_deref() == Some(arch.name());
    let of_timm = published.architecture.as_deref().and_then(timm_network_named);
    let of_timm = of_timm.map(|(arch, _)| arch).filter(|arch| candidates.contains(arch));
    let file = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_name = |arch: &&Arch| plain(file).contains(&plain(arch.name()));
    let listed = candidates.iter().find(listed).copied();
    listed.or(of_timm).or_else(|| candidates.iter().find(in_name).copied())
}

/// Does what the first stage of the starter pipeline does: it loads all weights except the head. Returns the size of the
/// images that the weights are for.
///
/// # Errors
/// As for [`choose`].
pub fn fit(file: &Path, arch: Arch, published: &Published) -> Result<usize> {
    let size = published.size_for(arch);
    let Err(error) = loads(file, arch, size) else { return Ok(size) };
    let other = SIZES.into_iter().filter(|other| arch.has_sized_positions() && *other != size);
    other.into_iter().find(|size| loads(file, arch, *size).is_ok()).ok_or(error)
}

fn loads(file: &Path, arch: Arch, image_size: usize) -> Result<()> {
    let description = Model::build_for(&pipeline::Model::of(arch), 2, image_size).description;
    let stage = serde_json::from_value(json!({ "file": file, "reinit": ["@head"] }));
    let stage = stage.map_err(|error| Error::bug(format!("the stage to try: {error}")))?;
    let rules =
        LoadRules::resolve(&description, &stage).map_err(|_| Error::bug("an architecture without a head"))?;
    origins(&description, &WeightsFile::open(file)?.translated(&description)?, &rules).map(drop)
}

fn of_option(mut error: Error) -> Error {
    error.message = format!("--weights: {}", error.message);
    error
}
