#include "small_floats.h"

#include "horovod/common/half.h"

#if HVD_X86
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace horovod {
namespace core {
namespace {

#if HVD_X86
struct Features {
  bool avx = false;
  bool f16c = false;
  bool fma = false;

  Features() {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE) || !(ecx & bit_AVX)) {
      return;
    }
    // The operating system must save the registers that AVX uses.
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) == 6) {
      avx = true;
      f16c = ecx & bit_F16C;
      fma = f16c && (ecx & bit_FMA);
    }
  }
};

const Features& ThisProcessor() {
  static const Features features;
  return features;
}

#define LOAD(p) _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))
#define STORE(p, v) \
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT))

// Each does whole groups of eight and returns how many elements those were.
HVD_USES_F16C int64_t SumGroups(const uint16_t* a, const uint16_t* b, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    STORE(out + i, _mm256_add_ps(LOAD(a + i), LOAD(b + i)));
  }
  return i;
}

HVD_USES_F16C int64_t ProductGroups(const uint16_t* a, const uint16_t* b, uint16_t* out,
                                    int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    STORE(out + i, _mm256_mul_ps(LOAD(a + i), LOAD(b + i)));
  }
  return i;
}

HVD_USES_F16C int64_t ScaleGroups(const uint16_t* a, uint16_t* out, int64_t n, float factor) {
  __m256 factors = _mm256_set1_ps(factor);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    STORE(out + i, _mm256_mul_ps(factors, LOAD(a + i)));
  }
  return i;
}
#endif

float Get(const uint16_t* bits) {
  float value;
  common::HalfBits2Float(bits, &value);
  return value;
}

} // namespace

#if HVD_X86
bool HasAVX() { return ThisProcessor().avx; }
bool HasF16C() { return ThisProcessor().f16c; }
bool HasFMA() { return ThisProcessor().fma; }
#else
bool HasAVX() { return false; }
bool HasF16C() { return false; }
bool HasFMA() { return false; }
#endif

void Float16Sum(const uint16_t* a, const uint16_t* b, uint16_t* out, int64_t n) {
  int64_t i = 0;
#if HVD_X86
  i = HasF16C() ? SumGroups(a, b, out, n) : 0;
#endif
  for (; i < n; ++i) {
    float value = Get(a + i) + Get(b + i);
    common::Float2HalfBits(&value, out + i);
  }
}

void Float16Product(const uint16_t* a, const uint16_t* b, uint16_t* out, int64_t n) {
  int64_t i = 0;
#if HVD_X86
  i = HasF16C() ? ProductGroups(a, b, out, n) : 0;
#endif
  for (; i < n; ++i) {
    float value = Get(a + i) * Get(b + i);
    common::Float2HalfBits(&value, out + i);
  }
}

void Float16Scale(const uint16_t* a, uint16_t* out, int64_t n, float factor) {
  int64_t i = 0;
#if HVD_X86
  i = HasF16C() ? ScaleGroups(a, out, n, factor) : 0;
#endif
  for (; i < n; ++i) {
    float value = factor * Get(a + i);
    common::Float2HalfBits(&value, out + i);
  }
}

} // namespace core
} // namespace horovod
