//! timm's names for networks that torchvision, or the published checkpoint, names differently. The tensors are
//! the same.
//!
//! ResNets have the same names in both. Networks of several [`Variant`]s share their names: `tf_efficientnet_b0` pads as
//! TensorFlow does and has another eps than `efficientnet_b0`. No name of a tensor tells which of the two a file contains.

use std::borrow::Cow;

use crate::model::{Description, TensorId};
use crate::pipeline::{Arch, Variant};

/// timm's name of each tensor, in the order of the description; `None` if timm has the same names, or does not
/// have this network.
///
/// Tensors outside the published network, such as those of another head, keep their names.
pub(super) fn names(description: &Description) -> Option<Vec<String>> {
    let name: fn(&[&str]) -> Option<String> = match description.arch.as_str() {
        "mobilenet_v2" => |path| of_module(path, mobilenet_v2),
        "efficientnet_b0" | "efficientnet_b1" | "efficientnet_b2" | "efficientnet_b3" | "efficientnet_b4" => {
            |path| of_module(path, efficientnet)
        }
        "efficientnet_lite0" => |path| of_module(path, efficientnet_lite),
        "efficientnet_v2_s" => |path| of_module(path, efficientnet_v2),
        "mobilenet_v3_large" => |path| of_module(path, |path| mobilenet_v3(path, &[1, 2, 3, 4, 2, 3])),
        "mobilenet_v3_small" => |path| of_module(path, |path| mobilenet_v3(path, &[1, 2, 3, 2, 3])),
        "convnext_tiny" | "convnext_small" | "convnext_base" => convnext,
        "vit_s_16" | "vit_b_16" => vision_transformer,
        "swin_t" => swin,
        name if name.starts_with("regnet_y_") => |path| of_module(path, regnet),
        _ => return None,
    };
    let names = description.tensors.iter().map(|tensor| &tensor.name);
    let renamed = |own: &String| name(&own.split('.').collect::<Vec<_>>()).unwrap_or_else(|| own.clone());
    Some(names.map(renamed).collect())
}

/// A network as timm creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimmNetwork {
    /// The name for `timm.create_model`.
    pub name: &'static str,
    pub classifier: &'static str,
    pub first_conv: &'static str,
    /// Whether it is made for a size of images, which `img_size` names.
    pub has_image_size: bool,
    /// Only for images whose size is a multiple of this it computes the same.
    pub size_step: usize,
}

/// The network of an architecture by its name; `None` if timm has none that computes the same.
pub fn network(arch: &str, variant: Variant) -> Option<TimmNetwork> {
    let of = |name, classifier, first_conv| {
        Some(TimmNetwork { name, classifier, first_conv, has_image_size: false, size_step: 1 })
    };
    if variant != Variant::Torchvision {
        let name = match (arch, variant) {
            ("mobilenet_v3_large", Variant::Timm) => "mobilenetv3_large_100",
            ("mobilenet_v3_large", _) => "tf_mobilenetv3_large_100",
            ("mobilenet_v3_small", Variant::Timm) => "mobilenetv3_small_100",
            ("mobilenet_v3_small", _) => "tf_mobilenetv3_small_100",
            ("efficientnet_v2_s", Variant::Timm) => "efficientnetv2_s",
            ("efficientnet_v2_s", _) => "tf_efficientnetv2_s",
            ("efficientnet_b0", Variant::Tensorflow) => "tf_efficientnet_b0",
            ("efficientnet_b1", Variant::Tensorflow) => "tf_efficientnet_b1",
            ("efficientnet_b2", Variant::Tensorflow) => "tf_efficientnet_b2",
            ("efficientnet_b3", Variant::Tensorflow) => "tf_efficientnet_b3",
            ("efficientnet_b4", Variant::Tensorflow) => "tf_efficientnet_b4",
            _ => return None,
        };
        return of(name, "classifier", "conv_stem");
    }
    match arch {
        "resnet18" => of("resnet18", "fc", "conv1"),
        "resnet34" => of("resnet34", "fc", "conv1"),
        "resnet50" => of("resnet50", "fc", "conv1"),
        "resnet101" => of("resnet101", "fc", "conv1"),
        "resnet152" => of("resnet152", "fc", "conv1"),
        "mobilenet_v2" => of("mobilenetv2_100", "classifier", "conv_stem"),
        "efficientnet_b0" => of("efficientnet_b0", "classifier", "conv_stem"),
        "efficientnet_b1" => of("efficientnet_b1", "classifier", "conv_stem"),
        "efficientnet_b2" => of("efficientnet_b2", "classifier", "conv_stem"),
        "efficientnet_b3" => of("efficientnet_b3", "classifier", "conv_stem"),
        "efficientnet_b4" => of("efficientnet_b4", "classifier", "conv_stem"),
        // It pads as TensorFlow does, and has its eps.
        "efficientnet_lite0" => of("tf_efficientnet_lite0", "classifier", "conv_stem"),
        "convnext_tiny" => of("convnext_tiny", "head.fc", "stem.0"),
        "convnext_small" => of("convnext_small", "head.fc", "stem.0"),
        "convnext_base" => of("convnext_base", "head.fc", "stem.0"),
        "regnet_y_400mf" => of("regnety_004", "head.fc", "stem.conv"),
        "regnet_y_800mf" => of("regnety_008_tv", "head.fc", "stem.conv"),
        "regnet_y_1_6gf" => of("regnety_016", "head.fc", "stem.conv"),
        "regnet_y_3_2gf" => of("regnety_032", "head.fc", "stem.conv"),
        "regnet_y_8gf" => of("regnety_080_tv", "head.fc", "stem.conv"),
        "regnet_y_16gf" => of("regnety_160", "head.fc", "stem.conv"),
        "swin_t" => of("swin_tiny_patch4_window7_224", "head.fc", "patch_embed.proj"),
        "vit_s_16" => of("vit_small_patch16_224", "head", "patch_embed.proj"),
        "vit_b_16" => of("vit_base_patch16_224", "head", "patch_embed.proj"),
        _ => None,
    }
    .map(|network| match arch {
        // Of other sizes, maps are padded to whole windows, and timm attends to the padding.
        "swin_t" => TimmNetwork { has_image_size: true, size_step: 224, ..network },
        _ => TimmNetwork { has_image_size: arch.starts_with("vit"), ..network },
    })
}

