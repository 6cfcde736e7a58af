//! Compiles one function body for each vector instruction set and selects at run time.

/// Defines a function, generic over a [`Float`](super::float::Float) type or not, whose body is compiled for
/// every [`Profile`](super::profile::Profile). Calls run the version of the current profile.
///
/// Unlike a closure in `Profile::run`, the arguments keep their aliasing guarantees: `&mut` slices do not
/// overlap, so the compiler vectorises loops over several slices without overlap checks per row.
///
/// Rust neither reorders nor contracts floating-point arithmetic, so a body without `mul_add` gives the same
/// bits in every version. The bodies here are memory-bound and use none.
#[macro_export]
macro_rules! multiversion {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$($T:ident: $Bound:path),+>)? ($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            fn body $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
                fn v4 $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $ret)? {
                    body($($arg),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn v3 $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $ret)? {
                    body($($arg),*)
                }

                use $crate::ops::profile::Profile;
                match Profile::current() {
                    // SAFETY: the machine supports the current profile, here and below.
                    Profile::X86V4 => return unsafe { v4($($arg),*) },
                    // SAFETY: as above.
                    Profile::X86V3 => return unsafe { v3($($arg),*) },
                    Profile::Scalar => (),
                }
            }
            body($($arg),*)
        }
    };
}
pub use multiversion;
