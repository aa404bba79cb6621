// Arithmetic on float16 and bfloat16, which C++17 has no types for.

#ifndef HOROVOD_CORE_SMALL_FLOATS_H
#define HOROVOD_CORE_SMALL_FLOATS_H

#include <cstdint>
#include <cstring>

// The library runs on every x86-64: functions marked so are called after a test at run time alone.
#if defined(__x86_64__)
#define HVD_X86 1
#define HVD_USES_AVX __attribute__((target("avx")))
#define HVD_USES_F16C __attribute__((target("avx,f16c")))
#define HVD_USES_FMA __attribute__((target("avx,f16c,fma")))
#else
#define HVD_X86 0
#endif

namespace horovod {
namespace core {

// Whether this processor and its operating system have AVX; AVX and F16C; and FMA.
bool HasAVX();
bool HasF16C();
bool HasFMA();

// The upper half of a float32; arithmetic in float32, rounded to nearest even.
struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  explicit bfloat16(float value) {
    uint32_t u;
    std::memcpy(&u, &value, sizeof(u));
    uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    bool is_nan = (u & 0x7fffffff) > 0x7f800000; // rounding could make it infinite
    bits = static_cast<uint16_t>(is_nan ? (u >> 16) | 0x40 : rounded);
  }
  explicit operator float() const {
    uint32_t u = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &u, sizeof(value));
    return value;
  }
};

inline bfloat16 operator+(bfloat16 a, bfloat16 b) { return bfloat16(float(a) + float(b)); }
inline bfloat16 operator*(bfloat16 a, bfloat16 b) { return bfloat16(float(a) * float(b)); }
inline bool operator<(bfloat16 a, bfloat16 b) { return float(a) < float(b); }

// out[i] = a[i] + b[i], a[i] * b[i], factor * a[i] on float16 bits; out may be a or b.
void Float16Sum(const uint16_t* a, const uint16_t* b, uint16_t* out, int64_t n);
void Float16Product(const uint16_t* a, const uint16_t* b, uint16_t* out, int64_t n);
void Float16Scale(const uint16_t* a, uint16_t* out, int64_t n, float factor);

} // namespace core
} // namespace horovod

#endif
