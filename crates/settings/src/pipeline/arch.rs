//! The architectures: their names, and what settings and images each takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Normalize, Variant};

/// All architectures, for a macro that makes something of them. A line has the variant of [`Arch`], the name in files, the
/// `ArchSpec` in `model`, and the fields of [`ArchFacts`] that are not those of [`PLAIN`].
#[macro_export]
macro_rules! architectures {
    ($make:ident) => {
        $make! {
            ResNet18 = "resnet18", resnet::RESNET18, { any_channels: true };
            ResNet34 = "resnet34", resnet::RESNET34, { any_channels: true };
            ResNet50 = "resnet50", resnet::RESNET50, { any_channels: true };
            ResNet101 = "resnet101", resnet::RESNET101, { any_channels: true };
            ResNet152 = "resnet152", resnet::RESNET152, { any_channels: true };
            MobileNetV2 = "mobilenet_v2", mobilenet_v2::MOBILENET_V2, { any_channels: true };
            MobileNetV3Large = "mobilenet_v3_large", mobilenet_v3::LARGE,
                { any_channels: true, variants: &[Timm, Tensorflow] };
            MobileNetV3Small = "mobilenet_v3_small", mobilenet_v3::SMALL,
                { any_channels: true, variants: &[Timm, Tensorflow] };
            EfficientNetB0 = "efficientnet_b0", efficientnet::B0,
                { any_channels: true, stochastic_depth: true, variants: &[Tensorflow] };
            EfficientNetB1 = "efficientnet_b1", efficientnet::B1,
                { any_channels: true, stochastic_depth: true, variants: &[Tensorflow] };
            EfficientNetB2 = "efficientnet_b2", efficientnet::B2,
                { any_channels: true, stochastic_depth: true, variants: &[Tensorflow] };
            EfficientNetB3 = "efficientnet_b3", efficientnet::B3,
                { any_channels: true, stochastic_depth: true, variants: &[Tensorflow] };
            EfficientNetB4 = "efficientnet_b4", efficientnet::B4,
                { any_channels: true, stochastic_depth: true, variants: &[Tensorflow] };
            EfficientNetV2S = "efficientnet_v2_s", efficientnet_v2::SMALL,
                { any_channels: true, stochastic_depth: true, variants: &[Timm, Tensorflow] };
            EfficientNetLite0 = "efficientnet_lite0", efficientnet_lite::LITE0,
                { any_channels: true, stochastic_depth: true, torchvision: false };
            RegNetY400Mf = "regnet_y_400mf", regnet::Y_400MF, { any_channels: true };
            RegNetY800Mf = "regnet_y_800mf", regnet::Y_800MF, { any_channels: true };
            RegNetY1_6Gf = "regnet_y_1_6gf", regnet::Y_1_6GF, { any_channels: true };
            RegNetY3_2Gf = "regnet_y_3_2gf", regnet::Y_3_2GF, { any_channels: true };
            RegNetY8Gf = "regnet_y_8gf", regnet::Y_8GF, { any_channels: true };
            RegNetY16Gf = "regnet_y_16gf", regnet::Y_16GF, { any_channels: true };
            ConvNextTiny = "convnext_tiny", convnext::TINY, { any_channels: true, stochastic_depth: true };
            ConvNextSmall = "convnext_small", convnext::SMALL, { any_channels: true, stochastic_depth: true };
            ConvNextBase = "convnext_base", convnext::BASE, { any_channels: true, stochastic_depth: true };
            SwinT = "swin_t", swin::TINY,
                { any_channels: true, stochastic_depth: true, image_sizes: MultipleOf(32) };
            VitS16 = "vit_s_16", vit::SMALL_16,
                { positions: Sized, image_sizes: MultipleOf(16), torchvision: false };
            VitB16 = "vit_b_16", vit::BASE_16, { positions: Sized, image_sizes: MultipleOf(16) };
            DinoV2VitS14 = "dinov2_vits14", dinov2::SMALL_14,
                { encoder: true, positions: Resampled, image_sizes: MultipleOf(14), torchvision: false };
            DinoV2VitB14 = "dinov2_vitb14", dinov2::BASE_14,
                { encoder: true, positions: Resampled, image_sizes: MultipleOf(14), torchvision: false };
            DinoV2VitL14 = "dinov2_vitl14", dinov2::LARGE_14,
                { encoder: true, positions: Resampled, image_sizes: MultipleOf(14), torchvision: false };
            ClipVitB32 = "clip_vit_b32", clip::BASE_32,
                { encoder: true, cpu_only: true, image_sizes: Only(224), normalize: Some("clip"), torchvision: false };
            SiglipBase16 = "siglip_base_patch16_224", siglip::BASE_16,
                { encoder: true, cpu_only: true, image_sizes: Only(224), normalize: Some("inception"), torchvision: false };
            Yolo11N = "yolo11n", yolo11::NANO,
                { detector: true, image_sizes: MultipleOf(32), normalize: Some("none"), torchvision: false };
            Yolo11S = "yolo11s", yolo11::SMALL,
                { detector: true, image_sizes: MultipleOf(32), normalize: Some("none"), torchvision: false };
            Yolo11M = "yolo11m", yolo11::MEDIUM,
                { detector: true, image_sizes: MultipleOf(32), normalize: Some("none"), torchvision: false };
            Yolo11L = "yolo11l", yolo11::LARGE,
                { detector: true, image_sizes: MultipleOf(32), normalize: Some("none"), torchvision: false };
            Yolo11X = "yolo11x", yolo11::EXTRA_LARGE,
                { detector: true, image_sizes: MultipleOf(32), normalize: Some("none"), torchvision: false };
        }
    };
}

