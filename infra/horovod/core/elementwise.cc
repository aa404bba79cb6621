#include "elementwise.h"

#include "small_floats.h"

#if defined(__clang__)
#define HVD_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define HVD_INDEPENDENT _Pragma("GCC ivdep")
#endif
#define HVD_INLINE inline __attribute__((always_inline))

namespace horovod {
namespace core {
namespace {

template <typename T> HVD_INLINE void SumLoop(const T* a, const T* b, T* out, int64_t n) {
  HVD_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    out[i] = a[i] + b[i];
  }
}

template <typename T> HVD_INLINE void ScaleLoop(const T* a, T* out, int64_t n, T factor) {
  HVD_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    out[i] = factor * a[i];
  }
}

#if HVD_X86
template <typename T> HVD_USES_AVX void SumAvx(const T* a, const T* b, T* out, int64_t n) {
  SumLoop(a, b, out, n);
}

template <typename T> HVD_USES_AVX void ScaleAvx(const T* a, T* out, int64_t n, T factor) {
  ScaleLoop(a, out, n, factor);
}
#endif

template <typename T> void SumOf(const T* a, const T* b, T* out, int64_t n) {
#if HVD_X86
  if (HasAVX()) {
    return SumAvx(a, b, out, n);
  }
#endif
  SumLoop(a, b, out, n);
}

template <typename T> void ScaleOf(const T* a, T* out, int64_t n, T factor) {
#if HVD_X86
  if (HasAVX()) {
    return ScaleAvx(a, out, n, factor);
  }
#endif
  ScaleLoop(a, out, n, factor);
}

} // namespace

void Sum(const float* a, const float* b, float* out, int64_t n) { SumOf(a, b, out, n); }
void Sum(const double* a, const double* b, double* out, int64_t n) { SumOf(a, b, out, n); }
void Scale(const float* a, float* out, int64_t n, float factor) { ScaleOf(a, out, n, factor); }
void Scale(const double* a, double* out, int64_t n, double factor) { ScaleOf(a, out, n, factor); }

} // namespace core
} // namespace horovod
