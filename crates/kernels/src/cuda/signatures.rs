//! The parameters of each kernel, read from its source. A launch with other arguments is an error before
//! anything runs.
//!
//! A kernel is either written out, or a template instance made by a macro that gives its name and its
//! `PARAMETERS`.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::engine::Address;
use super::launch::{ImageFrame, WindowGrid};
use crate::error::{Error, Result};

/// The sources, in the order in which all.cu includes them.
const SOURCES: [&str; 10] = [
    include_str!("kernels/batch_norm.cuh"),
    include_str!("kernels/classes.cuh"),
    include_str!("kernels/convolution.cuh"),
    include_str!("kernels/detection.cuh"),
    include_str!("kernels/elementwise.cuh"),
    include_str!("kernels/losses.cuh"),
    include_str!("kernels/optimizer.cuh"),
    include_str!("kernels/pooling.cuh"),
    include_str!("kernels/rows.cuh"),
    include_str!("kernels/transformer.cuh"),
];

/// A type that can be a kernel argument.
pub trait KernelArgument {
    /// The bytes as the kernel receives them.
    type Passed: Copy;

    fn passed(self) -> Self::Passed;

    /// The type as the kernel source spells it. For an address: the pointee type with a star.
    fn type_name(&self) -> &'static str;
}

/// Declares how the kernel source spells a type with the same layout.
#[macro_export]
macro_rules! argument {
    ($($type:ty => $name:literal),* $(,)?) => {
        $(impl $crate::cuda::KernelArgument for $type {
            type Passed = Self;

            fn passed(self) -> Self {
                self
            }

            fn type_name(&self) -> &'static str {
                $name
            }
        })*
    };
}
pub use argument;

argument!(i32 => "int", i64 => "index_t", f32 => "float", f64 => "double", WindowGrid => "Grid", ImageFrame => "Frame");

impl KernelArgument for Address {
    type Passed = u64;

    fn passed(self) -> u64 {
        self.at
    }

    fn type_name(&self) -> &'static str {
        self.to
    }
}

/// Element types of device memory.
pub trait Pointee {
    const POINTER: &'static str;
}

macro_rules! pointee {
    ($($type:ty => $name:literal),* $(,)?) => {
        $(impl Pointee for $type {
            const POINTER: &'static str = $name;
        })*
    };
}
pointee! {
    f32 => "float*", f64 => "double*", half::bf16 => "bf16*", half::f16 => "f16*", u8 => "unsigned char*", u16 => "unsigned short*",
    u32 => "unsigned int*",
}

/// The parameter types of a kernel.
pub(super) type Signature = Vec<String>;

/// # Errors
/// No such kernel.
pub(super) fn signature(kernel: &str) -> Result<&'static Signature> {
    static SIGNATURES: OnceLock<HashMap<String, Signature>> = OnceLock::new();
    let signatures = SIGNATURES.get_or_init(|| SOURCES.iter().flat_map(|source| parsed(source)).collect());
    signatures.get(kernel).ok_or_else(|| Error::bug(format!("there is no kernel `{kernel}`")))
}