/// The architecture and the variant of timm's network with this name, without the tag of its weights.
pub fn network_named(name: &str) -> Option<(Arch, Variant)> {
    let of_arch = |arch: &Arch| {
        let (arch, others) = (*arch, arch.variants().iter().copied());
        std::iter::once(Variant::Torchvision).chain(others).map(move |variant| (arch, variant))
    };
    let mut all = Arch::all().iter().flat_map(of_arch);
    all.find(|(arch, variant)| network(arch.name(), *variant).is_some_and(|network| network.name == name))
}

/// timm's shape of a tensor: torchvision's block scales of a ConvNeXt are [C, 1, 1], timm's are [C]. The linear layer of a
/// MobileNetV3 below its head is a convolution in timm.
pub(super) fn shape(description: &Description, id: TensorId) -> Cow<'_, [usize]> {
    let spec = &description.tensors[id];
    match (description.arch.as_str(), spec.name.as_str()) {
        (_, name) if name.ends_with(".layer_scale") => Cow::Borrowed(&spec.shape[..1]),
        ("mobilenet_v3_large" | "mobilenet_v3_small", "classifier.0.weight") => {
            Cow::Owned([&spec.shape[..], &[1, 1]].concat())
        }
        _ => Cow::Borrowed(&spec.shape),
    }
}

/// For networks where only modules have other names: renames the module of a tensor.
fn of_module(path: &[&str], module: fn(&[&str]) -> Option<String>) -> Option<String> {
    let (leaf, path) = path.split_last()?;
    Some(format!("{}.{leaf}", module(path)?))
}

/// The convolutions of a block and their normalizations, in execution order.
type Convolutions = &'static [[&'static str; 2]];

