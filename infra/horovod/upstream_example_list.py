"""Upstream's examples: how each is started, made small, and what Keras 3 wants changed in it.

A change is a piece of the script and what stands for it today; MIGRATING.md names each.
"""

from __future__ import annotations

from dataclasses import dataclass

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """A script of upstream's below ``examples``.

    ``{home}``, ``{mnist}``, ``{images}`` and ``{thousand_classes}`` in the arguments are places of
    the made data. ``smaller`` makes a script small that has no argument for it.
    """

    file: str
    framework: str
    arguments: str = ""
    elastic: bool = False
    controllers: tuple[str, ...] = ("mpi", "gloo")
    smaller: Edits = ()
    changes: Edits = ()
    keras_2: bool = True
    note: str = ""


SMALL_BENCHMARK = "--no-cuda --batch-size 2 --num-batches-per-iter 2 --num-iters 2"
SMALL_WARMUP = f"{SMALL_BENCHMARK} --num-warmup-batches 1"
SMALL_MNIST = "--no-cuda --data-dir {mnist} --epochs 1 --batch-size 16"
SMALL_IMAGENET = "--epochs 1 --batch-size 2 --val-batch-size 2"

FEW_BATCHES: Edits = (("500 // hvd.size()", "8 // hvd.size()"), ("batch(128)", "batch(16)"))

VARIABLES = ("opt.variables()", "opt.variables")
NO_SWITCH = (",\n                        experimental_run_tf_function=False", "")
NO_SESSION: Edits = (
    ("config = tf.ConfigProto()\n", ""),
    ("config.gpu_options.allow_growth = True\n", ""),
    ("config.gpu_options.visible_device_list = str(hvd.local_rank())\n", ""),
    ("K.set_session(tf.Session(config=config))\n", ""),
)
GENERATOR_FIT = ("model.fit_generator(", "model.fit(")

EXAMPLES = [
    Example("adasum/adasum_small_model.py", "torch", "--op Average", note="Average"),
    Example(
        "adasum/adasum_small_model.py", "torch", "--op Adasum", controllers=("mpi",), note="Adasum"
    ),
    Example("pytorch/pytorch_mnist.py", "torch", SMALL_MNIST),
    Example(
        "pytorch/pytorch_mnist.py",
        "torch",
        f"{SMALL_MNIST} --use-adasum",
        controllers=("mpi",),
        note="Adasum",
    ),
    Example(
        "pytorch/pytorch_imagenet_resnet50.py",
        "torch",
        f"--no-cuda {SMALL_IMAGENET} --train-dir {{images}} --val-dir {{images}}",
    ),
    Example("pytorch/pytorch_synthetic_benchmark.py", "torch", f"--model resnet18 {SMALL_WARMUP}"),
    Example("elastic/pytorch/pytorch_mnist_elastic.py", "torch", SMALL_MNIST, elastic=True),
    Example(
        "elastic/pytorch/pytorch_imagenet_resnet50_elastic.py",
        "torch",
        f"--no-cuda {SMALL_IMAGENET} --train-dir {{images}} --val-dir {{images}}",
        elastic=True,
    ),
    Example(
        "elastic/pytorch/pytorch_synthetic_benchmark_elastic.py",
        "torch",
        f"--model resnet18 {SMALL_WARMUP}",
        elastic=True,
    ),
    Example(
        "tensorflow2/tensorflow2_mnist.py",
        "keras",
        smaller=(("10000 // hvd.size()", "8 // hvd.size()"), ("batch(128)", "batch(16)")),
        changes=(VARIABLES,),
    ),
    Example(
        "tensorflow2/tensorflow2_keras_mnist.py",
        "keras",
        smaller=(*FEW_BATCHES, ("epochs=24", "epochs=2")),
        changes=(NO_SWITCH,),
    ),
    Example(
        "tensorflow2/tensorflow2_synthetic_benchmark.py",
        "keras",
        f"--model MobileNetV2 {SMALL_WARMUP}",
        changes=(VARIABLES,),
    ),
    Example(
        "tensorflow2/tensorflow2_keras_synthetic_benchmark.py",
        "keras",
        f"--model MobileNetV2 {SMALL_BENCHMARK}",
        changes=((",\n              experimental_run_tf_function=False", ""),),
    ),
    Example(
        "elastic/tensorflow2/tensorflow2_mnist_elastic.py",
        "keras",
        elastic=True,
        smaller=(("100 // hvd.size()", "8 // hvd.size()"), ("batch(128)", "batch(16)")),
    ),
    Example(
        "elastic/tensorflow2/tensorflow2_keras_mnist_elastic.py",
        "keras",
        elastic=True,
        smaller=(*FEW_BATCHES, ("epochs=24-state.epoch", "epochs=2-state.epoch")),
        changes=((",\n                    experimental_run_tf_function=False", ""),),
    ),
    Example(
        "elastic/tensorflow2/tensorflow2_synthetic_benchmark_elastic.py",
        "keras",
        f"--model MobileNetV2 {SMALL_WARMUP}",
        elastic=True,
    ),
    Example(
        "keras/keras_mnist.py",
        "keras",
        smaller=(("12.0 / hvd.size()", "2.0 / hvd.size()"), ("= 128", "= 16")),
        changes=NO_SESSION,
        keras_2=False,
    ),
    Example(
        "keras/keras_mnist_advanced.py",
        "keras",
        "--epochs 1 --batch-size 16",
        changes=(
            *NO_SESSION,
            ("from keras.preprocessing.image", "from tensorflow.keras.preprocessing.image"),
            ("lr=scaled_lr)", "learning_rate=scaled_lr)"),
            GENERATOR_FIT,
        ),
        keras_2=False,
    ),
    Example(
        "keras/keras_imagenet_resnet50.py",
        "keras",
        f"{SMALL_IMAGENET} --train-dir {{thousand_classes}} --val-dir {{thousand_classes}}",
        changes=(
            *NO_SESSION,
            ("from keras.preprocessing import", "from tensorflow.keras.preprocessing import"),
            ("lr=initial_lr, momentum", "learning_rate=initial_lr, momentum"),
            GENERATOR_FIT,
            ("workers=4,\n", "\n"),
            (
                "model.evaluate_generator(test_iter, len(test_iter), workers=4)",
                "model.evaluate(test_iter)",
            ),
        ),
        keras_2=False,
    ),
]

LEFT_OUT = {
    "mxnet/": "needs MXNet, which has had no release since 2022",
    "spark/": "needs Spark",
    "tensorflow/": "needs TensorFlow 1: sessions, tf.layers, estimators",
    "elastic/tensorflow/": "needs TensorFlow 1: sessions and tf.ConfigProto",
    "pytorch/pytorch_lightning_mnist.py": (
        "needs PyTorch Lightning 1, whose strategy for Horovod Lightning 2 dropped"
    ),
    "ray/basic_ray_elastic.py": "declares --data-dir twice, which argparse refuses",
    "ray/": "wants a running Ray cluster with GPUs, or two hosts of 32 processors",
    "tensorflow2/tensorflow2_mnist_data_service*": "needs a compute service beside the job",
    "adasum/adasum_bench.ipynb": "draws figures of many runs of adasum_small_model.py",
}
