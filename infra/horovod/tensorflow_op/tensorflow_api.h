/* The part of TensorFlow's C API that the operations need, declared here and found at run time.

   TensorFlow's headers come only with TensorFlow itself, which is no part of the build. These
   declarations restate tensorflow/c/{kernels,ops,tf_tensor,tf_status,tf_datatype}.h, an interface in
   C that did not change from 2.16 to 2.21. Each function is looked up in the TensorFlow that the
   process has loaded, so the library has no undefined symbol of TensorFlow's and can say in words
   what is missing. */

#ifndef HOROVOD_TENSORFLOW_API_H
#define HOROVOD_TENSORFLOW_API_H

#include <stddef.h>
#include <stdint.h>

#include <string>

struct TF_Status;
struct TF_Tensor;
struct TF_KernelBuilder;
struct TF_OpKernelConstruction;
struct TF_OpKernelContext;
struct TF_AsyncOpKernelDoneCallback;
struct TF_OpDefinitionBuilder;
struct TF_ShapeHandle;
struct TF_ShapeInferenceContext;

struct TF_StringView {
  const char* data;
  size_t len;
};

/* TF_DataType, a C enum. */
enum {
  TF_FLOAT = 1,
  TF_DOUBLE = 2,
  TF_INT32 = 3,
  TF_UINT8 = 4,
  TF_INT16 = 5,
  TF_INT8 = 6,
  TF_INT64 = 9,
  TF_BOOL = 10,
  TF_BFLOAT16 = 14,
  TF_UINT16 = 17,
  TF_HALF = 19
};

/* TF_Code, a C enum. */
enum {
  TF_OK = 0,
  TF_UNKNOWN = 2,
  TF_INVALID_ARGUMENT = 3,
  TF_FAILED_PRECONDITION = 9,
  TF_ABORTED = 10
};