/// # Errors
/// A wrong number of arguments, or a wrong type.
pub(super) fn compare(kernel: &str, signature: &Signature, given: &[&'static str]) -> Result<()> {
    let fits = |(parameter, given): (&String, &&str)| {
        parameter == given || (*given == Address::NONE.to && parameter.ends_with('*'))
    };
    if signature.len() == given.len() && signature.iter().zip(given).all(fits) {
        return Ok(());
    }
    let (taken, given) = (signature.join(", "), given.join(", "));
    Err(Error::bug(format!("kernel `{kernel}` takes ({taken}) and was given ({given})")))
}

/// The kernels of a source file with their parameters.
fn parsed(source: &str) -> Vec<(String, Signature)> {
    let source = source.replace("\\\n", " ");
    let (mut kernels, mut template) = (Vec::new(), "");
    let after_breaks = source.match_indices('\n').map(|(place, _)| place + 1);
    for place in std::iter::once(0).chain(after_breaks) {
        let line = &source[place..];
        if let Some(parameters) = line.strip_prefix("#define PARAMETERS(T)") {
            template = parameters;
        } else if let Some(kernel) = line.strip_prefix("extern \"C\" __global__ void ") {
            kernels.extend(name(kernel).map(|name| (name.to_owned(), types(kernel, ""))));
        } else if let Some(name) =
            ["TYPED(", "MIXTURES("].iter().find_map(|made| name(line.strip_prefix(made)?))
        {
            for (suffix, number) in [("f32", "float"), ("bf16", "bf16"), ("f16", "f16")] {
                kernels.push((format!("{name}_{suffix}"), types(template, number)));
            }
        }
    }
    kernels
}

/// The identifier before a parenthesis or comma, if there is one.
fn name(text: &str) -> Option<&str> {
    let name = &text[..text.find(['(', ','])?];
    name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_').then_some(name)
}

/// The types of the first parenthesised list, with `number` in place of `T`.
fn types(text: &str, number: &str) -> Signature {
    let list = text.split_once('(').and_then(|(_, list)| list.split_once(')')).map_or("", |(list, _)| list);
    let of = |parameter: &str| {
        let parameter = parameter.trim().trim_start_matches("const ");
        let end = parameter.rfind([' ', '*']).map_or(parameter.len(), |last| last + 1);
        let spelled = parameter[..end].trim_end();
        match spelled.strip_prefix('T') {
            Some(star @ ("" | "*")) => format!("{number}{star}"),
            _ => spelled.to_owned(),
        }
    };
    list.split(',').map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_the_module() {
        let included = include_str!("kernels/all.cu").matches("#include").count();
        assert_eq!(included, SOURCES.len());
        let kernels: usize = SOURCES.iter().map(|source| parsed(source).len()).sum();
        let written = |source: &&str| {
            let made =
                source.lines().filter(|line| line.starts_with("TYPED(") || line.starts_with("MIXTURES("));
            3 * made.count() + source.lines().filter(|line| line.starts_with("extern \"C\"")).count()
        };
        assert_eq!(kernels, SOURCES.iter().map(written).sum::<usize>());
    }

    #[test]
    fn parameters_are_read_as_they_are_written() {
        let expected = ["index_t", "Grid", "bf16*", "bf16*", "unsigned short*"];
        assert_eq!(signature("max_pool_bf16").unwrap(), &expected);
        assert_eq!(signature("mean_loss").unwrap(), &["int", "double*", "double", "float*"]);
        let settings = ["double*", "Settings", "double", "double*", "float*"];
        assert_eq!(signature("margin_f32").unwrap()[4..], settings);
        let known = [
            "int", "index_t", "float", "double", "Grid", "Frame", "Heads", "Settings", "AdamW", "Head",
            "Gains",
        ];
        for (name, types) in SOURCES.iter().flat_map(|source| parsed(source)) {
            assert!(!types.is_empty(), "{name}");
            let fits = |name: &String| known.contains(&&**name) || name.ends_with('*') && !name.contains('T');
            assert!(types.iter().all(fits), "{name}: {types:?}");
        }
    }

    #[test]
    fn other_arguments_are_an_error() {
        let signature = signature("to_bf16").unwrap();
        let told = |given: &[&'static str]| {
            compare("to_bf16", signature, given).map_err(|error| (error.kind, error.message))
        };
        assert_eq!(told(&["index_t", "float*", "bf16*"]), Ok(()));
        assert_eq!(told(&["index_t", Address::NONE.to, "bf16*"]), Ok(()));
        for wrong in [
            &["index_t", "float*"][..],
            &["int", "float*", "bf16*"],
            &["index_t", "bf16*", "float*"],
            &[Address::NONE.to, "float*", "bf16*"],
        ] {
            let (kind, message) = told(wrong).unwrap_err();
            assert_eq!(kind, crate::error::ErrorKind::Bug);
            assert!(message.contains("takes (index_t, float*, bf16*)"), "{message}");
        }
        assert!(super::signature("no_such_kernel").is_err());
    }
}
