/* Tells TensorFlow of the operations: names, attributes, shapes, kernels. Runs while the library is
   being loaded, which is when tf.load_op_library expects it.

   No collective is marked stateful: TensorFlow runs stateful operations in the order of the program,
   and two ranks whose programs differ in order would wait for each other. Two attributes keep
   TensorFlow from what it may do with other stateless operations:
   - tensor_name differs from operation to operation of a graph, so that two with the same input are
     not merged into one;
   - inplace says to the graph optimizer that there is more to the operation than its output, so that
     it is not computed once and for all when its input is a constant. */

#include <initializer_list>
#include <string>

#include "core.h"
#include "operation.h"
#include "scalars.h"
#include "self_test.h"

namespace horovod_tensorflow {
namespace {

/* ---- Shapes ---------------------------------------------------------------------------------- */

using Infer = void (*)(TF_ShapeInferenceContext*, TF_Status*);

/* A shape handle that deletes itself. */
class Shape {
public:
  Shape() : handle_(tensorflow().TF_NewShapeHandle()) {}
  explicit Shape(TF_ShapeHandle* handle) : handle_(handle) {}
  ~Shape() { tensorflow().TF_DeleteShapeHandle(handle_); }
  Shape(const Shape&) = delete;
  Shape& operator=(const Shape&) = delete;
  operator TF_ShapeHandle*() const { return handle_; }

private:
  TF_ShapeHandle* handle_;
};

bool ok(const TF_Status* status) { return tensorflow().TF_GetCode(status) == TF_OK; }

/* Every output is shaped like the input of the same number. */
void same_shapes(TF_ShapeInferenceContext* context, TF_Status* status) {
  int64_t count = tensorflow().TF_ShapeInferenceContextNumInputs(context);
  for (int i = 0; i < count && ok(status); ++i) {
    Shape shape;
    tensorflow().TF_ShapeInferenceContextGetInput(context, i, shape, status);
    if (ok(status)) {
      tensorflow().TF_ShapeInferenceContextSetOutput(context, i, shape, status);
    }
  }
}

/* Output i is shaped like input i except for the first dimension, known at run time. */
void other_rows(TF_ShapeInferenceContext* context, int i, TF_Status* status) {
  const int64_t kToTheEnd = 0x7fffffffffffffff;
  Shape input, rest, output;
  tensorflow().TF_ShapeInferenceContextGetInput(context, i, input, status);
  if (!ok(status)) {
    return;
  }
  bool known = tensorflow().TF_ShapeInferenceContextRankKnown(context, input) != 0;
  if (known && tensorflow().TF_ShapeInferenceContextRank(context, input) == 0) {
    tensorflow().TF_SetStatus(status, TF_INVALID_ARGUMENT,
                              "this operation works on the first dimension, which a scalar does not "
                              "have; give it the shape [1] first");
    return;
  }
  Shape rows(
      tensorflow().TF_ShapeInferenceContextVectorFromSize(context, static_cast<size_t>(-1)));
  tensorflow().TF_ShapeInferenceContextSubshape(context, input, 1, kToTheEnd, rest, status);
  if (ok(status)) {
    tensorflow().TF_ShapeInferenceContextConcatenateShapes(context, rows, rest, output, status);
  }
  if (ok(status)) {
    tensorflow().TF_ShapeInferenceContextSetOutput(context, i, output, status);
  }
}

void other_rows_each(TF_ShapeInferenceContext* context, TF_Status* status) {
  int64_t count = tensorflow().TF_ShapeInferenceContextNumInputs(context);
  for (int i = 0; i < count && ok(status); ++i) {
    other_rows(context, i, status);
  }
}

void alltoall_shapes(TF_ShapeInferenceContext* context, TF_Status* status) {
  other_rows(context, 0, status);
  if (ok(status)) {
    Shape splits(
        tensorflow().TF_ShapeInferenceContextVectorFromSize(context, static_cast<size_t>(-1)));
    tensorflow().TF_ShapeInferenceContextSetOutput(context, 1, splits, status);
  }
}

void scalar_shape(TF_ShapeInferenceContext* context, TF_Status* status) {
  Shape scalar(tensorflow().TF_ShapeInferenceContextScalar(context));
  tensorflow().TF_ShapeInferenceContextSetOutput(context, 0, scalar, status);
}

void no_shapes(TF_ShapeInferenceContext*, TF_Status*) {}

/* ---- Operations ------------------------------------------------------------------------------ */

struct Definition {
  std::initializer_list<const char*> attributes;
  std::initializer_list<const char*> inputs;
  std::initializer_list<const char*> outputs;
  Infer infer;
  bool stateful;
};

const char* const kAnyType =
    "T: {uint8, int8, uint16, int16, int32, int64, float16, bfloat16, float32, float64, bool}";
const char* const kReducedType =
    "T: {uint8, int8, int32, int64, float16, bfloat16, float32, float64, bool}";
const char* const kScatteredType = "T: {int32, int64, float16, bfloat16, float32, float64}";

std::string problem; /* the first one */

void note(const Status& status, const char* name) {
  if (!status.ok() && problem.empty()) {
    problem = std::string(name) + ": " + tensorflow().TF_Message(status);
  }
}

void define(const char* name, const Definition& definition) {
  TF_OpDefinitionBuilder* builder = tensorflow().TF_NewOpDefinitionBuilder(name);
  for (const char* attribute : definition.attributes) {
    tensorflow().TF_OpDefinitionBuilderAddAttr(builder, attribute);
  }
  for (const char* input : definition.inputs) {
    tensorflow().TF_OpDefinitionBuilderAddInput(builder, input);
  }
  for (const char* output : definition.outputs) {
    tensorflow().TF_OpDefinitionBuilderAddOutput(builder, output);
  }
  if (definition.stateful) { /* the function sets it whatever its argument is */
    tensorflow().TF_OpDefinitionBuilderSetIsStateful(builder, true);
  }
  tensorflow().TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, definition.infer);
  Status status;
  tensorflow().TF_RegisterOpDefinition(builder, status);
  note(status, name);
}

template <Kind kind> void* create(TF_OpKernelConstruction* construction) {
  return new_operation(kind, construction);
}

void compute(void* operation, TF_OpKernelContext* context, TF_AsyncOpKernelDoneCallback* done) {
  start(static_cast<Operation*>(operation), context, done);
}

void destroy(void* operation) { delete static_cast<Operation*>(operation); }

void add_kernel(const char* name, TF_KernelBuilder* builder) {
  Status status;
  tensorflow().TF_RegisterKernelBuilder(name, builder, status);
  note(status, name);
}

template <Kind kind> void collective(const char* name, const Definition& definition) {
  define(name, definition);
  add_kernel(name,
             tensorflow().TF_NewAsyncKernelBuilder(name, "CPU", create<kind>, compute, destroy));
}

template <Number number> void* create_scalar(TF_OpKernelConstruction* construction) {
  return new_scalar(number, construction);
}

template <Number number>
void scalar(const char* name, const char* output, std::initializer_list<const char*> attributes) {
  define(name, {attributes, {}, {output}, scalar_shape, true});
  add_kernel(name, tensorflow().TF_NewKernelBuilder(name, "CPU", create_scalar<number>,
                                                    compute_scalar, delete_scalar));
}

/* Attributes of every collective. */
#define COMMON                                                                                     \
  "ignore_name_scope: bool = false", "process_set_id: int = 0", "tensor_name: string = ''",        \
      "inplace: bool = true"
#define REDUCTION "reduce_op: int", "prescale_factor: float = 1.0", "postscale_factor: float = 1.0"
#define GROUP "num_tensors: int >= 1"

void reductions() {
  collective<Kind::kAllreduce>(
      "HorovodAllreduce",
      {{kReducedType, REDUCTION, COMMON}, {"tensor: T"}, {"sum: T"}, same_shapes, false});
  collective<Kind::kAllreduce>("HorovodGroupedAllreduce",
                               {{kReducedType, REDUCTION, GROUP, COMMON},
                                {"tensors: num_tensors * T"},
                                {"sum: num_tensors * T"},
                                same_shapes,
                                false});
  collective<Kind::kReducescatter>(
      "HorovodReducescatter",
      {{kScatteredType, REDUCTION, COMMON}, {"tensor: T"}, {"output: T"}, other_rows_each, false});
  collective<Kind::kReducescatter>("HorovodGroupedReducescatter",
                                   {{kScatteredType, REDUCTION, GROUP, COMMON},
                                    {"tensors: num_tensors * T"},
                                    {"outputs: num_tensors * T"},
                                    other_rows_each,
                                    false});
}

void movements() {
  collective<Kind::kAllgather>(
      "HorovodAllgather",
      {{kAnyType, COMMON}, {"tensor: T"}, {"output: T"}, other_rows_each, false});
  collective<Kind::kAllgather>("HorovodGroupedAllgather",
                               {{kAnyType, GROUP, COMMON},
                                {"tensors: num_tensors * T"},
                                {"outputs: num_tensors * T"},
                                other_rows_each,
                                false});
  collective<Kind::kBroadcast>(
      "HorovodBroadcast",
      {{kAnyType, "root_rank: int", COMMON}, {"tensor: T"}, {"output: T"}, same_shapes, false});
  collective<Kind::kAlltoall>("HorovodAlltoall",
                              {{kAnyType, COMMON},
                               {"tensor: T", "splits: int32"},
                               {"output: T", "received_splits: int32"},
                               alltoall_shapes,
                               false});
}

void others() {
  collective<Kind::kJoin>("HorovodJoin", {{"process_set_id: int = 0"},
                                          {},
                                          {"output: int32"},
                                          scalar_shape,
                                          true});
  collective<Kind::kBarrier>("HorovodBarrier",
                             {{"process_set_id: int = 0"}, {}, {}, no_shapes, true});
  scalar<Number::kSize>("HorovodSize", "size: int32", {"process_set_id: int = 0"});
  scalar<Number::kIncluded>("HorovodProcessSetIncluded", "included: int32",
                            {"process_set_id: int = 0"});
  scalar<Number::kLocalSize>("HorovodLocalSize", "local_size: int32", {});
  scalar<Number::kRank>("HorovodRank", "rank: int32", {});
  scalar<Number::kLocalRank>("HorovodLocalRank", "local_rank: int32", {});
  define("HorovodSelfTest", {{}, {"tensor: float32"}, {"output: float32"}, same_shapes, true});
  add_kernel("HorovodSelfTest",
             tensorflow().TF_NewAsyncKernelBuilder("HorovodSelfTest", "CPU", new_self_test,
                                                   compute_self_test, delete_self_test));
}

bool register_all() {
  if (!tensorflow().missing.empty()) {
    problem = "TensorFlow's C interface has no " + tensorflow().missing;
    return false;
  }
  reductions();
  movements();
  others();
  return problem.empty();
}

const bool registered = register_all();

} // namespace
} // namespace horovod_tensorflow

const char* horovod_tensorflow_error(void) {
  (void)horovod_tensorflow::registered;
  return horovod_tensorflow::problem.c_str();
}