/// The blocks of run 0 do not expand.
fn convolutions(run: usize) -> Convolutions {
    match run {
        0 => &[["conv_dw", "bn1"], ["conv_pw", "bn2"]],
        _ => &[["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
    }
}

const STEM: [&str; 2] = ["conv_stem", "bn1"];
const LAST: [&str; 2] = ["conv_head", "bn2"];

fn efficientnet(path: &[&str]) -> Option<String> {
    let part = match path {
        ["features", "0", which] => STEM.get(index(which)?)?.to_string(),
        ["features", "8", which] => LAST.get(index(which)?)?.to_string(),
        ["classifier", "1"] => "classifier".to_owned(),
        ["features", run, place, "block", part, which] => {
            let run = index(run)?.checked_sub(1)?;
            let convolutions = convolutions(run);
            // The squeeze-and-excitation comes before the projection.
            let (part, excitation) = (index(part)?, convolutions.len() - 1);
            let name = match *which {
                "fc1" if part == excitation => "se.conv_reduce",
                "fc2" if part == excitation => "se.conv_expand",
                which => convolutions.get(part - usize::from(part > excitation))?.get(index(which)?)?,
            };
            format!("blocks.{run}.{place}.{name}")
        }
        _ => return None,
    };
    Some(part)
}

/// The runs are those of the inverted bottlenecks. timm counts the last convolution as another.
fn mobilenet_v3(path: &[&str], runs: &[usize]) -> Option<String> {
    let part = match path {
        ["features", "0", which] => STEM.get(index(which)?)?.to_string(),
        ["classifier", "0"] => "conv_head".to_owned(),
        ["classifier", "3"] => "classifier".to_owned(),
        ["features", last, which] if index(last)? == runs.iter().sum::<usize>() + 1 => {
            format!("blocks.{}.0.{}", runs.len(), ["conv", "bn1"].get(index(which)?)?)
        }
        ["features", block, "block", part, which] => {
            let (run, place) = place(runs, index(block)?.checked_sub(1)?)?;
            format!("blocks.{run}.{place}.{}", bottleneck(convolutions(run), part, which)?)
        }
        _ => return None,
    };
    Some(part)
}

fn efficientnet_v2(path: &[&str]) -> Option<String> {
    let part = match path {
        ["features", "0", which] => STEM.get(index(which)?)?.to_string(),
        ["features", "7", which] => LAST.get(index(which)?)?.to_string(),
        ["classifier", "1"] => "classifier".to_owned(),
        ["features", run, place, "block", part, which] => {
            let run = index(run)?.checked_sub(1)?;
            let convolutions: Convolutions = match run {
                0 => &[["conv", "bn1"]],
                1 | 2 => &[["conv_exp", "bn1"], ["conv_pwl", "bn2"]],
                run => convolutions(run),
            };
            format!("blocks.{run}.{place}.{}", bottleneck(convolutions, part, which)?)
        }
        _ => return None,
    };
    Some(part)
}

/// A part of an inverted bottleneck. An excitation, if there is one, has a number ahead of the projection.
fn bottleneck(convolutions: Convolutions, part: &str, which: &str) -> Option<&'static str> {
    match which {
        "fc1" => Some("se.conv_reduce"),
        "fc2" => Some("se.conv_expand"),
        which => convolutions[index(part)?.min(convolutions.len() - 1)].get(index(which)?).copied(),
    }
}

fn mobilenet_v2(path: &[&str]) -> Option<String> {
    let part = match path {
        ["features", "0", which] => STEM.get(index(which)?)?.to_string(),
        ["features", "18", which] => LAST.get(index(which)?)?.to_string(),
        ["classifier", "1"] => "classifier".to_owned(),
        ["features", block, "conv", rest @ ..] => {
            let (run, place) = place(&[1, 2, 3, 4, 3, 3, 1], index(block)?.checked_sub(1)?)?;
            let convolutions = convolutions(run);
            // The last convolution and its normalization continue the numbering of the pairs before.
            let (pair, which) = match rest {
                [pair, which] => (index(pair)?, index(which)?),
                [part] => {
                    let part = index(part)?;
                    (convolutions.len() - 1, (part + 1).checked_sub(convolutions.len())?)
                }
                _ => return None,
            };
            format!("blocks.{run}.{place}.{}", convolutions.get(pair)?.get(which)?)
        }
        _ => return None,
    };
    Some(part)
}

fn efficientnet_lite(path: &[&str]) -> Option<String> {
    const PARTS: [&str; 6] = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"];
    let part = match path {
        ["_conv_stem"] => STEM[0].to_owned(),
        ["_bn0"] => STEM[1].to_owned(),
        ["_conv_head"] => LAST[0].to_owned(),
        ["_bn1"] => LAST[1].to_owned(),
        ["_fc"] => "classifier".to_owned(),
        ["_blocks", block, part] => {
            let (run, place) = place(&[1, 2, 2, 3, 3, 4, 1], index(block)?)?;
            let convolutions = convolutions(run);
            let parts = &PARTS[PARTS.len() - 2 * convolutions.len()..];
            let part = parts.iter().position(|name| name == part)?;
            format!("blocks.{run}.{place}.{}", convolutions[part / 2][part % 2])
        }
        _ => return None,
    };
    Some(part)
}

fn convnext(path: &[&str]) -> Option<String> {
    let name = match path {
        ["features", "0", part, leaf] => format!("stem.{part}.{leaf}"),
        ["classifier", "0", leaf] => format!("head.norm.{leaf}"),
        ["classifier", "2", leaf] => format!("head.fc.{leaf}"),
        // A downsampling layer has an even number, and the blocks above it the next.
        ["features", stage, place, rest @ ..] => {
            let stage = index(stage)?;
            match (stage % 2, rest) {
                (0, [leaf]) => format!("stages.{}.downsample.{place}.{leaf}", stage / 2),
                (1, ["layer_scale"]) => format!("stages.{}.blocks.{place}.gamma", stage / 2),
                (1, ["block", part, leaf]) => {
                    let part = match *part {
                        "0" => "conv_dw",
                        "2" => "norm",
                        "3" => "mlp.fc1",
                        "5" => "mlp.fc2",
                        _ => return None,
                    };
                    format!("stages.{}.blocks.{place}.{part}.{leaf}", stage / 2)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(name)
}

fn vision_transformer(path: &[&str]) -> Option<String> {
    let name = match path {
        ["class_token"] => "cls_token".to_owned(),
        ["encoder", "pos_embedding"] => "pos_embed".to_owned(),
        ["conv_proj", leaf] => format!("patch_embed.proj.{leaf}"),
        ["encoder", "ln", leaf] => format!("norm.{leaf}"),
        ["heads", "head", leaf] => format!("head.{leaf}"),
        ["encoder", "layers", block, rest @ ..] => {
            let part = match rest {
                ["ln_1", leaf] => format!("norm1.{leaf}"),
                ["self_attention", "in_proj_weight"] => "attn.qkv.weight".to_owned(),
                ["self_attention", "in_proj_bias"] => "attn.qkv.bias".to_owned(),
                ["self_attention", "out_proj", leaf] => format!("attn.proj.{leaf}"),
                ["ln_2", leaf] => format!("norm2.{leaf}"),
                ["mlp", "0", leaf] => format!("mlp.fc1.{leaf}"),
                ["mlp", "3", leaf] => format!("mlp.fc2.{leaf}"),
                _ => return None,
            };
            format!("blocks.{}.{part}", index(block.strip_prefix("encoder_layer_")?)?)
        }
        _ => return None,
    };
    Some(name)
}

fn regnet(path: &[&str]) -> Option<String> {
    let pair = |which: &str| ["conv", "bn"].get(index(which)?).copied();
    let part = match path {
        ["stem", which] => format!("stem.{}", pair(which)?),
        ["fc"] => "head.fc".to_owned(),
        ["trunk_output", _, block, rest @ ..] => {
            let (stage, place) = block.strip_prefix("block")?.split_once('-')?;
            let part = match rest {
                ["proj", which] => format!("downsample.{}", pair(which)?),
                ["f", "se", layer] => format!("se.{layer}"),
                ["f", conv, which] => {
                    let number = ["a", "b", "c"].iter().position(|name| name == conv)? + 1;
                    format!("conv{number}.{}", pair(which)?)
                }
                _ => return None,
            };
            format!("s{stage}.b{}.{part}", index(place)? + 1)
        }
        _ => return None,
    };
    Some(part)
}

fn swin(path: &[&str]) -> Option<String> {
    let name = match path {
        ["features", "0", "0", leaf] => format!("patch_embed.proj.{leaf}"),
        ["features", "0", "2", leaf] => format!("patch_embed.norm.{leaf}"),
        ["head", leaf] => format!("head.fc.{leaf}"),
        // A merging layer has an even number, and the blocks above it the next.
        ["features", stage, rest @ ..] => {
            let stage = index(stage)?;
            match (stage % 2, rest) {
                (0, [part, leaf]) => format!("layers.{}.downsample.{part}.{leaf}", stage / 2),
                (1, [place, rest @ ..]) => {
                    let part = match rest {
                        ["mlp", "0", leaf] => format!("mlp.fc1.{leaf}"),
                        ["mlp", "3", leaf] => format!("mlp.fc2.{leaf}"),
                        rest => rest.join("."),
                    };
                    format!("layers.{}.blocks.{place}.{part}", stage / 2)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(name)
}

fn index(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// The run of a block, and its index in the run.
fn place(repeats: &[usize], mut block: usize) -> Option<(usize, usize)> {
    for (run, &repeats) in repeats.iter().enumerate() {
        if block < repeats {
            return Some((run, block));
        }
        block -= repeats;
    }
    None
}
