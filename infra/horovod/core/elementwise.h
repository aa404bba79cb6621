// Sums and scaling of float and double, in place or not, in the widest registers at hand.
//
// A compiler that cannot tell whether `out` overlaps its inputs keeps to one element at a time,
// and a ring of sums always works in place.

#ifndef HOROVOD_CORE_ELEMENTWISE_H
#define HOROVOD_CORE_ELEMENTWISE_H

#include <cstdint>

namespace horovod {
namespace core {

// out[i] = a[i] + b[i] and factor * a[i], 0 <= i < n; `out` is an input itself or overlaps none.
void Sum(const float* a, const float* b, float* out, int64_t n);
void Sum(const double* a, const double* b, double* out, int64_t n);
void Scale(const float* a, float* out, int64_t n, float factor);
void Scale(const double* a, double* out, int64_t n, double factor);

} // namespace core
} // namespace horovod

#endif
