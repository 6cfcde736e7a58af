//! One body, compiled once for each generation of vector units and chosen at run time.

/// Defines a function over a [`Float`](super::float::Float) type whose body is compiled for x86-64-v4 (AVX-512), v3 (AVX2)
/// and the baseline, and calls the widest that the machine has.
///
/// Rust neither reorders nor contracts floating-point arithmetic, so a body without `mul_add` gives the same bits in
/// every version. The bodies here are bound by memory, not arithmetic, and keep to that.
macro_rules! multiversion {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$T:ident: $Bound:path>($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$T: $Bound>($($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$T: $Bound>($($arg: $type),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,bmi1,bmi2,fma,lzcnt")]
                fn v4<$T: $Bound>($($arg: $type),*) $(-> $ret)? {
                    body($($arg),*)
                }

                #[target_feature(enable = "avx2,bmi1,bmi2,fma,lzcnt")]
                fn v3<$T: $Bound>($($arg: $type),*) $(-> $ret)? {
                    body($($arg),*)
                }

                let v3_features = is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("lzcnt");
                let v4_features = v3_features
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                if v4_features {
                    // SAFETY: every feature that `v4` is compiled for was just detected.
                    return unsafe { v4($($arg),*) };
                }
                if v3_features {
                    // SAFETY: every feature that `v3` is compiled for was just detected.
                    return unsafe { v3($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