pub use architectures;

/// The side lengths in pixels of the square images that an architecture accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSizes {
    Any,
    MultipleOf(usize),
    Only(usize),
}

/// The weights for positions in an image, where settings or images depend on them.
#[derive(Clone, Copy, PartialEq)]
enum Positions {
    None,
    /// Of the `image_size` of the model's first stage.
    Sized,
    /// Made for other image sizes from those of pretraining.
    Resampled,
}

/// What the language knows of an architecture.
struct ArchFacts {
    /// Whether its first layer takes images of any number of channels.
    any_channels: bool,
    stochastic_depth: bool,
    encoder: bool,
    detector: bool,
    cpu_only: bool,
    positions: Positions,
    image_sizes: ImageSizes,
    /// The name of the channel statistics.
    normalize: Option<&'static str>,
    /// Whether torchvision has a function of this name that builds it.
    torchvision: bool,
    /// Other than torchvision's.
    variants: &'static [Variant],
}

/// Those of a convolutional network that trains.
const PLAIN: ArchFacts = ArchFacts {
    any_channels: false,
    stochastic_depth: false,
    encoder: false,
    detector: false,
    cpu_only: false,
    positions: Positions::None,
    image_sizes: ImageSizes::Any,
    normalize: None,
    torchvision: true,
    variants: &[],
};

macro_rules! declare {
    ($(
        $variant:ident = $name:literal, $module:ident::$spec:ident, { $($field:ident: $value:expr),* };
    )+) => {
        /// The architectures.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Arch {
            $(#[serde(rename = $name)] $variant,)+
        }

        impl Arch {
            /// All of them, in the order of the language.
            pub fn all() -> &'static [Self] {
                &[$(Self::$variant,)+]
            }

            /// As it is written in files.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            fn facts(self) -> ArchFacts {
                use ImageSizes::{MultipleOf, Only};
                use Positions::{Resampled, Sized};
                use Variant::{Tensorflow, Timm};
                match self {
                    $(Self::$variant => ArchFacts { $($field: $value,)* ..PLAIN },)+
                }
            }
        }
    };
}

architectures!(declare);

impl Arch {
    /// Whether it takes images of any number of channels, and not of red, green and blue only.
    pub fn takes_any_channels(self) -> bool {
        self.facts().any_channels
    }

    /// Whether `stochastic_depth` applies to it: whether the published network was trained with it.
    pub fn has_stochastic_depth(self) -> bool {
        self.facts().stochastic_depth
    }

    /// Whether it is a feature extractor only: it stays frozen in every stage, and only the head trains.
    pub fn is_encoder(self) -> bool {
        self.facts().encoder
    }

    /// Whether `torchvision.models` has a function of its name, which builds the same network.
    pub fn is_in_torchvision(self) -> bool {
        self.facts().torchvision
    }

    /// Whether it can find objects: whether it has a neck for the head `detect`.
    pub fn is_detector(self) -> bool {
        self.facts().detector
    }

    /// Whether it computes on GPUs. Models of candle-transformers compute on CPUs only.
    pub fn computes_on_gpus(self) -> bool {
        !self.facts().cpu_only
    }

    /// Whether it has position embeddings, which are made for the `image_size` of the model's first stage.
    pub fn has_sized_positions(self) -> bool {
        self.facts().positions == Positions::Sized
    }

    /// Whether it computes the position embeddings for other image sizes from those of pretraining.
    pub fn resamples_positions(self) -> bool {
        self.facts().positions == Positions::Resampled
    }

    /// Its variants besides [`Variant::Torchvision`].
    pub fn variants(self) -> &'static [Variant] {
        self.facts().variants
    }

    pub fn image_sizes(self) -> ImageSizes {
        self.facts().image_sizes
    }

    /// The channel statistics that its published weights were trained with, used if a data set gives none. Encoders and
    /// detectors have their own. Published weights of the others differ, and most use ImageNet's.
    pub fn normalize(self) -> Normalize {
        self.facts().normalize.map_or_else(Normalize::default, Normalize::named)
    }
}
