//! From the name of an architecture to its [`ArchSpec`].

use super::code_paths::POSITION_RESAMPLING;
use super::network::ArchSpec;
use super::{
    clip, convnext, dinov2, efficientnet, efficientnet_lite, efficientnet_v2, mobilenet_v2, mobilenet_v3,
    regnet, resnet, siglip, swin, vit, yolo11,
};
use crate::code_path::CodePath;
use crate::pipeline::{Arch, Model, architectures};

macro_rules! specs {
    ($($variant:ident = $name:literal, $module:ident::$spec:ident, $facts:tt;)+) => {
        /// How an architecture is built.
        pub(super) fn spec(arch: Arch) -> &'static ArchSpec {
            match arch {
                $(Arch::$variant => &$module::$spec,)+
            }
        }
    };
}

architectures!(specs);

/// The numeric code paths that a model takes up to its head, beyond those of every model.
pub fn backbone_code_paths(model: &Model) -> Vec<CodePath> {
    let mut paths = spec(model.arch).code_paths.to_vec();
    paths.extend((!model.position_resampling.is_default()).then_some(POSITION_RESAMPLING));
    paths
}
