/* TensorFlow's word that an asynchronous operation is done, kept beyond the call that brought it.

   TensorFlow's C API passes the address of a std::function<void()> that lives on the stack of the
   caller, so it must be copied before the kernel returns. The copy is made by hand, in the layout of
   libstdc++, which TensorFlow's Linux builds use, since this library may be compiled with another C++
   library. A layout that is not that one is refused, as far as it can be seen. */

#ifndef HOROVOD_TENSORFLOW_DONE_CALLBACK_H
#define HOROVOD_TENSORFLOW_DONE_CALLBACK_H

#include <dlfcn.h>

struct TF_AsyncOpKernelDoneCallback;

namespace horovod_tensorflow {

class DoneCallback {
public:
  /* Copies; `valid()` tells whether that was possible. */
  explicit DoneCallback(const TF_AsyncOpKernelDoneCallback* original) {
    const Layout* from = reinterpret_cast<const Layout*>(original);
    if (!is_code(reinterpret_cast<const void*>(from->manage)) ||
        !is_code(reinterpret_cast<const void*>(from->invoke))) {
      return;
    }
    from->manage(&copy_.functor, &from->functor, kClone);
    copy_.manage = from->manage;
    copy_.invoke = from->invoke;
  }

  ~DoneCallback() {
    if (valid()) {
      copy_.manage(&copy_.functor, &copy_.functor, kDestroy);
    }
  }

  DoneCallback(const DoneCallback&) = delete;
  DoneCallback& operator=(const DoneCallback&) = delete;

  bool valid() const { return copy_.invoke != nullptr; }
  void operator()() const { copy_.invoke(&copy_.functor); }

private:
  struct Functor {
    void* words[2];
  };
  struct Layout {
    Functor functor;
    bool (*manage)(Functor* to, const Functor* from, int operation);
    void (*invoke)(const Functor*);
  };
  static constexpr int kClone = 2;
  static constexpr int kDestroy = 3;

  static bool is_code(const void* address) {
    Dl_info info;
    return address != nullptr && dladdr(address, &info) != 0;
  }

  Layout copy_{};
};

} // namespace horovod_tensorflow

#endif
