// IEEE 754 binary16, for the emulated GPU: conversions from and to the bits of f32.
#pragma once
#include <stdint.h>
#include <string.h>

inline float f16_to_float(unsigned short half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 1023;
    float x;
    if (exponent == 0) {  // zero and subnormal numbers are multiples of 2^-24
        x = (float)mantissa * 0x1p-24f;
        return sign ? -x : x;
    }
    uint32_t bits = sign | (exponent == 31 ? 255u << 23 : (exponent + 112) << 23) | mantissa << 13;
    memcpy(&x, &bits, 4);
    return x;
}

// To the nearest, ties to even.
inline unsigned short float_to_f16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    unsigned short sign = (unsigned short)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7e00;
    if (bits >= 0x477ff000) return sign | 0x7c00;  // from 65520 on
    if (bits < 0x38800000) {                       // below the smallest normal number: adding 0.5 rounds to 2^-24
        float rounded;
        memcpy(&rounded, &bits, 4);
        rounded += 0.5f;
        memcpy(&bits, &rounded, 4);
        return sign | (unsigned short)(bits - 0x3f000000);
    }
    bits += 0xfff + (bits >> 13 & 1);
    return sign | (unsigned short)((bits - (112u << 23)) >> 13);
}