/* F(result, name, arguments) for each function. */
#define HOROVOD_TENSORFLOW_FUNCTIONS(F)                                                            \
  F(TF_Status*, TF_NewStatus, (void))                                                              \
  F(void, TF_DeleteStatus, (TF_Status*))                                                           \
  F(void, TF_SetStatus, (TF_Status*, int code, const char* message))                               \
  F(int, TF_GetCode, (const TF_Status*))                                                           \
  F(const char*, TF_Message, (const TF_Status*))                                                   \
  F(TF_Tensor*, TF_NewTensor,                                                                      \
    (int dtype, const int64_t* dims, int num_dims, void* data, size_t size,                        \
     void (*deallocator)(void*, size_t, void*), void* argument))                                   \
  F(void, TF_DeleteTensor, (TF_Tensor*))                                                           \
  F(int, TF_TensorType, (const TF_Tensor*))                                                        \
  F(int, TF_NumDims, (const TF_Tensor*))                                                           \
  F(int64_t, TF_Dim, (const TF_Tensor*, int))                                                      \
  F(size_t, TF_TensorByteSize, (const TF_Tensor*))                                                 \
  F(void*, TF_TensorData, (const TF_Tensor*))                                                      \
  F(TF_KernelBuilder*, TF_NewKernelBuilder,                                                        \
    (const char* op, const char* device, void* (*create)(TF_OpKernelConstruction*),                \
     void (*compute)(void*, TF_OpKernelContext*), void (*destroy)(void*)))                         \
  F(TF_KernelBuilder*, TF_NewAsyncKernelBuilder,                                                   \
    (const char* op, const char* device, void* (*create)(TF_OpKernelConstruction*),                \
     void (*compute)(void*, TF_OpKernelContext*, TF_AsyncOpKernelDoneCallback*),                   \
     void (*destroy)(void*)))                                                                      \
  F(void, TF_RegisterKernelBuilder, (const char* name, TF_KernelBuilder*, TF_Status*))             \
  F(void, TF_RunAsyncOpKernelDoneCallback, (TF_AsyncOpKernelDoneCallback*))                        \
  F(int, TF_NumInputs, (TF_OpKernelContext*))                                                      \
  F(void, TF_GetInput, (TF_OpKernelContext*, int, TF_Tensor**, TF_Status*))                        \
  F(void, TF_SetOutput, (TF_OpKernelContext*, int, const TF_Tensor*, TF_Status*))                  \
  F(TF_Tensor*, TF_AllocateOutput,                                                                 \
    (TF_OpKernelContext*, int index, int dtype, const int64_t* dims, int num_dims, size_t size,    \
     TF_Status*))                                                                                  \
  F(void, TF_OpKernelContext_Failure, (TF_OpKernelContext*, TF_Status*))                           \
  F(void, TF_OpKernelConstruction_Failure, (TF_OpKernelConstruction*, TF_Status*))                 \
  F(TF_StringView, TF_OpKernelConstruction_GetName, (TF_OpKernelConstruction*))                    \
  F(void, TF_OpKernelConstruction_GetAttrInt32,                                                    \
    (TF_OpKernelConstruction*, const char*, int32_t*, TF_Status*))                                 \
  F(void, TF_OpKernelConstruction_GetAttrFloat,                                                    \
    (TF_OpKernelConstruction*, const char*, float*, TF_Status*))                                   \
  F(void, TF_OpKernelConstruction_GetAttrBool,                                                     \
    (TF_OpKernelConstruction*, const char*, unsigned char*, TF_Status*))                           \
  F(uint64_t, TF_GetFrameId, (TF_OpKernelContext*))                                                \
  F(int64_t, TF_GetIterId, (TF_OpKernelContext*))                                                  \
  F(TF_OpDefinitionBuilder*, TF_NewOpDefinitionBuilder, (const char*))                             \
  F(void, TF_RegisterOpDefinition, (TF_OpDefinitionBuilder*, TF_Status*))                          \
  F(void, TF_OpDefinitionBuilderAddAttr, (TF_OpDefinitionBuilder*, const char*))                   \
  F(void, TF_OpDefinitionBuilderAddInput, (TF_OpDefinitionBuilder*, const char*))                  \
  F(void, TF_OpDefinitionBuilderAddOutput, (TF_OpDefinitionBuilder*, const char*))                 \
  F(void, TF_OpDefinitionBuilderSetIsStateful, (TF_OpDefinitionBuilder*, bool))                    \
  F(void, TF_OpDefinitionBuilderSetShapeInferenceFunction,                                         \
    (TF_OpDefinitionBuilder*, void (*infer)(TF_ShapeInferenceContext*, TF_Status*)))               \
  F(int64_t, TF_ShapeInferenceContextNumInputs, (TF_ShapeInferenceContext*))                       \
  F(TF_ShapeHandle*, TF_NewShapeHandle, (void))                                                    \
  F(void, TF_DeleteShapeHandle, (TF_ShapeHandle*))                                                 \
  F(void, TF_ShapeInferenceContextGetInput,                                                        \
    (TF_ShapeInferenceContext*, int, TF_ShapeHandle*, TF_Status*))                                 \
  F(void, TF_ShapeInferenceContextSetOutput,                                                       \
    (TF_ShapeInferenceContext*, int, TF_ShapeHandle*, TF_Status*))                                 \
  F(TF_ShapeHandle*, TF_ShapeInferenceContextScalar, (TF_ShapeInferenceContext*))                  \
  F(TF_ShapeHandle*, TF_ShapeInferenceContextVectorFromSize, (TF_ShapeInferenceContext*, size_t))  \
  F(int64_t, TF_ShapeInferenceContextRank, (TF_ShapeInferenceContext*, TF_ShapeHandle*))           \
  F(int, TF_ShapeInferenceContextRankKnown, (TF_ShapeInferenceContext*, TF_ShapeHandle*))          \
  F(void, TF_ShapeInferenceContextSubshape,                                                        \
    (TF_ShapeInferenceContext*, TF_ShapeHandle*, int64_t, int64_t, TF_ShapeHandle*, TF_Status*))   \
  F(void, TF_ShapeInferenceContextConcatenateShapes,                                               \
    (TF_ShapeInferenceContext*, TF_ShapeHandle*, TF_ShapeHandle*, TF_ShapeHandle*, TF_Status*))

namespace horovod_tensorflow {

/* The functions under their own names: tensorflow().TF_NewStatus(). */
struct TensorFlow {
#define HOROVOD_MEMBER(result, name, arguments) result(*name) arguments;
  HOROVOD_TENSORFLOW_FUNCTIONS(HOROVOD_MEMBER)
#undef HOROVOD_MEMBER
  std::string missing; /* the first function that was not found, or empty */
};

/* Looked up on the first call. */
const TensorFlow& tensorflow();

} // namespace horovod_tensorflow

#endif
