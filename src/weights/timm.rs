//! timm's names of networks that torchvision, or the published checkpoint, calls otherwise: the same tensors, one by one.
//!
//! ResNets have the same names in both. timm tells variants apart that share their names: its `tf_efficientnet_b0` pads as
//! TensorFlow does and has another eps than `efficientnet_b0`, and which of the two a file is of, no name says
//! (docs/weights.md).

use crate::model::Description;

/// timm's name of each tensor of the description, in its order; none where timm has the same names, or not this network.
///
/// A tensor that is not of the published network, such as one of another head, keeps its name.
pub(super) fn names(description: &Description) -> Option<Vec<String>> {
    let module: fn(&[&str]) -> Option<String> = match description.arch.as_str() {
        "mobilenet_v2" => mobilenet_v2,
        "efficientnet_b0" | "efficientnet_b1" | "efficientnet_b2" | "efficientnet_b3" => efficientnet,
        "efficientnet_lite0" => efficientnet_lite,
        _ => return None,
    };
    let name = |name: &str| {
        let (path, leaf) = name.rsplit_once('.')?;
        let path: Vec<&str> = path.split('.').collect();
        Some(format!("{}.{leaf}", module(&path)?))
    };
    let names = description.tensors.iter().map(|tensor| &tensor.name);
    Some(names.map(|own| name(own).unwrap_or_else(|| own.clone())).collect())
}

/// The convolutions of a block and their normalisations, in the order in which they compute.
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
            // The excitation stands ahead of the convolution that projects.
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

fn mobilenet_v2(path: &[&str]) -> Option<String> {
    let part = match path {
        ["features", "0", which] => STEM.get(index(which)?)?.to_string(),
        ["features", "18", which] => LAST.get(index(which)?)?.to_string(),
        ["classifier", "1"] => "classifier".to_owned(),
        ["features", block, "conv", rest @ ..] => {
            let (run, place) = place(&[1, 2, 3, 4, 3, 3, 1], index(block)?.checked_sub(1)?)?;
            let convolutions = convolutions(run);
            // The last convolution and its normalisation are numbered with the pairs ahead of them.
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

fn index(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// The run that a block belongs to, and its place in it.
fn place(repeats: &[usize], mut block: usize) -> Option<(usize, usize)> {
    for (run, &repeats) in repeats.iter().enumerate() {
        if block < repeats {
            return Some((run, block));
        }
        block -= repeats;
    }
    None
}
